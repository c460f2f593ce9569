//! `ringfence redirect`: the rules of a network namespace that the proxy shares with what it governs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nix::sys::signal::{SigSet, Signal};

use crate::config;
use crate::io::redirect::{self, Applied, Redirect, RedirectError};

/// Arguments of `ringfence redirect`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct RedirectArgs {
    #[command(subcommand)]
    command: RedirectCommand,
}

#[derive(Debug, Subcommand)]
enum RedirectCommand {
    /// Put the rules in force, in place of those of an earlier time
    #[command(after_help = "Example:\n  \
        docker run --rm --user 0 --cap-drop ALL --cap-add NET_ADMIN \\\n    \
        --network container:AGENT ringfence redirect apply\n\n\
        Needs CAP_NET_ADMIN in the network namespace, and nothing else. Run it before the agent starts, and again\n\
        after an interface was added. Exit status: 0 in force, 1 refused by the kernel (all is as it was), 2 wrong use or configuration.")]
    Apply(Apply),
    /// Take the rules away; where there are none, do nothing
    #[command(after_help = "Example:\n  ringfence redirect remove")]
    Remove(Config),
    /// Print the rules in nft's syntax, as they would be applied here and now
    #[command(after_help = "Example:\n  ringfence redirect print --config ringfence.yaml | nft --check -f -")]
    Print(Config),
}

#[derive(Debug, Args)]
struct Apply {
    #[command(flatten)]
    config: Config,
    /// Stay until SIGTERM or SIGINT. A container that others share the network of must live, and has nothing else to do: started again, it
    /// sets the rules of its new network before anybody can join
    #[arg(long)]
    hold: bool,
}

#[derive(Debug, Args)]
struct Config {
    /// The proxy's configuration; without one: listener 15001, DNS 15053, exempt is the user 1337
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: RedirectArgs) -> ExitCode {
    let (file, done) = match args.command {
        RedirectCommand::Apply(Apply { config: Config { config }, hold }) => {
            let applied =
                read(config.as_deref()).map(|redirect| redirect::apply(&redirect).map(|applied| say(&applied)));
            if hold && matches!(applied, Ok(Ok(()))) {
                stay();
            }
            (config, applied)
        }
        // What is removed is ours by its name: a configuration that is wrong by now must not keep the rules in force.
        RedirectCommand::Remove(Config { config }) => (config, Ok(redirect::remove())),
        RedirectCommand::Print(Config { config }) => {
            let printed = read(config.as_deref()).map(|redirect| redirect::print(&redirect).map(|text| print(&text)));
            (config, printed)
        }
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(file.as_deref(), &error),
        Err(code) => code,
    }
}

/// Until told to end. As the first process of a container we would not be ended by a signal that nobody waits for.
fn stay() {
    let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    // Blocking and waiting fail for sets that the kernel does not know only.
    let _ = ends.thread_block().and_then(|()| ends.wait());
}

fn print(text: &str) {
    // Whoever reads our output may have gone; there is nobody left to tell.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn say(applied: &Applied) {
    match applied {
        Applied::Whole(devices) => {
            eprintln!("ringfence: the rules are in force; packet sockets are closed on {}", devices.join(", "));
        }
        Applied::WithoutFrames(why) => eprintln!(
            "ringfence: the rules are in force, but packet sockets are open: {why}. Take CAP_NET_RAW from every governed container (cap_drop: [ALL])"
        ),
    }
}

fn read(file: Option<&Path>) -> Result<Redirect, ExitCode> {
    let Some(file) = file else { return Ok(Redirect::default()) };
    let settings = config::read(file).map_err(|error| {
        eprintln!("ringfence: {error}");
        ExitCode::from(2)
    })?;
    Redirect::from_settings(&settings).map_err(|error| fail(Some(file), &error))
}

fn fail(file: Option<&Path>, error: &RedirectError) -> ExitCode {
    match file {
        Some(file) if error.is_misuse() => eprintln!("ringfence: {}: {error}", file.display()),
        _ => eprintln!("ringfence: {error}"),
    }
    ExitCode::from(if error.is_misuse() { 2 } else { 1 })
}
