//! The first process in new namespaces, and the id maps that only its parent may write.

use std::{fs, io};

use nix::unistd::{Pid, getegid, geteuid};

use super::error::{At, FenceError, Step};

/// Forks into new user, network, mount, pid, ipc and cgroup namespaces. `None` in the child, which is pid 1 there.
///
/// The process must have one thread, or the child could find locks held by threads that it does not have.
pub(super) fn clone() -> Result<Option<Pid>, FenceError> {
    let threads = fs::read_dir("/proc/self/task").at(Step::Threads, "/proc/self/task")?.count();
    if threads != 1 {
        return Err(FenceError::new(Step::Threads, threads.to_string(), io::Error::from_raw_os_error(libc::EBUSY)));
    }
    let spaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP;
    let flags = libc::c_long::from(spaces | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child gets a copy of everything, and this process has one thread.
    let answer = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    match i32::try_from(answer) {
        Ok(0) => Ok(None),
        Ok(child) if child > 0 => Ok(Some(Pid::from_raw(child))),
        _ => Err(FenceError::new(Step::Clone, "", io::Error::last_os_error())),
    }
}

/// Maps ids of the child's user namespace to the same ids outside: all of ours for root, so that files keep their owners; our own for
/// anybody else, which is all that the kernel permits without a helper.
pub(super) fn map_ids(child: Pid) -> Result<(), FenceError> {
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{child}/{name}");
        fs::write(&path, text).at(Step::IdMap, path)
    };
    if geteuid().is_root() {
        for name in ["uid_map", "gid_map"] {
            let path = format!("/proc/self/{name}");
            let ours = fs::read_to_string(&path).at(Step::IdMap, path)?;
            write(name, &identity(&ours))?;
        }
        return Ok(());
    }
    write("setgroups", "deny")?;
    write("uid_map", &format!("{0} {0} 1\n", geteuid()))?;
    write("gid_map", &format!("{0} {0} 1\n", getegid()))
}

/// `inside outside count` lines of a map, with each inside mapped to itself.
fn identity(map: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    map.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_every_range_of_ours_to_itself() {
        assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
        assert_eq!(identity(""), "");
    }
}
