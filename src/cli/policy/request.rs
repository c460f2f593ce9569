//! A request as a user describes it in JSON, turned into the subject that the proxy would decide about.
//!
//! The description becomes a request head, and the head goes through the same parser as traffic does: what the proxy would refuse as
//! malformed is explained as refused, and a path has the readings it has on the wire.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::facts::{Document, Fields};
use crate::io::facts::Parameters;
use crate::parse::head;
use crate::parse::target::{self, Asked, Canonical, Form, TargetError};
use crate::policy::{
    self, Direction, Explanation, Host, HostKey, Look, Mcp, McpEndpoint, Policy, Scheme, Subject, UpstreamAddress,
};

/// A described request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    method: Option<String>,
    url: Option<String>,
    headers: Option<Value>,
    body: Option<Value>,
    agent: Option<String>,
    time: Option<String>,
    mcp: Option<Message>,
}

/// A described MCP message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    server: Option<String>,
    method: Option<String>,
    tool: Option<String>,
    resource: Option<String>,
    prompt: Option<String>,
    args: Option<Value>,
}

/// Why a text describes no request.
#[derive(Debug)]
pub(super) enum RequestError {
    /// No JSON of the right shape.
    Json(serde_json::Error),
    /// The URL is none, or of a scheme that is not spoken.
    Url(String),
    /// The method or the URL holds a blank, a control character or a character beyond ASCII.
    Character,
    /// The header fields are no map of texts.
    Headers,
    /// The time is none.
    Time(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Json(error) => {
                write!(f, "{error}; write it like {{\"method\": \"GET\", \"url\": \"https://example.com/\"}}")
            }
            RequestError::Url(url) => {
                write!(f, "`{url}` is no http or https URL; write it like https://example.com/path")
            }
            RequestError::Headers => f.write_str("`headers` maps names to a text or a list of texts"),
            RequestError::Time(time) => write!(f, "`{time}` is no time; write it like 2026-11-20T22:00:00Z"),
            RequestError::Character => f.write_str("a method or URL holds visible ASCII only; percent-encode the rest"),
        }
    }
}

pub(super) fn read(text: &str) -> Result<Request, RequestError> {
    let request: Request = serde_json::from_str(text).map_err(RequestError::Json)?;
    request.checked()
}

impl Request {
    /// Refuses what cannot be a request.
    pub(super) fn checked(self) -> Result<Request, RequestError> {
        let request = self;
        let mut texts = request.method.iter().chain(&request.url);
        if !texts.all(|text| text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(RequestError::Character);
        }
        if let Some(url) = &request.url {
            split(url).ok_or_else(|| RequestError::Url(url.clone()))?;
        }
        if let Some(headers) = &request.headers {
            Fields::read(headers).ok_or(RequestError::Headers)?;
        }
        if let Some(time) = &request.time {
            time.parse::<jiff::Timestamp>().map_err(|_| RequestError::Time(time.clone()))?;
        }
        Ok(request)
    }
}

/// Scheme, authority and the rest of a URL, without its fragment, which no client sends.
fn split(url: &str) -> Option<(target::Scheme, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => target::Scheme::Http,
        "https" => target::Scheme::Https,
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, resource) = rest.split_at_checked(end)?;
    Some((scheme, authority, resource))
}

impl Request {
    /// What a reader of the answer should know.
    pub(super) fn notes(&self, policy: &Policy) -> Vec<String> {
        let mut notes = Vec::new();
        if self.url.is_none() && self.mcp.is_none() {
            notes.push("without a `url` no condition on host or path holds".to_owned());
        }
        if self.time.is_none() && policy.rules().iter().any(|rule| rule.when.moment.is_some()) {
            notes.push("without a `time` the request is made now".to_owned());
        }
        notes
    }

    /// Explains the decision about this request.
    pub(super) fn explain(&self, policy: &Policy) -> Explanation {
        let headers = self.headers.as_ref().and_then(Fields::read).unwrap_or_default();
        let body = self.body.as_ref().map(Document);
        let arguments = self.mcp.as_ref().and_then(|message| message.args.as_ref()).map(Document);
        let time = self.time.as_deref().and_then(|time| time.parse().ok()).unwrap_or_else(jiff::Timestamp::now);
        let mut subject = Subject {
            agent: self.agent.as_deref().unwrap_or_default(),
            method: self.method.as_deref().unwrap_or(if self.mcp.is_some() { "POST" } else { "GET" }),
            headers: Look::At(&headers),
            body: body.as_ref().map_or(Look::Absent, |body| Look::At(body)),
            time_ns: u64::try_from(time.as_nanosecond()).unwrap_or_default(),
            ..Subject::EMPTY
        };
        let message = self.mcp.as_ref().map(|message| message.facts(arguments.as_ref()));
        let url = self.url.clone().or_else(|| message.and_then(|message| url_of(policy, message.server)));
        let Some((scheme, authority, resource)) = url.as_deref().and_then(split) else {
            subject.mcp = message.map(|message| Mcp { declared: true, ..message });
            subject.method = self.method.as_deref().unwrap_or(if self.mcp.is_some() { "" } else { "GET" });
            return policy::explain(policy, &subject);
        };
        let resource = if resource.starts_with('/') { resource.to_owned() } else { format!("/{resource}") };
        let head = format!("{} {resource} HTTP/1.1\r\nHost: {authority}\r\n\r\n", subject.method);
        match canonical(&head, scheme, authority) {
            Ok(canonical) => explain(policy, &canonical, subject, message),
            Err(refusal) => *refusal,
        }
    }
}

impl Message {
    fn facts<'m>(&'m self, arguments: Option<&'m Document<'m>>) -> Mcp<'m> {
        let method = self.method.as_deref().unwrap_or(match self {
            Message { resource: Some(_), .. } => "resources/read",
            Message { prompt: Some(_), .. } => "prompts/get",
            _ => "tools/call",
        });
        let to_client = matches!(method, "sampling/createMessage" | "elicitation/create" | "roots/list");
        Mcp {
            server: self.server.as_deref().unwrap_or_default(),
            declared: false,
            direction: if to_client { Direction::ToClient } else { Direction::ToServer },
            method,
            tool: self.tool.as_deref(),
            resource: self.resource.as_deref(),
            prompt: self.prompt.as_deref(),
            arguments: arguments.map_or(Look::Absent, |arguments| Look::At(arguments)),
        }
    }
}

/// Where the policy says that a server is.
fn url_of(policy: &Policy, server: &str) -> Option<String> {
    let declared = policy.mcp_servers().iter().find(|declared| *declared.name == *server)?;
    let McpEndpoint::Http { scheme, host, port, path } = &declared.endpoint else { return None };
    let host = match host {
        HostKey::Name(name) => name.to_string(),
        HostKey::Address(IpAddr::V6(address)) => format!("[{address}]"),
        HostKey::Address(address) => address.to_string(),
    };
    Some(format!("{}://{host}:{port}{path}", scheme.as_str()))
}

pub(super) fn canonical<'h>(
    head: &'h str,
    scheme: target::Scheme,
    authority: &str,
) -> Result<Canonical<'h>, Box<Explanation>> {
    let head = head::request(head.as_bytes()).map_err(|error| refused(error.code(), &error))?;
    let from_target = |error: TargetError| refused(error.code(), &error);
    let (host, port) = target::authority(authority).map_err(|error| from_target(error.into()))?;
    let default_port = port.unwrap_or(scheme.default_port());
    let sni = host.name();
    let asked = Asked { scheme, head: &head, sni, default_port, form: Form::Origin, connect_authority: None };
    target::canonical(&asked).map_err(from_target)
}

fn explain(policy: &Policy, canonical: &Canonical<'_>, subject: Subject<'_>, message: Option<Mcp<'_>>) -> Explanation {
    let placed = Placed::new(policy, canonical);
    let paths = placed.paths();
    let parameters = Parameters(canonical.query.unwrap_or_default());
    let query = canonical.query.map_or(Look::Absent, |_| Look::At(&parameters));
    // The endpoint says which server it is; elsewhere the server's name is its host's.
    let declared = policy.mcp_server(placed.scheme, placed.host, canonical.port, &canonical.path);
    let host_name = canonical.host.name().unwrap_or_default();
    let mcp =
        message.map(|message| Mcp { server: declared.unwrap_or(host_name), declared: declared.is_some(), ..message });
    let Subject { scheme, host, port, address, paths, .. } = placed.subject(&paths);
    policy::explain(policy, &Subject { scheme, host, port, address, paths, query, mcp, ..subject })
}

/// Where a request goes, in the words of the policy.
pub(super) struct Placed<'c> {
    canonical: &'c Canonical<'c>,
    scheme: Scheme,
    host: Host<'c>,
    address: Option<IpAddr>,
}

impl<'c> Placed<'c> {
    pub(super) fn new(policy: &Policy, canonical: &'c Canonical<'c>) -> Placed<'c> {
        let host = match &canonical.host {
            target::Host::Name(name) => Host::Name(name),
            target::Host::V4(address) => Host::Address(IpAddr::V4(*address)),
            target::Host::V6(address) => Host::Address(IpAddr::V6(*address)),
        };
        let scheme = match canonical.scheme {
            target::Scheme::Http => Scheme::Http,
            target::Scheme::Https => Scheme::Https,
        };
        let address = policy.upstream(&host, canonical.port).and_then(|upstream| match upstream.address {
            UpstreamAddress::Socket(socket) => Some(socket.ip()),
            UpstreamAddress::Name(..) => None,
        });
        Placed { canonical, scheme, host, address }
    }

    /// Every reading of the path.
    pub(super) fn paths(&self) -> Vec<&'c str> {
        std::iter::once(&*self.canonical.path).chain(self.canonical.readings.iter()).collect()
    }

    /// The facts of the place; all others are absent.
    pub(super) fn subject<'s>(&'s self, paths: &'s [&'s str]) -> Subject<'s> {
        let (scheme, host, port, address) = (self.scheme, self.host, self.canonical.port, self.address);
        Subject { scheme, host, port, address, paths, ..Subject::EMPTY }
    }
}

/// What the proxy refuses before any rule is asked.
fn refused(code: &'static str, error: &dyn fmt::Display) -> Box<Explanation> {
    Box::new(Explanation {
        verdict: "deny",
        enforced: true,
        rule: None,
        reason: Some(error.to_string()),
        remedy: None,
        code: Some(code),
        asks: None,
        matched: Vec::new(),
        missed: None,
    })
}
