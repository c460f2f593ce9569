//! `ringfence proxy` for clients that read HTTP_PROXY: started when the first client is, stopped when its log is read.

use super::util::{PATIENCE, Program, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Proxy {
    folder: PathBuf,
    port: u16,
    running: RefCell<Option<Program>>,
}

impl Proxy {
    /// Writes the configuration into `folder`, beside the policy.
    pub(crate) fn prepare(folder: &Path) -> Proxy {
        // Free a moment ago: a configuration has to name one.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let text = format!(
            "listen:\n  - {{ mode: proxy, address: \"127.0.0.1:{port}\" }}\npolicy: policy.yaml\naudit: {{ dir: own/audit }}\nca: {{ dir: own/ca, bundle: bundle.crt }}\nadmin: {{ socket: admin.sock }}\nio: {{ workers: 2 }}\n"
        );
        std::fs::write(folder.join("ringfence.yaml"), text).expect("written");
        Proxy { folder: folder.to_owned(), port, running: RefCell::new(None) }
    }

    /// Sees to it that the proxy serves; says where the bundle is that its clients trust.
    pub(crate) fn serve(&self, ringfence: impl Fn() -> Command) -> PathBuf {
        let mut running = self.running.borrow_mut();
        if running.is_none() {
            let mut command = ringfence();
            command.args(["proxy", "--config"]).arg(self.folder.join("ringfence.yaml"));
            *running = Some(Program::start(&mut command));
            until("the proxy is ready", || self.is_ready().then_some(()));
        }
        self.folder.join("bundle.crt")
    }

    /// Lets it end in good order, so that its log is closed.
    pub(crate) fn stop(&self) {
        if let Some(program) = self.running.borrow_mut().take() {
            kill(Pid::from_raw(program.id().cast_signed()), Signal::SIGTERM).expect("it runs");
            let ended = program.finish();
            assert!(ended.status.success(), "{ended:?}");
        }
    }

    /// What tells a client of it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://127.0.0.1:{}", self.port);
        ["http_proxy", "https_proxy", "HTTPS_PROXY"].into_iter().map(|name| (name, url.clone())).collect()
    }

    fn is_ready(&self) -> bool {
        let Ok(mut socket) = UnixStream::connect(self.folder.join("admin.sock")) else { return false };
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut answer = String::new();
        let asked = socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        asked.and_then(|()| socket.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }
}
