//! Claims about `ringfence proxy` as a process: from its configuration to its end. What happens on one connection is claimed beside its code.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod util;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use util::{Finished, Program, until};

const RINGFENCE: &str = env!("CARGO_BIN_EXE_ringfence");
const ALLOWED: &str = "  - allow: origin\n    host: origin.test\n";

#[test]
fn an_agent_is_known_by_where_it_comes_from() {
    let site = Site::new(ALLOWED, "agents: [{ name: coder, source: 127.0.0.1 }]\n");
    let proxy = site.start();
    assert!(site.get("http://origin.test/a").starts_with("HTTP/1.1 200 "));
    assert!(end(proxy).status.success());
    let records = site.records();
    let decision = records.iter().find(|record| record["verdict"] == "allow").unwrap();
    assert_eq!(decision["agent"], "coder");
    assert_eq!((&decision["mode"], &decision["host"]), (&"proxy".into(), &"origin.test".into()));
    assert!(decision.get("destination").is_none(), "only the request says where to: {decision}");
}

#[test]
fn everybody_else_is_turned_away() {
    let site = Site::new(ALLOWED, "agents: [{ name: coder, source: 192.0.2.1 }]\n");
    let proxy = site.start();
    assert_eq!(site.get("http://origin.test/a"), "");
    end(proxy);
    let records = site.records();
    assert!(records.iter().any(|record| record["code"] == "source_not_admitted"), "{records:?}");
}

#[test]
fn a_changed_policy_is_in_force_without_a_restart() {
    let site = Site::new(ALLOWED, "");
    let proxy = site.start();
    assert!(site.get("http://origin.test/a").starts_with("HTTP/1.1 200 "));
    site.write_policy("  - deny: nothing any more\n    host: origin.test\n");
    until("the new policy denies", || site.get("http://origin.test/a").contains("nothing any more").then_some(()));
    end(proxy);
    let records = site.records();
    let reload = records.iter().find(|record| record["event"] == "reload").expect("the replacement is on record");
    let denied = records.iter().find(|record| record["rule"] == "nothing any more").unwrap();
    assert_eq!(reload["policy"], denied["policy"]);
    assert!(reload.get("detail").is_none_or(|detail| detail == ""), "it is stricter: {reload}");
}

#[test]
fn a_policy_that_weakens_the_one_before_is_reported_as_such() {
    let site = Site::new(&format!("{ALLOWED}  - deny: not this\n    path: /a\n"), "");
    let proxy = site.start();
    assert!(site.get("http://origin.test/a").contains("not this"));
    site.write_policy(ALLOWED);
    until("the new policy allows", || site.get("http://origin.test/a").starts_with("HTTP/1.1 200 ").then_some(()));
    let ended = end(proxy);
    let weaker = "weaker: what `not this` denied, no rule denies";
    assert!(ended.stderr.contains(weaker), "{}", ended.stderr);
    let records = site.records();
    let reload = records.iter().find(|record| record["event"] == "reload").unwrap();
    assert_eq!(reload["detail"], weaker);
}

#[test]
fn a_bad_policy_changes_nothing_and_is_told_of() {
    let site = Site::new(ALLOWED, "");
    let proxy = site.start();
    std::fs::write(site.at("policy.yaml"), "ringfence: v1\nrulez: []\n").unwrap();
    // The order is carried out when the next line of the log is there.
    signal(&proxy, Signal::SIGHUP);
    site.get("http://origin.test/a");
    until("the refusal is told of", || {
        let metrics = site.ask_admin("/metrics")?;
        metrics.contains("ringfence_policy_reloads_total{result=\"failure\"} 1").then_some(())
    });
    assert!(site.get("http://origin.test/a").starts_with("HTTP/1.1 200 "));
    let ended = end(proxy);
    assert!(ended.stderr.contains("unknown key `rulez`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("the one before stays in force"), "{}", ended.stderr);
    let records = site.records();
    let reload = records.iter().find(|record| record["event"] == "reload").unwrap();
    assert!(reload["detail"].as_str().unwrap().starts_with("refused: "), "{reload}");
    assert_eq!(reload["policy"], records[0]["policy"]);
}

#[test]
fn what_is_under_way_ends_before_the_proxy_does() {
    let site = Site::new(ALLOWED, "");
    let proxy = site.start();
    let mut client = site.connect();
    client.write_all(b"GET http://origin.test/slow HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let go_on = site.origin.slow.recv_timeout(util::PATIENCE).expect("the origin has the request");
    signal(&proxy, Signal::SIGTERM);
    // Draining shows from outside: a new connection is not served any more.
    until("the proxy says that it stops", || {
        site.ask_admin("/readyz")?.contains("the proxy is stopping").then_some(())
    });
    until("no new request is served", || {
        site.try_get("http://origin.test/a").is_none_or(|got| got.is_empty()).then_some(())
    });
    go_on.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("slow"), "{answer}");
    let ended = proxy.finish();
    assert!(ended.status.success(), "{ended:?}");
    let outcome = site.records().into_iter().find(|record| record["kind"] == "outcome").unwrap();
    assert_eq!((&outcome["status"], &outcome["bytes_down"]), (&200.into(), &4.into()));
}

#[test]
fn workers_share_one_log_and_number_connections_apart() {
    let site = Site::new(ALLOWED, "io: { workers: 3 }\n");
    let proxy = site.start();
    for _ in 0..40 {
        assert!(site.get("http://origin.test/a").starts_with("HTTP/1.1 200 "));
    }
    end(proxy);
    let records = site.records();
    let of_clients = |record: &&Value| record["verdict"] == "allow";
    let mut connections: Vec<u64> =
        records.iter().filter(of_clients).map(|record| record["connection"].as_u64().unwrap()).collect();
    assert_eq!(connections.len(), 40);
    let workers: std::collections::BTreeSet<u64> = connections.iter().map(|number| number % 3).collect();
    assert!(workers.len() > 1, "the kernel spreads 40 connections over three workers");
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 40, "no number twice");
    let canaries = records.iter().filter(|record| record["agent"] == "ringfence-canary");
    assert_eq!(canaries.count(), 3, "one for the listener of each worker");
}

#[test]
fn a_gateways_stub_answers_with_the_address_asked() {
    let (port, dns_port) = (free_port(), free_port());
    let rules = format!("  - allow: origin\n    host: origin.test\n    port: {port}\n");
    let site = Site::new(
        &rules,
        &format!("dns: {{ address: \"127.0.0.2:{dns_port}\" }}\nagents: [{{ name: coder, source: 127.0.0.1 }}]\n"),
    );
    site.write_config(&format!("listen:\n  - {{ mode: gateway, address: \"127.0.0.2\", ports: [{port}] }}\n"));
    let gateway = SocketAddr::from(([127, 0, 0, 2], port));
    let proxy = site.start();
    let dns = SocketAddr::from(([127, 0, 0, 2], dns_port));
    let answer = resolve(dns, "origin.test", 1);
    assert_eq!(answer[3] & 0x0f, 0, "NOERROR");
    assert_eq!(answer[answer.len() - 4..], [127, 0, 0, 2]);
    let none = resolve(dns, "origin.test", 28);
    assert_eq!((none[3] & 0x0f, none[7]), (0, 0), "no IPv6 address, and no error");
    let unknown = resolve(dns, "elsewhere.test", 1);
    assert_eq!(unknown[3] & 0x0f, 3, "NXDOMAIN");
    let mut client = TcpStream::connect(gateway).unwrap();
    write!(client, "GET /a HTTP/1.1\r\nHost: origin.test:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
    end(proxy);
    let records = site.records();
    let of = |kind: &str| records.iter().find(|record| record["kind"] == kind && record["agent"] == "coder").unwrap();
    assert_eq!((&of("dns")["mode"], &of("dns")["host"]), (&"gateway".into(), &"elsewhere.test".into()));
    assert_eq!(of("decision")["destination"], format!("127.0.0.2:{port}"));
}

/// A process in a network namespace of its own stands for the container: that is all that `--network none` makes of one.
#[test]
fn a_container_without_a_network_is_governed_from_its_host() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not claimed: entering another's namespace needs root");
        return;
    }
    let site = Site::new(ALLOWED, "");
    let container = Program::start(Command::new("unshare").args(["--net", "sleep", "infinity"]));
    let namespace = format!("--net=/proc/{}/ns/net", container.id());
    until("the container has its own namespace", || {
        let inode = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        (inode(&container.id().to_string()) != inode("self")).then_some(())
    });
    let curl = |url: &str| {
        let mut command = Command::new("nsenter");
        let output = command.args([&namespace, "curl", "-sS", "--max-time", "30", url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The second time everything is there already that the first one made.
    for _ in 0..2 {
        let mut command = site.command();
        let proxy = Program::start(command.arg("--container").arg(format!("pid:{}", container.id())));
        site.wait_until_ready();
        assert_eq!(curl("http://origin.test/a"), "fast");
        assert!(curl("http://203.0.113.7/").contains(r#""code":"default""#), "whoever else is meant, we answer");
        assert!(curl("http://169.254.169.254/").contains("metadata"));
        assert!(end(proxy).status.success());
        assert_eq!(curl("http://origin.test/a"), "", "without the proxy there is no network");
    }
    let proxy = Program::start(site.command().arg("--container").arg(format!("pid:{}", container.id())));
    site.wait_until_ready();
    drop(container);
    assert!(proxy.finish().status.success(), "the proxy ends with its container");
    let records = site.records();
    let allowed = records.iter().find(|record| record["verdict"] == "allow").unwrap();
    assert_eq!(allowed["mode"], "redirect");
    assert!(allowed["agent"].as_str().unwrap().starts_with("pid:"), "{allowed}");
    assert!(allowed["destination"].as_str().unwrap().starts_with("198.1"), "a synthetic address: {allowed}");
}

#[test]
fn a_process_on_the_hosts_network_is_no_container() {
    let site = Site::new(ALLOWED, "");
    let refused = site.command().arg("--container").arg(format!("pid:{}", std::process::id())).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("start it with `--network none`"), "{said}");
}

#[test]
fn a_second_proxy_on_one_log_names_the_first() {
    let site = Site::new(ALLOWED, "");
    let proxy = site.start();
    let process = proxy.id();
    site.write_config(&format!("listen:\n  - {{ mode: proxy, address: \"127.0.0.1:{}\" }}\n", free_port()));
    let second = site.command().output().unwrap();
    assert_eq!(second.status.code(), Some(125));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&process.to_string()), "{said}");
    end(proxy);
}

#[test]
fn an_address_in_use_is_named_with_its_key_and_the_remedy() {
    let site = Site::new(ALLOWED, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.write_config(&format!("listen:\n  - {{ mode: proxy, address: \"{address}\" }}\n"));
    let refused = site.command().output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    let config = site.at("ringfence.yaml");
    assert!(said.contains(&format!("{}: listen: cannot listen on {address}", config.display())), "{said}");
    assert!(said.contains("another process listens there"), "{said}");
}

/// A configuration, its policy, and an origin.
struct Site {
    folder: TempDir,
    origin: Origin,
    listener: SocketAddr,
    more: String,
}

/// Answers every request at once, but for `/slow`, which waits until it is told to go on.
struct Origin {
    address: SocketAddr,
    slow: Receiver<Sender<()>>,
}

impl Site {
    fn new(rules: &str, more: &str) -> Site {
        let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let site =
            Site { folder: tempfile::tempdir().unwrap(), origin: Origin::start(), listener, more: more.to_owned() };
        site.write_policy(rules);
        site.write_config(&format!("listen:\n  - {{ mode: proxy, address: \"{listener}\" }}\n"));
        site
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write_policy(&self, rules: &str) {
        let origin = self.origin.address;
        let text = format!("ringfence: v1\nupstreams:\n  origin.test: {{ address: \"{origin}\" }}\nrules:\n{rules}");
        // As an editor does it: a new file in the place of the old one.
        std::fs::write(self.at("new"), text).unwrap();
        std::fs::rename(self.at("new"), self.at("policy.yaml")).unwrap();
    }

    fn write_config(&self, listen: &str) {
        let text = format!(
            "{listen}policy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\nadmin: {{ socket: admin.sock }}\n{}",
            self.more
        );
        std::fs::write(self.at("ringfence.yaml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(RINGFENCE);
        command.arg("proxy").arg("--config").arg(self.at("ringfence.yaml"));
        command.env("RINGFENCE_STATE", self.at("state"));
        command
    }

    /// Starts the proxy and waits until it has shown that it is ready.
    fn start(&self) -> Program {
        let proxy = Program::start(&mut self.command());
        self.wait_until_ready();
        proxy
    }

    fn wait_until_ready(&self) {
        until("the proxy is ready", || self.ask_admin("/readyz")?.starts_with("HTTP/1.1 200 ").then_some(()));
    }

    /// What the admin socket answers; `None` while there is none.
    fn ask_admin(&self, path: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.at("admin.sock")).ok()?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.listener).unwrap();
        client.set_read_timeout(Some(util::PATIENCE)).unwrap();
        client
    }

    /// What a client that asks for `url` gets; empty when the connection was closed without an answer.
    fn get(&self, url: &str) -> String {
        self.try_get(url).expect("the proxy listens")
    }

    fn try_get(&self, url: &str) -> Option<String> {
        let mut client = TcpStream::connect(self.listener).ok()?;
        client.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        write!(client, "GET {url} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        // A reset is as good as a close here.
        let _ = client.read_to_end(&mut answer);
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The log, verified and without a hole.
    fn records(&self) -> Vec<Value> {
        let records = self.decoded().expect("the log can be read");
        for (position, record) in records.iter().enumerate() {
            assert_eq!(record["seq"], position);
        }
        records
    }

    fn decoded(&self) -> Option<Vec<Value>> {
        let audit = self.at("audit");
        let output = |verb: &[&str]| {
            let mut command = Command::new(RINGFENCE);
            command.arg("audit").args(verb).arg(&audit).env("RINGFENCE_STATE", self.at("state")).output().unwrap()
        };
        let decoded = output(&["decode", "--format", "json"]);
        let text = decoded.status.success().then(|| String::from_utf8(decoded.stdout).unwrap())?;
        Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

impl Origin {
    fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (say, slow) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let say = say.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &say));
            }
        });
        Origin { address, slow }
    }
}

fn serve(mut stream: TcpStream, say: &Sender<Sender<()>>) {
    loop {
        let mut head = Vec::new();
        let mut octet = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut octet), Ok(1)) {
                return;
            }
            head.push(octet[0]);
        }
        let mut body = "fast";
        if head.starts_with(b"GET /slow ") {
            body = "slow";
            let (go_on, wait) = channel();
            if say.send(go_on).is_err() || wait.recv().is_err() {
                return;
            }
        }
        if write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}").is_err() {
            return;
        }
    }
}

fn end(proxy: Program) -> Finished {
    signal(&proxy, Signal::SIGTERM);
    proxy.finish()
}

fn signal(program: &Program, signal: Signal) {
    kill(Pid::from_raw(program.id().cast_signed()), signal).unwrap();
}

/// A port that was free a moment ago: a configuration has to name one.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The answer of a name server to one question.
fn resolve(server: SocketAddr, name: &str, kind: u16) -> Vec<u8> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(util::PATIENCE)).unwrap();
    socket.send_to(&question, server).unwrap();
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from, server, "the answer leaves from where it was asked");
    answer[..length].to_vec()
}
