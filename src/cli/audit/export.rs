//! `ringfence audit export`: records for the engines that people already run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::decode::stopped;
use super::filter::Filter;
use super::source::{self, Ended};
use super::{otlp, parquet};
use crate::audit::record::Body;
use crate::audit::segment::Frame;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Log folders, folders that hold logs, or segment files
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// Into what
    #[arg(long, value_enum)]
    format: Format,
    /// Write to this file instead of stdout; replaces what it holds
    #[arg(long, short = 'o', value_name = "FILE", conflicts_with = "endpoint")]
    out: Option<PathBuf>,
    /// Send OTLP to this collector by HTTP, such as http://127.0.0.1:4318/v1/logs, instead of writing OTLP/JSON lines
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Apache Parquet: a row for each record, a column for each field
    Parquet,
    /// OpenTelemetry logs: JSON lines, or protobuf to a collector
    Otlp,
}

/// Takes records, and is told when there are no more.
pub(super) trait Target {
    fn record(&mut self, frame: &Frame<'_>, body: Body<'_>) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

pub(super) fn run(args: &ExportArgs) -> io::Result<ExitCode> {
    if args.format == Format::Parquet && args.endpoint.is_some() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "--endpoint goes with --format otlp"));
    }
    let inputs: Vec<_> = args.paths.iter().map(|path| source::files(path)).collect::<io::Result<_>>()?;
    let mut target: Box<dyn Target> = match (&args.endpoint, args.format) {
        (Some(endpoint), _) => Box::new(otlp::Export::new(otlp::Collector::new(endpoint)?)),
        (None, Format::Otlp) => Box::new(otlp::Export::new(otlp::Lines(BufWriter::new(out(args)?)))),
        (None, Format::Parquet) => Box::new(parquet::Export::new(out(args)?)?),
    };
    let mut whole = true;
    for input in inputs.iter().flatten() {
        let ended = source::scan(&input.path, &args.filter, &mut |frame, body| target.record(frame, body))?;
        if let Ended::Stopped(error) = ended {
            whole &= stopped(&input.path, input.is_last, &error);
        }
    }
    target.finish()?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn out(args: &ExportArgs) -> io::Result<File> {
    let Some(path) = &args.out else {
        let stdout = io::stdout();
        if args.format == Format::Parquet && stdout.is_terminal() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "Parquet is not for terminals: give --out FILE"));
        }
        return Ok(File::from(stdout.as_fd().try_clone_to_owned()?));
    };
    // As private as the log is.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Writes a text to a `Write` and ends the line.
pub(super) fn line(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    out.write_all(text)?;
    out.write_all(b"\n")
}
