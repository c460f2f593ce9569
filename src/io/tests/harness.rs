//! A worker without a namespace: a listener on loopback whose connections all claim the same destination, and origins that are scripts.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use crate::audit::record::{self, Body};
use crate::audit::{Mode, Writer, WriterOptions, read};
use crate::config::Bounds;
use crate::io::door::{Agents, Door, Entrance, Kind};
use crate::io::engine::{self, Choice};
use crate::io::mcp::pins::{Keeper, Pins};
use crate::io::metrics::Metrics;
use crate::io::mint::Authority;
use crate::io::office::{Office, OfficeThread};
use crate::io::resolver::{Answers, Service, Stub};
use crate::io::tls::Trust;
use crate::io::upstream::Identities;
use crate::io::worker::{Handle, Seed};
use crate::policy::{self, Source};

/// The name under which clients know the origin.
pub(super) const HOST: &str = "origin.test";
/// Whose connections all are.
const TESTER: &str = "tester";
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A running worker with its log.
pub(super) struct Proxy {
    worker: Handle,
    office: OfficeThread,
    keeper: Keeper,
    writer: Writer,
    listener: SocketAddr,
    stub: SocketAddr,
    trust: Arc<ClientConfig>,
    roots: RootCertStore,
    folder: tempfile::TempDir,
}

/// One record of the log, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recorded {
    Decision {
        agent: String,
        mode: String,
        verdict: String,
        code: String,
        rule: String,
        host: String,
        port: u16,
        path: String,
        status: u16,
    },
    Outcome {
        status: u16,
        code: String,
        up: u64,
        down: u64,
        leads: Option<String>,
    },
}

impl Proxy {
    /// Starts a worker on `choice` whose clients all connect to port `port`, under `rules` and with the origin at `origin`.
    pub(super) fn start(choice: Choice, origin: SocketAddr, port: u16, rules: &str) -> Proxy {
        let text = format!(
            "ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\" }}\n  closed.test: {{ address: \"127.0.0.1:1\" }}\nrules:\n{rules}"
        );
        let door = (fixed(port), Agents::One(TESTER.to_owned()));
        Proxy::launch(choice, door, &text, tempfile::tempdir().unwrap())
    }

    /// The same with other bounds and, to run out of them soon, few receive buffers.
    pub(super) fn start_bounded(choice: Choice, origin: SocketAddr, rules: &str, bounds: Bounds) -> Proxy {
        let door = (fixed(80), Agents::One(TESTER.to_owned()));
        Proxy::launch_with(choice, door, &to(origin, rules), tempfile::tempdir().unwrap(), (bounds, 16))
    }

    /// Starts a worker behind `entrance`, under `rules` in which `$PORT` is the listener's port, and with the origin at `origin`.
    pub(super) fn start_at(choice: Choice, entrance: Entrance, origin: SocketAddr, rules: &str) -> Proxy {
        Proxy::start_for(choice, (entrance, Agents::One(TESTER.to_owned())), origin, rules)
    }

    /// The same, for other agents than the one that every connection is ascribed to.
    pub(super) fn start_for(choice: Choice, door: (Entrance, Agents), origin: SocketAddr, rules: &str) -> Proxy {
        Proxy::launch(choice, door, &to(origin, rules), tempfile::tempdir().unwrap())
    }

    /// Starts a worker behind `entrance` whose origin speaks TLS with a certificate that `trust` vouches for.
    pub(super) fn start_tls_at(choice: Choice, entrance: Entrance, origin: (SocketAddr, &str), rules: &str) -> Proxy {
        Proxy::start_tls_with_lists(choice, entrance, origin, None, rules)
    }

    /// The same, with the revocation lists in `lists`.
    pub(super) fn start_tls_with_lists(
        choice: Choice,
        entrance: Entrance,
        (origin, trust): (SocketAddr, &str),
        lists: Option<&[u8]>,
        rules: &str,
    ) -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("trust.pem"), trust).unwrap();
        let tls = lists.map_or("", |lists| {
            std::fs::write(folder.path().join("revoked.crl"), lists).unwrap();
            "tls: { crl: revoked.crl }\n"
        });
        let text = format!(
            "ringfence: v1\n{tls}upstreams:\n  {HOST}: {{ address: \"{origin}\", trust: trust.pem }}\nrules:\n{rules}"
        );
        Proxy::launch(choice, (entrance, Agents::One(TESTER.to_owned())), &text, folder)
    }

    /// Starts a worker whose clients connect to port 443, and whose origin speaks TLS with a certificate that `trust` vouches for.
    pub(super) fn start_tls(choice: Choice, origin: SocketAddr, trust: &str, rules: &str) -> Proxy {
        Proxy::start_tls_at(choice, fixed(443), (origin, trust), rules)
    }

    /// Starts a worker for clients of `port` whose log is written as `writer` says.
    pub(super) fn start_recording(
        choice: Choice,
        (origin, port): (SocketAddr, u16),
        rules: &str,
        writer: impl FnOnce(WriterOptions) -> WriterOptions,
    ) -> Proxy {
        let text = format!("ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\" }}\nrules:\n{rules}");
        let door = (fixed(port), Agents::One(TESTER.to_owned()));
        let bounds = (Bounds::default(), engine::Options::default().buffers);
        Proxy::launch_recording(choice, door, &text, tempfile::tempdir().unwrap(), bounds, writer)
    }

    /// Starts a worker for several agents, with other bounds.
    pub(super) fn start_shared(
        choice: Choice,
        agents: Agents,
        origin: SocketAddr,
        rules: &str,
        bounds: Bounds,
    ) -> Proxy {
        let (text, buffers) = (to(origin, rules), engine::Options::default().buffers);
        Proxy::launch_with(choice, (fixed(80), agents), &text, tempfile::tempdir().unwrap(), (bounds, buffers))
    }

    fn launch(choice: Choice, door: (Entrance, Agents), text: &str, folder: tempfile::TempDir) -> Proxy {
        Proxy::launch_with(choice, door, text, folder, (Bounds::default(), engine::Options::default().buffers))
    }

    fn launch_with(
        choice: Choice,
        door: (Entrance, Agents),
        text: &str,
        folder: tempfile::TempDir,
        bounds: (Bounds, u16),
    ) -> Proxy {
        Proxy::launch_recording(choice, door, text, folder, bounds, |options| options)
    }

    fn launch_recording(
        choice: Choice,
        (entrance, agents): (Entrance, Agents),
        text: &str,
        folder: tempfile::TempDir,
        (bounds, buffers): (Bounds, u16),
        writer: impl FnOnce(WriterOptions) -> WriterOptions,
    ) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let policy = load(&text.replace("$PORT", &address.port().to_string()));
        let authority = Authority::new().unwrap();
        let roots = client_roots(&authority);
        let trust = Arc::new(ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth());
        let identities = Identities::read(&policy, folder.path(), &Trust::system()).unwrap();
        let options = WriterOptions::new(folder.path().join("audit"), folder.path().join("state"), 1);
        let (writer, mut seats) = Writer::start(writer(options)).unwrap();
        let (office, office_thread) = Office::open(authority).unwrap();
        let (stub, stub_address) = stub();
        let pins = Arc::new(Pins::under(&folder.path().join("state")));
        pins.cover(&policy).unwrap();
        let keeper = Keeper::start(&pins).unwrap();
        let seed = Seed {
            place: (0, 1),
            agents,
            policy: Arc::new(policy),
            identities: Arc::new(identities),
            seat: seats.pop().unwrap(),
            office,
            synthetic: Arc::default(),
            pins: Arc::clone(&pins),
            doors: vec![Door { listener, entrance }],
            stubs: vec![stub],
            own: vec![address],
            bounds,
            counters: Metrics::default().counters(),
            engine: engine::Options { choice, buffers, spin: engine::Spin::Never, ..engine::Options::default() },
        };
        let worker = Handle::start(seed).unwrap();
        Proxy {
            worker,
            office: office_thread,
            keeper,
            writer,
            listener: address,
            stub: stub_address,
            trust,
            roots,
            folder,
        }
    }

    /// The state folder.
    pub(super) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// The stub's address, over UDP and TCP.
    pub(super) fn stub(&self) -> SocketAddr {
        self.stub
    }

    /// Puts another policy in force.
    pub(super) fn adopt(&self, rules: &str) {
        let policy = load(&format!("ringfence: v1\nrules:\n{rules}"));
        let identities = Identities::read(&policy, self.folder.path(), &Trust::system()).unwrap();
        assert!(self.worker.adopt(Arc::new(policy), Arc::new(identities)));
        // Orders are carried out one after the other: when this one is answered, the policy is in force.
        self.worker.canary().unwrap();
    }

    /// Sends a canary through the worker's door.
    pub(super) fn canary(&self) -> Result<(), String> {
        self.worker.canary()
    }

    /// Why the log cannot be written at the moment, if so.
    pub(super) fn audit_failure(&self) -> Option<String> {
        self.writer.failure()
    }

    /// Where the worker listens.
    pub(super) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// A plaintext client.
    pub(super) fn client(&self) -> TcpStream {
        ready(TcpStream::connect(self.listener).unwrap())
    }

    /// A plaintext client that connects from `source`.
    pub(super) fn client_from(&self, source: IpAddr) -> TcpStream {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).unwrap();
        connect(fd.as_raw_fd(), &SockaddrStorage::from(self.listener)).unwrap();
        ready(fd.into())
    }

    /// A client under TLS, with `sni`.
    pub(super) fn tls_client(&self, sni: &str) -> StreamOwned<ClientConnection, TcpStream> {
        self.tls_over(self.client(), sni)
    }

    /// What vouches for the proxy's leaves.
    pub(super) fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// TLS over a connection that exists, with `sni`.
    pub(super) fn tls_over(&self, stream: TcpStream, sni: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.trust), name).unwrap(), stream)
    }

    /// Sends `request` on a connection of its own and returns everything that comes back until the proxy closes, or until nothing is owed.
    pub(super) fn ask(&self, request: &[u8]) -> String {
        let mut client = self.client();
        client.write_all(request).unwrap();
        response(&mut client).unwrap_or_default()
    }

    /// Stops everything and returns what each decision on record had looked at.
    pub(super) fn stop_for_inspected(self) -> Vec<String> {
        self.worker.stop().unwrap();
        self.office.join();
        self.keeper.finish();
        self.writer.finish().unwrap();
        let words = |inspected| crate::audit::Inspected(inspected).words().collect::<Vec<_>>().join(" ");
        each(&self.folder.path().join("audit"), |body| match body {
            Body::Decision(decision) => Some(words(decision.inspected)),
            Body::Message(message) => Some(words(message.decision.inspected)),
            _ => None,
        })
    }

    /// Stops everything and returns what is on record.
    pub(super) fn stop(self) -> Vec<Recorded> {
        recorded(&self.finish().path().join("audit"))
    }

    /// Stops everything and returns every octet of the log.
    pub(super) fn stop_and_read_log(self) -> Vec<u8> {
        let folder = self.finish();
        let segments = read::segments(&folder.path().join("audit")).unwrap();
        segments.iter().flat_map(|segment| std::fs::read(&segment.path).unwrap()).collect()
    }

    fn finish(self) -> tempfile::TempDir {
        self.worker.stop().unwrap();
        self.office.join();
        self.keeper.finish();
        self.writer.finish().unwrap();
        self.folder
    }
}

/// A stub that gives synthetic addresses, and where it listens.
fn stub() -> (Stub, SocketAddr) {
    loop {
        let datagrams = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = datagrams.local_addr().unwrap();
        // The port may be somebody's over TCP; then another one is tried.
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let service = Service { mode: Mode::Run, answers: Answers::Synthetic, from: None, agent: None };
        return (Stub { datagrams, listener, service }, address);
    }
}

/// A door whose connections all claim to have been meant for `port` of one address.
pub(super) fn fixed(port: u16) -> Entrance {
    let kind = Kind::Fixed(SocketAddr::from(([203, 0, 113, 1], port)));
    Entrance { mode: Mode::Redirect, kind, from: None, agent: None }
}

fn ready(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A policy with these rules and the origin there.
fn to(origin: SocketAddr, rules: &str) -> String {
    format!("ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\" }}\nrules:\n{rules}")
}

fn load(text: &str) -> policy::Policy {
    let loaded = policy::load(Source { name: "test.yaml", text });
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// One response: its head and as much body as it announces; `None` when the connection ended first.
pub(crate) fn response(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut octet = [0; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet).unwrap_or(0) == 0 {
            return (!bytes.is_empty()).then(|| String::from_utf8(bytes).unwrap());
        }
        bytes.push(octet[0]);
    }
    let head = String::from_utf8(bytes.clone()).unwrap().to_ascii_lowercase();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        let mut body = vec![0; length.trim().parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        bytes.extend_from_slice(&body);
    } else if head.contains("transfer-encoding: chunked") {
        while !bytes.ends_with(b"\r\n0\r\n\r\n") {
            if stream.read(&mut octet).unwrap_or(0) == 0 {
                break;
            }
            bytes.push(octet[0]);
        }
    } else if head.contains("connection: close") {
        let _ = stream.read_to_end(&mut bytes);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An origin that hands each accepted connection to `script`, one after the other. What it received is what `script` sends on.
pub(crate) fn origin<T: Send + 'static>(
    mut script: impl FnMut(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, Receiver<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            if seen.send(script(stream)).is_err() {
                return;
            }
        }
    });
    (address, received)
}

/// An origin that serves its connections at the same time.
pub(crate) fn origin_of_many(script: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, script) = (listener.local_addr().unwrap(), Arc::new(script));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, script) = (stream.unwrap(), Arc::clone(&script));
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || script(stream));
        }
    });
    address
}

/// An origin under TLS, and the trust anchor that vouches for it as `name`.
pub(crate) fn tls_origin<T: Send + 'static>(
    name: &str,
    mut script: impl FnMut(StreamOwned<ServerConnection, TcpStream>) -> T + Send + 'static,
) -> (SocketAddr, Receiver<T>, String) {
    let (trust, config) = crate::io::demo_certificate(name).unwrap();
    let (address, seen) =
        origin(move |stream| script(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)));
    (address, seen, trust)
}

/// Reads one request: its head and as much body as it announces.
///
/// Without the `Via` that tells our own requests to loopback, which are nearly all: it has claims of its own.
pub(crate) fn request(stream: &mut impl Read) -> Option<String> {
    let own = format!("Via: 1.1 {}\r\n", crate::io::via::pseudonym());
    response(stream).map(|request| request.replacen(&own, "", 1))
}

fn client_roots(authority: &Authority) -> RootCertStore {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    roots
}

fn recorded(folder: &std::path::Path) -> Vec<Recorded> {
    each(folder, |body| match body {
        Body::Decision(decision) | Body::Tunnel(decision) | Body::Dns(decision) => {
            Some(Recorded::of_decision(decision))
        }
        Body::Message(message) => Some(Recorded::of_decision(&message.decision)),
        Body::Outcome(outcome) => Some(Recorded::of_outcome(outcome)),
        _ => None,
    })
}

/// What `pick` makes of every record of a log.
fn each<T>(folder: &std::path::Path, pick: impl Fn(&Body<'_>) -> Option<T>) -> Vec<T> {
    let mut all = Vec::new();
    for segment in read::segments(folder).unwrap() {
        let mut reader = read::open(&segment.path, read::Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            all.extend(pick(&record::body(frame.schema, frame.payload).unwrap()));
        }
    }
    all
}

impl Recorded {
    fn of_decision(decision: &record::ArchivedDecision<'_>) -> Recorded {
        Recorded::Decision {
            agent: decision.agent.as_str().to_owned(),
            mode: Mode::from_code(decision.mode).unwrap().word().to_owned(),
            port: decision.port.to_native(),
            verdict: crate::audit::Verdict::from_code(decision.verdict).unwrap().word().to_owned(),
            code: decision.code.as_str().to_owned(),
            rule: decision.rule.as_str().to_owned(),
            host: decision.host.as_str().to_owned(),
            path: decision.path.as_str().to_owned(),
            status: decision.status.to_native(),
        }
    }

    fn of_outcome(outcome: &record::ArchivedOutcome<'_>) -> Recorded {
        Recorded::Outcome {
            status: outcome.status.to_native(),
            code: outcome.code.as_str().to_owned(),
            up: outcome.bytes_up.to_native(),
            down: outcome.bytes_down.to_native(),
            leads: (outcome.flags & record::flag::LOCATION != 0).then(|| outcome.error.as_str().to_owned()),
        }
    }

    /// The code of a denial; for asserting what refused.
    pub(super) fn code(&self) -> &str {
        match self {
            Recorded::Decision { code, .. } | Recorded::Outcome { code, .. } => code,
        }
    }
}
