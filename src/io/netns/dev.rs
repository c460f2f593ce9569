//! A `/dev` with the nodes that programs expect and none that reaches hardware, other terminals or raw disks.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;

use super::{
    error::{At, FenceError, Step},
    mounts,
};
use crate::limits::{FENCE_DEV_BYTES_MAX, FENCE_SHM_BYTES_MAX};

/// Device nodes taken off the host's `/dev` before device nodes become void on every other mount.
pub(super) struct Devices {
    nodes: Vec<(&'static str, OwnedFd)>,
    console: Option<OwnedFd>,
}

impl Devices {
    pub(super) fn take() -> Result<Self, FenceError> {
        let mut nodes = Vec::with_capacity(NODES.len());
        for name in NODES {
            let path = Path::new("/dev").join(name);
            match mounts::detach(&path) {
                Ok(node) => nodes.push((name, node)),
                // Containers may lack some; only without /dev/null does hardly a program start.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name != "null" => {}
                Err(error) => return Err(FenceError::new(Step::Devices, path.display().to_string(), error)),
            }
        }
        Ok(Self { nodes, console: terminal_path().and_then(|path| mounts::detach(&path).ok()) })
    }

    /// Builds the folder over `/dev`.
    pub(super) fn place(&self) -> Result<(), FenceError> {
        let dev = Path::new("/dev");
        mounts::cover(dev, "0755", FENCE_DEV_BYTES_MAX).at_path(Step::Devices, dev)?;
        let console = self.console.as_ref().map(|node| ("console", node));
        for (name, node) in self.nodes.iter().map(|(name, node)| (*name, node)).chain(console) {
            let target = dev.join(name);
            fs::File::create(&target).at_path(Step::Devices, &target)?;
            mounts::attach(node, &target).at_path(Step::Devices, &target)?;
        }
        for (name, to) in LINKS {
            symlink(to, dev.join(name)).at_path(Step::Devices, &dev.join(name))?;
        }
        let terminals = folder(&dev.join("pts"), 0o755)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mounts::special("devpts", &terminals, flags, "newinstance,ptmxmode=0666,mode=0620")
            .at_path(Step::Devices, &terminals)?;
        let shared = folder(&dev.join("shm"), 0o1777)?;
        mounts::cover(&shared, "1777", FENCE_SHM_BYTES_MAX).at_path(Step::Devices, &shared)
    }
}

fn folder(path: &Path, mode: u32) -> Result<PathBuf, FenceError> {
    fs::create_dir(path).at_path(Step::Devices, path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at_path(Step::Devices, path)?;
    Ok(path.to_path_buf())
}

/// The host path of the terminal on a standard stream. It goes to `/dev/console`, because `ttyname` looks below `/dev` for a node
/// that is the terminal it was asked about, and the host's `/dev/pts` is gone.
fn terminal_path() -> Option<PathBuf> {
    use std::io::IsTerminal;
    let streams = [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    let path = fs::read_link(format!("/proc/self/fd/{}", streams.iter().position(|terminal| *terminal)?)).ok()?;
    let metadata = fs::metadata(&path).ok()?;
    (path.starts_with("/dev") && metadata.rdev() != 0).then_some(path)
}

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
