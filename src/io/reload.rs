//! The policy in force and its file: when the file changes, it is read, checked and compiled here, off the workers. A bad file changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Neighbours};
use crate::io::mcp::pins::Pins;
use crate::io::tls::Trust;
use crate::io::upstream::Identities;
use crate::io::{companions, facts};
use crate::limits::WEAKENINGS_TOLD_MAX;
use crate::policy::{ApproverWay, Policy};

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
    /// The policy file, and the files that it names, each as it was.
    files: Vec<(PathBuf, Option<Stamp>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Watch {
    /// Watches `file` from its present state on.
    pub(crate) fn new(file: &Path) -> Watch {
        Watch { files: vec![(file.to_owned(), stamp(file))] }
    }

    /// Watches the files that the policy in force names as well, and no longer those that one before it named.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        let Some((file, _)) = self.files.first() else { return };
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let known = self.files.split_off(1);
        for path in policy.files().iter().map(|path| folder.join(&**path)) {
            let seen = known.iter().find(|(known, _)| *known == path).map(|(_, seen)| *seen);
            self.files.push((path.clone(), seen.unwrap_or_else(|| stamp(&path))));
        }
    }

    /// Whether a file has changed since the last look. A file that is away for a moment, because an editor replaces it, has not.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (file, seen) in &mut self.files {
            let now = stamp(file);
            if now.is_some() && now != *seen {
                (*seen, changed) = (now, true);
            }
        }
        changed
    }
}

/// Reads, checks and compiles the policy in `file`, and reads what it names, the pins of its servers included. The error has one line for each problem.
///
/// # Errors
/// If the policy cannot be put in force as it stands.
pub(crate) fn read(file: &Path, unsupplied: &[String], system: &Trust, pins: &Pins) -> Result<Ruling, Vec<String>> {
    let name = file.display().to_string();
    let loaded =
        companions::load(file, unsupplied).map_err(|error| vec![format!("{name}: cannot be read: {error}")])?;
    let problems = loaded.problems.iter().map(ToString::to_string).collect();
    let Some(policy) = loaded.policy else { return Err(problems) };
    if let Some(unsupplied) = facts::unsupplied(&policy) {
        return Err(vec![format!("{name}: {unsupplied}")]);
    }
    pins.cover(&policy).map_err(|error| vec![error.to_string()])?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let identities = Identities::read(&policy, folder, system).map_err(|error| vec![format!("{name}: {error}")])?;
    Ok(Ruling { policy: Arc::new(policy), identities: Arc::new(identities), warnings: problems })
}

/// Refuses a policy that asks a program which an agent's user could write, and so approve everything with.
///
/// # Errors
/// Which program, and how it is open.
pub(crate) fn guarded(ruling: Ruling, neighbours: Neighbours) -> Result<Ruling, Vec<String>> {
    let programs = ruling.policy.approvers().iter().filter_map(|approver| match &approver.way {
        ApproverWay::Command(words) => Some((&approver.name, Path::new(&**words.first()?))),
        ApproverWay::Webhook(_) => None,
    });
    let open = |(name, program)| {
        let exposure = config::writable_by_others(program, neighbours)?;
        Some(format!("approvals: `{name}` asks what an agent could change: {exposure}"))
    };
    let open: Vec<String> = programs.filter_map(open).collect();
    if open.is_empty() { Ok(ruling) } else { Err(open) }
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::policy;

    #[test]
    fn a_file_that_the_policy_names_is_watched_as_the_policy_is() {
        let folder = tempfile::tempdir().unwrap();
        let (file, base) = (folder.path().join("p.yaml"), folder.path().join("base.yaml"));
        let head = "apiVersion: governance.toolkit/v1\nname: n\nagents: [\"*\"]\n";
        fs::write(&file, format!("{head}extends: base.yaml\nrules: []\n")).unwrap();
        fs::write(&base, format!("{head}rules: []\n")).unwrap();
        let mut watch = Watch::new(&file);
        let (system, pins) = (Trust::system(), Pins::under(folder.path()));
        watch.follow(&read(&file, &[], &system, &pins).unwrap().policy);
        assert!(!watch.changed());
        fs::write(&base, format!("{head}rules:\n- {{name: r, condition: \"host\", action: allow}}\n")).unwrap();
        assert!(watch.changed() && !watch.changed());
        let ruling = read(&file, &[], &system, &pins).unwrap();
        assert_eq!(ruling.policy.outline().len(), 1);
        fs::write(&base, "no policy").unwrap();
        assert!(watch.changed());
        let refused = read(&file, &[], &system, &pins).err().unwrap();
        assert!(refused.iter().any(|line| line.contains("base.yaml:1:1: error")), "{refused:?}");
    }

    fn policy(rules: &str) -> Policy {
        let text = format!("ringfence: v1\nrules:\n{rules}");
        policy::load(policy::Source { name: "p", text: &text }).policy.unwrap()
    }

    #[test]
    fn a_program_that_an_agent_could_write_approves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [program, file] = ["approve", "policy.yaml"].map(|name| folder.path().join(name));
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let text = format!("ringfence: v1\napprovals: {{ ann: {{ command: [{}] }} }}\nrules: []\n", program.display());
        fs::write(&file, text).unwrap();
        let held = |mode| {
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
            let ruling = read(&file, &[], &Trust::system(), &Pins::under(folder.path()));
            ruling.and_then(|ruling| guarded(ruling, Neighbours::Apart)).map(drop).map_err(|why| why.join("\n"))
        };
        assert_eq!(held(0o755), Ok(()));
        let open = held(0o777).unwrap_err();
        assert!(open.contains("`ann` asks what an agent could change") && open.contains("chmod o-w"), "{open}");
        assert!(held(0o644).unwrap_err().contains("is no program that can be run"));
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
