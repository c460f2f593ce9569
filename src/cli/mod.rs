//! The command line: one file per subcommand, and the only floor that prints.
//!
//! Results go to stdout, diagnostics to stderr. Exit codes: 0 success, 1 the checked thing failed, 2 wrong use or configuration;
//! `run` exits with its command's status, 125 when it cannot fence.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod audit;
pub mod policy;

/// Governs every outbound call of an unmodified program.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, about, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check and explain policies
    Policy(policy::PolicyArgs),
    /// Decode and verify audit logs
    Audit(audit::AuditArgs),
}

/// Parses the process's arguments and runs the subcommand they name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Policy(args) => policy::run(args),
        Command::Audit(args) => audit::run(args),
    }
}
