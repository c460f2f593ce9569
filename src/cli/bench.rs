//! `ringfence bench`: what ringfence adds to a call, on this machine.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::engine::EngineArgs;
use crate::bench::driver::{self, Folder, HOST, Plan};
use crate::bench::origin::{self, Behaviour};
use crate::bench::report::{self, Figures, Summary};
use crate::bench::scenario::{BUILT_IN, Io, Scenario, Spin, Target};
use crate::bench::{Credentials, generator, relay};
use crate::io::engine::{self, Choice, Engine, Listener};

/// Arguments of `ringfence bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence bench run --scenario latency --spin 50us\n  ringfence bench run --scenario latency-tls --duration 60 --out ./result --strict\n  ringfence bench origin --port 8080"
)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure what a target adds to a call: open loop, interleaved rounds
    Run(RunArgs),
    /// Serve the origin alone: GET /bytes/N answers N bytes, in the clear and under TLS
    Origin(OriginArgs),
    /// The byte relay that `run` measures as the floor
    #[command(hide = true)]
    Relay(RelayArgs),
    /// The client and origin that `run` starts: origin on stdin, orders on stdout
    #[command(hide = true)]
    Generator,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence bench run --scenario latency --target direct,relay,ringfence --spin 50us --duration 30 --out ./result\n\nBuilt-in scenarios: latency, latency-tls."
)]
struct RunArgs {
    /// A built-in scenario, or a YAML file
    #[arg(long, value_name = "NAME|FILE")]
    scenario: String,
    /// What to measure: direct, relay, ringfence
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
    /// Write summary.json, environment.json and one .hgrm per target into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Exit with 1 if the run is invalid
    #[arg(long)]
    strict: bool,
    /// Decides the order of targets within rounds [default: a new one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence bench origin --port 8080 --tls-port 8443 --trust ./origin.pem\n  curl --cacert origin.pem https://localhost:8443/bytes/1024"
)]
struct OriginArgs {
    /// Port for plaintext; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port for TLS; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    tls_port: u16,
    /// Body bytes where the path is not /bytes/N
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Write the certificate that clients have to trust here (PEM)
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Fault: answer nothing in the first so many milliseconds of each second
    #[arg(long, value_name = "MS", default_value_t = 0)]
    stall_ms: u64,
    /// Fault: answer with this status
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// Fault: change one byte of every body
    #[arg(long)]
    wrong_body: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Args)]
struct RelayArgs {
    #[arg(long)]
    to: SocketAddr,
    #[command(flatten)]
    engine: EngineArgs,
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

/// Runs the subcommand.
pub fn run(args: BenchArgs) -> ExitCode {
    let outcome = match args.what {
        What::Run(args) => return measure(&args),
        What::Origin(args) => serve_origin(&args),
        What::Relay(args) => serve_relay(&args),
        What::Generator => generate(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &RunArgs) -> ExitCode {
    let scenario = match scenario(args) {
        Ok(scenario) => scenario,
        Err(why) => {
            eprintln!("ringfence: bench: {why}");
            return ExitCode::from(2);
        }
    };
    match measured(args, &scenario) {
        Ok(summary) => {
            print!("{}", table(&summary));
            ExitCode::from(u8::from(args.strict && !summary.valid))
        }
        Err(error) => {
            eprintln!("ringfence: bench: {error}");
            ExitCode::FAILURE
        }
    }
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
                    BUILT_IN.join(", ")
                )
            })?;
            Scenario::read(&text).map_err(|error| format!("{name}: {error}"))?
        }
    };
    if !args.target.is_empty() {
        let known = |name: &String| {
            Target::named(name)
                .ok_or_else(|| format!("--target {name}: unknown; there are direct, relay and ringfence"))
        };
        scenario.targets = args.target.iter().map(known).collect::<Result<_, _>>()?;
    }
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
    scenario.check().map_err(|error| format!("{name}: {error}"))?;
    Ok(scenario)
}

fn measured(args: &RunArgs, scenario: &Scenario) -> Result<Summary, Box<dyn std::error::Error>> {
    let choice = match scenario.io {
        Io::Auto => Choice::Auto,
        Io::Uring => Choice::Uring,
        Io::Epoll => Choice::Epoll,
    };
    let backend = engine::select(choice)?.backend.to_string();
    let seed = args.seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    let folder = Folder::new()?;
    let program = std::env::current_exe()?;
    let plan = Plan { scenario, program: &program, folder: folder.path(), seed };
    let (wanted, _) = scenario.rounds();
    let live = io::stderr().is_terminal();
    let run = driver::run(&plan, |rounds| {
        if live {
            eprint!("\r{}: round {rounds} of {wanted} ", scenario.name);
        }
    })?;
    if live {
        eprintln!();
    }
    let environment = report::environment(scenario, command_line(), backend, &run, seed);
    let (summary, histograms) = report::summarise(scenario, &run, environment);
    if let Some(out) = &args.out {
        write(out, &summary, &histograms)?;
    }
    Ok(summary)
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
        path_follows = ["--out", "--scenario"].contains(&word.as_str());
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
    Ok(())
}

fn table(summary: &Summary) -> String {
    let settings = &summary.environment.settings;
    let mut text = format!(
        "{}: {} requests a second, {} connection{}, {} rounds, {} ({}, spin {}); microseconds from the intended send time\n\n",
        summary.scenario,
        settings.rate,
        settings.connections,
        if settings.connections == 1 { "" } else { "s" },
        summary.rounds,
        if settings.tls { "TLS" } else { "plaintext" },
        summary.environment.backend,
        settings.spin.name(),
    );
    text.push_str("target      requests  errors      p50      p90      p99    p99.9       max  cpu/req   added p50 [95 %]           added p99\n");
    for target in &settings.targets {
        let name = target.name();
        let Some(figures) = summary.targets.get(name) else { continue };
        text.push_str(&line(name, figures));
        if let Some(added) = summary.added.get(name) {
            let [low, high] = added.p50_ci95_us;
            text.push_str(&format!(
                "   +{:.1} [{low:.1} … {high:.1}] over {}   {:+.1}",
                added.p50_us, added.over, added.p99_us
            ));
        }
        text.push('\n');
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
        "{name:<10} {:>9} {:>7} {} {} {} {} {} {:>8.1}",
        figures.requests,
        figures.errors,
        us(figures.p50_us, 8),
        us(figures.p90_us, 8),
        us(figures.p99_us, 8),
        us(figures.p999_us, 8),
        us(figures.max_us, 9),
        figures.cpu_us_per_request,
    )
}

/// Serves until it is killed; says where on stdout.
fn serve_origin(args: &OriginArgs) -> io::Result<()> {
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, args.tls_port))?;
    let credentials = Credentials::new(&["localhost", "127.0.0.1", HOST]).map_err(io::Error::other)?;
    if let Some(path) = &args.trust {
        fs::write(path, &credentials.authority)?;
    }
    println!("http {}\nhttps {}", plain.local_addr()?, tls.local_addr()?);
    io::stdout().flush()?;
    let behaviour =
        Behaviour { bytes: args.bytes, status: args.status, wrong_body: args.wrong_body, stall_ms: args.stall_ms };
    Engine::new(&args.engine.options())?.run(async {
        let secured = origin::serve(Listener::from_std(tls)?, Some(credentials.server()?), behaviour.clone());
        // Both end with the process; a listener that breaks ends its half.
        engine::spawn(async move { drop(secured.await) });
        origin::serve(Listener::from_std(plain)?, None, behaviour).await
    })
}

/// Serves until it is killed; its first line is where.
fn serve_relay(args: &RelayArgs) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    Engine::new(&args.engine.options())?.run(async { relay::serve(Listener::from_std(listener)?, args.to).await })
}

fn generate() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let control = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    generator::obey(listener, &control)
}
