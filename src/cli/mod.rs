//! The command line: one file per subcommand, and the only floor that prints.
//!
//! Results go to stdout, diagnostics to stderr. Exit codes: 0 success, 1 the checked thing failed, 2 wrong use or configuration;
//! `run` exits with its command's status, 125 when it cannot fence.

use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Settings};
use crate::io;

pub mod audit;
pub mod bench;
pub mod ca;
pub mod demo;
pub mod doctor;
pub mod engine;
pub mod env;
pub mod mcp;
pub mod policy;
pub mod proxy;
pub mod redirect;
pub mod run;

/// Governs every outbound call of an unmodified program: parsed, decided by policy, forwarded or blocked, and on record.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    max_term_width = 110,
    disable_version_flag = true,
    after_help = "Examples:\n  ringfence demo\n  ringfence run --policy policy.yaml -- python agent.py"
)]
struct Arguments {
    /// Print version, commit and I/O backends
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole product in one minute
    Demo(demo::DemoArgs),
    /// Run a command so that every outbound connection is governed
    Run(run::RunArgs),
    /// Govern an MCP server on standard streams, and review its tools
    Mcp(mcp::McpArgs),
    /// Govern the connections of other containers, pods or clients
    Proxy(proxy::ProxyArgs),
    /// Show and hand out the certificate authority that agents trust
    Ca(ca::CaArgs),
    /// Print the proxy and trust variables for a shell or an env file
    Env(env::EnvArgs),
    /// Set, remove or print the rules of a shared network namespace
    Redirect(redirect::RedirectArgs),
    /// Tell what this machine lacks, and whether a running proxy is ready
    Doctor(doctor::DoctorArgs),
    /// Check and explain policies
    Policy(policy::PolicyArgs),
    /// Decode and verify audit logs
    Audit(audit::AuditArgs),
    /// Measure what ringfence adds to a call
    Bench(bench::BenchArgs),
}

/// Parses the process's arguments and runs the subcommand they name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Who runs a service reads its log; who runs a command wants that command's output.
    speak(if matches!(arguments.command, Some(Command::Proxy(_))) { "ringfence=info" } else { "ringfence=warn" });
    match arguments.command {
        _ if arguments.version => version(),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Run(args)) => run::run(args),
        Some(Command::Mcp(args)) => mcp::run(args),
        Some(Command::Proxy(args)) => proxy::run(args),
        Some(Command::Ca(args)) => ca::run(args),
        Some(Command::Env(args)) => env::run(args),
        Some(Command::Redirect(args)) => redirect::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Policy(args)) => policy::run(args),
        Some(Command::Audit(args)) => audit::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        None => {
            // Nothing was asked: say what can be, on stderr, as wrong use.
            eprintln!("{}", Arguments::command().render_help());
            ExitCode::from(2)
        }
    }
}

/// Reads a configuration, and prints its problems. `Err` is the exit code.
pub(crate) fn read_config(file: &Path) -> Result<Settings, ExitCode> {
    config::read(file).map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

/// Sends the program's own log to stderr: what `RINGFENCE_LOG` asks for, or `usual`.
fn speak(usual: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RINGFENCE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(std::io::stderr).with_target(false).init();
}

fn version() -> ExitCode {
    let engines = match io::engine::select(io::engine::Choice::Auto) {
        Ok(selected) => match selected.refused {
            None => "io_uring (chosen), epoll".to_owned(),
            Some(why) => format!("epoll (chosen); io_uring refused: {why}"),
        },
        Err(error) => format!("none: {error}"),
    };
    say(&format!("ringfence {} ({})\nI/O: {engines}\n", env!("CARGO_PKG_VERSION"), env!("RINGFENCE_COMMIT")));
    ExitCode::SUCCESS
}

/// Prints a text. Whoever closes our output has read enough (`| head -1`).
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
