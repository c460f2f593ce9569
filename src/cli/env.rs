//! `ringfence env`: the variables that point a program at the proxy and at the bundle that it is to trust.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::read_config;
use crate::config::{self, Listen, Settings, proxy_variables, trust_variables};

/// Arguments of `ringfence env`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eval \"$(ringfence env --config ringfence.yaml)\"\n  \
    ringfence env --config ringfence.yaml --format dotenv --host ringfence > agent.env\n\n\
    Proxy variables are printed when the configuration has a `proxy` listener, trust variables when it has `ca.bundle`.\n\
    Exit status: 0, 1 when there is no bundle yet, 2 for wrong use or configuration.")]
pub struct EnvArgs {
    /// The proxy's configuration file [default: only the bundle under the state folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the variables are written
    #[arg(long, value_enum, default_value_t = Format::Shell)]
    format: Format,
    /// The name or address by which the agent reaches the proxy, where it listens on every address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The bundle's path as the agent sees it, where its volume is mounted elsewhere
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `export NAME='value'`, for eval
    Shell,
    /// `NAME=value`, for env_file of Compose and --env-file of Docker
    Dotenv,
}

type Variable = (&'static str, OsString);

/// Prints the variables.
pub fn run(args: EnvArgs) -> ExitCode {
    let variables = match &args.config {
        Some(file) => match read_config(file) {
            Ok(settings) => of_settings(&args, &settings).map_err(|error| (format!("{}: {error}", file.display()), 2)),
            Err(code) => return code,
        },
        None => of_state(&args),
    };
    let text = variables.and_then(|variables| write(&variables, args.format).map_err(|error| (error, 2)));
    let text = match text {
        Ok(text) => text,
        Err((error, code)) => {
            eprintln!("ringfence: {error}");
            return ExitCode::from(code);
        }
    };
    let mut out = io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("ringfence: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn of_settings(args: &EnvArgs, settings: &Settings) -> Result<Vec<Variable>, String> {
    let listener = settings.listeners.iter().find_map(|listener| match listener {
        Listen::Proxy { address, .. } => Some(address),
        _ => None,
    });
    let mut variables = Vec::new();
    if let Some(address) = listener {
        if address.port() == 0 {
            return Err(
                "`listen.address` of the proxy listener has port 0, so nobody knows it yet; write a fixed port".into(),
            );
        }
        let host = match &args.host {
            Some(host) => named(host)?,
            None if address.ip().is_unspecified() => {
                return Err(format!(
                    "`listen.address` {address} is every address; name the one that the agent uses with --host"
                ));
            }
            None => bracketed(address.ip()),
        };
        variables.extend(proxy_variables(&format!("{host}:{}", address.port())));
    }
    if let Some(bundle) = args.bundle.as_ref().or(settings.ca.bundle.as_ref()) {
        variables.extend(trust_variables(&absolute(bundle)));
    }
    if variables.is_empty() {
        return Err("there is nothing to print; add a listener with `mode: proxy`, or `ca.bundle`".into());
    }
    Ok(variables)
}

/// Without a configuration there is no listener, but there may be a bundle.
fn of_state(args: &EnvArgs) -> Result<Vec<Variable>, (String, u8)> {
    if args.host.is_some() {
        return Err(("--host belongs to a proxy listener; name its configuration with --config".to_owned(), 2));
    }
    if let Some(bundle) = &args.bundle {
        return Ok(trust_variables(&absolute(bundle)));
    }
    let state = config::state_dir().map_err(|error| (error.to_string(), 2))?;
    let bundle = state.join("ca-bundle.crt");
    if bundle.exists() {
        return Ok(trust_variables(&bundle));
    }
    let at = bundle.display();
    Err((format!("there is no bundle at {at} yet: make it with `ringfence ca bundle --out {at}`, or use --config"), 1))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A host as it stands in a URL.
fn named(host: &str) -> Result<String, String> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        return Ok(bracketed(ip.into()));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(fits) {
        return Err(format!("--host is a name or an address without a port, found `{}`", host.escape_debug()));
    }
    Ok(host.to_owned())
}

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

fn write(variables: &[Variable], format: Format) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    for (name, value) in variables {
        match format {
            Format::Shell => {
                text.extend_from_slice(format!("export {name}=").as_bytes());
                text.extend_from_slice(&quoted(value));
            }
            Format::Dotenv => {
                text.extend_from_slice(format!("{name}=").as_bytes());
                text.extend_from_slice(plain(name, value)?);
            }
        }
        text.push(b'\n');
    }
    Ok(text)
}

/// In single quotes, where a POSIX shell takes every byte but the quote for itself.
fn quoted(value: &OsStr) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in value.as_bytes() {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

/// Docker takes a value as it stands, Compose knows quotes, comments and `$`: only what both read alike is written.
fn plain<'v>(name: &str, value: &'v OsStr) -> Result<&'v [u8], String> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"/.:,_-+@%=[]".contains(byte);
    if value.as_bytes().iter().all(fits) {
        return Ok(value.as_bytes());
    }
    let value = value.display().to_string();
    Err(format!("{name}: env files have no common way to write `{}`; use a plain path", value.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_written_whatever_it_holds() {
        for value in ["/shared/ca.crt", "it's $HOME `id` \\ \"x\"", "line\nline", "", "'", "!!"] {
            let variables = [("RINGFENCE_TEST", OsString::from(value))];
            let mut script = write(&variables, Format::Shell).expect("written");
            script.extend_from_slice(b"printf '%s' \"$RINGFENCE_TEST\"");
            let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), value);
        }
    }

    #[test]
    fn an_env_file_holds_only_what_everybody_reads_alike() {
        let variables = |value: &str| [("SSL_CERT_FILE", OsString::from(value))];
        assert_eq!(write(&variables("/s/ca.crt"), Format::Dotenv), Ok(b"SSL_CERT_FILE=/s/ca.crt\n".to_vec()));
        for value in ["/a b", "/a$b", "/a#b", "/a\nEVIL=1", "/a'b", "/a\"b", "/a\\b"] {
            assert!(write(&variables(value), Format::Dotenv).is_err(), "{value}");
        }
    }

    #[test]
    fn a_host_is_no_place_for_more_than_a_host() {
        assert_eq!(named("ringfence"), Ok("ringfence".to_owned()));
        assert_eq!(named("::1"), Ok("[::1]".to_owned()));
        assert_eq!(named("[fd00::1]"), Ok("[fd00::1]".to_owned()));
        for host in ["", "a:80", "a/b", "user@a", "a b"] {
            assert!(named(host).is_err(), "{host}");
        }
    }
}
