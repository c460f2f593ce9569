//! A container without a network, governed from its host: who it is, its namespace, and when it has ended.
//!
//! The container has no interface but loopback; the proxy enters its network namespace once, makes there what it makes for `run`, and takes
//! the listeners out. The container needs no capability and no change, and if the proxy ends it has no network.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::Deserialize;

use crate::audit::Mode;
use crate::io::door::{Door, Entrance, Kind};
use crate::io::netns::{self, FenceError};
use crate::io::resolver::{Answers, Service, Stub};
use crate::limits::{ENGINE_ANSWER_BYTES_MAX, ENGINE_WAIT};

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    process: i32,
    /// Keeps the namespace; its inode tells it from any other.
    namespace: File,
}

/// Why a container cannot be governed.
#[derive(Debug)]
pub enum ContainerError {
    /// No container can have this name.
    Name(String),
    /// The engine does not answer.
    Engine(PathBuf, io::Error),
    /// There is no such container, or it does not run.
    NotRunning(String),
    /// It is on a network.
    Networked(String, String),
    /// It shares our own network namespace.
    Ours(String),
    /// Its namespace cannot be set up.
    Fence(FenceError),
}

impl fmt::Display for ContainerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainerError::Name(name) => {
                write!(f, "--container: `{name}` is no container's name; give its name or id, or pid:NUMBER")
            }
            ContainerError::Engine(socket, error) => write!(
                f,
                "--container: the engine at {} does not answer ({error}); set DOCKER_HOST=unix://SOCKET, or give pid:NUMBER",
                socket.display()
            ),
            ContainerError::NotRunning(name) => write!(f, "--container: {name} does not run; start it first"),
            ContainerError::Networked(name, network) => {
                write!(f, "--container: {name} is on the network `{network}`; start it with `--network none`")
            }
            ContainerError::Ours(name) => {
                write!(f, "--container: {name} shares the host's network; start it with `--network none`")
            }
            ContainerError::Fence(error) => write!(f, "--container: {error}"),
        }
    }
}

impl std::error::Error for ContainerError {}

/// What the engine's API says of a container (`GET /containers/ID/json`), as far as it matters here.
#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "HostConfig")]
    host_config: HostConfig,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Pid")]
    pid: i32,
}

#[derive(Deserialize)]
struct HostConfig {
    #[serde(rename = "NetworkMode")]
    network_mode: String,
}

impl Container {
    /// Finds a running container by its name or id, or by `pid:NUMBER` where the engine has no such socket.
    ///
    /// # Errors
    /// If it does not run, or has a network.
    pub(crate) fn find(name: &str) -> Result<Container, ContainerError> {
        let process = match name.strip_prefix("pid:") {
            Some(number) => number.parse().map_err(|_| ContainerError::Name(name.to_owned()))?,
            None => inspect(name)?,
        };
        let not_running = |_| ContainerError::NotRunning(name.to_owned());
        let namespace = File::open(format!("/proc/{process}/ns/net")).map_err(not_running)?;
        let own = std::fs::metadata("/proc/self/ns/net").map_err(not_running)?;
        if namespace.metadata().map_err(not_running)?.ino() == own.ino() {
            return Err(ContainerError::Ours(name.to_owned()));
        }
        Ok(Container { name: name.to_owned(), process, namespace })
    }

    /// Makes its network lead to us, and gives the doors for its connections and its questions.
    ///
    /// # Errors
    /// If its namespace cannot be set up.
    pub(crate) fn enter(&self) -> Result<(Vec<Door>, Vec<Stub>), ContainerError> {
        let sockets = netns::enter(&self.namespace).map_err(ContainerError::Fence)?;
        let entrance =
            Entrance { mode: Mode::Redirect, kind: Kind::Redirect, from: None, agent: Some(self.name.clone()) };
        let doors = sockets.tcp.into_iter().map(|listener| Door { listener, entrance: entrance.clone() });
        let service =
            Service { mode: Mode::Redirect, answers: Answers::Synthetic, from: None, agent: Some(self.name.clone()) };
        let pairs = sockets.dns_udp.into_iter().zip(sockets.dns_tcp);
        let stubs = pairs.map(|(datagrams, listener)| Stub { datagrams, listener, service: service.clone() });
        Ok((doors.collect(), stubs.collect()))
    }

    /// Whether its first process is gone. A process that has got its number since is in another namespace.
    pub(crate) fn has_ended(&self) -> bool {
        let now = std::fs::metadata(format!("/proc/{}/ns/net", self.process));
        match (now, self.namespace.metadata()) {
            (Ok(now), Ok(entered)) => now.ino() != entered.ino(),
            _ => true,
        }
    }
}

/// Asks the engine for the container's first process.
fn inspect(name: &str) -> Result<i32, ContainerError> {
    // What the engine itself takes for names, and nothing that could be read as another path.
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(sound) {
        return Err(ContainerError::Name(name.to_owned()));
    }
    let socket = engine_socket();
    let answer = ask(&socket, name).map_err(|error| ContainerError::Engine(socket.clone(), error))?;
    let unreadable = || ContainerError::Engine(socket.clone(), io::ErrorKind::InvalidData.into());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    if head.split(' ').nth(1) == Some("404") {
        return Err(ContainerError::NotRunning(name.to_owned()));
    }
    let found: Inspected = serde_json::from_str(body).map_err(|_| unreadable())?;
    match (found.state.pid, found.host_config.network_mode.as_str()) {
        (0, _) => Err(ContainerError::NotRunning(name.to_owned())),
        (pid, "none") => Ok(pid),
        (_, network) => Err(ContainerError::Networked(name.to_owned(), network.to_owned())),
    }
}

/// HTTP/1.0, so that the answer is neither chunked nor kept open.
fn ask(socket: &PathBuf, name: &str) -> io::Result<String> {
    let mut engine = UnixStream::connect(socket)?;
    engine.set_read_timeout(Some(ENGINE_WAIT))?;
    engine.set_write_timeout(Some(ENGINE_WAIT))?;
    write!(engine, "GET /containers/{name}/json HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    engine.take(ENGINE_ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where the engine listens: as its own client finds it.
fn engine_socket() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").ok();
    let path = named.as_deref().and_then(|host| host.strip_prefix("unix://"));
    PathBuf::from(path.unwrap_or("/var/run/docker.sock"))
}
