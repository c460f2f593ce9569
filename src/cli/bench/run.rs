//! `ringfence bench run`: measures, and says what came of it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::live::Live;
use crate::bench::driver::{self, BenchError, Folder, Plan};
use crate::bench::report::{self, Figures, Summary};
use crate::bench::scenario::{Arrivals, Io, Scenario, Spin};
use crate::bench::target::Target;
use crate::bench::{environment, page, peer};
use crate::io::engine::{self, Choice};

/// Arguments of `ringfence bench run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence bench run --scenario latency --target direct,relay,ringfence --spin 50us --duration 30 --out ./result\n  ringfence bench run --scenario saturation-tls --target relay,ringfence,nginx --strict\n\nExits with 0, also for an invalid run; with 1 for that under --strict, and when it fails; with 2 on wrong use. SIGINT and\nSIGTERM end it with 130 and 143; the rounds that are over are reported, and marked.\n\nBuilt-in scenarios are the files of bench/scenarios: latency, latency-tls, …; a name that is none of them lists them."
)]
pub(super) struct RunArgs {
    /// A built-in scenario, or a YAML file
    #[arg(long, value_name = "NAME|FILE")]
    scenario: String,
    /// What to measure: direct, relay, relay-epoll, relay-tokio-uring, ringfence, ringfence-proxy, or the name of a peer
    #[arg(long, value_name = "TARGET,…", value_delimiter = ',')]
    target: Vec<String>,
    /// Requests a second
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Keep-alive connections
    #[arg(long, value_name = "C")]
    connections: Option<usize>,
    /// Measured seconds per target, over all rounds
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// The targets' I/O backend [default: the scenario's]
    #[arg(long, value_enum)]
    io: Option<IoName>,
    /// How long the targets look for work before sleeping [default: the scenario's]
    #[arg(long, value_enum)]
    spin: Option<SpinName>,
    /// Rules of the policy
    #[arg(long, value_name = "N")]
    rules: Option<usize>,
    /// Where the peers are: a folder each, with an executable `start`
    #[arg(long, value_name = "DIR", default_value = "bench/peers")]
    peers: PathBuf,
    /// Leave out peers that are not installed
    #[arg(long)]
    skip_missing: bool,
    /// Write summary.json, environment.json, report.html and one .hgrm per target into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Exit with 1 if the run is invalid
    #[arg(long)]
    strict: bool,
    /// Decides the order of targets within rounds [default: a new one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IoName {
    Auto,
    Uring,
    Epoll,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpinName {
    Auto,
    #[value(name = "0")]
    Never,
    #[value(name = "50us")]
    Short,
}

/// Measures and prints the table.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    let scenario = match scenario(args) {
        Ok(scenario) => scenario,
        Err(why) => {
            eprintln!("ringfence: bench: {why}");
            return ExitCode::from(2);
        }
    };
    match measured(args, &scenario) {
        Ok((summary, interrupted)) => {
            print!("{}", table(&summary));
            match interrupted {
                Some(signal) => ended_by(signal),
                None => ExitCode::from(u8::from(args.strict && !summary.valid)),
            }
        }
        Err(error) => {
            eprintln!("ringfence: bench: {error}");
            match error.downcast_ref() {
                Some(BenchError::Interrupted(signal)) => ended_by(*signal),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// As shells tell of a signal.
fn ended_by(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

/// The scenario that the arguments name, with what they change of it.
fn scenario(args: &RunArgs) -> Result<Scenario, String> {
    let name = &args.scenario;
    let mut scenario = match Scenario::built_in(name) {
        Some(scenario) => scenario,
        None => {
            let text = fs::read_to_string(name).map_err(|error| {
                format!(
                    "--scenario {name}: neither a built-in scenario ({}) nor a readable file: {error}",
                    Scenario::names().collect::<Vec<_>>().join(", ")
                )
            })?;
            Scenario::read(&text).map_err(|error| format!("{name}: {error}"))?
        }
    };
    if !args.target.is_empty() {
        let named = |name: &String| Target::try_from(name.clone()).map_err(|why| format!("--target {name}: {why}"));
        scenario.targets = args.target.iter().map(named).collect::<Result<_, _>>()?;
    }
    scenario.rules = args.rules.unwrap_or(scenario.rules);
    scenario.rate = args.rate.unwrap_or(scenario.rate);
    scenario.connections = args.connections.unwrap_or(scenario.connections);
    scenario.duration = args.duration.unwrap_or(scenario.duration);
    if let Some(io) = args.io {
        scenario.io = match io {
            IoName::Auto => Io::Auto,
            IoName::Uring => Io::Uring,
            IoName::Epoll => Io::Epoll,
        };
    }
    if let Some(spin) = args.spin {
        scenario.spin = match spin {
            SpinName::Auto => Spin::Auto,
            SpinName::Never => Spin::Never,
            SpinName::Short => Spin::Short,
        };
    }
    if args.rate.is_some() {
        // Said on the command line, it is what is wanted.
        scenario.load = None;
    }
    scenario.check().map_err(|error| format!("{name}: {error}"))?;
    for target in &scenario.targets {
        if let Target::Peer(peer) = target
            && !peer::exists(&args.peers, peer)
        {
            let place = args.peers.display();
            return Err(format!(
                "target {peer}: neither built in nor a peer: {place}/{peer} has no file `start` (--peers DIR)"
            ));
        }
    }
    Ok(scenario)
}

fn measured(args: &RunArgs, scenario: &Scenario) -> Result<(Summary, Option<i32>), Box<dyn std::error::Error>> {
    let choice = match scenario.io {
        Io::Auto => Choice::Auto,
        Io::Uring => Choice::Uring,
        Io::Epoll => Choice::Epoll,
    };
    let backend = engine::select(choice)?.backend.to_string();
    let seed = args.seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    let folder = Folder::new()?;
    let program = std::env::current_exe()?;
    // A script's own folder is where it runs.
    let peers = std::path::absolute(&args.peers)?;
    let plan = Plan {
        scenario,
        program: &program,
        folder: folder.path(),
        peers: &peers,
        seed,
        skips_missing: args.skip_missing,
    };
    let mut live = Live::new(scenario);
    let run = driver::run(&plan, |progress| live.tell(progress));
    live.close();
    let run = run?;
    let environment = environment::environment(&plan, command_line(), backend, &run);
    let (summary, histograms) = report::summarise(scenario, &run, environment);
    if let Some(out) = &args.out {
        write(out, &summary, &histograms)?;
    }
    Ok((summary, run.interrupted))
}

/// The command as it can be typed again, without this machine's folders.
fn command_line() -> Vec<String> {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = Path::new(program.as_str()).file_name().and_then(OsStr::to_str).unwrap_or("ringfence").to_owned();
    }
    let mut path_follows = false;
    for word in &mut words {
        if path_follows && Path::new(word.as_str()).is_absolute() {
            *word = Path::new(word.as_str()).file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        }
        path_follows = ["--out", "--scenario", "--peers"].contains(&word.as_str());
    }
    words
}

fn write(out: &Path, summary: &Summary, histograms: &[(String, String)]) -> io::Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("summary.json"), format!("{}\n", serde_json::to_string_pretty(summary)?))?;
    fs::write(out.join("environment.json"), format!("{}\n", serde_json::to_string_pretty(&summary.environment)?))?;
    for (name, text) in histograms {
        fs::write(out.join(name), text)?;
    }
    let page = page::results(out).and_then(|results| page::page(&results)).map_err(io::Error::other)?;
    fs::write(out.join("report.html"), page)
}

fn table(summary: &Summary) -> String {
    let settings = &summary.environment.settings;
    let many = if settings.connections == 1 { "" } else { "s" };
    let load = match settings.arrivals {
        Arrivals::Closed => "a closed loop, from the send".to_owned(),
        _ => format!("{:.0} a second, from the intended time", summary.environment.rate),
    };
    let mut text = format!(
        "{}: {load}; {} connection{many}, {} rounds, {} ({}, spin {}); latencies in microseconds\n\n",
        summary.scenario,
        settings.connections,
        summary.rounds,
        if settings.tls { "TLS" } else { "plaintext" },
        summary.environment.backend,
        settings.spin.name(),
    );
    text.push_str("target             requests  errors       rps      p50      p90      p99    p99.9       max  cpu/req   added p50 [95 %]           added p99\n");
    for target in &settings.targets {
        let name = target.name();
        let Some(figures) = summary.targets.get(name) else { continue };
        text.push_str(&line(name, figures));
        if let Some(added) = summary.added.get(name) {
            let [low, high] = added.p50_ci95_us;
            text.push_str(&format!(
                "   {:+.1} [{low:.1} … {high:.1}] over {}   {:+.1}",
                added.p50_us, added.over, added.p99_us
            ));
        }
        text.push('\n');
    }
    for target in &summary.environment.missing {
        text.push_str(&format!("{target}: left out, not installed\n"));
    }
    match summary.valid {
        true => text.push_str("\nvalid\n"),
        false => text.push_str(&format!("\nINVALID: {}\n", summary.why)),
    }
    text
}

fn line(name: &str, figures: &Figures) -> String {
    let us = |value: Option<f64>, width: usize| match value {
        Some(value) => format!("{value:width$.1}"),
        None => format!("{:>width$}", "-"),
    };
    format!(
        "{name:<17} {:>9} {:>7} {:>9.0} {} {} {} {} {} {:>8.1}",
        figures.requests,
        figures.errors,
        figures.rps,
        us(figures.p50_us, 8),
        us(figures.p90_us, 8),
        us(figures.p99_us, 8),
        us(figures.p999_us, 8),
        us(figures.max_us, 9),
        figures.cpu_us_per_request,
    )
}
