//! `ringfence mcp wrap` and `unwrap`: put `ringfence mcp` in front of the servers in a client's configuration, and take it away again.
//!
//! Claude Desktop and Code, Cursor, Windsurf and Gemini CLI have `mcpServers`, VS Code has `servers`, or `mcp.servers` among its settings.
//! Only the command and the start of its arguments are changed, in place: comments, order and layout stay as they are. What wrapping adds
//! is exactly what unwrapping takes away.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use similar::TextDiff;

use crate::limits::CLIENT_CONFIG_BYTES_MAX;

mod edit;

/// Arguments of `ringfence mcp wrap`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence mcp wrap --policy ~/mcp-policy.yaml ~/.cursor/mcp.json --dry-run\n\nKnown: Claude Desktop, Claude Code, Cursor, VS Code, Windsurf, Gemini CLI. Servers at a URL are left alone.\nThe client starts ringfence as its own user: a boundary only under `ringfence run` or in another container."
)]
pub(super) struct WrapArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The policy that the servers get
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Arguments of `ringfence mcp unwrap`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence mcp unwrap ~/.cursor/mcp.json --dry-run")]
pub(super) struct UnwrapArgs {
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The client's configuration file
    #[arg(value_name = "CONFIG.json")]
    config: PathBuf,
    /// Show what would change and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Wraps every server of a configuration.
pub(super) fn wrap(args: &WrapArgs) -> ExitCode {
    let change = || {
        let program = std::env::current_exe()?;
        let policy = args.policy.as_deref().map(fs::canonicalize).transpose()?;
        let text = read(&args.file.config)?;
        let policy = policy.as_deref().map(Path::to_string_lossy);
        let changed = edit::wrap(&text, &program.to_string_lossy(), policy.as_deref())?;
        conclude(&args.file, &text, changed)
    };
    told(&args.file, change())
}

/// Takes the wrapping away.
pub(super) fn unwrap(args: &UnwrapArgs) -> ExitCode {
    let change = || {
        let text = read(&args.file.config)?;
        conclude(&args.file, &text, edit::unwrap(&text)?)
    };
    told(&args.file, change())
}

/// Shows or writes what has changed.
fn conclude(args: &FileArgs, before: &str, (after, servers): (String, Vec<String>)) -> io::Result<()> {
    let name = args.config.display().to_string();
    if args.dry_run {
        let diff = TextDiff::from_lines(before, &after);
        crate::cli::say(&diff.unified_diff().header(&name, &name).to_string());
        return Ok(());
    }
    if after != before {
        replace(&args.config, &after)?;
    }
    if servers.is_empty() {
        eprintln!("ringfence: {name}: nothing to change");
    }
    servers.iter().for_each(|server| println!("{}", super::pins::escaped(server)));
    Ok(())
}

fn told(args: &FileArgs, done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: {}: {error}", args.config.display());
            ExitCode::from(2)
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(CLIENT_CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CLIENT_CONFIG_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any client's configuration"));
    }
    Ok(text)
}

/// Replaces a file as a whole, with its mode; a link stays a link.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".ringfence-{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)
    })();
    if written.is_err() {
        // Half a file is of no use to anybody; the error that made it is what counts.
        let _ = fs::remove_file(&fresh);
    }
    written
}
