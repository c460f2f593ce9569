//! A request as a user describes it in JSON, turned into the subject that the proxy would decide about.
//!
//! The description becomes a request head, and the head goes through the same parser as traffic does: what the proxy would refuse as
//! malformed is explained as refused, and a path has the readings it has on the wire.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::parse::head;
use crate::parse::target::{self, Asked, Canonical, Form, TargetError};
use crate::policy::{self, Explanation, Host, Policy, Scheme, Subject, UpstreamAddress};

/// A described request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    method: Option<String>,
    url: Option<String>,
    headers: Option<Value>,
    body: Option<Value>,
    agent: Option<String>,
    time: Option<Value>,
    mcp: Option<Value>,
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
            RequestError::Character => f.write_str("a method or URL holds visible ASCII only; percent-encode the rest"),
        }
    }
}

pub(super) fn read(text: &str) -> Result<Request, RequestError> {
    let request: Request = serde_json::from_str(text).map_err(RequestError::Json)?;
    let mut texts = request.method.iter().chain(&request.url);
    if !texts.all(|text| text.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(RequestError::Character);
    }
    if let Some(url) = &request.url {
        split(url).ok_or_else(|| RequestError::Url(url.clone()))?;
    }
    Ok(request)
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
    /// What the answer does not take into account.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let unread = [
            ("headers", self.headers.is_some()),
            ("body", self.body.is_some()),
            ("time", self.time.is_some()),
            ("mcp", self.mcp.is_some()),
        ];
        let unread = unread.into_iter().filter(|(_, given)| *given);
        let unread = unread.map(|(key, _)| format!("no rule of this version looks at `{key}`"));
        let nowhere = self.url.is_none().then(|| "without a `url` no condition on host or path holds".to_owned());
        unread.chain(nowhere)
    }

    /// Explains the decision about this request.
    pub(super) fn explain(&self, policy: &Policy) -> Explanation {
        let method = self.method.as_deref().unwrap_or("GET");
        let agent = self.agent.as_deref().unwrap_or_default();
        let Some((scheme, authority, resource)) = self.url.as_deref().and_then(split) else {
            let host = Host::Name("");
            let scheme = Scheme::Https;
            return policy::explain(
                policy,
                &Subject { agent, scheme, host, port: 443, address: None, method, paths: &[] },
            );
        };
        let resource = if resource.starts_with('/') { resource.to_owned() } else { format!("/{resource}") };
        let head = format!("{method} {resource} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        match canonical(&head, scheme, authority) {
            Ok(canonical) => explain(policy, &canonical, method, agent),
            Err(refusal) => *refusal,
        }
    }
}

fn canonical<'h>(head: &'h str, scheme: target::Scheme, authority: &str) -> Result<Canonical<'h>, Box<Explanation>> {
    let head = head::request(head.as_bytes()).map_err(|error| refused(error.code(), &error))?;
    let from_target = |error: TargetError| refused(error.code(), &error);
    let (host, port) = target::authority(authority).map_err(|error| from_target(error.into()))?;
    let default_port = port.unwrap_or(scheme.default_port());
    let sni = host.name();
    let asked = Asked { scheme, head: &head, sni, default_port, form: Form::Origin, connect_authority: None };
    target::canonical(&asked).map_err(from_target)
}

fn explain(policy: &Policy, canonical: &Canonical<'_>, method: &str, agent: &str) -> Explanation {
    let paths: Vec<&str> = std::iter::once(&*canonical.path).chain(canonical.readings.iter()).collect();
    let host = match &canonical.host {
        target::Host::Name(name) => Host::Name(name),
        target::Host::V4(address) => Host::Address(IpAddr::V4(*address)),
        target::Host::V6(address) => Host::Address(IpAddr::V6(*address)),
    };
    let scheme = match canonical.scheme {
        target::Scheme::Http => Scheme::Http,
        target::Scheme::Https => Scheme::Https,
    };
    let port = canonical.port;
    let address = policy.upstream(&host, port).and_then(|upstream| match upstream.address {
        UpstreamAddress::Socket(socket) => Some(socket.ip()),
        UpstreamAddress::Name(..) => None,
    });
    policy::explain(policy, &Subject { agent, scheme, host, port, address, method, paths: &paths })
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
        matched: Vec::new(),
        missed: None,
    })
}
