//! `ringfence proxy`: the long-running proxy.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::engine::EngineArgs;
use crate::cli::read_config;
use crate::config::{self, writable_by_others};
use crate::io::proxy::{self, Options, ProxyError};

/// Arguments of `ringfence proxy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence proxy --config ringfence.yaml\n  ringfence proxy --config ringfence.yaml --container agent\n\nSIGTERM and SIGINT let what is under way end and then stop; SIGHUP, or a changed policy file, puts the policy\nin force anew. A policy that is not valid changes nothing."
)]
pub struct ProxyArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Govern this container, which has no network of its own (`docker run --network none`); needs root on its host.
    /// A name or id, or pid:NUMBER
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Serves until it is told to stop.
pub fn run(args: ProxyArgs) -> ExitCode {
    let settings = match read_config(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let state = match config::state_dir() {
        Ok(state) => state,
        Err(error) => {
            eprintln!("ringfence: {error}");
            return ExitCode::from(2);
        }
    };
    let mut exposures = settings.exposures();
    exposures.extend(writable_by_others(&state, settings.neighbours()).map(|exposure| ("RINGFENCE_STATE", exposure)));
    if !exposures.is_empty() {
        for (key, exposure) in exposures {
            eprintln!("{}: error: `{key}` is within an agent's reach: {exposure}", args.config.display());
        }
        return ExitCode::from(2);
    }
    let engine = args.engine.over(&settings.io);
    match proxy::serve(Options { settings, state, container: args.container, engine }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ProxyError::Policy(problems)) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::from(2)
        }
        Err(error @ ProxyError::Audit(_)) => {
            eprintln!("ringfence: {error}");
            ExitCode::from(125)
        }
        Err(error @ ProxyError::Unfinished(_)) => {
            eprintln!("ringfence: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ringfence: {}: {error}", args.config.display());
            ExitCode::from(2)
        }
    }
}
