//! Why a fence could not be raised: the step, what it was about, the kernel's answer and what mends it.
//!
//! A fence that cannot be raised completely is not raised at all, so there is one error type and each of its values ends `ringfence run`
//! with exit code 125. The steps that pid 1 takes fail in another process; they travel to ringfence as a step number, an errno and the subject.

use std::{fmt, io, path::Path};

/// What was being done when raising the fence failed. Its [`fmt::Display`] is the sentence a user reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Reading the number of our own threads; more than one makes forking unsafe.
    Threads,
    /// Looking at file descriptors 0, 1 and 2.
    StandardStream,
    /// Finding or re-entering the working directory.
    WorkingDirectory,
    /// Turning the command and its environment into C strings.
    Command,
    /// Reading which path sockets exist.
    UnixSockets,
    /// Finding a file or folder that the plan hides.
    Hide,
    /// Finding a path that the plan exposes.
    Expose,
    /// Signals, sockets and descriptors between ringfence and pid 1 of the fence.
    Control,
    /// `clone(2)` with new namespaces.
    Clone,
    /// Writing `uid_map`, `gid_map` or `setgroups`.
    IdMap,
    /// Bringing the loopback link up.
    Link,
    /// Adding the agent's address to the loopback link.
    Address,
    /// Making every address local.
    Route,
    /// Loading the redirect rules.
    Rules,
    /// Binding the listeners inside the fence.
    Listener,
    /// Making mounts private, or hiding device nodes.
    Mounts,
    /// Mounting a fresh `/proc`.
    Proc,
    /// Making a kernel file system read-only.
    ReadOnly,
    /// Building the minimal `/dev`.
    Devices,
    /// Covering `/run` and its like with empty folders.
    Runtime,
    /// Placing `resolv.conf`, `hosts` and the trust bundle.
    Names,
    /// Covering a path socket.
    Mask,
    /// Giving up capabilities.
    Capabilities,
    /// Loading the system call filter.
    Seccomp,
    /// Entering a namespace that somebody else made.
    Enter,
    /// Finding nothing but loopback there.
    OwnNetwork,
    /// Starting the command as a process.
    Fork,
    /// Waiting for pid 1 of the fence.
    Wait,
}

/// The fence is not up, and the command has not run.
#[derive(Debug)]
pub struct FenceError {
    step: Step,
    subject: String,
    source: io::Error,
}

impl FenceError {
    pub(super) fn new(step: Step, subject: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { step, subject: subject.into(), source: source.into() }
    }

    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// What the operator can do about it; one sentence.
    #[must_use]
    pub fn remedy(&self) -> String {
        remedy(self.step, self.source.raw_os_error(), &Host::look())
    }

    /// Step, errno and subject, for the way from pid 1 to ringfence. [`FenceError::decode`] is its inverse.
    pub(super) fn encode(&self) -> Vec<u8> {
        let errno = self.source.raw_os_error().unwrap_or(libc::EIO);
        let mut bytes = vec![self.step as u8];
        bytes.extend_from_slice(&errno.to_ne_bytes());
        bytes.extend_from_slice(self.subject.as_bytes());
        bytes
    }

    /// `None` when the bytes are no encoded error.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (step, rest) = bytes.split_first()?;
        let (errno, subject) = rest.split_first_chunk::<4>()?;
        let step = *STEPS.iter().find(|known| **known as u8 == *step)?;
        let source = io::Error::from_raw_os_error(i32::from_ne_bytes(*errno));
        Some(Self { step, subject: String::from_utf8_lossy(subject).into_owned(), source })
    }
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot raise the fence: {}", self.step)?;
        if !self.subject.is_empty() {
            write!(f, " ({})", self.subject)?;
        }
        write!(f, ": {}; {}", self.source, self.remedy())
    }
}

impl std::error::Error for FenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "the process has more than one thread",
            Self::StandardStream => {
                "a standard stream is a folder, through which the command could walk around the masks"
            }
            Self::WorkingDirectory => "the working directory cannot be kept",
            Self::Command => "the command cannot be passed to the kernel",
            Self::UnixSockets => "the host's sockets cannot be listed",
            Self::Hide => "a path that must be hidden cannot be found",
            Self::Expose => "a path cannot be exposed",
            Self::Control => "the channel into the fence failed",
            Self::Clone => "new namespaces were refused",
            Self::IdMap => "the user namespace's id map was refused",
            Self::Link => "the loopback link cannot be brought up",
            Self::Address => "the agent's address cannot be set",
            Self::Route => "the agent's routes cannot be set",
            Self::Rules => "the redirect rules were refused",
            Self::Listener => "the listeners inside cannot be bound",
            Self::Mounts => "the mounts cannot be made private",
            Self::Proc => "a fresh /proc was refused",
            Self::ReadOnly => "a kernel file system cannot be made read-only",
            Self::Devices => "a minimal /dev cannot be built",
            Self::Runtime => "an empty runtime folder cannot be mounted",
            Self::Names => "the agent's name files cannot be placed",
            Self::Mask => "a host path cannot be masked",
            Self::Capabilities => "capabilities cannot be given up",
            Self::Seccomp => "the system call filter was refused",
            Self::Enter => "the container's network namespace cannot be entered",
            Self::OwnNetwork => "the container has a way out of its own",
            Self::Fork => "the command cannot be started",
            Self::Wait => "the fence's first process was lost",
        })
    }
}

/// Names the failed step and its subject at the place where the kernel answered.
pub(super) trait At<T> {
    /// Turns the kernel's answer into a [`FenceError`].
    fn at(self, step: Step, subject: impl Into<String>) -> Result<T, FenceError>;
    /// As [`At::at`], with a path as the subject.
    fn at_path(self, step: Step, subject: &Path) -> Result<T, FenceError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step, subject: impl Into<String>) -> Result<T, FenceError> {
        self.map_err(|error| FenceError::new(step, subject, error))
    }
    fn at_path(self, step: Step, subject: &Path) -> Result<T, FenceError> {
        self.map_err(|error| FenceError::new(step, subject.display().to_string(), error))
    }
}

/// What about this machine decides which remedy helps.
struct Host {
    container: bool,
    user_namespaces_max: Option<u64>,
    unprivileged_clone_off: bool,
    apparmor_restricts: bool,
}

impl Host {
    fn look() -> Self {
        let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        Self {
            container: Path::new("/.dockerenv").exists()
                || Path::new("/run/.containerenv").exists()
                || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            user_namespaces_max: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
        }
    }
}

fn remedy(step: Step, errno: Option<i32>, host: &Host) -> String {
    let text = match (step, errno) {
        (Step::Clone, Some(libc::ENOSPC)) if host.user_namespaces_max == Some(0) => {
            "user namespaces are switched off: sysctl -w user.max_user_namespaces=16384"
        }
        (Step::Clone, Some(libc::ENOSPC)) => {
            "too many namespaces exist or they nest too deeply: raise user.max_{user,net,mnt,pid}_namespaces or run ringfence less deep"
        }
        (Step::Clone, Some(libc::EPERM | libc::ENOSYS)) if host.container => {
            "the container's seccomp profile refuses namespaces: run ringfence outside the container, as its sidecar (`ringfence proxy`), or with --security-opt seccomp=unconfined"
        }
        (Step::Clone, Some(libc::EPERM)) if host.unprivileged_clone_off => {
            "unprivileged user namespaces are switched off: sysctl -w kernel.unprivileged_userns_clone=1, or run as root"
        }
        (Step::Clone, Some(libc::EPERM)) if host.user_namespaces_max == Some(0) => {
            "user namespaces are switched off: sysctl -w user.max_user_namespaces=16384"
        }
        (Step::Clone, Some(libc::EINVAL)) => {
            "the kernel lacks user, network, pid, mount, ipc or cgroup namespaces: use one built with them"
        }
        (Step::Clone, _) => {
            "ask for CLONE_NEWUSER to be permitted (seccomp, chroot and security modules can refuse it), or run as root"
        }
        (Step::IdMap | Step::Link | Step::Mounts, Some(libc::EPERM | libc::EACCES)) if host.apparmor_restricts => {
            "AppArmor restricts unprivileged user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give ringfence a profile with `userns,`, or run as root"
        }
        (Step::IdMap, _) => {
            "root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP here; an ordinary user needs none, so run as one"
        }
        (Step::Proc, _) if host.container => {
            "the container masks parts of /proc: run ringfence outside, as a sidecar (`ringfence proxy`), or with --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked)"
        }
        (Step::Proc, _) => {
            "something is mounted below /proc, which keeps the kernel from giving a fresh one: unmount it"
        }
        (Step::Rules, Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)) => {
            "the kernel needs nf_tables with NAT: modprobe -a nf_tables nft_chain_nat nft_redir"
        }
        (Step::Threads, _) => "this is a fault of ringfence: the fence must be raised before any thread is started",
        (Step::StandardStream, _) => "redirect it from a file or /dev/null instead",
        (Step::WorkingDirectory, _) => {
            "start from a folder that the command may see (not below /run, the state or the audit folder)"
        }
        (Step::Command, _) => "arguments and variables cannot contain a NUL byte, and there must be a command",
        (Step::Hide, _) => "create it before the fence is raised, or name one that exists",
        (Step::Expose, _) => "name an existing socket, file or folder, not /, /run, /proc, /sys or /dev itself",
        (Step::ReadOnly, Some(libc::ENOSYS)) => "Linux 5.12 or newer is needed",
        (Step::Mask, Some(libc::ENOSPC)) => "too many mounts: raise fs.mount-max or remove stale sockets",
        (Step::Seccomp, _) => "the kernel needs CONFIG_SECCOMP_FILTER",
        (Step::Enter, _) => "entering needs CAP_SYS_ADMIN: run the proxy as root on the container's host",
        (Step::OwnNetwork, _) => "start the container with `--network none`",
        (_, Some(libc::EMFILE | libc::ENFILE)) => "raise the limit of open files (ulimit -n)",
        (_, Some(libc::ENOMEM)) => "free some memory",
        _ if host.container => "run ringfence outside the container or as its sidecar (`ringfence proxy`)",
        _ => "`ringfence doctor` shows what this machine lacks",
    };
    text.to_owned()
}

const STEPS: [Step; 28] = [
    Step::Threads,
    Step::StandardStream,
    Step::WorkingDirectory,
    Step::Command,
    Step::UnixSockets,
    Step::Hide,
    Step::Expose,
    Step::Control,
    Step::Clone,
    Step::IdMap,
    Step::Link,
    Step::Address,
    Step::Route,
    Step::Rules,
    Step::Listener,
    Step::Mounts,
    Step::Proc,
    Step::ReadOnly,
    Step::Devices,
    Step::Runtime,
    Step::Names,
    Step::Mask,
    Step::Capabilities,
    Step::Seccomp,
    Step::Enter,
    Step::OwnNetwork,
    Step::Fork,
    Step::Wait,
];

const _: () = assert!(STEPS.len() == Step::Wait as usize + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_way_out_of_the_fence() {
        for step in STEPS {
            let sent = FenceError::new(step, "/a path", io::Error::from_raw_os_error(libc::EPERM));
            let received = FenceError::decode(&sent.encode()).unwrap();
            assert_eq!(received.step(), step);
            assert_eq!(received.to_string(), sent.to_string());
        }
    }

    #[test]
    fn rejects_what_is_no_error() {
        assert!(FenceError::decode(&[]).is_none());
        assert!(FenceError::decode(&[0, 1, 2]).is_none());
        assert!(FenceError::decode(&[255, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn remedies_name_the_switch_that_is_off() {
        let host = |change: fn(&mut Host)| {
            let mut host = Host {
                container: false,
                user_namespaces_max: Some(9),
                unprivileged_clone_off: false,
                apparmor_restricts: false,
            };
            change(&mut host);
            host
        };
        let says = |step, errno, host: Host, part: &str| {
            let text = remedy(step, Some(errno), &host);
            assert!(text.contains(part), "{text}");
        };
        says(Step::Clone, libc::ENOSPC, host(|h| h.user_namespaces_max = Some(0)), "user.max_user_namespaces");
        says(Step::Clone, libc::EPERM, host(|h| h.unprivileged_clone_off = true), "unprivileged_userns_clone");
        says(Step::Clone, libc::EPERM, host(|h| h.container = true), "seccomp=unconfined");
        says(Step::Link, libc::EPERM, host(|h| h.apparmor_restricts = true), "apparmor_restrict_unprivileged_userns");
        says(Step::Proc, libc::EPERM, host(|h| h.container = true), "systempaths=unconfined");
        says(Step::Rules, libc::ENOENT, host(|_| ()), "nft_redir");
    }
}
