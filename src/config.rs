//! Raw configuration → resolved settings that cannot be invalid. Only `io` and `cli` see this module.
//!
//! So far: where state lives, and the names of the variables that a governed program reads its trust from.

use std::env;
use std::path::PathBuf;

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
