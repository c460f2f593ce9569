//! Who else could change the files that decide and record: permissions of a path and of every folder and link on the way to it.
//!
//! What is looked at: owner and permission bits, in which POSIX ACLs show as the group's. What is not: capabilities (root on this machine can
//! write anything), mounts into other namespaces, and changes after the look. What is mounted read-only here counts as closed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Uid;

use super::settings::{Anchor, Listen, Settings};
use crate::limits::SYMLINKS_MAX;

/// How close the agents are to our files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// They have users of their own (another host, another user namespace, a container that shares no folder but what was mounted): user ids
    /// mean nothing between us, and only what everybody may write is open to them.
    Apart,
    /// Their user ids are those of this machine: only root and the proxy's own user may be able to write.
    SameUsers,
}

/// A file or folder of ours that somebody else could change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// What is open; a folder on the way to the file that was asked about, perhaps.
    pub path: PathBuf,
    /// How.
    pub why: Why,
}

/// How a file is open to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The permission bits of "others".
    Everybody,
    /// The permission bits of the group, or an ACL.
    Group(u32),
    /// Another user owns it.
    Owner(u32),
    /// It cannot be told, because the path cannot be followed.
    Unknown(String),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Everybody => write!(f, "{path} can be written by everybody (chmod o-w {path})"),
            Why::Group(gid) => write!(f, "{path} can be written by group {gid} (chmod g-w {path})"),
            Why::Owner(uid) => {
                let us = Uid::effective();
                write!(f, "{path} belongs to user {uid}, who can write it (chown {us} {path})")
            }
            Why::Unknown(error) => write!(f, "{path} cannot be looked at: {error} (let this user search its folders)"),
        }
    }
}

impl Settings {
    /// How close the configured agents are: whoever reaches a listener on loopback runs on this machine's users.
    pub fn neighbours(&self) -> Neighbours {
        if self.listeners.iter().any(Listen::on_loopback) { Neighbours::SameUsers } else { Neighbours::Apart }
    }

    /// The paths of this configuration that an agent's user could write, with the key that names each.
    pub fn exposures(&self) -> Vec<(&'static str, Exposure)> {
        let paths = [
            ("--config", &self.file),
            ("policy", &self.policy),
            ("audit.dir", &self.audit.dir),
            ("ca.dir", &self.ca.dir),
        ];
        let anchor = match &self.audit.anchor {
            // Whoever can put an older checkpoint there can roll the log back with it.
            Some(Anchor::File(path)) => Some(("audit.anchor", path)),
            _ => None,
        };
        let looked =
            paths.into_iter().chain(anchor).map(|(key, path)| (key, writable_by_others(path, self.neighbours())));
        looked.filter_map(|(key, exposure)| Some((key, exposure?))).collect()
    }
}

/// Whether somebody besides root and this process's user could change what stands at an absolute path, by writing it or by putting
/// something else in its place. A path that does not exist yet is judged by the folders that do.
pub fn writable_by_others(path: &Path, neighbours: Neighbours) -> Option<Exposure> {
    let way = match way_to(path) {
        Ok(way) => way,
        Err((at, error)) => return Some(Exposure { path: at, why: Why::Unknown(error.to_string()) }),
    };
    way.into_iter().find_map(|step| open_to(&step, neighbours).map(|why| Exposure { path: step.path, why }))
}

/// Who else could change one step of the way.
fn open_to(step: &Step, neighbours: Neighbours) -> Option<Why> {
    let Step { path, meta, last } = step;
    // Whoever sees it as we do cannot write it either. (A container's configuration, mounted read-only, belongs to whoever wrote it outside.)
    if !meta.is_symlink() && statvfs(path).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY)) {
        return None;
    }
    let trusted = meta.uid() == 0 || meta.uid() == Uid::effective().as_raw();
    if !trusted && neighbours == Neighbours::SameUsers {
        return Some(Why::Owner(meta.uid()));
    }
    // In a sticky folder others may make files, but not take away ours. Only a folder of ours itself must not get new files either. The
    // permission bits of a symbolic link mean nothing.
    if meta.is_symlink() || (!last && meta.mode() & STICKY != 0) {
        return None;
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        return Some(Why::Everybody);
    }
    let group = meta.mode() & GROUP_WRITE != 0 && neighbours == Neighbours::SameUsers;
    group.then(|| Why::Group(meta.gid()))
}

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// One file, folder or link that is met on the way.
struct Step {
    path: PathBuf,
    meta: Metadata,
    /// The path itself and not a folder on the way.
    last: bool,
}

/// Every step that the kernel takes from the root to a path, links included, as far as they exist.
fn way_to(path: &Path) -> Result<Vec<Step>, (PathBuf, io::Error)> {
    let mut way = Vec::new();
    let mut here = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    let mut links = 0;
    push_front(&mut ahead, path);
    let look = |at: &Path| fs::symlink_metadata(at).map_err(|error| (at.to_owned(), error));
    way.push(Step { meta: look(&here)?, path: here.clone(), last: ahead.is_empty() });
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let meta = match look(&next) {
            Ok(meta) => meta,
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let link = meta.is_symlink();
        way.push(Step { path: next.clone(), meta, last: ahead.is_empty() && !link });
        if !link {
            here = next;
            continue;
        }
        links += 1;
        let target = fs::read_link(&next).map_err(|error| (next.clone(), error))?;
        if links > SYMLINKS_MAX {
            return Err((next, io::Error::other("too many symbolic links")));
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        push_front(&mut ahead, &target);
    }
    Ok(way)
}

fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
