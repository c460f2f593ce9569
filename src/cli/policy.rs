//! `ringfence policy`: check policies, explain what one decides, test it.

mod check;
mod explain;
mod facts;
mod fixtures;
mod replay;
mod request;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::io::companions;
use crate::policy::{self, Loaded, Policy, ReachPlace, Severity};

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
    #[command(after_help = "Examples:\n  ringfence policy check policy.yaml\n  \
        ringfence policy check policy.yaml --reach pastebin.com\n\n\
        Exit status: 0 without errors (warnings do not count), 1 with errors, 2 when a file cannot be read. With --reach: \
        0 when nothing may get there, 1 when something may, 2 with errors. `no` is certain; `yes` may need header fields, times or \
        bodies that no request has.")]
    Check {
        /// Policy files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Tell whether anything may get to this place
        #[arg(long, value_name = "HOST[:PORT][/PATH]", value_parser = place)]
        reach: Option<ReachPlace>,
        /// A field of an AGT policy that ringfence cannot supply, and that counts as missing (repeatable)
        #[arg(long, value_name = "FIELD")]
        agt_unsupplied: Vec<String>,
    },
    /// Tell which rules match a request, which one wins, and why
    #[command(after_help = "Example:\n  ringfence policy explain policy.yaml \\\n    \
        --request '{\"method\": \"GET\", \"url\": \"https://api.github.com/repos/acme/site\"}'\n\n\
        A request is {method, url, headers, body, agent, time, mcp: {server, method, tool, resource, prompt, args}}; each part is \
        optional, and the method is GET unless it is given.\n\
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
        /// A field of an AGT policy that ringfence cannot supply, and that counts as missing (repeatable)
        #[arg(long, value_name = "FIELD")]
        agt_unsupplied: Vec<String>,
    },
    /// Decide the requests of fixtures, or of an audit log, and tell every verdict that is not as expected
    #[command(after_help = "Examples:\n  ringfence policy test policy.yaml fixtures.yaml\n  \
        ringfence policy test candidate.yaml --from-audit /var/lib/ringfence/audit\n\n\
        A fixture is {name, request, expect: {verdict, rule}} in a YAML or JSON list; a request is as for explain, and `rule: null` \
        expects that no rule decides. What a record does not keep (bodies, header fields, a redacted query) can leave its verdict open: \
        it is counted as undecidable, never as unchanged.\n\
        Exit status: 0 when all is as expected, 1 when something is not, 2 when a file cannot be read.")]
    Test {
        /// Policy file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Files with fixtures
        #[arg(value_name = "FIXTURES", required_unless_present = "from_audit")]
        fixtures: Vec<PathBuf>,
        /// Decide the requests of this audit log
        #[arg(long, value_name = "DIR", conflicts_with = "fixtures")]
        from_audit: Option<PathBuf>,
        /// A field of an AGT policy that ringfence cannot supply, and that counts as missing (repeatable)
        #[arg(long, value_name = "FIELD")]
        agt_unsupplied: Vec<String>,
    },
    /// Print the JSON Schema of the policy file
    #[command(after_help = "Example:\n  ringfence policy schema > policy.schema.json")]
    Schema,
}

/// Runs the subcommand.
pub fn run(args: PolicyArgs) -> ExitCode {
    match args.command {
        PolicyCommand::Check { files, reach: None, agt_unsupplied } => check::check(&files, &agt_unsupplied),
        PolicyCommand::Check { files, reach: Some(place), agt_unsupplied } => {
            check::reach(&files, &place, &agt_unsupplied)
        }
        PolicyCommand::Explain { file, request, json, agt_unsupplied } => {
            explain::run((&file, &agt_unsupplied), &request, json)
        }
        PolicyCommand::Test { file, from_audit: Some(audit), agt_unsupplied, .. } => {
            with_policy(&file, &agt_unsupplied, |policy| replay::run(policy, &audit))
        }
        PolicyCommand::Test { file, fixtures, agt_unsupplied, .. } => {
            with_policy(&file, &agt_unsupplied, |policy| fixtures::run(policy, &fixtures))
        }
        PolicyCommand::Schema => finish(schema()).unwrap_or(ExitCode::SUCCESS),
    }
}

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn place(text: &str) -> Result<ReachPlace, &'static str> {
    ReachPlace::read(text).ok_or("a place is HOST[:PORT][/PATH], such as api.example.com/v1")
}

fn schema() -> io::Result<()> {
    let mut out = io::stdout().lock();
    io::Write::write_all(&mut out, policy::schema().as_bytes())
}

/// Loads a policy, or says why it cannot.
fn with_policy(file: &Path, unsupplied: &[String], then: impl FnOnce(&Policy) -> ExitCode) -> ExitCode {
    match companions::load(file, unsupplied) {
        Ok(Loaded { policy: Some(policy), .. }) => then(&policy),
        Ok(Loaded { problems, .. }) => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
            errors.for_each(|problem| eprintln!("{problem}"));
            ExitCode::from(MISUSED)
        }
        Err(error) => {
            eprintln!("ringfence: {}: {error}", file.display());
            ExitCode::from(MISUSED)
        }
    }
}

/// The exit code of printing that failed: none where the reader has gone, and nobody is left to tell.
fn finish(printed: io::Result<()>) -> Option<ExitCode> {
    match printed {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
        Err(error) => {
            eprintln!("ringfence: standard output: {error}");
            Some(ExitCode::from(FAILED))
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
