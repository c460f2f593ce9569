//! `ringfence bench`: what ringfence adds to a call, on this machine.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Args, Subcommand};

use super::engine::EngineArgs;
use crate::bench::driver::HOST;
use crate::bench::origin::{self, Behaviour};
use crate::bench::{Credentials, generator, relay};
use crate::io::engine::{self, Engine, Listener};

mod compare;
mod live;
mod run;

/// Arguments of `ringfence bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringfence bench run --scenario latency --spin 50us\n  ringfence bench run --scenario latency-tls --duration 60 --out ./result --strict\n  ringfence bench compare ./before ./result\n  ringfence bench origin --port 8080"
)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure what a target adds to a call: open loop, interleaved rounds
    Run(run::RunArgs),
    /// Say what changed from one run to another, with its 95 % interval
    Compare(compare::CompareArgs),
    /// Make report.html of what a run, or a folder of runs, has left
    Report(compare::ReportArgs),
    /// Serve the origin alone, in the clear and under TLS: GET /bytes/N, GET /events/COUNT/INTERVAL_NS/DELAY_NS, POST /mcp
    Origin(OriginArgs),
    /// The byte relay that `run` measures as the floor; ends with its standard input
    #[command(hide = true)]
    Relay(RelayArgs),
    /// The client and origin that `run` starts: origin on stdin, orders on stdout
    #[command(hide = true)]
    Generator,
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
    #[arg(long)]
    tokio_uring: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the subcommand.
pub fn run(args: BenchArgs) -> ExitCode {
    let outcome = match args.what {
        What::Run(args) => return run::run(&args),
        What::Compare(args) => return compare::compare(&args),
        What::Report(args) => return compare::report(&args),
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

/// Serves until its standard input ends; its first line is where.
fn serve_relay(args: &RelayArgs) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    thread::spawn(|| {
        // Whoever started it holds the other end, and lets go of it also when it is killed.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    println!("{}", listener.local_addr()?);
    if args.tokio_uring {
        return relay::serve_on_tokio_uring(listener, args.to);
    }
    Engine::new(&args.engine.options())?.run(async { relay::serve(Listener::from_std(listener)?, args.to).await })
}

fn generate() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let control = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    generator::obey(listener, &control)
}
