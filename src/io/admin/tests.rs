//! Claims about the admin socket, made by real clients.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::io::metrics::{Counters, Verdict, exposition};
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_WAIT};

/// An open admin socket in a folder of its own.
struct Opened {
    admin: Option<Admin>,
    settings: AdminSettings,
    board: Board,
    worker: Counters,
    audit_failure: Arc<Mutex<Option<String>>>,
    folder: TempDir,
}

impl Opened {
    fn new(metrics: Option<SocketAddr>, admits: fn(IpAddr) -> bool) -> Opened {
        let folder = tempfile::tempdir().unwrap();
        let settings = AdminSettings { socket: folder.path().join("run/admin.sock"), metrics };
        let audit_failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&audit_failure);
        let status = Arc::new(Status::new(move || told.lock().unwrap().clone()));
        let board = Board { status, metrics: Metrics::default() };
        let worker = board.metrics.counters();
        let admin = Admin::open(&settings, board.clone(), admits).unwrap();
        Opened { admin: Some(admin), settings, board, worker, audit_failure, folder }
    }

    fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> Response {
        let mut client = self.connect();
        client.write_all(request.as_bytes()).unwrap();
        Response::read(client)
    }

    fn connect(&self) -> UnixStream {
        connect(&self.settings.socket)
    }
}

fn connect(socket: &Path) -> UnixStream {
    let client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client
}

fn opened() -> Opened {
    Opened::new(None, |_| false)
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    /// Reads to the end of the connection, which is the end of the body too.
    fn read(mut client: impl Read) -> Response {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\nconnection: close"), "{head}");
        let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }
}

#[test]
fn readiness_follows_what_the_proxy_says() {
    let opened = opened();
    let status = &opened.board.status;
    let readiness = || {
        let response = opened.get("/readyz");
        (response.status, response.body.trim_end().to_owned())
    };
    assert_eq!(readiness(), (503, r#"{"ready":false,"why":["the proxy is starting"]}"#.to_owned()));
    status.waits_for(Vec::new());
    assert_eq!(readiness(), (200, r#"{"ready":true}"#.to_owned()));
    status.reload_failed(&"policy.yaml:3:1: unknown key");
    assert_eq!(readiness().0, 200, "the policy before stays in force");
    *opened.audit_failure.lock().unwrap() = Some("disk full".to_owned());
    let failing = r#"{"ready":false,"why":["the audit log cannot be written: disk full"]}"#;
    assert_eq!(readiness(), (503, failing.to_owned()));
    *opened.audit_failure.lock().unwrap() = None;
    status.drains();
    assert_eq!(readiness(), (503, r#"{"ready":false,"why":["the proxy is stopping"]}"#.to_owned()));
}

#[test]
fn health_ends_with_a_worker_unless_the_proxy_is_stopping() {
    let opened = opened();
    let healthy = opened.get("/healthz");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "{\"healthy\":true}\n"));
    drop(opened.board.metrics.counters());
    let ill = opened.get("/healthz");
    assert_eq!(ill.status, 503);
    assert_eq!(ill.body, "{\"healthy\":false,\"why\":[\"1 of 2 workers show no sign of life\"]}\n");
    opened.board.status.drains();
    assert_eq!(opened.get("/healthz").status, 200);
}

#[test]
fn metrics_are_what_a_strict_reader_takes() {
    let opened = opened();
    opened.worker.decided(Verdict::Allow, 1_000);
    opened.board.status.loaded(&[0xab; 32]);
    let response = opened.get("/metrics");
    assert_eq!(response.status, 200);
    assert!(response.head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    let families = exposition::read(&response.body);
    assert_eq!(families["ringfence_policy_info"].samples[0].labels["digest"], "ab".repeat(32));
    assert_eq!(families["ringfence_decision_duration_seconds"].kind, "histogram");
}

#[test]
fn status_shows_a_failed_reload_beside_the_policy_in_force() {
    let opened = opened();
    opened.board.status.serves_on("epoll");
    opened.board.status.loaded(&[1; 32]);
    opened.board.status.reloaded(&[2; 32]);
    opened.board.status.reload_failed(&"policy.yaml:3:1: unknown key");
    opened.worker.accepted();
    let response = opened.get("/status?pretty");
    assert_eq!(response.status, 200);
    let status: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(status["io"], "epoll");
    assert_eq!(status["policy"]["digest"], "02".repeat(32));
    assert_eq!(status["policy"]["reloads_ok"], 1);
    assert_eq!(status["policy"]["reloads_failed"], 1);
    assert_eq!(status["policy"]["last_error"], "policy.yaml:3:1: unknown key");
    assert_eq!(status["connections"]["open"], 1);
    assert_eq!(status["workers"]["answering"], 1);
    status["started"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn curl_is_answered() {
    let opened = opened();
    let curl = |path: &str| {
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--write-out", "%{http_code}", "--unix-socket"])
            .arg(&opened.settings.socket)
            .arg(format!("http://localhost{path}"))
            .output()
    };
    let answered = match curl("/healthz") {
        // The other claims are made without it.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        answered => answered.unwrap(),
    };
    assert_eq!(String::from_utf8(answered.stdout).unwrap(), "{\"healthy\":true}\n200");
    let metrics = String::from_utf8(curl("/metrics").unwrap().stdout).unwrap();
    exposition::read(metrics.strip_suffix("200").unwrap());
}

#[test]
fn what_is_no_get_of_a_known_path_is_refused() {
    let opened = opened();
    let asked = |request: &str| opened.ask(request).status;
    assert_eq!(asked("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), 404);
    assert_eq!(asked("GET /healthz/ HTTP/1.1\r\nhost: a\r\n\r\n"), 404);
    let post = opened.ask("POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("\r\nallow: GET\r\n"));
    assert_eq!(asked("GET /healthz HTTP/1.1\r\n\r\n"), 400, "a host is missing");
    assert_eq!(asked("GET /healthz HTTP/1.1\nhost: a\n\n"), 400);
    assert_eq!(asked("\u{16}\u{3}\u{1}\r\n\r\n"), 400);
    assert_eq!(asked("GET /healthz HTTP/2.0\r\nhost: a\r\n\r\n"), 505);
    let long = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nlong: {}", "a".repeat(ADMIN_HEAD_BYTES_MAX));
    assert_eq!(asked(&long), 431);
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let opened = opened();
    let mut client = opened.connect();
    for byte in b"GET /healthz HTTP/1.0\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    assert_eq!(Response::read(client).status, 200);
}

#[test]
fn clients_that_dawdle_stall_nobody_and_are_closed() {
    let opened = opened();
    let start = Instant::now();
    let dawdlers: Vec<UnixStream> = (0..2 * ADMIN_CONNECTIONS_MAX)
        .map(|_| {
            let mut client = opened.connect();
            // Those over the bound push out the first, which may be gone already.
            let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nslow:");
            client
        })
        .collect();
    assert_eq!(opened.get("/healthz").status, 200);
    assert!(start.elapsed() < ADMIN_WAIT, "nobody waited for a dawdler's deadline");
    for mut dawdler in dawdlers {
        let mut rest = Vec::new();
        match dawdler.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn a_deadline_takes_nothing_that_was_sent_in_time() {
    let opened = opened();
    let mut client = opened.connect();
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut neighbour = opened.connect();
    neighbour.write_all(b"G").unwrap();
    // The later one's deadline: by then the earlier one, which has read nothing yet, is closed too.
    let closed = neighbour.read(&mut [0; 1]);
    assert!(closed.is_ok_and(|count| count == 0), "closed without an answer");
    assert_eq!(Response::read(client).status, 200);
}

#[test]
fn a_dead_process_socket_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = AdminSettings { socket: folder.path().join("admin.sock"), metrics: None };
    // Closing does not remove the file: as after a kill.
    drop(UnixListener::bind(&settings.socket).unwrap());
    assert!(settings.socket.exists());
    let board = Board { status: Arc::new(Status::new(|| None)), metrics: Metrics::default() };
    let admin = Admin::open(&settings, board, |_| false).unwrap();
    let mut client = connect(&settings.socket);
    client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(Response::read(client).status, 200);
    drop(admin);
}

#[test]
fn a_living_process_socket_is_refused_and_left_alone() {
    let opened = opened();
    let error = Admin::open(&opened.settings, opened.board.clone(), |_| false).unwrap_err();
    assert!(matches!(error, AdminError::Live(_)));
    let text = error.to_string();
    assert!(text.starts_with("admin.socket: ") && text.contains(opened.settings.socket.to_str().unwrap()), "{text}");
    assert_eq!(opened.get("/healthz").status, 200);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = AdminSettings { socket: folder.path().join("notes.txt"), metrics: None };
    fs::write(&settings.socket, "dear diary").unwrap();
    let board = Board { status: Arc::new(Status::new(|| None)), metrics: Metrics::default() };
    let error = Admin::open(&settings, board, |_| false).unwrap_err();
    assert!(matches!(error, AdminError::NotASocket(_)));
    assert_eq!(fs::read_to_string(&settings.socket).unwrap(), "dear diary");
}

#[test]
fn only_owner_and_group_may_connect() {
    let opened = opened();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&opened.settings.socket), 0o660);
    assert_eq!(mode(&opened.folder.path().join("run")) & !0o750, 0);
}

#[test]
fn a_folder_that_is_there_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let (_file, _listener) = SocketFile::bind(&folder.path().join("admin.sock")).unwrap();
    assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn the_end_is_prompt_and_removes_the_socket() {
    let mut opened = opened();
    let mut open = opened.connect();
    open.write_all(b"GET").unwrap();
    let start = Instant::now();
    opened.admin = None;
    assert!(start.elapsed() < ADMIN_WAIT, "the end waits for no client");
    assert!(!opened.settings.socket.exists());
}

#[test]
fn a_socket_that_took_the_place_of_ours_is_not_removed() {
    let mut opened = opened();
    fs::rename(&opened.settings.socket, opened.folder.path().join("moved")).unwrap();
    let _other = UnixListener::bind(&opened.settings.socket).unwrap();
    opened.admin = None;
    assert!(opened.settings.socket.exists());
}

#[test]
fn the_metrics_address_serves_metrics_alone() {
    let opened = Opened::new(Some("127.0.0.1:0".parse().unwrap()), |from| from.is_loopback());
    let address = opened.admin.as_ref().and_then(Admin::metrics_address).unwrap();
    let get = |path: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        Response::read(client)
    };
    exposition::read(&get("/metrics").body);
    for path in ["/healthz", "/readyz", "/status"] {
        assert_eq!(get(path).status, 404, "{path}");
    }
}

#[test]
fn a_source_that_is_not_admitted_gets_no_metrics() {
    let opened = Opened::new(Some("127.0.0.1:0".parse().unwrap()), |_| false);
    let address = opened.admin.as_ref().and_then(Admin::metrics_address).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = client.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Ok(_) => assert!(answer.is_empty()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(opened.get("/metrics").status, 200, "the socket file still serves");
}

#[test]
fn an_address_that_is_taken_is_named_and_leaves_no_socket_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap();
    let settings = AdminSettings { socket: folder.path().join("admin.sock"), metrics: Some(address) };
    let board = Board { status: Arc::new(Status::new(|| None)), metrics: Metrics::default() };
    let error = Admin::open(&settings, board, |_| true).unwrap_err();
    assert!(error.to_string().starts_with(&format!("admin.metrics: {address}: ")), "{error}");
    assert!(!settings.socket.exists());
}
