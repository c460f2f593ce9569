//! The outside of the tests: users to be, folders that they can use, canaries that tell when somebody reaches them, and the commands that
//! raise a fence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy takes for other code"
)]

use std::{
    fs,
    io::Write,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{SocketAddr, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What a canary answers.
pub(crate) const SECRET: &str = "a secret that only the outside knows";

/// The users that the tests can be: both kinds when run by root.
pub(crate) fn users() -> Vec<u32> {
    let own = nix::unistd::geteuid();
    if own.is_root() { vec![0, 1000] } else { vec![own.as_raw()] }
}

/// A folder that every user can use, with copies of what is to be run: the build folder may be closed to others.
pub(crate) struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    pub(crate) fn new() -> Self {
        let room = Self { folder: tempfile::tempdir().unwrap() };
        open_to_all(room.path());
        for (from, name) in
            [(example(), "fence"), (script("escape.py"), "escape.py"), (script("terminal.py"), "terminal.py")]
        {
            install(&from, &room.join(name));
        }
        room
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir(&path).unwrap();
        open_to_all(&path);
        path
    }

    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        path
    }

    /// The example `fence` with these arguments, as this user.
    pub(crate) fn fence(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.join("fence"));
        command.args(arguments).current_dir(self.path());
        be(&mut command, user);
        command
    }

    /// As [`Room::fence`], in a mount namespace that `prepare`, a shell script, has changed.
    pub(crate) fn fence_after(&self, prepare: &str, arguments: &[&str]) -> Command {
        let root = nix::unistd::geteuid().is_root();
        let mut command = Command::new("unshare");
        command.arg(if root { "-m" } else { "-Urm" });
        command
            .args(["sh", "-e", "-c", &format!("{prepare}\nexec \"$@\""), "sh"])
            .arg(self.join("fence"))
            .args(arguments);
        command.current_dir(self.path());
        command
    }
}

/// Copies a program. Another process does, because a test that forks at the moment would inherit our descriptor and keep the program busy.
pub(crate) fn install(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).arg(from).arg(to).status().unwrap().success());
}

/// The example, built once: `cargo test --test fence` builds none, and what an earlier build left would be old.
fn example() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().unwrap();
        let profile_folder = test.parent().unwrap().parent().unwrap();
        let profile = if profile_folder.ends_with("debug") { "dev" } else { "release" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "fence", "--profile", profile, "--target-dir"]);
        cargo.arg(profile_folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success());
        profile_folder.join("examples/fence")
    };
    BUILT.get_or_init(build).clone()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fence").join(name)
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// A plain environment, and another user if need be.
pub(crate) fn be(command: &mut Command, user: u32) {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if user != nix::unistd::geteuid().as_raw() {
        command.uid(user).gid(user);
    }
}

/// Python with its standard library, of the system and not of somebody's home.
pub(crate) fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Listeners on every kind of socket that could be reached from a fence with a hole.
pub(crate) struct Canaries {
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) unix: PathBuf,
    pub(crate) abstract_name: String,
    touched: Arc<AtomicUsize>,
}

impl Canaries {
    pub(crate) fn listen(folder: &Path) -> Self {
        let touched = Arc::new(AtomicUsize::new(0));
        let abstract_name = format!("ringfence-canary{}", folder.display());
        let unix = folder.join("canary.sock");
        let (tcp, udp) = (TcpListener::bind("[::]:0").unwrap(), UdpSocket::bind("[::]:0").unwrap());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let canaries = Self {
            tcp: tcp.local_addr().unwrap().port(),
            udp: udp.local_addr().unwrap().port(),
            unix: unix.clone(),
            abstract_name,
            touched: Arc::clone(&touched),
        };
        let counter = Arc::clone(&touched);
        thread::spawn(move || tcp.incoming().for_each(|stream| answer(stream, &counter)));
        for listener in [bind(&unix), UnixListener::bind_addr(&address).unwrap()] {
            let counter = Arc::clone(&touched);
            thread::spawn(move || listener.incoming().for_each(|stream| answer(stream, &counter)));
        }
        thread::spawn(move || {
            while let Ok((_, peer)) = udp.recv_from(&mut [0; 512]) {
                touched.fetch_add(1, Ordering::SeqCst);
                let _ = udp.send_to(SECRET.as_bytes(), peer);
            }
        });
        canaries
    }

    /// How often any of them was reached.
    pub(crate) fn touched(&self) -> usize {
        self.touched.load(Ordering::SeqCst)
    }
}

/// A path socket that answers; it is meant to be reached.
pub(crate) fn listen_at(path: &Path) {
    let listener = bind(path);
    thread::spawn(move || listener.incoming().for_each(|stream| answer(stream, &AtomicUsize::new(0))));
}

fn bind(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    open_to_all(path);
    listener
}

fn answer<S: Write>(stream: std::io::Result<S>, touched: &AtomicUsize) {
    touched.fetch_add(1, Ordering::SeqCst);
    if let Ok(mut stream) = stream {
        let _ = stream.write_all(SECRET.as_bytes());
    }
}

/// The host's own addresses besides loopback and link-local ones.
pub(crate) fn addresses() -> Vec<String> {
    let all = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| interface.address);
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| address.ip()).filter(|ip| !ip.is_loopback());
        let v6 = address.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip);
        let v6 = v6.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local());
        v4.map(|ip| ip.to_string()).or_else(|| v6.map(|ip| ip.to_string()))
    };
    all.filter_map(ip).collect()
}

/// `"net": 4026531833, …`: our namespaces, which nothing inside may be in.
pub(crate) fn namespaces() -> serde_json::Value {
    let inode = |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).unwrap().ino();
    ["net", "mnt", "pid", "ipc", "user", "cgroup"]
        .iter()
        .map(|name| ((*name).to_owned(), serde_json::Value::from(inode(name))))
        .collect()
}
