//! The clients, each called as its users call it: no option that weakens or redirects anything.

use super::harness::Site;
use super::util::{Finished, Program};
use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// A client that can make a call and, except for wget, read a stream of events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Curl,
    Wget,
    Requests,
    Httpx,
    Fetch,
}

/// What a client was answered, as the client itself tells it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Body,
    pub(crate) finished: Finished,
}

/// How long a body is, and its SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Client {
    /// One call, to its end. The body of the request is a file's.
    pub(crate) fn call(self, site: &Site, method: &str, url: &str, sent: Option<&Path>) -> Answer {
        for left_over in ["head", "body"] {
            // What an earlier call left must not pass for this one's answer.
            let _ = std::fs::remove_file(site.home().join(left_over));
        }
        let sent = sent.map(|path| path.to_str().expect("a path in UTF-8"));
        let verb = format!("--method={method}");
        let file = format!("--body-file={}", sent.unwrap_or_default());
        let (python, script) = (site.python(), self.script(site));
        let mut line: Vec<&str> = match self {
            Client::Curl => vec!["curl", "-sS", "-D", "head", "-o", "body", "-X", method],
            Client::Wget => vec!["wget", "-nv", "-S", "--content-on-error", "-O", "body", &verb],
            Client::Requests | Client::Httpx => vec![&python, &script, "call", method, url],
            Client::Fetch => vec!["node", &script, "call", method, url],
        };
        match (self, sent) {
            (Client::Curl, Some(sent)) => line.extend(["-T", sent, url]),
            (Client::Wget, Some(_)) => line.extend([file.as_str(), url]),
            (Client::Curl | Client::Wget, None) => line.push(url),
            (_, Some(sent)) => line.push(sent),
            (_, None) => {}
        }
        let finished = site.run(&line);
        match self {
            Client::Curl => Answer::from_curl(site, finished),
            Client::Wget => Answer::from_head(site, &finished.stderr.clone(), finished),
            _ => Answer::from_json(site, finished),
        }
    }

    /// Starts reading a stream of events; each is one line on stdout as soon as it is there.
    pub(crate) fn events(self, site: &Site, url: &str) -> Program {
        let script = self.script(site);
        match self {
            Client::Curl => site.start(&["curl", "-sSN", url]),
            Client::Wget => site.start(&["wget", "-q", "-O", "-", url]),
            Client::Requests | Client::Httpx => site.start(&[&site.python(), &script, "events", url]),
            Client::Fetch => site.start(&["node", &script, "events", url]),
        }
    }

    fn script(self, site: &Site) -> String {
        match self {
            Client::Requests => site.program("requests_client.py"),
            Client::Httpx => site.program("httpx_client.py"),
            Client::Fetch => site.program("fetch_client.mjs"),
            Client::Curl | Client::Wget => String::new(),
        }
    }
}

impl Answer {
    /// From what the scripts print: `{"status": …, "headers": {…}}`, and the file `body`.
    pub(crate) fn from_json(site: &Site, finished: Finished) -> Answer {
        let line = finished.stdout.last().unwrap_or_else(|| panic!("no answer: {finished:?}"));
        let told: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        let pairs = told["headers"].as_object().expect("an object").iter();
        let headers =
            pairs.map(|(name, value)| (name.to_lowercase(), value.as_str().expect("text").to_owned())).collect();
        let status = told["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
        Answer { status, headers, body: Body::of_file(&site.home().join("body")), finished }
    }

    /// From what `curl -D head -o body` leaves.
    pub(crate) fn from_curl(site: &Site, finished: Finished) -> Answer {
        let head = site.home().join("head");
        assert!(head.exists(), "no head: {finished:?}");
        Answer::from_head(site, &read_text(&head), finished)
    }

    /// From heads as curl and wget show them. The last one counts: interim answers come before.
    fn from_head(site: &Site, text: &str, finished: Finished) -> Answer {
        let last = text.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no head: {finished:?}"));
        let mut lines = text[last..].lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let pairs = lines.filter_map(|line| line.trim().split_once(": "));
        let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status: status.expect("a status"), headers, body: Body::of_file(&site.home().join("body")), finished }
    }

    pub(crate) fn text(&self, site: &Site) -> String {
        read_text(&site.home().join("body"))
    }

    pub(crate) fn json(&self, site: &Site) -> Value {
        let text = self.text(site);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}, {self:?}"))
    }
}

impl Body {
    pub(crate) fn of_bytes(bytes: &[u8]) -> Body {
        let mut measure = Measure::default();
        measure.add(bytes);
        measure.end()
    }

    pub(crate) fn of_file(path: &Path) -> Body {
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut measure, mut piece) = (Measure::default(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece).expect("it can be read") {
                0 => return measure.end(),
                length => measure.add(&piece[..length]),
            }
        }
    }

    /// The body that the origin serves at `/pattern/BYTES`.
    pub(crate) fn pattern(bytes: u64) -> Body {
        let mut measure = Measure::default();
        pattern(bytes, |piece| measure.add(piece));
        measure.end()
    }

    /// What `/echo` says it received.
    pub(crate) fn told(echo: &Value) -> Body {
        let sha256 = echo["sha256"].as_str().expect("text").to_owned();
        Body { bytes: echo["bytes"].as_u64().expect("a number"), sha256 }
    }
}

struct Measure {
    bytes: u64,
    sha256: Context,
}

impl Default for Measure {
    fn default() -> Measure {
        Measure { bytes: 0, sha256: Context::new(&SHA256) }
    }
}

impl Measure {
    fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.sha256.update(piece);
    }

    fn end(self) -> Body {
        let sha256 = self.sha256.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Body { bytes: self.bytes, sha256 }
    }
}

/// Writes the body of `/pattern/BYTES` to a file, for a client to send.
pub(crate) fn write_pattern(path: &Path, bytes: u64) {
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    pattern(bytes, |piece| file.write_all(piece).expect("there is room"));
}

/// The same blocks as `pattern` in origin.py: their own number, then noise from xorshift64.
fn pattern(bytes: u64, mut take: impl FnMut(&[u8])) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0; 64 * 1024];
    for word in block.chunks_exact_mut(8).skip(1) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_be_bytes());
    }
    let (mut number, mut left) = (0_u64, bytes);
    while left > 0 {
        block[..8].copy_from_slice(&number.to_be_bytes());
        let length = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        take(&block[..length]);
        left -= length as u64;
        number += 1;
    }
}

fn read_text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}
