//! `ringfence audit`.

use std::process::ExitCode;

use clap::Args;

/// Arguments of `ringfence audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {}

/// Runs the subcommand.
pub fn run(_args: AuditArgs) -> ExitCode {
    ExitCode::SUCCESS
}
