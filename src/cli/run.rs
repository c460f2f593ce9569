//! `ringfence run`: one command, governed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::engine::EngineArgs;
use crate::config;
use crate::io::run::{self, Options, RunError};
use crate::policy::{self, Policy};

/// Arguments of `ringfence run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence run --policy policy.yaml --audit ./log -- python agent.py\n  ringfence audit decode ./log\n\nExits with the command's status; 125 when the command cannot be fenced (it is then not run),\n126 and 127 as env(1) does."
)]
pub struct RunArgs {
    /// The policy file; without one everything is allowed and recorded, except private, link-local and metadata addresses
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the audit log goes [default: a new folder under the state folder]
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// Record what would be denied, and forward it
    #[arg(long)]
    monitor: bool,
    /// The agent's name on record [default: the command's name]
    #[arg(long, value_name = "AGENT")]
    name: Option<String>,
    /// A host socket, or a path under /run, that the command may see (repeatable)
    #[arg(long, value_name = "PATH")]
    expose: Vec<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command and returns its status.
pub fn run(args: RunArgs) -> ExitCode {
    let mut policy = match &args.policy {
        Some(file) => match compile_policy(file) {
            Ok(policy) => policy,
            Err(code) => return code,
        },
        None => {
            eprintln!(
                "ringfence: no --policy: every call is allowed and recorded; private, link-local and metadata addresses are denied"
            );
            Policy::observe()
        }
    };
    if args.monitor {
        policy = policy.monitored();
    }
    let state = match config::state_dir() {
        Ok(state) => state,
        Err(error) => {
            eprintln!("ringfence: {error}");
            return ExitCode::from(125);
        }
    };
    let announce = args.audit.is_none();
    let options = Options {
        agent: args.name.unwrap_or_else(|| base_name(&args.command)),
        command: args.command,
        policy,
        policy_file: args.policy.map(|file| std::path::absolute(&file).unwrap_or(file)),
        audit: args.audit.map(|dir| std::path::absolute(&dir).unwrap_or(dir)),
        state,
        expose: args.expose,
        engine: args.engine.options(),
    };
    match run::run(options) {
        Ok(finished) => {
            if announce {
                eprintln!("ringfence: on record in {}", finished.audit.display());
            }
            ExitCode::from(u8::try_from(finished.status).unwrap_or(125))
        }
        Err(error @ RunError::Unfinished(..)) => {
            eprintln!("ringfence: {error}");
            ExitCode::from(125)
        }
        Err(error) => {
            eprintln!("ringfence: not run: {error}");
            ExitCode::from(125)
        }
    }
}

/// Reads and compiles a policy file, and prints its problems. `Err` is the exit code.
pub(crate) fn compile_policy(file: &Path) -> Result<Policy, ExitCode> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        eprintln!("ringfence: {name}: cannot be read: {error}");
        ExitCode::from(2)
    })?;
    let loaded = policy::load(policy::Source { name: &name, text: &text });
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    loaded.policy.ok_or(ExitCode::from(2))
}

/// What a command is called.
pub(crate) fn base_name(command: &[OsString]) -> String {
    let name = command.first().map(Path::new).and_then(Path::file_name);
    name.map_or_else(|| "agent".to_owned(), |name| name.to_string_lossy().into_owned())
}
