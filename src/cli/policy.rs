//! `ringfence policy`: check policies, and explain what one decides.

mod facts;
mod request;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::limits;
use crate::policy::{self, Explanation, Loaded, Policy, Problem, Severity, Source};

/// Arguments of `ringfence policy`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Validate policy files: every problem with its place and its remedy
    #[command(after_help = "Example:\n  ringfence policy check policy.yaml\n\n\
        Exit status: 0 without errors (warnings do not count), 1 with errors, 2 when a file cannot be read.")]
    Check {
        /// Policy files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tell which rules match a request, which one wins, and why
    #[command(after_help = "Example:\n  ringfence policy explain policy.yaml \\\n    \
        --request '{\"method\": \"GET\", \"url\": \"https://api.github.com/repos/acme/site\"}'\n\n\
        A request is {method, url, headers, body, agent, time, mcp}; each part is optional, and the method is GET unless it is given.\n\
        Exit status: 0 whatever the verdict, 2 when the policy or the request cannot be read.")]
    Explain {
        /// Policy file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The request, as JSON
        #[arg(long, value_name = "JSON")]
        request: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the subcommand.
pub fn run(args: PolicyArgs) -> ExitCode {
    match args.command {
        PolicyCommand::Check { files } => check(&files),
        PolicyCommand::Explain { file, request, json } => explain(&file, &request, json),
    }
}

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn check(files: &[PathBuf]) -> ExitCode {
    let mut status = 0;
    let mut out = io::stdout().lock();
    for file in files {
        let loaded = match load(file) {
            Ok(loaded) => loaded,
            Err(error) => {
                eprintln!("ringfence: {}: {error}", file.display());
                status = MISUSED;
                continue;
            }
        };
        if loaded.policy.is_none() {
            status = status.max(FAILED);
        }
        if report(&mut out, file, &loaded).is_err() {
            // Whoever reads our output has gone; there is nobody left to tell.
            break;
        }
    }
    ExitCode::from(status)
}

fn report(out: &mut impl Write, file: &Path, loaded: &Loaded) -> io::Result<()> {
    for problem in &loaded.problems {
        writeln!(out, "{problem}")?;
    }
    let count = |severity| loaded.problems.iter().filter(|problem: &&Problem| problem.severity == severity).count();
    let warnings = match count(Severity::Warning) {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    match &loaded.policy {
        Some(policy) => writeln!(out, "{}: ok, {}{warnings}", file.display(), plural(policy.rules().len(), "rule")),
        None => writeln!(out, "{}: {}{warnings}", file.display(), plural(count(Severity::Error), "error")),
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn explain(file: &Path, request: &str, json: bool) -> ExitCode {
    let policy = match load(file) {
        Ok(Loaded { policy: Some(policy), .. }) => policy,
        Ok(Loaded { problems, .. }) => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
            errors.for_each(|problem| eprintln!("{problem}"));
            return ExitCode::from(MISUSED);
        }
        Err(error) => {
            eprintln!("ringfence: {}: {error}", file.display());
            return ExitCode::from(MISUSED);
        }
    };
    let asked = match request::read(request) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("ringfence: --request: {error}");
            return ExitCode::from(MISUSED);
        }
    };
    asked.notes(&policy).iter().for_each(|note| eprintln!("note: {note}"));
    let explanation = asked.explain(&policy);
    let printed = if json { print_json(&explanation) } else { print_text(&explanation, &policy) };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: standard output: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn print_json(explanation: &Explanation) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, explanation)?;
    writeln!(out)
}

/// For a person: the verdict in words, then one fact a line.
fn print_text(explanation: &Explanation, policy: &Policy) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (bold, plain) = if io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let verdict = explanation.verdict;
    let by = match (&explanation.rule, explanation.code) {
        (Some(rule), _) => format!(" by the rule `{rule}`"),
        (None, Some("default")) if verdict == "allow" => " by default: no rule matches".to_owned(),
        (None, Some("default")) => " by default: no rule allows it".to_owned(),
        (None, Some("metadata")) => ": instance metadata is never reached".to_owned(),
        (None, Some(code)) => format!(": {code}"),
        (None, None) => String::new(),
    };
    let recorded = if explanation.enforced { "" } else { ", which is recorded and not enforced" };
    writeln!(out, "{bold}{verdict}{plain}{by}{recorded}")?;
    let mut line = |key: &str, value: &str| writeln!(out, "  {key:<8} {value}");
    if let Some(reason) = &explanation.reason {
        line("reason", reason)?;
    }
    if let Some(remedy) = &explanation.remedy {
        line("remedy", remedy)?;
    }
    if !explanation.matched.is_empty() {
        line("matched", &explanation.matched.join(", "))?;
    }
    if let Some(missed) = &explanation.missed {
        let rule = policy.rules().iter().find(|rule| *rule.name == *missed.rule);
        let place = rule.map(|rule| format!(" (line {})", rule.place.line)).unwrap_or_default();
        line(
            "nearest",
            &format!("`{}`{place} would allow it, but its `{}` does not hold", missed.rule, missed.condition),
        )?;
    }
    Ok(())
}

/// Reads and loads a file; the error says why it cannot be read.
fn load(file: &Path) -> io::Result<Loaded> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than the bound is enough for the loader to see that there are too many.
    let most = u64::try_from(limits::POLICY_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(file)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("line {line} is not UTF-8; save the file as UTF-8");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    };
    Ok(policy::load(Source { name: &name, text }))
}
