//! `ringfence audit decode`: every record of logs or files, filtered and printed.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::filter::Filter;
use super::scratch::Scratch;
use super::source::{self, Ended};
use super::table::Table;
use super::{agt, complain, csv, follow, json};
use crate::audit::read::ReadError;
use crate::audit::record::Body;
use crate::audit::segment::Frame;

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// Log folders, folders that hold logs, or segment files
    #[arg(value_name = "DIR|FILE", required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// How to print [default: table on a terminal, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Wait for more, and print it as it comes, until interrupted
    #[arg(long, short = 'f')]
    follow: bool,
    /// The secret that AGT's verifier is given: the octets of this file sign each entry of `--format agt` [default: none, an empty secret]
    #[arg(long, value_name = "FILE")]
    agt_key: Option<PathBuf>,
    #[command(flatten)]
    pub(super) filter: Filter,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One object a line
    Json,
    /// For people
    Table,
    /// For spreadsheets
    Csv,
    /// Signed entries that AGT's own verifier accepts
    Agt,
}

/// Printed bytes are handed on when there are so many of them.
const LINES_BYTES: usize = 64 * 1024;

pub(super) fn run(args: &DecodeArgs) -> io::Result<ExitCode> {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let format = args.format.unwrap_or(if terminal { Format::Table } else { Format::Json });
    let secret = agt::secret(args.agt_key.as_deref())?;
    // Not through the standard library's buffer, which looks for line ends.
    let out = File::from(stdout.as_fd().try_clone_to_owned()?);
    let table = Table::new(terminal, args.follow);
    let mut printer = Printer::new(format, table, agt::Chain::new(&secret), out);
    if args.follow {
        return follow::run(&args.paths, &args.filter, &mut printer);
    }
    let mut whole = true;
    for path in &args.paths {
        for input in source::files(path)? {
            let ended = source::scan(&input.path, &args.filter, &mut |frame, body| printer.record(frame, body))?;
            if let Ended::Stopped(error) = ended {
                printer.flush()?;
                whole &= stopped(&input.path, input.is_last, &error);
            }
        }
    }
    printer.flush()?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says on stderr why a file was not read to its end; answers whether a crash or a writer at work explains it.
pub(super) fn stopped(path: &Path, is_last: bool, error: &ReadError) -> bool {
    let torn = is_last && source::is_torn(error);
    complain(&format!("{}: {error}{}", path.display(), if torn { " (crash, or still being written)" } else { "" }));
    torn
}

/// Where records go.
pub(super) struct Printer<W> {
    format: Format,
    table: Table,
    chain: agt::Chain,
    scratch: Scratch,
    lines: Vec<u8>,
    out: W,
}

impl<W: Write> Printer<W> {
    fn new(format: Format, table: Table, chain: agt::Chain, out: W) -> Self {
        let mut lines = Vec::with_capacity(2 * LINES_BYTES);
        if format == Format::Csv {
            csv::header(&mut lines);
        }
        Self { format, table, chain, scratch: Scratch::default(), lines, out }
    }

    pub(super) fn record(&mut self, frame: &Frame<'_>, body: Body<'_>) -> io::Result<()> {
        match self.format {
            Format::Json => json::line(frame, body, &mut self.scratch, &mut self.lines),
            Format::Csv => csv::line(frame, body, &mut self.scratch, &mut self.lines),
            Format::Agt => self.chain.line(frame, body, &mut self.scratch, &mut self.lines),
            Format::Table => self.table.record(frame, body, &mut self.lines)?,
        }
        if self.lines.len() >= LINES_BYTES { self.hand_on() } else { Ok(()) }
    }

    /// Everything that was printed has left when this returns.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.table.flush(&mut self.lines)?;
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}
