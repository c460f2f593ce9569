//! A configuration file → resolved settings that cannot be invalid. Only `io` and `cli` see this module.
//!
//! The tour: [`read`] takes the text through `file`, which reads each section by itself and remembers where it stood, with the single values in
//! `values`; then through `resolve`, which checks what holds between sections and fills in what `auto` means on this machine. The
//! result is [`settings`]. Every problem found is named with its place and its remedy, one line each; a key that is not known is a
//! problem too, because a misspelt one would silently leave a door as it was.
//!
//! Beside the way: `exposure` looks at who else could change our files, and `environment` has the variables that programs read.

mod audit;
mod environment;
mod exposure;
mod file;
mod listen;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::limits::CONFIG_BYTES_MAX;
use crate::policy::Problem;
use crate::policy::document::Problems;

pub use environment::{NoStateDir, TRUST_VARIABLES, proxy_variables, state_dir, trust_variables};
pub use exposure::{Exposure, Neighbours, Why, writable_by_others};
pub use settings::{
    AdminSettings, Agent, Anchor, AuditSettings, Bounds, CaSettings, Engine, Exempt, IoSettings, Listen, Settings, Spin,
};

/// Why a configuration file gives no settings. Displayed as one line for each problem.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read at all.
    Unreadable {
        /// The file, as the caller named it.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What it says is refused; at least one problem, in the order of the file.
    Refused(Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, error } => {
                let remedy = "name a file that this user can read with --config";
                write!(f, "{}: error: cannot be read: {error} ({remedy})", file.display())
            }
            ConfigError::Refused(problems) => {
                let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads the file of `ringfence proxy`. Relative paths in it count from its folder.
///
/// # Errors
/// If the file cannot be read or anything in it is refused; all problems of one kind are named at once.
pub fn read(file: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    // One byte more than the bound is enough to see that there are too many.
    let most = CONFIG_BYTES_MAX as u64 + 1;
    File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))?;
    let path = std::path::absolute(file).map_err(unreadable)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    understand(&text, file, &path, cores)
}

/// The settings that a text says; `cores` is what `auto` counts with.
fn understand(text: &str, name: &Path, path: &Path, cores: usize) -> Result<Settings, ConfigError> {
    let mut problems = Problems::new(&name.display().to_string());
    let folder = path.parent().unwrap_or(path);
    let settings = file::read(text, folder, &mut problems)
        .filter(|_| !problems.has_errors())
        .and_then(|raw| resolve::resolve(raw, path, cores, &mut problems));
    match settings {
        Some(settings) if !problems.has_errors() => Ok(settings),
        _ => Err(ConfigError::Refused(problems.into_sorted())),
    }
}
