//! The exempt control group: the kernel compares numbers, people know paths.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::error::{self, RedirectError};
use crate::io::nftables::Term;

/// The condition "of this control group or one below". The path counts from the root of the version 2 hierarchy that is mounted here.
pub(super) fn find(path: &Path) -> Result<Term, RedirectError> {
    let refused = |error: io::Error| error::cgroup(path, error);
    let steps = path.components().filter(|step| !matches!(step, Component::RootDir | Component::CurDir));
    let names: Option<Vec<&str>> = steps
        .map(|step| match step {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let names = names.filter(|names| !names.is_empty() && names.iter().all(|name| !name.contains(['"', '\n'])));
    let names = names.ok_or_else(|| refused(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(refused)?;
    let root = root(&mounts).ok_or_else(|| error::no_cgroup_mount(path))?;
    // The inode number of a group's folder is the group's id (kernfs, on 64-bit machines).
    let metadata = fs::metadata(root.join(names.join("/"))).map_err(refused)?;
    let level = u32::try_from(names.len()).unwrap_or(u32::MAX);
    // nft counts paths from /sys/fs/cgroup, wherever the hierarchy is mounted below.
    let below = root.strip_prefix("/sys/fs/cgroup").unwrap_or(Path::new(""));
    let shown = below.join(names.join("/")).display().to_string();
    Ok(Term::Cgroup { path: shown, id: metadata.ino(), level })
}

/// Where the version 2 hierarchy is mounted.
fn root(mounts: &str) -> Option<PathBuf> {
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut fields| {
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_beside_the_old_ones() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\nnone /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root(mounts).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(root("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_path_that_is_no_group_below_the_root_is_refused() {
        for path in ["", "/", "../system.slice", "a\"b", "no/such/group"] {
            assert!(find(Path::new(path)).is_err(), "{path}");
        }
    }
}
