//! `ringfence mcp`: an MCP server on standard streams, governed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::engine::EngineArgs;
use crate::cli::run::{base_name, compile_policy};
use crate::config;
use crate::io::run::run_id;
use crate::io::stdio::{self, Options, StdioError};
use crate::policy::{McpEndpoint, Policy};

mod pins;
mod wrap;

/// Arguments of `ringfence mcp`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example, in an MCP client's configuration:\n  \"command\": \"ringfence\",\n  \"args\": [\"mcp\", \"--policy\", \"policy.yaml\", \"--server\", \"files\", \"--\", \"npx\", \"server-files\", \"/work\"]\n\nExits with the server's status; 125 when it cannot be governed (it is then not started),\n126 and 127 as env(1) does. Runs as the client's own user: a boundary only under `ringfence run` or in another container."
)]
pub struct McpArgs {
    #[command(subcommand)]
    task: Option<Task>,
    /// The policy file; without one every message is allowed and recorded
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A field of an AGT policy that ringfence cannot supply, and that counts as missing (repeatable)
    #[arg(long, value_name = "FIELD")]
    agt_unsupplied: Vec<String>,
    /// Where the audit log goes [default: a new folder under the state folder]
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// The server's name in the policy's rules, pins and records: the `stdio` of an entry of `mcp_servers` [default: the command's name]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Record what would be denied, and pass it on
    #[arg(long)]
    monitor: bool,
    /// The agent's name on record [default: the name of the program that started ringfence]
    #[arg(long, value_name = "AGENT")]
    name: Option<String>,
    /// Taken for uniformity; lines are moved by poll(2)
    #[command(flatten)]
    engine: EngineArgs,
    /// The server's command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put ringfence in front of the servers in a client's configuration
    Wrap(wrap::WrapArgs),
    /// Restore a client's configuration
    Unwrap(wrap::UnwrapArgs),
    /// Review pinned tools
    Pins(pins::PinsArgs),
}

/// Runs the server, or one of the tasks around it.
pub fn run(args: McpArgs) -> ExitCode {
    match args.task {
        Some(Task::Wrap(args)) => wrap::wrap(&args),
        Some(Task::Unwrap(args)) => wrap::unwrap(&args),
        Some(Task::Pins(args)) => pins::run(&args),
        None => serve(args),
    }
}

fn serve(args: McpArgs) -> ExitCode {
    let mut policy = match &args.policy {
        Some(file) => match compile_policy(file, &args.agt_unsupplied) {
            Ok(policy) => policy,
            Err(code) => return code,
        },
        None => {
            eprintln!("ringfence: no --policy: every message is allowed and recorded");
            Policy::observe()
        }
    };
    if let (Some(file), Some(field)) = (&args.policy, policy.unsupplied(true)) {
        let remedy = format!("with `--agt-unsupplied {field}` it counts as missing");
        eprintln!("ringfence: {}: messages over standard streams have no `{field}`; {remedy}", file.display());
        return ExitCode::from(2);
    }
    if args.monitor {
        policy = policy.monitored();
    }
    let state = match config::state_dir() {
        Ok(state) => state,
        Err(error) => return not_run(&error),
    };
    let called = args.server.clone().unwrap_or_else(|| base_name(&args.command));
    let server = match name(&policy, &called) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("ringfence: {why}");
            return ExitCode::from(2);
        }
    };
    let options = Options {
        // `npx` and `python` are no names of servers: what one of them lists is no change of what another one did.
        pins: args.server.is_some() || policy.mcp_stdio_server(&called).is_some(),
        command: args.command,
        policy,
        folder: args.policy.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned(),
        server,
        audit: args.audit.unwrap_or_else(|| state.join("audit").join(run_id())),
        state,
        agent: args.name.unwrap_or_else(client),
    };
    match stdio::serve(options) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(125)),
        Err(StdioError::Command(command, error)) => {
            eprintln!("ringfence: {}: {error}", command.display());
            ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
        Err(error) => not_run(&error),
    }
}

fn not_run(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ringfence: not run: {error}");
    ExitCode::from(125)
}

/// The server's name in the policy: that of the entry which has `called` as its `stdio`, else `called` itself, unless that is the name of a
/// server that is somewhere else: its rules are not meant for this one.
fn name(policy: &Policy, called: &str) -> Result<String, String> {
    if let Some(declared) = policy.mcp_stdio_server(called) {
        return Ok(declared.to_owned());
    }
    match policy.mcp_servers().iter().find(|server| *server.name == *called) {
        None => Ok(called.to_owned()),
        Some(server) => Err(match &server.endpoint {
            McpEndpoint::Stdio(stdio) => {
                format!("the server `{called}` is declared as `stdio: {stdio}`; use --server {stdio}")
            }
            McpEndpoint::Http { .. } => {
                format!("the policy's server `{called}` is at a URL; give this one another name with --server")
            }
        }),
    }
}

/// The program that has started us, as far as the system says.
fn client() -> String {
    let parent = Path::new("/proc").join(std::os::unix::process::parent_id().to_string()).join("comm");
    let name = std::fs::read_to_string(parent).unwrap_or_default();
    match name.trim() {
        "" => "agent".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Source, load};

    #[test]
    fn a_servers_name_is_never_that_of_a_server_elsewhere() {
        let text = "ringfence: v1\nrules: []\nmcp_servers:\n  files: { stdio: local }\n  web: { url: \"https://a.example/mcp\" }\n";
        let policy = load(Source { name: "p", text }).policy.unwrap();
        assert_eq!(name(&policy, "local"), Ok("files".to_owned()));
        assert_eq!(name(&policy, "npx"), Ok("npx".to_owned()));
        assert!(name(&policy, "files").unwrap_err().contains("--server local"));
        assert!(name(&policy, "web").unwrap_err().contains("another name"));
    }
}
