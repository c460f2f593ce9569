//! The open streams of the older HTTP+SSE transport (2024-11-05): where their clients post to, and what is to come on them.
//!
//! A client opens a stream with GET, and the first event names the URL for what it sends. Answers come on the stream and not with the POST, and the
//! two meet at any two workers, so that this is shared by all of them. Each look-up is short and nothing waits within one. An entry is as old as
//! its stream: what is posted to it afterwards finds nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::io::engine::{self, Receiver, Sender};
use crate::io::judge::Request;
use crate::io::mcp::Topic;
use crate::limits::{MCP_REFUSALS_MAX, MCP_REQUESTS_MAX};
use crate::parse::head;
use crate::parse::rpc::{Id, Version};
use crate::parse::target::{self, Asked, Form, Host};
use crate::policy::Scheme;

use super::Place;
use super::sessions::{Key, Sessions};

static ALL: LazyLock<Mutex<Streams>> = LazyLock::new(Mutex::default);
/// How many are open: where there is none, which is nearly everywhere, a request costs one load.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The streams of this process.
#[derive(Default)]
pub(super) struct Streams {
    open: HashMap<Target, Open>,
    /// How many streams of which server have a target at a path.
    paths: HashMap<Spot, (Box<str>, usize)>,
}

/// Where a request goes, without its query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path: Box<str>,
}

/// Where the messages of one stream are posted to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    spot: Spot,
    query: Option<Box<str>>,
}

struct Open {
    serial: u64,
    server: Box<str>,
    agent: Box<str>,
    /// The client's requests that wait for an answer on the stream.
    asked: HashMap<Id<'static>, Topic>,
    /// What was agreed on: the stream has the answer to the handshake, and a POST's head says nothing of it.
    version: Option<Version>,
    /// Answers of ours, to be put on the stream.
    refusals: Sender<Vec<u8>>,
}

/// What has become of requests that are about to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// They are noted as asked.
    Yes,
    /// Some of these ids are taken already; none is noted.
    Twice,
    /// Too many wait; none is noted.
    Full,
    /// The stream has ended.
    Gone,
    /// Answers come where the requests go: nothing had to be noted.
    Nothing,
}

/// A stream in the registry, for as long as it lives.
pub(super) struct Opened {
    pub(super) target: Target,
    pub(super) refusals: Receiver<Vec<u8>>,
    serial: u64,
}

impl Streams {
    /// All of them, for one look-up.
    pub(super) fn all() -> MutexGuard<'static, Streams> {
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any.
    pub(super) fn are_open() -> bool {
        OPEN.load(Ordering::Acquire) > 0
    }

    /// The server to whose streams messages are posted at a place, if there is one.
    pub(super) fn server(scheme: Scheme, host: &str, port: u16, path: &str) -> Option<Box<str>> {
        if !Streams::are_open() {
            return None;
        }
        let spot = Spot { scheme, host: host.into(), port, path: path.into() };
        Streams::all().paths.get(&spot).map(|(server, _)| server.clone())
    }

    /// Whether there is such a stream of this agent.
    pub(super) fn is_of(&self, target: &Target, agent: &str) -> bool {
        self.open.get(target).is_some_and(|open| *open.agent == *agent)
    }

    /// Notes requests as asked, all of them or none.
    pub(super) fn reserve(&mut self, target: &Target, requests: &[(Id<'static>, Topic)]) -> Reserved {
        let Some(open) = self.open.get_mut(target) else { return Reserved::Gone };
        if requests.iter().any(|(id, _)| open.asked.contains_key(id)) {
            return Reserved::Twice;
        }
        if open.asked.len() + requests.len() > MCP_REQUESTS_MAX {
            return Reserved::Full;
        }
        open.asked.extend(requests.iter().cloned());
        Reserved::Yes
    }

    /// What was asked under this id; it is not waited for any more.
    pub(super) fn take(&mut self, target: &Target, id: &Id<'_>) -> Option<Topic> {
        self.open.get_mut(target)?.asked.remove(&id.clone().into_owned())
    }

    /// All that is waited for on a stream; none of it any more.
    pub(super) fn take_all(&mut self, target: &Target) -> HashMap<Id<'static>, Topic> {
        self.open.get_mut(target).map(|open| std::mem::take(&mut open.asked)).unwrap_or_default()
    }

    /// The version that is spoken on a stream and with what is posted to it.
    pub(super) fn version(&self, target: &Target) -> Version {
        self.open.get(target).and_then(|open| open.version).unwrap_or(Version::V2024_11_05)
    }

    /// Notes what was agreed on.
    pub(super) fn agree(&mut self, target: &Target, version: Option<Version>) {
        if let Some(open) = self.open.get_mut(target) {
            open.version = version;
        }
    }

    /// Puts an answer of ours on a stream; false where that cannot be.
    pub(super) fn answer(&self, target: &Target, text: Vec<u8>) -> bool {
        self.open.get(target).is_some_and(|open| open.refusals.try_send(text).is_ok())
    }

    /// A stream has told its client where to post. Nothing where that is another agent's place already; a stream of the same agent's is
    /// replaced, and ends.
    pub(super) fn begin(&mut self, target: Target, server: &str, agent: &str) -> Option<Opened> {
        if self.open.get(&target).is_some_and(|open| *open.agent != *agent || *open.server != *server) {
            return None;
        }
        if self.paths.get(&target.spot).is_some_and(|(other, _)| **other != *server) {
            return None;
        }
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let (sender, refusals) = engine::channel(MCP_REFUSALS_MAX);
        let asked = HashMap::new();
        let open = Open { serial, server: server.into(), agent: agent.into(), asked, version: None, refusals: sender };
        if self.open.insert(target.clone(), open).is_none() {
            self.paths.entry(target.spot.clone()).or_insert_with(|| (server.into(), 0)).1 += 1;
            OPEN.fetch_add(1, Ordering::Release);
        }
        Some(Opened { target, refusals, serial })
    }

    fn end(&mut self, target: &Target, serial: u64) -> bool {
        if self.open.get(target).is_none_or(|open| open.serial != serial) {
            return false;
        }
        self.open.remove(target);
        OPEN.fetch_sub(1, Ordering::Release);
        if let Some((_, count)) = self.paths.get_mut(&target.spot) {
            *count -= 1;
            if *count == 0 {
                self.paths.remove(&target.spot);
            }
        }
        true
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let is_last = Streams::all().end(&self.target, self.serial);
        if is_last {
            Sessions::all().end(&Key::Stream(self.target.clone()));
        }
    }
}

impl Target {
    /// Where a request goes.
    pub(super) fn of(scheme: Scheme, request: &Request<'_>) -> Target {
        Target {
            spot: Spot {
                scheme,
                host: request.host.into(),
                port: request.target.port,
                path: (*request.target.path).into(),
            },
            query: request.target.query.map(Box::from),
        }
    }

    /// Path and query.
    pub(super) fn wire(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.spot.path),
            None => self.spot.path.to_string(),
        }
    }

    /// What the `endpoint` event of a stream says. It must lie where the stream came from, and read in one way
    /// alone: what the client is told is not what the server has written but what it was taken for.
    pub(super) fn named(place: &Place, data: &str) -> Option<Target> {
        let own = if place.host.contains(':') { format!("[{}]", place.host) } else { (*place.host).to_owned() };
        let (authority, resource) = match data.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                let expected = if place.scheme == Scheme::Https { "https" } else { "http" };
                let (authority, resource) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                let has_port = authority.rsplit(']').next().unwrap_or_default().contains(':');
                if !scheme.eq_ignore_ascii_case(expected) || !(has_port || place.port == place.scheme.default_port()) {
                    return None;
                }
                (authority, resource.to_owned())
            }
            _ if data.is_empty() => return None,
            _ if data.starts_with('/') => (&*own, data.to_owned()),
            _ if data.starts_with('?') => (&*own, format!("{}{data}", place.path)),
            _ if data.split(['/', '?']).next().unwrap_or_default().contains(':') => return None,
            _ => {
                let folder = place.path.rfind('/').and_then(|at| place.path.get(..=at)).unwrap_or("/");
                (&*own, format!("{folder}{data}"))
            }
        };
        if !resource.starts_with('/') || resource.starts_with("//") || resource.contains(['#', '\\']) {
            return None;
        }
        let text = format!("POST {resource} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\n\r\n");
        let head = head::request(text.as_bytes()).ok()?;
        let asked = Asked {
            scheme: match place.scheme {
                Scheme::Http => target::Scheme::Http,
                Scheme::Https => target::Scheme::Https,
            },
            head: &head,
            // A name is one that the stream's own connection has said.
            sni: place.host.parse::<IpAddr>().is_err().then_some(&*place.host),
            default_port: place.port,
            form: Form::Origin,
            connect_authority: None,
        };
        let canonical = target::canonical(&asked).ok()?;
        let host = match &canonical.host {
            Host::Name(name) => name.to_string(),
            Host::V4(address) => address.to_string(),
            Host::V6(address) => address.to_string(),
        };
        let target = Target {
            spot: Spot {
                scheme: place.scheme,
                host: place.host.clone(),
                port: place.port,
                path: (*canonical.path).into(),
            },
            query: canonical.query.map(Box::from),
        };
        let is_plain = canonical.readings.is_empty() && target.wire() == *canonical.wire;
        (*host == *place.host && canonical.port == place.port && is_plain).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn place(scheme: Scheme, port: u16) -> Place {
        Place {
            server: "files".into(),
            id: None,
            scheme,
            host: "mcp.test".into(),
            port,
            path: "/a/sse".into(),
            method: "GET",
            has_sessions: true,
            older: None,
        }
    }

    #[test]
    fn where_to_post_lies_at_the_streams_origin_and_reads_in_one_way() {
        let told = |place: &Place, data: &str| Target::named(place, data).map(|target| target.wire());
        let secure = place(Scheme::Https, 443);
        for (data, wire) in [
            ("/messages?session_id=1", "/messages?session_id=1"),
            ("messages?session_id=1", "/a/messages?session_id=1"),
            ("?session_id=1", "/a/sse?session_id=1"),
            ("https://mcp.test/messages?x=1", "/messages?x=1"),
            ("HTTPS://MCP.test:443/messages", "/messages"),
        ] {
            assert_eq!(told(&secure, data).as_deref(), Some(wire), "{data}");
        }
        assert_eq!(told(&place(Scheme::Http, 8080), "http://mcp.test:8080/m").as_deref(), Some("/m"));
        for data in [
            "",
            "//evil.test/messages",
            "/\\evil.test/messages",
            "\\\\evil.test/m",
            "http://mcp.test/messages",
            "https://mcp.test:8443/messages",
            "https://evil.test/messages",
            "https://mcp.test@evil.test/messages",
            "https://user@mcp.test/messages",
            "https://mcp.test",
            "https:///messages",
            "https:messages",
            "javascript:alert(1)",
            "/messages#x",
            "/a/../messages",
            "/a//messages",
            "/m%2Fessages",
            "/messages HTTP/1.1\r\nHost: evil.test\r\n\r\n",
            "/messages\n",
            " /messages",
            "/mess ages",
            "/m\u{e9}ssages",
            "/mess%61ges",
        ] {
            assert_eq!(told(&secure, data), None, "{data}");
        }
        assert_eq!(told(&place(Scheme::Https, 8443), "https://mcp.test/m"), None, "no port is the scheme's own");
    }

    #[test]
    fn a_stream_is_of_one_agent_until_it_ends() {
        let mut streams = Streams::default();
        let named = || Target::named(&place(Scheme::Https, 443), "/only-here?s=1").unwrap();
        let target = named();
        let opened = streams.begin(named(), "files", "a").unwrap();
        assert!(streams.is_of(&target, "a") && !streams.is_of(&target, "b"));
        assert!(streams.begin(named(), "files", "b").is_none() && streams.begin(named(), "mail", "a").is_none());
        let again = streams.begin(named(), "files", "a").unwrap();
        assert!(
            !streams.end(&target, opened.serial) && streams.is_of(&target, "a"),
            "the older one's end is not its own"
        );
        assert!(streams.end(&target, again.serial) && !streams.is_of(&target, "a") && streams.paths.is_empty());
    }

    #[test]
    fn a_request_is_asked_once_and_answered_once() {
        let mut streams = Streams::default();
        let target = Target::named(&place(Scheme::Https, 443), "/only-there?s=1").unwrap();
        let ask = |id: &str| (Id::Text(Cow::Owned(id.to_owned())), Topic::method("tools/call"));
        assert_eq!(streams.reserve(&target, &[ask("1")]), Reserved::Gone);
        let opened = streams.begin(target.clone(), "files", "a").unwrap();
        assert_eq!(streams.reserve(&target, &[ask("1")]), Reserved::Yes);
        assert_eq!(streams.reserve(&target, &[ask("2"), ask("1")]), Reserved::Twice);
        assert_eq!(streams.take(&target, &ask("2").0), None, "none of them is noted");
        assert_eq!(streams.take(&target, &ask("1").0), Some(Topic::method("tools/call")));
        assert_eq!(streams.take(&target, &ask("1").0), None);
        for n in 0..MCP_REQUESTS_MAX {
            assert_eq!(streams.reserve(&target, &[ask(&n.to_string())]), Reserved::Yes);
        }
        assert_eq!(streams.reserve(&target, &[ask("x")]), Reserved::Full);
        streams.end(&target, opened.serial);
    }
}
