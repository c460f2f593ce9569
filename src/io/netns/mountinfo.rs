//! What is mounted where, from `/proc/self/mountinfo`: the other names of a path, and kernel file systems in unusual places.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `major:minor` of its file system; two mounts that share it show the same files.
    device: String,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where it is mounted.
    pub(super) at: PathBuf,
    /// `proc`, `ext4` …
    pub(super) kind: String,
}

/// Every mount of the caller's namespace, in mount order.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// proc(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let root = unescape(fields.next()?);
    let at = unescape(fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { device, root, at, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// Blanks, tabs, line feeds and backslashes stand as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The other paths under which the file at the canonical `path` shows, because its file system is mounted more than once
/// (bind mounts, `/mnt/wslg/distro`, `/var/lib/snapd/hostfs`).
pub(super) fn aliases(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    // Of mounts at the same place the last one is seen; of places the longest holds the path.
    let Some(home) = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.at))
        .max_by_key(|mount| mount.at.as_os_str().as_bytes().len())
    else {
        return Vec::new();
    };
    let Ok(below) = path.strip_prefix(&home.at) else { return Vec::new() };
    let inside = home.root.join(below);
    let others = mounts.iter().filter(|mount| mount.device == home.device && !std::ptr::eq(*mount, home));
    let shown = others.filter_map(|mount| Some(join(&mount.at, inside.strip_prefix(&mount.root).ok()?)));
    shown.filter(|alias| alias != path).collect()
}

/// Joining with an empty path would add a slash, which makes a file a folder.
fn join(base: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { base.to_path_buf() } else { base.join(below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 27 254:0 /home /mnt/my\\040home rw master:2 shared:7 - ext4 /dev/vda rw\n\
        31 27 0:9 / /home/ada/other rw - tmpfs tmpfs rw\n\
        32 27 254:0 /home/ada/policy.yaml /srv/policy rw - ext4 /dev/vda rw\n\
        torn line\n";

    #[test]
    fn reads_optional_fields_and_escapes() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[0].kind, "proc");
        assert_eq!(mounts[2].at, Path::new("/mnt/my home"));
        assert_eq!(mounts[2].kind, "ext4");
    }

    #[test]
    fn finds_a_path_under_its_other_mounts() {
        let mounts = parse(TABLE);
        let found = aliases(&mounts, Path::new("/home/ada/policy.yaml"));
        assert_eq!(found, [Path::new("/mnt/my home/ada/policy.yaml"), Path::new("/srv/policy")]);
        assert_eq!(aliases(&mounts, Path::new("/mnt/my home/ada")), [Path::new("/home/ada")]);
    }

    #[test]
    fn a_file_on_a_mount_of_its_own_has_no_other_name() {
        assert!(aliases(&parse(TABLE), Path::new("/home/ada/other/file")).is_empty());
        assert!(aliases(&[], Path::new("/x")).is_empty());
    }
}
