//! `ringfence policy`.

use std::process::ExitCode;

use clap::Args;

/// Arguments of `ringfence policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {}

/// Runs the subcommand.
pub fn run(_args: PolicyArgs) -> ExitCode {
    ExitCode::SUCCESS
}
