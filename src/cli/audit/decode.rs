//! `ringfence audit decode`: every record of logs or files, filtered and printed.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::table::Table;
use super::{complain, csv, json};
use crate::audit::read::{self, Check, ReadError};
use crate::audit::record::{ArchivedDecision, Body};
use crate::audit::segment::{Fault, Frame};
use crate::audit::{DecisionId, Verdict};

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// Log folders, folders that hold logs, or segment files
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// How to print [default: table on a terminal, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only decisions with this verdict
    #[arg(long, value_enum)]
    verdict: Option<VerdictArg>,
    /// Only records of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only decisions about this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only decisions by this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only the decision with this id, and its outcome
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<DecisionId>,
    /// Only records from this time on: RFC 3339, or a duration before now such as 90s, 15m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    Allow,
    Deny,
}

pub(super) fn parse_id(text: &str) -> Result<DecisionId, &'static str> {
    let digits = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    id.map(DecisionId).ok_or("a decision id has 32 hexadecimal digits")
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let before = text.parse::<SignedDuration>().ok().filter(|duration| !duration.is_negative());
    let time = before.and_then(|before| Timestamp::now().checked_sub(before).ok());
    time.ok_or("a time is RFC 3339 (2026-11-23T12:00:00Z) or a duration before now (15m)")
}

pub(super) fn run(args: &DecodeArgs) -> io::Result<ExitCode> {
    let stdout = io::stdout().lock();
    let terminal = stdout.is_terminal();
    let format = args.format.unwrap_or(if terminal { Format::Table } else { Format::Json });
    let mut printer = Printer::new(format, terminal, BufWriter::with_capacity(64 * 1024, stdout));
    let mut whole = true;
    for path in &args.paths {
        for file in files(path)? {
            whole &= decode(&file, args, &mut printer)?;
        }
    }
    printer.finish()?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One segment file, and whether it is the last of its log, which a crash or a writer at work may leave with a torn end.
struct Input {
    path: PathBuf,
    is_last: bool,
}

fn files(path: &Path) -> io::Result<Vec<Input>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(named)?.is_dir() {
        return Ok(vec![Input { path: path.to_owned(), is_last: true }]);
    }
    let mut files = Vec::new();
    for log in read::logs(path).map_err(named)? {
        let segments = read::segments(&log).map_err(named)?;
        let count = segments.len();
        let inputs = segments.into_iter().enumerate();
        files.extend(inputs.map(|(at, segment)| Input { path: segment.path, is_last: at + 1 == count }));
    }
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{}: no audit log here", path.display())));
    }
    Ok(files)
}

/// Prints the records of one file; says whether it was in order to its end.
fn decode(input: &Input, args: &DecodeArgs, printer: &mut Printer<impl Write>) -> io::Result<bool> {
    let mut reader = match read::open(&input.path, Check::Sums) {
        Ok(reader) => reader,
        Err(error) => return stopped(input, &error, printer),
    };
    loop {
        let offset = reader.offset();
        let frame = match reader.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(true),
            Err(error) => return stopped(input, &error, printer),
        };
        let body = match frame.body() {
            Ok(body) => body,
            Err(fault) => return stopped(input, &ReadError::Damaged { offset, fault }, printer),
        };
        if wanted(&frame, body, args) {
            printer.record(&frame, body)?;
        }
    }
}

/// Says on stderr why a file was not read to its end. What was read before comes out first.
fn stopped(input: &Input, error: &ReadError, printer: &mut Printer<impl Write>) -> io::Result<bool> {
    printer.flush()?;
    let torn = input.is_last && matches!(error, ReadError::Damaged { fault: Fault::Torn, .. });
    complain(&format!(
        "{}: {error}{}",
        input.path.display(),
        if torn { " (crash, or still being written)" } else { "" }
    ));
    Ok(torn)
}

/// Whether the record has every fact that is asked for.
fn wanted(frame: &Frame<'_>, body: Body<'_>, args: &DecodeArgs) -> bool {
    let at = |time: &Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or(0);
    if args.since.as_ref().is_some_and(|since| frame.time.0 < at(since))
        || args.until.as_ref().is_some_and(|until| frame.time.0 >= at(until))
    {
        return false;
    }
    let id = args.id.map(|id| id.0.to_be_bytes());
    let about_decisions = args.verdict.is_some() || args.host.is_some() || args.rule.is_some();
    if let Some(decision) = body.decision() {
        return id.is_none_or(|id| decision.id == id) && decided(decision, args);
    }
    match body {
        Body::Outcome(outcome) => {
            let with_id_alone = !about_decisions && args.agent.is_none();
            with_id_alone && id.is_none_or(|id| outcome.id == id)
        }
        Body::Lifecycle(event) => {
            id.is_none() && !about_decisions && args.agent.as_ref().is_none_or(|agent| event.agent == agent.as_str())
        }
        _ => id.is_none() && !about_decisions && args.agent.is_none(),
    }
}

fn decided(decision: &ArchivedDecision<'_>, args: &DecodeArgs) -> bool {
    let verdict = args.verdict.map(|verdict| match verdict {
        VerdictArg::Allow => Verdict::Allow.code(),
        VerdictArg::Deny => Verdict::Deny.code(),
    });
    verdict.is_none_or(|verdict| decision.verdict == verdict)
        && args.agent.as_ref().is_none_or(|agent| decision.agent == agent.as_str())
        && args.host.as_ref().is_none_or(|host| decision.host.eq_ignore_ascii_case(host))
        && args.rule.as_ref().is_none_or(|rule| decision.rule == rule.as_str())
}

/// Where records go.
struct Printer<W> {
    format: Format,
    table: Table,
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Printer<W> {
    fn new(format: Format, terminal: bool, out: W) -> Self {
        let mut line = Vec::with_capacity(1024);
        if format == Format::Csv {
            csv::header(&mut line);
        }
        Self { format, table: Table::new(terminal), line, out }
    }

    fn record(&mut self, frame: &Frame<'_>, body: Body<'_>) -> io::Result<()> {
        match self.format {
            Format::Json => json::line(frame, body, &mut self.line),
            Format::Csv => csv::line(frame, body, &mut self.line),
            Format::Table => return self.table.record(frame, body, &mut self.out),
        }
        self.out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.table.flush(&mut self.out)?;
        self.out.write_all(&self.line)?;
        self.line.clear();
        self.out.flush()
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()
    }
}
