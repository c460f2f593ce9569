//! What the command sees of the file system: the host's, minus every door. Runs in pid 1 of the fence, in its own mount namespace, with
//! the capabilities of its user namespace and before they are given up; the command can undo none of it, for lack of them, and in a
//! user namespace of its own it gets copies of these mounts that are locked.
//!
//! The order matters: what must be taken from the host's view is taken first, then folders are covered, then what was to be kept is put
//! back, then single files are masked, and what hides ringfence itself comes last so that nothing exposes it.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;

use super::{
    TRUST_BUNDLE_PATH,
    dev::Devices,
    error::{At, FenceError, Step},
    mountinfo::{self, Mount},
    mounts, names,
    path_sockets::is_socket,
};
use crate::limits::{FENCE_MASKS_MAX, FENCE_RUN_BYTES_MAX};

/// What the view is made from; every path is absolute and canonical, and was looked up before the fence was raised.
pub(super) struct View {
    pub(super) hide_dirs: Vec<PathBuf>,
    pub(super) hide_files: Vec<PathBuf>,
    pub(super) expose: Vec<PathBuf>,
    pub(super) sockets: Vec<PathBuf>,
    pub(super) runtime_dir: Option<PathBuf>,
    pub(super) working_dir: PathBuf,
    pub(super) hostname: OsString,
}

impl View {
    /// Builds it. On success the process stands in its working directory again, by path and so under the masks.
    pub(super) fn build(&self, bundle: &[u8]) -> Result<(), FenceError> {
        let before = mountinfo::read().at(Step::Mounts, "/proc/self/mountinfo")?;
        mounts::make_private().at(Step::Mounts, "/")?;
        let devices = Devices::take()?;
        let exposed = self.expose.iter().map(|path| Exposed::take(path)).collect::<Result<Vec<_>, _>>()?;
        mounts::void_devices().at(Step::Mounts, "/")?;
        fresh_proc()?;
        let private = self.cover_runtime()?;
        devices.place()?;
        for kept in &exposed {
            kept.put_back(&private)?;
        }
        self.place_files(&private, bundle)?;
        self.mask_sockets(&before)?;
        guard_kernel_files()?;
        self.hide_ourselves(&before)?;
        mounts::seal(Path::new(OWN)).at(Step::Runtime, OWN)?;
        std::env::set_current_dir(&self.working_dir).at_path(Step::WorkingDirectory, &self.working_dir)
    }

    /// Empty folders over `/run`, `/var/run` where that is no link to it, and $XDG_RUNTIME_DIR. Answers where they are.
    fn cover_runtime(&self) -> Result<Vec<PathBuf>, FenceError> {
        let mut covered: Vec<PathBuf> = Vec::new();
        let run = fs::canonicalize("/run").at(Step::Runtime, "/run")?;
        let var_run = fs::canonicalize("/var/run").ok();
        let user_run = self.runtime_dir.as_ref();
        for (target, mode) in [(Some(&run), "0755"), (var_run.as_ref(), "0755"), (user_run, "0700")] {
            let Some(target) = target else { continue };
            if covered.iter().any(|folder| target.starts_with(folder)) {
                continue;
            }
            mounts::cover(target, mode, FENCE_RUN_BYTES_MAX).at_path(Step::Runtime, target)?;
            covered.push(target.clone());
        }
        if let Some(folder) = user_run.filter(|folder| !folder.exists()) {
            make_folder(folder, 0o700)?;
        }
        make_folder(&run.join("lock"), 0o1777)?;
        covered.push(PathBuf::from("/dev"));
        Ok(covered)
    }

    /// Our own read-only folder: the trust bundle, the name files and the empty file that masks are made of.
    fn place_files(&self, private: &[PathBuf], bundle: &[u8]) -> Result<(), FenceError> {
        let own = Path::new(OWN);
        make_folder(own, 0o755)?;
        mounts::cover(own, "0755", FENCE_RUN_BYTES_MAX).at_path(Step::Runtime, own)?;
        let hosts = hosts(&self.hostname);
        let files = [(TRUST_BUNDLE_PATH, bundle), (RESOLV, STUB.as_bytes()), (HOSTS, &hosts[..]), (EMPTY, b"")];
        for (path, contents) in files {
            fs::write(path, contents).at(Step::Names, path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o444)).at(Step::Names, path)?;
        }
        names::place(Path::new(RESOLV), Path::new("/etc/resolv.conf"), private)?;
        names::place(Path::new(HOSTS), Path::new("/etc/hosts"), private)?;
        // Programs that read the system's bundle and no variable (GnuTLS, Go, anything with a path of its own) find ours there.
        for path in SYSTEM_BUNDLES.map(Path::new).into_iter().filter(|path| path.is_file()) {
            mounts::bind(Path::new(TRUST_BUNDLE_PATH), path).at_path(Step::Names, path)?;
        }
        Ok(())
    }

    /// An empty file over every path socket that can be reached from here and is not exposed.
    fn mask_sockets(&self, before: &[Mount]) -> Result<(), FenceError> {
        let exposed = |path: &Path| self.expose.iter().any(|kept| path.starts_with(kept));
        let mut masks = 0;
        for socket in self.sockets.iter().filter(|socket| !exposed(socket)) {
            for path in all_names(before, socket).into_iter().filter(|path| is_socket(path)) {
                masks += 1;
                if masks > FENCE_MASKS_MAX {
                    return Err(FenceError::new(Step::Mask, "", io::Error::from_raw_os_error(libc::ENOSPC)));
                }
                mounts::bind(Path::new(EMPTY), &path).at_path(Step::Mask, &path)?;
            }
        }
        Ok(())
    }

    /// State, audit and policy, under each name that they have.
    fn hide_ourselves(&self, before: &[Mount]) -> Result<(), FenceError> {
        for path in self.hide_dirs.iter().flat_map(|path| all_names(before, path)).filter(|path| path.is_dir()) {
            mounts::cover_sealed(&path).at_path(Step::Mask, &path)?;
        }
        for path in self.hide_files.iter().flat_map(|path| all_names(before, path)).filter(|path| path.exists()) {
            mounts::bind(Path::new(EMPTY), &path).at_path(Step::Mask, &path)?;
        }
        Ok(())
    }
}

/// Where distributions keep the trust bundle: Debian, Alpine and Arch; Fedora and RHEL; openSUSE; OpenSSL's own default.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn all_names(before: &[Mount], path: &Path) -> Vec<PathBuf> {
    let mut all = mountinfo::aliases(before, path);
    all.push(path.to_path_buf());
    all
}

/// A path that stays visible although a folder above it is covered.
struct Exposed {
    path: PathBuf,
    identity: (u64, u64),
    is_dir: bool,
    tree: OwnedFd,
}

impl Exposed {
    fn take(path: &Path) -> Result<Self, FenceError> {
        let metadata = fs::metadata(path).at_path(Step::Expose, path)?;
        let tree = mounts::detach(path).at_path(Step::Expose, path)?;
        Ok(Self {
            path: path.to_path_buf(),
            identity: (metadata.dev(), metadata.ino()),
            is_dir: metadata.is_dir(),
            tree,
        })
    }

    fn put_back(&self, private: &[PathBuf]) -> Result<(), FenceError> {
        let still_there = fs::metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if still_there || !private.iter().any(|folder| self.path.starts_with(folder)) {
            return Ok(());
        }
        if self.is_dir {
            fs::create_dir_all(&self.path).at_path(Step::Expose, &self.path)?;
        } else {
            let parent = self.path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent).at_path(Step::Expose, parent)?;
            fs::OpenOptions::new().create(true).append(true).open(&self.path).at_path(Step::Expose, &self.path)?;
        }
        mounts::attach(&self.tree, &self.path).at_path(Step::Expose, &self.path)
    }
}

/// A `/proc` of our pid namespace, in which nothing but what belongs to processes can be written.
fn fresh_proc() -> Result<(), FenceError> {
    let proc = Path::new("/proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mounts::special("proc", proc, flags, "").at_path(Step::Proc, proc)
}

/// Root owns the kernel's control files and needs no capability to write to many of them: `core_pattern`, `release_agent`,
/// `uevent_helper` and their like would have the kernel run a program on the host.
fn guard_kernel_files() -> Result<(), FenceError> {
    // A user namespace inside may mount cgroups anew, and writable, from a cgroup namespace of its own: so there is none to be had.
    let cgroup_namespaces = "/proc/sys/user/max_cgroup_namespaces";
    fs::write(cgroup_namespaces, "0").at(Step::ReadOnly, cgroup_namespaces)?;
    for entry in fs::read_dir("/proc").at(Step::ReadOnly, "/proc")?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if is_process(&name) || metadata.is_symlink() {
            continue;
        }
        if UNREADABLE.iter().any(|hidden| name == *hidden) {
            mounts::bind(Path::new(EMPTY), &path).at_path(Step::ReadOnly, &path)?;
        } else if metadata.is_dir() || metadata.permissions().mode() & 0o222 != 0 {
            mounts::make_read_only(&path).at_path(Step::ReadOnly, &path)?;
        }
    }
    let sys = Path::new("/sys");
    if sys.is_dir() {
        mounts::make_read_only(sys).at_path(Step::ReadOnly, sys)?;
    }
    for mount in mountinfo::read().at(Step::ReadOnly, "/proc/self/mountinfo")? {
        let known = ["/proc", "/sys", "/dev", OWN].iter().any(|folder| mount.at.starts_with(folder));
        if known || !mount.at.exists() {
            continue;
        }
        if mount.kind == "proc" {
            // A /proc of the host, in some change-root folder: it shows the host's processes.
            mounts::cover_sealed(&mount.at).at_path(Step::ReadOnly, &mount.at)?;
        } else if KERNEL_KINDS.contains(&mount.kind.as_str()) {
            mounts::make_mount_read_only(&mount.at).at_path(Step::ReadOnly, &mount.at)?;
        }
    }
    Ok(())
}

fn is_process(name: &OsStr) -> bool {
    name.as_bytes().iter().all(u8::is_ascii_digit)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), FenceError> {
    fs::create_dir_all(path).at_path(Step::Runtime, path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at_path(Step::Runtime, path)
}

fn hosts(hostname: &OsStr) -> Vec<u8> {
    let mut text = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_vec();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let name = hostname.as_bytes();
    if !name.is_empty() && name != b"localhost" && name.iter().all(plain) {
        text.extend_from_slice(b"127.0.0.1\t");
        text.extend_from_slice(name);
        text.push(b'\n');
    }
    text
}

const OWN: &str = "/run/ringfence";
const RESOLV: &str = "/run/ringfence/resolv.conf";
const HOSTS: &str = "/run/ringfence/hosts";
const EMPTY: &str = "/run/ringfence/empty";

const STUB: &str = "# ringfence answers every name\nnameserver 127.0.0.1\n";

/// Files of `/proc` that show the host and not the fence.
const UNREADABLE: [&str; 5] = ["kcore", "keys", "key-users", "sched_debug", "timer_list"];

/// File systems that are the kernel's own controls.
const KERNEL_KINDS: [&str; 13] = [
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "efivarfs",
    "pstore",
    "bpf",
    "binfmt_misc",
    "selinuxfs",
    "nfsd",
];

const _: () = assert!(TRUST_BUNDLE_PATH.len() > OWN.len());
