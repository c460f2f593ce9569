//! The policy in force and its file: when the file changes, it is read, checked and compiled here, off the workers. A bad file changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::io::mcp::pins::Pins;
use crate::io::tls::Trust;
use crate::io::upstream::Identities;
use crate::limits::WEAKENINGS_TOLD_MAX;
use crate::policy::{self, Policy};

/// A policy with what it calls for.
pub(crate) struct Ruling {
    pub(crate) policy: Arc<Policy>,
    pub(crate) identities: Arc<Identities>,
    /// What its author should know.
    pub(crate) warnings: Vec<String>,
}

/// Sees when a file is no longer the one that was read. By looking, not by being told: a bind-mounted file, a network file system and the
/// links by which Kubernetes swaps a mounted folder each tell in another way, or not at all.
pub(crate) struct Watch {
    file: PathBuf,
    seen: Option<Stamp>,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Watch {
    /// Watches `file` from its present state on.
    pub(crate) fn new(file: &Path) -> Watch {
        Watch { file: file.to_owned(), seen: stamp(file) }
    }

    /// Whether the file has changed since the last look. A file that is away for a moment, because an editor replaces it, has not.
    pub(crate) fn changed(&mut self) -> bool {
        let now = stamp(&self.file);
        if now.is_none() || now == self.seen {
            return false;
        }
        self.seen = now;
        true
    }
}

/// Reads, checks and compiles the policy in `file`, and reads what it names, the pins of its servers included. The error has one line for each problem.
///
/// # Errors
/// If the policy cannot be put in force as it stands.
pub(crate) fn read(file: &Path, system: &Trust, pins: &Pins) -> Result<Ruling, Vec<String>> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| vec![format!("{name}: cannot be read: {error}")])?;
    let loaded = policy::load(policy::Source { name: &name, text: &text });
    let problems = loaded.problems.iter().map(ToString::to_string).collect();
    let Some(policy) = loaded.policy else { return Err(problems) };
    pins.cover(&policy).map_err(|error| vec![error.to_string()])?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let identities =
        Identities::read(&policy, folder, system).map_err(|error| vec![format!("{name}: upstreams: {error}")])?;
    Ok(Ruling { policy: Arc::new(policy), identities: Arc::new(identities), warnings: problems })
}

/// In which ways `new` lets go what `old` did not, in one line for the log and the record; nothing where it is certain that there are none.
pub(crate) fn weakened(old: &Policy, new: &Policy) -> Option<String> {
    let ways = new.weakenings(old);
    let told: Vec<String> = ways.iter().take(WEAKENINGS_TOLD_MAX).map(ToString::to_string).collect();
    let more = ways.len() - told.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!ways.is_empty()).then(|| format!("weaker: {}{more}", told.join("; ")))
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found: io::Result<fs::Metadata> = fs::metadata(file);
    let found = found.ok()?;
    Some(Stamp { inode: found.ino(), size: found.size(), modified: (found.mtime(), found.mtime_nsec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let text = format!("ringfence: v1\nrules:\n{rules}");
        policy::load(policy::Source { name: "p", text: &text }).policy.unwrap()
    }

    #[test]
    fn a_weaker_policy_is_told_of_in_one_line_and_a_stricter_one_not_at_all() {
        let rule = |n: usize| format!("- deny: d{n}\n  path: /x{n}\n");
        let (many, one) = (policy(&(0..9).map(rule).collect::<String>()), policy(&rule(0)));
        let told = weakened(&many, &one).unwrap();
        assert!(told.starts_with("weaker: what `d1` denied, no rule denies; what `d2`"), "{told}");
        assert!(told.ends_with("; and 5 more") && !told.contains('\n'), "{told}");
        assert_eq!(weakened(&one, &many), None);
    }
}
