//! The files of a configuration: policy, audit log, authority, and who else could change them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::config::{Exempt, Exposure, Settings, Why};
use crate::io::companions;
use crate::io::mint::{KEY_FILE, StoredCertificate};
use crate::policy::Severity;

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        policy(&settings.policy, &settings.agt_unsupplied),
        audit(&settings.audit.dir),
        authority(&settings.ca.dir),
    ];
    // The proxy's own user may write its files, also when it is another user who looks.
    let own = |exposure: &Exposure| matches!((&exposure.why, &settings.exempt), (Why::Owner(owner), Some(Exempt::Uid(user))) if owner == user);
    let mut exposures = settings.exposures();
    exposures.retain(|(_, exposure)| !own(exposure));
    findings.extend(exposures.iter().map(|(key, exposure)| Finding::miss("files", format!("{key}: {exposure}"))));
    if exposures.is_empty() {
        findings.push(Finding::ok("files", "nobody else can change configuration, policy, log or authority"));
    }
    findings
}

fn policy(file: &Path, unsupplied: &[String]) -> Finding {
    let (subject, name) = ("policy", file.display().to_string());
    let loaded = match companions::load(file, unsupplied) {
        Ok(loaded) => loaded,
        Err(error) => return Finding::miss(subject, format!("{name}: {error}")),
    };
    match loaded.policy {
        Some(policy) => Finding::ok(subject, format!("{name}, {} rules", policy.outline().len())),
        None => {
            let first = loaded.problems.iter().find(|problem| problem.severity == Severity::Error);
            Finding::miss(subject, first.map_or(name, ToString::to_string))
        }
    }
}

fn audit(dir: &Path) -> Finding {
    let subject = "audit log";
    // What does not exist yet is made at the first start, in the nearest folder that does.
    let Some(there) = dir.ancestors().find(|folder| folder.exists()) else {
        return Finding::miss(subject, format!("{}: no part of the path exists", dir.display()));
    };
    if let Err(error) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        return Finding::miss(
            subject,
            format!("{} cannot be written: {error}; let this user write it", there.display()),
        );
    }
    let kind = statfs(there).map(|system| system.filesystem_type());
    let text = |name: &str| format!("{} on {name}", dir.display());
    match kind {
        Ok(kind) if MEMORY.contains(&kind) => {
            Finding::miss(subject, text("tmpfs, which a restart loses: put it on a volume"))
        }
        Ok(kind) if REMOTE.contains(&kind) => {
            Finding::note(subject, text("a network file system: each sync waits for it, and locks may not hold there"))
        }
        Ok(kind) => Finding::ok(
            subject,
            text(LOCAL.iter().find(|(known, _)| *known == kind).map_or("a local file system", |(_, name)| name)),
        ),
        Err(error) => Finding::note(subject, text(&format!("a file system that does not tell its kind: {error}"))),
    }
}

const MEMORY: [FsType; 1] = [nix::sys::statfs::TMPFS_MAGIC];
const REMOTE: [FsType; 2] = [nix::sys::statfs::NFS_SUPER_MAGIC, nix::sys::statfs::SMB_SUPER_MAGIC];
const LOCAL: [(FsType, &str); 4] = [
    (nix::sys::statfs::EXT4_SUPER_MAGIC, "ext4"),
    (nix::sys::statfs::XFS_SUPER_MAGIC, "xfs"),
    (nix::sys::statfs::BTRFS_SUPER_MAGIC, "btrfs"),
    (nix::sys::statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs: a container's own layer, which goes with it; use a volume"),
];

fn authority(dir: &Path) -> Finding {
    let subject = "authority";
    let stored = match StoredCertificate::read(dir) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Finding::ok(subject, format!("{}: made at the first start", dir.display())),
        Err(error) => return Finding::miss(subject, error.to_string()),
    };
    if let Err(error) = stored.check(SystemTime::now()) {
        return Finding::miss(subject, error.to_string());
    }
    let key = dir.join(KEY_FILE);
    match fs::metadata(&key) {
        Ok(file) if file.mode() & 0o077 != 0 => {
            Finding::miss(subject, format!("{0} is open to others: chmod 600 {0}", key.display()))
        }
        Ok(_) if File::open(&key).is_err() => {
            Finding::miss(subject, format!("{} cannot be read by this user", key.display()))
        }
        Ok(_) => Finding::ok(subject, format!("{}, valid until {}", dir.display(), stored.validity().1)),
        Err(error) => {
            Finding::miss(subject, format!("{}: {error}; restore it, or move the folder away", key.display()))
        }
    }
}
