//! The one identity of a request: scheme, host, port, path.
//!
//! Up to four places say where a request goes: the SNI of the TLS connection, the authority of a CONNECT, the request target and `Host`.
//! [`canonical`] reads each with the same parser ([`crate::parse::host`]) and wants them equal; where they are not, the answer is 421 rather
//! than a choice. What it returns is what policy decides on, what the record says, and what is dialled.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr2};

use super::head::RequestHead;
pub use super::host::{Host, HostError, authority, host};
pub use super::path::{PathError, Readings};

/// The two schemes that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL without one means (RFC 9110 §4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Which forms of target (RFC 9112 §3.2) the connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The client believes to speak to the origin: origin-form, `*` for OPTIONS, and absolute-form where it says the same as `Host`.
    Origin,
    /// The client knows that it speaks to a proxy: absolute-form with `http`, and CONNECT.
    Proxy,
}

/// A request, and what its connection says about where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a, 'b> {
    /// Whether the request came through TLS.
    pub scheme: Scheme,
    /// The request.
    pub head: &'a RequestHead<'b>,
    /// The canonical name of the TLS connection's SNI, as [`crate::parse::client_hello`] gives it.
    pub sni: Option<&'a str>,
    /// The port the connection leads to: that of the original destination, of a gateway's listener, or of the CONNECT. A `Host` without a
    /// port means this one, a `Host` with another one disagrees. Not looked at in [`Form::Proxy`].
    pub default_port: u16,
    /// What kind of target may come.
    pub form: Form,
    /// Host and port of the CONNECT that the connection runs in.
    pub connect_authority: Option<(&'a Host<'a>, u16)>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical<'b> {
    /// For CONNECT: https, which is all that may run in it.
    pub scheme: Scheme,
    /// Canonical; see [`Host`].
    pub host: Host<'b>,
    /// From 1 to 65535.
    pub port: u16,
    /// The canonical path, see [`crate::parse::path`]; `*` for a server-wide OPTIONS, empty for CONNECT.
    pub path: Cow<'b, str>,
    /// Every other way to read the path.
    pub readings: Readings,
    /// What stands behind the first `?`, as received.
    pub query: Option<&'b str>,
    /// Path and query as received: the request target towards the origin.
    pub wire: Cow<'b, str>,
}

/// The identity of a request, or why it has none.
pub fn canonical<'b>(asked: &Asked<'_, 'b>) -> Result<Canonical<'b>, TargetError> {
    let target = asked.head.target;
    if asked.head.method == "CONNECT" {
        return connect(asked);
    }
    if target == "*" || target.starts_with('/') {
        return origin(asked, target);
    }
    absolute(asked, target)
}

/// RFC 9112 §3.2.1 and §3.2.4.
fn origin<'b>(asked: &Asked<'_, 'b>, target: &'b str) -> Result<Canonical<'b>, TargetError> {
    if asked.form == Form::Proxy {
        return Err(TargetError::NotAbsolute);
    }
    let (host, port) = host_field(asked)?.ok_or(TargetError::HostMissing)?;
    let port = port.unwrap_or(asked.default_port);
    agree_with_connection(asked, &host, port)?;
    resource(asked, asked.scheme, (host, port), target)
}

/// RFC 9112 §3.2.2: a proxy ignores `Host` here. A difference is refused, because some origin does not.
fn absolute<'b>(asked: &Asked<'_, 'b>, target: &'b str) -> Result<Canonical<'b>, TargetError> {
    let (scheme, rest) = target.split_once("://").ok_or(TargetError::Form)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(TargetError::Scheme),
    };
    let end = memchr2(b'/', b'?', rest.as_bytes()).unwrap_or(rest.len());
    let (authority_text, resource_text) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (host, port) = authority(authority_text)?;
    let unnamed_port = match asked.form {
        Form::Proxy if scheme == Scheme::Https => return Err(TargetError::Scheme),
        Form::Proxy => scheme.default_port(),
        Form::Origin if scheme != asked.scheme => return Err(TargetError::Mismatch(Mismatch::Scheme)),
        Form::Origin => asked.default_port,
    };
    let port = port.unwrap_or(unnamed_port);
    if let Some((other, other_port)) = host_field(asked)?
        && (other != host || other_port.unwrap_or(unnamed_port) != port)
    {
        return Err(TargetError::Mismatch(Mismatch::HostAndTarget));
    }
    if asked.form == Form::Origin {
        agree_with_connection(asked, &host, port)?;
    }
    resource(asked, scheme, (host, port), resource_text)
}

/// RFC 9112 §3.2.3.
fn connect<'b>(asked: &Asked<'_, 'b>) -> Result<Canonical<'b>, TargetError> {
    if asked.form == Form::Origin {
        return Err(TargetError::ConnectMisplaced);
    }
    let (host, port) = authority(asked.head.target)?;
    let port = port.ok_or(TargetError::ConnectWithoutPort)?;
    if let Some((other, other_port)) = host_field(asked)?
        && (other != host || other_port.is_some_and(|other| other != port))
    {
        return Err(TargetError::Mismatch(Mismatch::HostAndTarget));
    }
    let nothing = Cow::Borrowed("");
    let (path, wire) = (nothing.clone(), nothing);
    Ok(Canonical { scheme: Scheme::Https, host, port, path, readings: Readings::default(), query: None, wire })
}

fn host_field<'b>(asked: &Asked<'_, 'b>) -> Result<Option<(Host<'b>, Option<u16>)>, TargetError> {
    let Some(value) = asked.head.headers.host() else { return Ok(None) };
    let text = std::str::from_utf8(value).map_err(|_| HostError::Character)?;
    Ok(Some(authority(text)?))
}

/// What the request says against what its connection says.
fn agree_with_connection(asked: &Asked<'_, '_>, host: &Host<'_>, port: u16) -> Result<(), TargetError> {
    if port != asked.default_port {
        return Err(TargetError::Mismatch(Mismatch::Port));
    }
    if let Some((other, other_port)) = asked.connect_authority
        && (other != host || other_port != port)
    {
        return Err(TargetError::Mismatch(Mismatch::HostAndConnect));
    }
    match (asked.sni, host) {
        (Some(sni), Host::Name(name)) if sni == name => Ok(()),
        (Some(_), _) => Err(TargetError::Mismatch(Mismatch::HostAndSni)),
        // RFC 6066 §3 knows no SNI for addresses, so a TLS client without one means an address, or what it told the CONNECT.
        (None, Host::Name(_)) if asked.scheme == Scheme::Https && asked.connect_authority.is_none() => {
            Err(TargetError::Mismatch(Mismatch::HostAndSni))
        }
        (None, _) => Ok(()),
    }
}

fn resource<'b>(
    asked: &Asked<'_, 'b>,
    scheme: Scheme,
    (host, port): (Host<'b>, u16),
    text: &'b str,
) -> Result<Canonical<'b>, TargetError> {
    let (path, query) = match memchr(b'?', text.as_bytes()).and_then(|at| text.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (text, None),
    };
    let options = asked.head.method == "OPTIONS";
    if path == "*" && !options {
        return Err(TargetError::Form);
    }
    let (path, wire) = match (path, query) {
        ("*", Some(_)) => return Err(TargetError::Form),
        // RFC 9112 §3.2.4: the last proxy writes `*` for an OPTIONS of a URL that has neither path nor query.
        ("", None) if options => ("*", Cow::Borrowed("*")),
        ("", None) => ("/", Cow::Borrowed("/")),
        ("", Some(query)) => ("/", Cow::Owned(format!("/?{query}"))),
        (path, _) => (path, Cow::Borrowed(text)),
    };
    let read = super::path::read(path)?;
    Ok(Canonical { scheme, host, port, path: read.canonical, readings: read.readings, query, wire })
}

/// Why a request has no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// Host or port in the target or in `Host`.
    Host(HostError),
    /// The path.
    Path(PathError),
    /// No `Host` where nothing else names the host.
    HostMissing,
    /// Not one of the four forms, or not with this method.
    Form,
    /// A scheme that the connection does not take.
    Scheme,
    /// Origin-form on a proxy's listener.
    NotAbsolute,
    /// CONNECT anywhere else.
    ConnectMisplaced,
    /// CONNECT without a port.
    ConnectWithoutPort,
    /// Two places disagree.
    Mismatch(Mismatch),
}

/// Which places disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// `Host` and the request target.
    HostAndTarget,
    /// The request and the SNI; also a name in a request over TLS without SNI.
    HostAndSni,
    /// The request and the CONNECT around it.
    HostAndConnect,
    /// The request's port and the connection's.
    Port,
    /// The scheme of an absolute-form target and the connection's.
    Scheme,
}

impl TargetError {
    /// 421 where two places disagree, else 400.
    pub fn status(&self) -> u16 {
        if matches!(self, TargetError::Mismatch(_)) { 421 } else { 400 }
    }

    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        if matches!(self, TargetError::Mismatch(_)) { "mismatch" } else { "malformed" }
    }
}

impl From<HostError> for TargetError {
    fn from(fault: HostError) -> Self {
        TargetError::Host(fault)
    }
}

impl From<PathError> for TargetError {
    fn from(fault: PathError) -> Self {
        TargetError::Path(fault)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            TargetError::Host(fault) => return fault.fmt(out),
            TargetError::Path(fault) => return fault.fmt(out),
            TargetError::HostMissing => "nothing names the host",
            TargetError::Form => "the request target has none of the forms that its method can have",
            TargetError::Scheme => "the scheme of the request target is not spoken on this connection",
            TargetError::NotAbsolute => "a proxy takes a whole URL as request target",
            TargetError::ConnectMisplaced => "CONNECT is for a proxy's listener only",
            TargetError::ConnectWithoutPort => "CONNECT needs host and port",
            TargetError::Mismatch(Mismatch::HostAndTarget) => "the header host and the request target disagree",
            TargetError::Mismatch(Mismatch::HostAndSni) => "the request and the TLS server name disagree",
            TargetError::Mismatch(Mismatch::HostAndConnect) => "the request and the CONNECT around it disagree",
            TargetError::Mismatch(Mismatch::Port) => "the port of the request is not the connection's",
            TargetError::Mismatch(Mismatch::Scheme) => "the scheme of the request target is not the connection's",
        })
    }
}

impl std::error::Error for TargetError {}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
