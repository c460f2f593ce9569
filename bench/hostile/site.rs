//! The proxy as a process of its own, with an origin behind it, and what its process costs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy takes for other code")]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::time::clock_getcpuclockid;

use crate::util::{Program, until};

pub(crate) struct Site {
    /// Ends with this; locked by nobody.
    _proxy: Mutex<Program>,
    id: u32,
    pub(crate) gateway: SocketAddr,
    pub(crate) dns: SocketAddr,
    written: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Site {
    /// One worker, two agents by their sources, and these `limits`.
    pub(crate) fn start(limits: &str) -> Site {
        let (origin, written) = origin();
        let (gateway, dns) = (free(), free());
        let folder = tempfile::tempdir().unwrap();
        let policy = format!(
            "ringfence: v1\nupstreams:\n  origin.test: {{ address: \"{origin}\" }}\nrules:\n  - allow: all\n    host: [origin.test, \"*.wild.test\"]\n    port: {}\n",
            gateway.port()
        );
        fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        let config = format!(
            "listen: [{{ mode: gateway, address: \"127.0.0.1\", ports: [{}], from: [127.0.0.0/8] }}]\ndns: {{ address: \"{dns}\" }}\npolicy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\nio: {{ workers: 1 }}\nagents: [{{ name: flood, source: 127.0.0.2 }}, {{ name: other, source: 127.0.0.3 }}]\nlimits: {{ {limits} }}\n",
            gateway.port()
        );
        fs::write(folder.path().join("ringfence.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["proxy", "--config"]).arg(folder.path().join("ringfence.yaml"));
        command.env("RINGFENCE_STATE", folder.path().join("state"));
        let proxy = Program::start(&mut command);
        until("the proxy listens", || TcpStream::connect(gateway).ok());
        let site = Site { id: proxy.id(), _proxy: Mutex::new(proxy), gateway, dns, written, _folder: folder };
        // One exchange, so that what is made once is there.
        let mut client = site.connect(super::clients::OTHER);
        write!(client, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", site.host()).unwrap();
        assert!(super::clients::answered(&mut client), "the origin is not reached");
        site
    }

    /// What `Host` says.
    pub(crate) fn host(&self) -> String {
        format!("origin.test:{}", self.gateway.port())
    }

    /// A connection from `source`, which says whose it is.
    pub(crate) fn connect(&self, source: IpAddr) -> TcpStream {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).unwrap();
        connect(fd.as_raw_fd(), &SockaddrStorage::from(self.gateway)).unwrap();
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(crate::util::PATIENCE)).unwrap();
        stream
    }

    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.id).unwrap());
        Duration::from(clock_getcpuclockid(pid).unwrap().now().unwrap())
    }

    /// Bytes of its anonymous memory: heap, stacks and buffers, without files and shared rings.
    pub(crate) fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The same, when it has stopped to change for half a second.
    pub(crate) fn settled_memory(&self) -> u64 {
        settled(|| self.memory())
    }

    /// Bytes that the origin could write in answers that nobody reads, when it can write no more.
    pub(crate) fn stalled(&self) -> u64 {
        settled(|| self.written.load(Ordering::Relaxed))
    }
}

/// What `read` says, when it has stopped to change for half a second.
pub(crate) fn settled(mut read: impl FnMut() -> u64) -> u64 {
    let (mut last, mut same) = (read(), 0);
    until("it stops to change", || {
        thread::sleep(Duration::from_millis(50));
        let now = read();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 10).then_some(now)
    })
}

fn free() -> SocketAddr {
    // For UDP and TCP.
    until("a port is free", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let address = listener.local_addr().ok()?;
        UdpSocket::bind(address).ok().map(|_| address)
    })
}

/// Answers `/endless` and `/chunks` without an end, does not read `/unread`, and says `ok` to everything else. Counts what it could write without an end.
fn origin() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Its memory is that of another machine: what it cannot send must not be what this one runs out of.
    setsockopt(&listener, sockopt::SndBuf, &(64 * 1024)).unwrap();
    let (address, written) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&written);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, counted) = (stream.unwrap(), Arc::clone(&counted));
            thread::Builder::new().stack_size(64 * 1024).spawn(move || serve(stream, &counted)).unwrap();
        }
    });
    (address, written)
}

fn serve(mut stream: TcpStream, counted: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let (mut head, mut octet) = (Vec::new(), [0; 1]);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut octet).unwrap_or(0) == 0 {
                return;
            }
            head.push(octet[0]);
        }
        let (start, piece): (&[u8], Vec<u8>) = match head.split(|octet| *octet == b' ').nth(1) {
            Some(b"/endless") => (b"HTTP/1.1 200 OK\r\nContent-Length: 4611686018427387904\r\n\r\n", vec![b'x'; 4096]),
            Some(b"/chunks") => {
                (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10\r\n0123456789abcdef\r\n".repeat(64))
            }
            Some(b"/unread") => loop {
                // Until the test ends.
                thread::park();
            },
            _ if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok() => continue,
            _ => return,
        };
        let _ = stream.write_all(start);
        while let Ok(more) = stream.write(&piece) {
            counted.fetch_add(more as u64, Ordering::Relaxed);
            if more < piece.len() && stream.write_all(&piece[more..]).is_err() {
                return;
            }
        }
        return;
    }
}
