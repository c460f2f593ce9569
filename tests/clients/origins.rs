//! The origins: a Python server that says what it sees, and nginx. Both listen on loopback, on ports the kernel chose.

use super::trust::Trust;
use super::util::{Program, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ORIGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/origin.py");

/// Where the origins find their interpreters, and the clients their programs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `tests/clients/origin.py` at work.
pub(crate) struct Origin {
    program: Program,
    pub(crate) address: SocketAddr,
}

/// A request as it reached the origin.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Origin {
    pub(crate) fn start(trust: &Trust, repositories: &Path) -> Origin {
        let mut command = Command::new("python3");
        command.env_clear().env("PATH", PATH).arg(ORIGIN).args([&trust.certificate, &trust.key]).arg(repositories);
        let program = Program::start(&mut command);
        let first: Value =
            program.line().and_then(|line| serde_json::from_str(&line).ok()).expect("the origin says its port");
        let port = first["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        Origin { program, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Lets a stream of events go on by one.
    pub(crate) fn send_next_event(&mut self) {
        self.program.tell("next");
    }

    /// Everything the origin has seen, once whoever could still send to it has ended.
    ///
    /// The origin accepts in order, so when it has accepted a connection of ours, it has accepted all earlier ones; and when these
    /// are closed, it has read what they carried.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let marker = TcpStream::connect(self.address).expect("the origin still listens");
        let marker_port = u64::from(marker.local_addr().expect("it is connected").port());
        drop(marker);
        let (mut open, mut requests, mut marked) = (Vec::new(), Vec::new(), false);
        while !marked || !open.is_empty() {
            let line = self.program.line().expect("the origin is at work");
            let fact: Value = serde_json::from_str(&line).expect("the origin says JSON");
            if let Some(port) = fact["accepted"].as_u64() {
                open.push(port);
                marked |= port == marker_port;
            } else if let Some(port) = fact["closed"].as_u64() {
                open.retain(|peer| *peer != port);
            } else {
                requests.push(request(&fact["request"]));
            }
        }
        requests
    }
}

fn request(fact: &Value) -> Seen {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let headers =
        fact["headers"].as_array().expect("a list").iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    Seen { method: text(&fact["method"]), target: text(&fact["target"]), headers }
}

/// nginx, serving a folder.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    pub(crate) fn start(trust: &Trust, folder: &Path) -> Nginx {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let work = folder.join("nginx");
        let served = work.join("served");
        std::fs::create_dir_all(&served).expect("a folder of our own");
        std::fs::write(served.join("page.html"), page()).expect("written");
        std::fs::write(served.join("numbers"), numbers()).expect("written");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};", work.display()));
        let configuration = format!(
            "daemon off; worker_processes 1; pid {work}/pid; error_log stderr;
            events {{}}
            http {{ access_log off; sendfile on; {paths} types {{ text/html html; }} gzip on; gzip_min_length 1;
              server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; root {served}; }} }}",
            work = work.display(),
            paths = paths.join(" "),
            certificate = trust.certificate.display(),
            key = trust.key.display(),
            served = served.display(),
        );
        let file = work.join("nginx.conf");
        std::fs::write(&file, configuration).expect("written");
        // nginx takes over listening sockets that `NGINX` names (its way of upgrading in place), so no port is chosen twice.
        // Whatever ends this test ends nginx: its workers outlive a master that is killed, but not one that is asked to go.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "nginx"]);
        command.env_clear().env("PATH", PATH).env("NGINX", "0;").arg("-p").arg(&work).arg("-c").arg(&file);
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("nginx does not start: {error}"));
        let mut nginx = Nginx { child, address };
        until("nginx has read its configuration", || {
            let ended = nginx.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "nginx ends: {ended:?}");
            std::fs::read_to_string(work.join("pid")).ok().filter(|pid| !pid.is_empty())
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A page that gzip makes smaller.
pub(crate) fn page() -> String {
    "<p>Is anything left of what was sent?</p>\n".repeat(1000)
}

/// A file in which every offset can be told from its content.
pub(crate) fn numbers() -> String {
    (0..200_000).map(|number| format!("{number:07}\n")).collect()
}
