//! `ringfence mcp pins`: what tools were when they were pinned, what has changed, and that it is accepted.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use similar::TextDiff;

use crate::config;
use crate::io::mcp::pins::{self, Definition, PinError, Tool};

/// Arguments of `ringfence mcp pins`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence mcp pins list\n  ringfence mcp pins accept files read_file")]
pub(super) struct PinsArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show every pinned tool, and what has changed; exits 1 when something has
    List {
        /// Only this server
        server: Option<String>,
    },
    /// Pin what a server's tools have become
    Accept {
        /// The server
        server: String,
        /// Only these tools [default: every tool that has changed]
        tools: Vec<String>,
    },
}

/// Lists or accepts.
pub(super) fn run(args: &PinsArgs) -> ExitCode {
    let state = match config::state_dir() {
        Ok(state) => state,
        Err(error) => {
            eprintln!("ringfence: {error}");
            return ExitCode::from(2);
        }
    };
    let done = match &args.task {
        Task::List { server } => pins::list(&state).map(|servers| {
            let mut changed = false;
            let wanted = |pins: &&pins::Server| server.as_ref().is_none_or(|server| pins.server == *server);
            let mut out = io::stdout().lock();
            for pins in servers.iter().filter(wanted) {
                for (name, tool) in &pins.tools {
                    changed |= tool.seen.is_some();
                    // A reader that has gone has seen enough.
                    let _ = show(&mut out, &pins.server, name, tool);
                }
            }
            if changed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }),
        Task::Accept { server, tools } => pins::accept(&state, server, tools).map(|accepted| {
            for tool in &accepted {
                println!("{}  {}  accepted", escaped(server), escaped(tool));
            }
            if accepted.is_empty() {
                eprintln!(
                    "ringfence: nothing of this server has changed; `ringfence mcp pins list` shows what is pinned"
                );
            }
            if accepted.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }),
    };
    done.unwrap_or_else(|error: PinError| {
        eprintln!("ringfence: {error}");
        ExitCode::from(2)
    })
}

fn show(out: &mut impl Write, server: &str, name: &str, tool: &Tool) -> io::Result<()> {
    let state = if tool.seen.is_some() { "CHANGED" } else { "pinned" };
    writeln!(out, "{}  {}  {state}  {}", escaped(server), escaped(name), tool.pinned.digest)?;
    let Some(seen) = &tool.seen else { return Ok(()) };
    writeln!(out, "  seen since: {}", seen.digest)?;
    let (before, after) = (pretty(&tool.pinned), pretty(seen));
    for change in TextDiff::from_lines(&before, &after).unified_diff().context_radius(2).iter_hunks() {
        for line in change.to_string().lines() {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// A definition in lines, with everything that hides or acts on a terminal made visible.
fn pretty(definition: &Definition) -> String {
    let Some(text) = &definition.text else { return "(longer than is kept)\n".to_owned() };
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let lines = serde_json::to_string_pretty(&value).unwrap_or_default();
    lines.lines().map(|line| escaped(line) + "\n").collect()
}

/// What a server says is shown, never acted on.
pub(super) fn escaped(text: &str) -> String {
    crate::cli::audit::escape::terminal(text).into_owned()
}
