//! The host's path sockets. A path socket is a door that no network namespace closes: whoever can name it can connect to it.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::FileTypeExt,
    },
    path::{Path, PathBuf},
};

/// The absolute paths, canonical where we can get there, of all path sockets bound in the network namespace of the caller, as `/proc/net/unix` shows them now. Paths bound
/// relatively are completed from the working folder of a process that holds the socket, where one can be seen.
pub(super) fn list() -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut relative = Vec::new();
    for (inode, name) in parse(&fs::read("/proc/net/unix")?) {
        if name.is_absolute() { paths.push(name) } else { relative.push((inode, name)) }
    }
    if !relative.is_empty() {
        paths.extend(complete(&relative));
    }
    for path in &mut paths {
        if let Ok(canonical) = fs::canonicalize(&*path) {
            *path = canonical;
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Whether a socket shows at this path now; no when we cannot get there, for then neither can the command.
pub(super) fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// `Num RefCount Protocol Flags Type St Inode Path`: inode and path of each line that has a path and not an abstract name.
fn parse(text: &[u8]) -> Vec<(u64, PathBuf)> {
    text.split(|byte| *byte == b'\n').skip(1).filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<(u64, PathBuf)> {
    // The columns are padded with blanks, and the path, which is the rest after exactly one blank, may hold some.
    let mut rest = line;
    let mut field = &line[..0];
    for _ in 0..7 {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let after = &rest[start..];
        let end = after.iter().position(|byte| *byte == b' ')?;
        (field, rest) = after.split_at(end);
    }
    let inode = std::str::from_utf8(field).ok()?.parse().ok()?;
    let path = rest.strip_prefix(b" ").filter(|path| !path.is_empty() && path[0] != b'@')?;
    Some((inode, PathBuf::from(OsString::from_vec(path.to_vec()))))
}

/// Joins relative names to the working folders of the processes that hold them. Processes of other users cannot be looked into, nor
/// can a process that changed its folder after binding be found out; both are left open, as the decision record says.
fn complete(relative: &[(u64, PathBuf)]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return paths };
    for process in processes.flatten() {
        let is_number = process.file_name().as_bytes().iter().all(u8::is_ascii_digit);
        let Some(descriptors) = is_number.then(|| fs::read_dir(process.path().join("fd")).ok()).flatten() else {
            continue;
        };
        for link in descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok()) {
            let Some((_, name)) =
                relative.iter().find(|(inode, _)| link.as_os_str() == format!("socket:[{inode}]").as_str())
            else {
                continue;
            };
            if let Ok(folder) = fs::read_link(process.path().join("cwd")) {
                paths.push(folder.join(name));
            }
        }
    }
    paths.retain(|path| is_socket(path));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_with_blanks_and_skips_abstract_and_unnamed_sockets() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000052a2f1b6: 00000003 00000000 00000000 0001 03  1251\n\
            0000000052a2f1b7: 00000002 00000000 00010000 0001 01 12345 /run/docker.sock\n\
            0000000052a2f1b8: 00000002 00000000 00010000 0001 01     7 /tmp/with  two blanks\n\
            0000000052a2f1b9: 00000002 00000000 00010000 0001 01     8 @/tmp/.X11-unix/X0\n\
            0000000052a2f1ba: 00000002 00000000 00010000 0001 01     9 relative.sock\n";
        let expected: Vec<(u64, PathBuf)> =
            vec![(12345, "/run/docker.sock".into()), (7, "/tmp/with  two blanks".into()), (9, "relative.sock".into())];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn sees_a_socket_bound_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(list().unwrap().contains(&path));
        assert!(is_socket(&path));
        assert!(!is_socket(folder.path()));
    }
}
