//! `ringfence audit`: prints records and says whether a log is what was written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::read;
use crate::audit::verify::{self, Trust, Verdict, Vouched};
use crate::config;

mod agt;
mod csv;
mod decode;
pub(super) mod escape;
mod export;
mod fields;
mod filter;
mod follow;
mod grown;
mod json;
mod otlp;
mod parquet;
mod picture;
mod prove;
mod scratch;
mod source;
mod stats;
mod table;

/// Arguments of `ringfence audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Print the records of logs or segment files
    #[command(after_help = "Examples:\n  \
        ringfence audit decode ./audit --verdict deny --since 1h --format table\n  \
        ringfence audit decode ./audit --follow --since 0s\n  \
        ringfence audit decode ./audit --format agt --agt-key secret > entries.jsonl\n\n\
        Exit status: 0 everything was read, 1 a log is damaged. With --since and --until, sealed segments are read only where their \
        index says that these times may be.")]
    Decode(decode::DecodeArgs),
    /// Count records by kind, verdict, rule, host, agent and code, with latency percentiles
    #[command(after_help = "Example: ringfence audit stats ./audit --since 1h\n\n\
        With filters about decisions, the outcomes of the decisions they select are counted too.")]
    Stats(stats::StatsArgs),
    /// Write records as Parquet or OpenTelemetry logs
    #[command(after_help = "Examples:\n  \
        ringfence audit export ./audit --format parquet --out records.parquet\n  \
        ringfence audit export ./audit --format otlp --since 1h --endpoint http://127.0.0.1:4318/v1/logs\n\n\
        Exit status: 0 everything was exported, 1 a log is damaged, 2 the file cannot be written or the collector refuses.")]
    Export(export::ExportArgs),
    /// Say whether a log is what was written: OK, TAMPERED or UNVERIFIABLE
    #[command(after_help = "Example: ringfence audit verify ./audit\n\n\
        Exit status: 0 OK, 1 TAMPERED, 3 UNVERIFIABLE. A log is vouched for by its signed head and the public key under \
        $RINGFENCE_STATE, by an anchor (a copy of the signed head, or a checkpoint, that was kept elsewhere), or by both.")]
    Verify(VerifyArgs),
    /// Print a proof that a decision is in its log, or that the log has only grown, for `verify --proof`
    #[command(after_help = "Examples:\n  \
        ringfence audit prove ./audit 5f1c9b0a6f2d4e83000000000000002a > proof\n  \
        ringfence audit prove ./audit --from monday.checkpoint --to friday.checkpoint > proof\n\n\
        Exit status: 0 proven, 1 no such decision or not grown from one checkpoint to the other, 3 the decision's segment is not sealed, \
        so nothing vouches for it yet.")]
    Prove(prove::ProveArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The log's folder, or the folder that holds logs
    #[arg(value_name = "DIR", required_unless_present = "proof")]
    dir: Option<PathBuf>,
    /// A proof that `prove` has printed; without DIR it alone is verified
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// A signed head or checkpoint that was kept elsewhere: shows that nothing was cut off or rolled back since
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

/// Wrong use: a path that is not there, a value that cannot be read.
const WRONG_USE: u8 = 2;
const UNVERIFIABLE: u8 = 3;

/// Runs the subcommand.
pub fn run(args: AuditArgs) -> ExitCode {
    let done = match args.command {
        AuditCommand::Decode(args) => decode::run(&args),
        AuditCommand::Stats(args) => stats::run(&args),
        AuditCommand::Export(args) => export::run(&args),
        AuditCommand::Verify(args) => verify(&args),
        AuditCommand::Prove(args) => prove::run(&args),
    };
    match done {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(WRONG_USE)
        }
    }
}

/// One line on stderr. Texts may come from a log, so they are made safe for a terminal.
fn complain(line: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "ringfence audit: {}", escape::terminal(line));
}

fn verify(args: &VerifyArgs) -> io::Result<ExitCode> {
    let trust = Trust { state: config::state_dir().map_err(io::Error::other)?, anchor: args.anchor.clone() };
    let mut worst = 0;
    if let Some(dir) = &args.dir {
        worst = verify_logs(dir, &trust)?;
    }
    if let Some(file) = &args.proof {
        let answer = prove::verify(file, &trust.state);
        prove::print(file, &answer)?;
        worst = worst.max(answer.0);
    }
    Ok(match worst {
        0 => ExitCode::SUCCESS,
        1 => ExitCode::from(UNVERIFIABLE),
        _ => ExitCode::FAILURE,
    })
}

/// Says what can be said of the logs at `dir`; returns the worst answer's rank.
fn verify_logs(dir: &Path, trust: &Trust) -> io::Result<u8> {
    let logs = match read::logs(dir) {
        Ok(logs) if !logs.is_empty() => logs,
        // An empty or missing log is an answer, not a mistake: that nothing can be said is what the caller must know.
        _ => vec![dir.to_owned()],
    };
    let verdicts: Vec<_> = logs.iter().map(|log| (log, verify::log(log, trust))).collect();
    let worst = verdicts.iter().map(|(_, verdict)| rank(verdict)).max().unwrap_or(1);
    let mut out = io::stdout().lock();
    if let [(log, verdict)] = &verdicts[..] {
        writeln!(out, "{}", escape::terminal(&format!("{} {}: {}", word(verdict), log.display(), sentence(verdict))))?;
    } else {
        let alike = verdicts.iter().filter(|(_, verdict)| rank(verdict) == worst).count();
        let first =
            verdicts.iter().find(|(_, verdict)| rank(verdict) == worst).map_or("", |(_, verdict)| word(verdict));
        writeln!(out, "{first} {alike} of {} logs", verdicts.len())?;
        for (log, verdict) in &verdicts {
            let line = format!("  {} {}: {}", word(verdict), log.display(), sentence(verdict));
            writeln!(out, "{}", escape::terminal(&line))?;
        }
    }
    out.flush()?;
    Ok(worst)
}

/// Of several logs, the worst answer is the answer.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Ok(_) => 0,
        Verdict::Unverifiable(_) => 1,
        Verdict::Tampered(_) => 2,
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ok(_) => "OK",
        Verdict::Unverifiable(_) => "UNVERIFIABLE",
        Verdict::Tampered(_) => "TAMPERED",
    }
}

fn sentence(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ok(vouched) => vouched_for(vouched),
        Verdict::Unverifiable(why) => why.to_string(),
        Verdict::Tampered(tampered) => format!("{tampered} ({})", tampered.path.display()),
    }
}

fn vouched_for(vouched: &Vouched) -> String {
    let signed = vouched.records - vouched.unsigned;
    let head = vouched.head.as_ref().map(|path| format!("signed head: {}", path.display()));
    let anchor = vouched.anchor.as_ref().map(|path| format!("anchor: {}", path.display()));
    let by: Vec<_> = head.into_iter().chain(anchor).collect();
    let key: String = vouched.key.to_string().chars().take(16).collect();
    let writing = match (vouched.open, vouched.unsigned) {
        (false, _) => String::new(),
        (true, 0) => "; a writer is at work".to_owned(),
        (true, unsigned) => format!("; a writer is at work, {unsigned} newer records await its next signature"),
    };
    let segments = if vouched.segments == 1 { "segment" } else { "segments" };
    let retired = match vouched.retired {
        0 => String::new(),
        retired => format!(", the first {retired} of them retired"),
    };
    format!("{signed} records{retired} in {} {segments} ({}; key {key}){writing}", vouched.segments, by.join(", "))
}

#[cfg(test)]
mod tests;
