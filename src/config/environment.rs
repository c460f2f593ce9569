//! What stands in environment variables: where our state lives, and what a governed program is told.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variables that runtimes read their trust store from; each is set to the merged bundle for a governed program.
pub const TRUST_VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
];

/// The trust variables with their values, for a program that is to trust the certificates in `bundle`.
pub fn trust_variables(bundle: &Path) -> Vec<(&'static str, OsString)> {
    TRUST_VARIABLES.iter().map(|name| (*name, bundle.as_os_str().to_owned())).collect()
}

/// The variables that send a program's HTTP and HTTPS calls to an explicit proxy at `authority`, `host:port`.
///
/// Both cases, because curl reads `http_proxy` in lower case only and others upper case first. Loopback stays out: what a program says to itself
/// is no outbound call, and the proxy would deny it. `NODE_USE_ENV_PROXY` is what makes Node's own `fetch` look at the others.
pub fn proxy_variables(authority: &str) -> Vec<(&'static str, OsString)> {
    let proxy = OsString::from(format!("http://{authority}"));
    let direct = OsString::from("localhost,127.0.0.1,::1");
    let mut variables: Vec<_> =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"].map(|name| (name, proxy.clone())).into();
    variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name, direct.clone())));
    variables.push(("NODE_USE_ENV_PROXY", OsString::from("1")));
    variables
}

/// There is no place for state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoStateDir;

impl std::fmt::Display for NoStateDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no place for state: set RINGFENCE_STATE (or HOME) to a folder that this user can write")
    }
}

impl std::error::Error for NoStateDir {}

/// The state folder: `$RINGFENCE_STATE`, else `$XDG_STATE_HOME/ringfence`, else `~/.local/state/ringfence`. It may not exist yet.
///
/// # Errors
/// If none of the variables is set.
pub fn state_dir() -> Result<PathBuf, NoStateDir> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(state) = folder("RINGFENCE_STATE") {
        return Ok(std::path::absolute(&state).unwrap_or(state));
    }
    // The XDG specification: a relative path is to be ignored.
    if let Some(state) = folder("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
        return Ok(state.join("ringfence"));
    }
    folder("HOME").map(|home| home.join(".local/state/ringfence")).ok_or(NoStateDir)
}
