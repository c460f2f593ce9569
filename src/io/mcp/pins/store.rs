//! The files of the pins: one for each server, JSON, 0600, replaced as a whole under a lock.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Server;
use crate::limits::{PIN_FILE_BYTES_MAX, SOCKET_PATH_BYTES_MAX};

/// Why pins could not be read or written.
#[derive(Debug)]
pub enum PinError {
    /// The file or folder cannot be used.
    File(PathBuf, io::Error),
    /// The file is none of ours.
    Content(PathBuf, serde_json::Error),
    /// The file is larger than ours get, or was made for another server.
    Foreign(PathBuf),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinError::File(path, error) => write!(f, "{}: {error}", path.display()),
            PinError::Content(path, error) => {
                write!(f, "{}: no pins of ours ({error}); remove it to pin every tool anew", path.display())
            }
            PinError::Foreign(path) => {
                write!(f, "{}: no pins of ours; remove it to pin every tool anew", path.display())
            }
        }
    }
}

impl std::error::Error for PinError {}

/// The pins of a server; none where there is no file.
pub(super) fn read(folder: &Path, server: &str) -> Result<Server, PinError> {
    let path = file(folder, server);
    match content(&path)? {
        None => Ok(Server { server: server.to_owned(), ..Server::default() }),
        Some(pins) if pins.server == server => Ok(pins),
        Some(_) => Err(PinError::Foreign(path)),
    }
}

/// What tells one state of a file from another: it is replaced as a whole, so that each has an inode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

/// The state of a server's file, if there is one.
pub(super) fn stamp(folder: &Path, server: &str) -> Option<Stamp> {
    let found = fs::metadata(file(folder, server)).ok()?;
    Some(Stamp { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()) })
}

/// Changes the pins of a server, unless they stay the same. Gives what stands in the file afterwards, and the file's state.
pub(super) fn update(
    folder: &Path,
    server: &str,
    change: impl FnOnce(&mut Server),
) -> Result<(Server, Option<Stamp>), PinError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| PinError::File(path, error)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    let lock_path = folder.join(".lock");
    let mut options = OpenOptions::new();
    let lock =
        options.write(true).create(true).truncate(false).mode(0o600).open(&lock_path).map_err(failed(&lock_path))?;
    // Released when the file is closed.
    lock.lock().map_err(failed(&lock_path))?;
    let before = read(folder, server)?;
    let mut pins = before.clone();
    change(&mut pins);
    if pins == before {
        return Ok((pins, stamp(folder, server)));
    }
    let path = file(folder, server);
    let fresh = folder.join(".new");
    let text = serde_json::to_vec_pretty(&pins).map_err(|error| PinError::Content(path.clone(), error))?;
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        out.write_all(&text)?;
        out.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed(&path))?;
    Ok((pins, stamp(folder, server)))
}

/// The pins of every server.
pub(super) fn all(folder: &Path) -> Result<Vec<Server>, PinError> {
    let failed = |error| PinError::File(folder.to_owned(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut servers = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(pins) = content(&path)?
        {
            servers.push(pins);
        }
    }
    servers.sort_by(|one, other| one.server.cmp(&other.server));
    Ok(servers)
}

fn content(path: &Path) -> Result<Option<Server>, PinError> {
    let failed = |error| PinError::File(path.to_owned(), error);
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(PIN_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > PIN_FILE_BYTES_MAX {
        return Err(PinError::Foreign(path.to_owned()));
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| PinError::Content(path.to_owned(), error))
}

/// The file of a server: its name, with everything but letters, digits, `_` and `-` escaped; a long name by its digest.
fn file(folder: &Path, server: &str) -> PathBuf {
    let mut name = String::with_capacity(server.len() + 5);
    for byte in server.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > SOCKET_PATH_BYTES_MAX {
        name = super::Definition::of(server.as_bytes()).digest.replace(':', "%3A");
    }
    folder.join(name + ".json")
}
