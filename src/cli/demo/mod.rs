//! `ringfence demo`: the whole product in one minute, with nothing but this binary.
//!
//! Three processes besides this one: an HTTPS origin on loopback, `ringfence run` with an example policy, and inside it a small agent that knows nothing
//! of ringfence. What they do is real: the same commands work on anybody's program.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};

mod agent;
mod mcp;
mod origin;

/// Arguments of `ringfence demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence demo --keep ./demo\n  ringfence audit decode ./demo/audit")]
pub struct DemoArgs {
    /// Leave the policy and the audit log in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The parts that the demo starts by itself
    #[arg(long, value_enum, hide = true, requires = "folder")]
    role: Option<Role>,
    #[arg(hide = true)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Origin,
    Agent,
    Tools,
}

/// The name under which the agent knows the origin; reserved by RFC 6761, so it is nobody's.
const HOST: &str = "api.demo.test";

/// Runs the demo, or one of its parts.
pub fn run(args: DemoArgs) -> ExitCode {
    let outcome = match (args.role, &args.folder) {
        (Some(Role::Origin), Some(folder)) => origin::serve(folder).map(|()| ExitCode::SUCCESS),
        (Some(Role::Agent), _) => Ok(agent::work()),
        (Some(Role::Tools), _) => mcp::serve().map(|()| ExitCode::SUCCESS),
        _ => show(args.keep.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ringfence: demo: {error}");
        ExitCode::FAILURE
    })
}

fn show(keep: Option<&Path>) -> io::Result<ExitCode> {
    let folder = Folder::new(keep)?;
    let ringfence = std::env::current_exe()?;
    let mut origin = Origin::start(&ringfence, &folder.path)?;
    let policy = folder.path.join("policy.yaml");
    fs::write(&policy, policy_text(origin.port))?;
    let audit = folder.path.join("audit");
    let log = audit.join("agent");
    say("An agent is about to call the network. It knows nothing of ringfence; this is its policy:\n");
    for line in policy_text(origin.port).lines() {
        println!("    {line}");
    }
    say("\n$ ringfence run --policy policy.yaml --audit audit/agent -- agent\n");
    let status = Command::new(&ringfence)
        .args(["run", "--name", "demo-agent", "--policy"])
        .arg(&policy)
        .arg("--audit")
        .arg(&log)
        .arg("--")
        .arg(&ringfence)
        .args(["demo", "--role", "agent", "."])
        .status()?;
    origin.stop();
    if !status.success() {
        return Err(io::Error::other(format!("the agent's calls did not go as expected ({status})")));
    }
    govern_tools(&ringfence, &folder.path, &audit.join("tools"))?;
    say("\n$ ringfence audit decode audit\n");
    let decoded = Command::new(&ringfence).args(["audit", "decode", "--format", "table"]).arg(&audit).status()?;
    say("\n$ ringfence audit verify audit\n");
    let verified = Command::new(&ringfence).args(["audit", "verify"]).arg(&audit).status()?;
    if !decoded.success() || !verified.success() {
        return Err(io::Error::other("the log does not prove what happened"));
    }
    match keep {
        Some(_) => say(&format!("\nPolicy and log are in {}.", folder.path.display())),
        None => say("\nEverything above was real. Next: ringfence run -- YOUR COMMAND"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent's tools: an MCP server on standard streams, behind `ringfence mcp`.
fn govern_tools(ringfence: &Path, folder: &Path, log: &Path) -> io::Result<()> {
    let policy = folder.join("tools.yaml");
    fs::write(&policy, mcp::POLICY)?;
    say("\nThe same agent has tools, an MCP server. This is what it may do with them:\n");
    for line in mcp::POLICY.lines() {
        println!("    {line}");
    }
    say("\n$ ringfence mcp --policy tools.yaml --audit audit/tools --server files -- tools\n");
    mcp::talk(ringfence, &policy, log)
}

fn policy_text(port: u16) -> String {
    format!(
        "ringfence: v1\n\
         upstreams:                       # the demo's origin is on loopback\n  \
           {HOST}: {{ address: \"127.0.0.1:{port}\", trust: ./origin.pem }}\n\
         rules:\n  \
           - allow: read and chat\n    \
             host: {HOST}\n    \
             method: [GET, POST, DELETE]\n    \
             path: /v1/**\n  \
           - deny: delete anything\n    \
             method: DELETE\n    \
             reason: Deletion needs a person.\n    \
             remedy: Open a pull request instead.\n"
    )
}

fn say(text: &str) {
    println!("{text}");
}

/// The demo's folder: the user's, or one that goes away again.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn new(keep: Option<&Path>) -> io::Result<Folder> {
        let (path, temporary) = match keep {
            Some(path) => (std::path::absolute(path)?, false),
            None => (std::env::temp_dir().join(format!("ringfence-demo-{}", std::process::id())), true),
        };
        fs::create_dir_all(&path)?;
        Ok(Folder { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // It lies in the system's temporary folder; what cannot be removed now goes with it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The origin's process.
struct Origin {
    child: Child,
    port: u16,
}

impl Origin {
    /// Starts it and waits for the port that it says on its first line.
    fn start(ringfence: &Path, folder: &Path) -> io::Result<Origin> {
        let mut child = Command::new(ringfence)
            .args(["demo", "--role", "origin"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| io::Error::other("the origin did not start"))?;
        Ok(Origin { child, port })
    }

    fn stop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}
