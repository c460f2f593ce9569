//! `resolv.conf` at the stub and `hosts` with nothing but ourselves, whatever the host's look like.
//!
//! `hosts` is replaced because a name that it answers would never be asked of the stub: the agent would then dial an address of
//! the host's choosing, and the name would show in no DNS record. With the stub every name is decided and recorded.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use super::{
    error::{At, FenceError, Step},
    mounts,
};
use crate::limits::FENCE_RUN_BYTES_MAX;

/// Shows the file `source`, which lies in a private tmpfs, at `target`, a path below `/etc`.
///
/// 1. There is a file, maybe behind links: it is covered.
/// 2. There is a link into a folder of ours (`/run/systemd/resolve/…`), which is empty: the file is made there.
/// 3. There is nothing, or a link to nothing: as the host's `/etc` must not change, a copy made of mounts takes its place.
pub(super) fn place(source: &Path, target: &Path, private: &[PathBuf]) -> Result<(), FenceError> {
    let contents = fs::read(source).at_path(Step::Names, source)?;
    if target.is_file() {
        mounts::bind(source, target).at_path(Step::Names, target)?;
    } else if let Some(end) = link_end(target).filter(|end| private.iter().any(|folder| end.starts_with(folder))) {
        let parent = end.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).at_path(Step::Names, parent)?;
        fs::write(&end, &contents).at_path(Step::Names, &end)?;
    }
    if !shows(target, &contents) {
        rebuild_folder(target)?;
        mounts::bind(source, target).at_path(Step::Names, target)?;
    }
    if shows(target, &contents) {
        return Ok(());
    }
    Err(FenceError::new(Step::Names, target.display().to_string(), io::Error::from_raw_os_error(libc::ENOENT)))
}

fn shows(target: &Path, contents: &[u8]) -> bool {
    fs::read(target).is_ok_and(|bytes| bytes == contents)
}

/// Where a chain of links ends, by name alone: its end need not exist.
fn link_end(link: &Path) -> Option<PathBuf> {
    let mut path = link.to_path_buf();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(next) => path = plain(&path.parent()?.join(next)),
            Err(_) => return (path != link).then_some(path),
        }
    }
    None
}

/// Takes `.` and `..` out of an absolute path, by name.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Covers the folder of `target` with a tmpfs in which everything that was there is mounted or linked again, and `target` is an empty
/// file. What is made in the folder later stays in the fence.
fn rebuild_folder(target: &Path) -> Result<(), FenceError> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).at_path(Step::Names, folder)? {
        let path = entry.at_path(Step::Names, folder)?.path();
        if path == target {
            continue;
        }
        let kind = fs::symlink_metadata(&path).at_path(Step::Names, &path)?.file_type();
        let kept = if kind.is_symlink() {
            Kept::Link(fs::read_link(&path).at_path(Step::Names, &path)?)
        } else {
            let tree = mounts::detach(&path).at_path(Step::Names, &path)?;
            if kind.is_dir() { Kept::Folder(tree) } else { Kept::File(tree) }
        };
        entries.push((path, kept));
    }
    mounts::cover(folder, "0755", FENCE_RUN_BYTES_MAX).at_path(Step::Names, folder)?;
    for (path, kept) in entries {
        match kept {
            Kept::Link(to) => symlink(to, &path).at_path(Step::Names, &path)?,
            Kept::Folder(tree) => {
                fs::create_dir(&path).at_path(Step::Names, &path)?;
                mounts::attach(&tree, &path).at_path(Step::Names, &path)?;
            }
            Kept::File(tree) => {
                fs::File::create(&path).at_path(Step::Names, &path)?;
                mounts::attach(&tree, &path).at_path(Step::Names, &path)?;
            }
        }
    }
    fs::File::create(target).at_path(Step::Names, target).map(drop)
}

enum Kept {
    Link(PathBuf),
    Folder(std::os::fd::OwnedFd),
    File(std::os::fd::OwnedFd),
}

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_links_whose_end_does_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir(base.join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", base.join("etc/resolv.conf")).unwrap();
        symlink("resolv.conf", base.join("etc/again")).unwrap();
        symlink("around", base.join("etc/around")).unwrap();
        assert_eq!(link_end(&base.join("etc/resolv.conf")), Some(base.join("run/resolve/stub.conf")));
        assert_eq!(link_end(&base.join("etc/again")), Some(base.join("run/resolve/stub.conf")));
        assert_eq!(link_end(&base.join("etc/around")), None);
        assert_eq!(link_end(&base.join("etc/missing")), None);
    }
}
