//! The kernel, and what it grants this process: version, io_uring, seccomp, cores, clock.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;

use super::Finding;
use crate::config::Engine;
use crate::io::engine::{self, Choice};

pub(super) fn look(wanted: Option<Engine>) -> Vec<Finding> {
    vec![version(), ring(wanted), seccomp(), cores(), clock()]
}

/// 5.4 is the oldest that the engine's epoll backend and the fence's mounts could run on; 5.12 is what the fence asks for (`mount_setattr`).
fn version() -> Finding {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers =
        release.split(|mark: char| !mark.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 12) {
        Finding::ok("kernel", release)
    } else {
        Finding::miss("kernel", format!("{release}: Linux 5.12 or newer is needed"))
    }
}

fn ring(wanted: Option<Engine>) -> Finding {
    let subject = "io_uring";
    if wanted == Some(Engine::Epoll) {
        return Finding::ok(subject, "not wanted: the configuration says epoll");
    }
    match engine::select(Choice::Uring) {
        Ok(_) => Finding::ok(subject, "granted"),
        Err(error) => {
            let text = format!("refused: {error}; {}; until then epoll serves", why_no_ring(&error));
            Finding::miss(subject, text).needed(wanted == Some(Engine::Uring))
        }
    }
}

fn why_no_ring(error: &io::Error) -> String {
    let disabled = number("/proc/sys/kernel/io_uring_disabled");
    // The engine names the call in its errors, and keeps their kind.
    match error.kind() {
        _ if disabled == Some(2) => "it is switched off: sysctl -w kernel.io_uring_disabled=0".to_owned(),
        io::ErrorKind::PermissionDenied if disabled == Some(1) => {
            "it is switched off for ordinary users: put this user into the group kernel.io_uring_group".to_owned()
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            if status_field("Seccomp").as_deref() == Some("2") =>
        {
            "a seccomp profile denies it: run with one that allows io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        io::ErrorKind::Unsupported => "the kernel has none: CONFIG_IO_URING".to_owned(),
        io::ErrorKind::OutOfMemory => {
            let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
            format!(
                "RLIMIT_MEMLOCK is {limit} bytes for all processes of this user: raise it (ulimit -l, or LimitMEMLOCK=)"
            )
        }
        _ => "Linux 6.1 has all that is asked of it".to_owned(),
    }
}

fn seccomp() -> Finding {
    let text = match status_field("Seccomp").as_deref() {
        Some("0") => "no filter on this process",
        Some("2") => "a filter is on this process (a container's profile, say)",
        Some("1") => "strict mode",
        _ => "the kernel does not tell",
    };
    Finding::ok("seccomp", text)
}

/// A quota below the number of cores shows as throttling at the worst percentiles.
fn cores() -> Finding {
    let subject = "cores";
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() == 1 => Finding::note(
            subject,
            "1, by affinity or CPU quota: workers never spin; latency is best with one core more than workers",
        ),
        Ok(cores) => Finding::ok(subject, format!("{cores}, by affinity and CPU quota")),
        Err(error) => Finding::note(subject, format!("cannot be counted: {error}")),
    }
}

/// Certificates that we sign begin now, and logs are read by their time.
fn clock() -> Finding {
    let built = SystemTime::UNIX_EPOCH + BUILT_AFTER;
    let now = SystemTime::now();
    // Our own file cannot be from the future, but for a day of time zones and careless archives.
    let binary = std::env::current_exe().and_then(fs::metadata).and_then(|file| file.modified());
    let day = Duration::from_secs(24 * 3600);
    if now < built || binary.is_ok_and(|modified| now + day < modified) {
        return Finding::miss(
            "clock",
            "it is behind this program's own making: set it, or certificates will not be valid",
        );
    }
    Finding::ok("clock", "plausible")
}

/// A field of our `/proc/self/status`.
fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The number in a file of `/proc/sys`.
pub(super) fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// 2026-01-01, in seconds of the epoch.
const BUILT_AFTER: Duration = Duration::from_secs(1_767_225_600);
