//! `ringfence doctor`: what this machine has of what ringfence needs, and whether a running proxy is ready.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Settings};
use crate::io::doctor::{self, Finding, State};

/// Arguments of `ringfence doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence doctor                                  what `ringfence run` needs on this machine\n  \
        ringfence doctor --config ringfence.yaml          what the proxy of this configuration needs\n  \
        ringfence doctor --config ringfence.yaml --ready  for a health check: is the proxy ready?\n  \
        docker run --rm --user 0 --cap-drop ALL --cap-add NET_ADMIN \\\n    \
        --network container:AGENT --pid container:AGENT \\\n    -v ./ringfence.yaml:/ringfence.yaml ringfence doctor --config /ringfence.yaml\n\n\
        One line each: `ok`, `note` (missing, and not needed for what was asked) or `miss` (missing, with what mends it).\n\
        Exit status: 0 nothing that is needed is missing, 1 something is or the proxy is not ready, 2 wrong use or configuration."
)]
pub struct DoctorArgs {
    /// Ask the running proxy whether it is ready, and look at nothing else
    #[arg(long, requires = "config")]
    ready: bool,
    /// The proxy's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What doctor starts itself with, to try things in namespaces that end with it
    #[arg(long, hide = true, value_parser = doctor::PROBES, exclusive = true)]
    probe: Option<String>,
}

/// Looks, and prints what it finds.
pub fn run(args: DoctorArgs) -> ExitCode {
    if let Some(probe) = args.probe {
        return print(&doctor::probe(&probe));
    }
    let settings = match args.config.as_deref().map(config::read).transpose() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match (&args.config, &settings) {
        (Some(file), Some(settings)) if args.ready => ready(file, settings),
        _ => report(settings.as_ref()),
    }
}

fn ready(file: &Path, settings: &Settings) -> ExitCode {
    let Some(admin) = &settings.admin else {
        eprintln!(
            "ringfence: {}: admin is missing: add admin: {{ socket: /run/ringfence/admin.sock }}",
            file.display()
        );
        return ExitCode::from(2);
    };
    match doctor::ready(admin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(settings: Option<&Settings>) -> ExitCode {
    let mut findings = doctor::machine(settings);
    if let Some(settings) = settings {
        findings.extend(doctor::proxy(settings));
    }
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    let missing = findings.iter().any(|finding| finding.state == State::Miss);
    let printed = print(&lines);
    if missing { ExitCode::FAILURE } else { printed }
}

fn print(lines: &[String]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            // Whoever reads our output has gone; there is nobody left to tell.
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
