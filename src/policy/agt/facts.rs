//! Which fact stands for which of AGT's fields: one table for all dialects, published in `docs/AGT.md`.
//!
//! A fact is missing where the subject is of a kind that has none, and open where nobody has looked yet. The same field may be supplied at one
//! stage and not at another; what no subject ever supplies is refused when the policy is loaded.

use std::borrow::Cow;

use super::super::number::Number;
use super::super::subject::{Host, Look, Mcp, Stage, Subject, Value};

/// The name under which an HTTP request is a call of a tool.
pub(super) const HTTP_TOOL: &str = "http.request";

/// What a subject says about a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact<'f> {
    /// Nothing: AGT's `None`.
    Missing,
    /// Nobody has looked yet.
    Open,
    /// Something that cannot be read, or that has several values where AGT's field has one.
    Unreadable,
    Text(Cow<'f, str>),
    Number(Number),
    Bool(bool),
    /// JSON's null: to Python the same as nothing, to JavaScript not.
    Null,
    /// A list, by its length.
    List(usize),
    Object,
}

/// A field that can be supplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Agent,
    /// The tool; for an HTTP request `http.request`, for an MCP message that calls none its method.
    Tool,
    /// The HTTP method.
    Method,
    McpMethod,
    Server,
    Scheme,
    Host,
    Port,
    /// The path of a request, or the argument `path` of a call; a call without one has the empty text, as AGT's proxy has it.
    Path,
    Url,
    /// The URL of a request, or the URI of a resource.
    Resource,
    Query,
    /// By lower-case name.
    Header(Box<str>),
    /// By JSON pointer.
    Argument(Box<str>),
    /// The description of a tool, when a server lists it.
    Description,
    /// The text of a tool's answer.
    Response,
    /// Named with `--agt-unsupplied`: missing always.
    Nothing,
}

/// What supplies facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// An HTTP request.
    Request,
    /// An MCP message over standard streams, or what answers one.
    Message,
}

/// How much of a subject is given; the rest is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Whole,
    /// An HTTP request of which the host is known, and with `port` and `path` these.
    Place { port: bool, path: bool },
    /// An MCP message of which only is known who sends it and to which server.
    SomeMessage,
}

/// The facts of a subject as AGT's fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'s> {
    pub(super) subject: &'s Subject<'s>,
    /// Which reading of the path.
    pub(super) reading: usize,
    pub(super) scope: Scope,
    /// Whether the call is admitted already and only asked about again: its limit has been counted.
    pub(super) under_way: bool,
}

impl Field {
    /// The pointer, of an argument.
    pub(super) fn argument(&self) -> Option<&str> {
        match self {
            Field::Argument(pointer) => Some(pointer),
            Field::Path => Some(PATH_ARGUMENT),
            _ => None,
        }
    }

    /// An HTTP request is a call of a tool with these arguments.
    fn of_http(&self) -> &Field {
        let Field::Argument(pointer) = self else { return self };
        match &**pointer {
            "/method" => &Field::Method,
            "/path" => &Field::Path,
            "/url" => &Field::Url,
            "/host" => &Field::Host,
            _ => self,
        }
    }

    /// Whether the field differs with the readings of a path.
    pub(super) fn reads_path(&self) -> bool {
        match self {
            Field::Path | Field::Url | Field::Resource => true,
            Field::Argument(pointer) => matches!(&**pointer, "/path" | "/url"),
            _ => false,
        }
    }

    /// The field that a name stands for.
    pub(super) fn named(name: &str) -> Option<Field> {
        for prefix in ["args.", "arguments.", "params.", "tool_args.", "action.args.", "action.params."] {
            if let Some(argument) = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                return Some(Field::Argument(pointer(argument).into()));
            }
        }
        for prefix in ["header.", "headers."] {
            if let Some(header) = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                return Some(Field::Header(header.to_ascii_lowercase().into()));
            }
        }
        Some(match name {
            "agent" | "agent_id" | "agent_did" | "agent.id" | "agent.did" | "agent.name" => Field::Agent,
            "tool_name" | "tool" | "action" | "action.tool" | "action.type" | "action.name" => Field::Tool,
            "method" | "http_method" | "http.method" | "request.method" => Field::Method,
            "mcp_method" | "mcp.method" => Field::McpMethod,
            "server" | "mcp_server" | "mcp.server" | "server_name" => Field::Server,
            "scheme" | "url_scheme" | "http.scheme" => Field::Scheme,
            "host" | "hostname" | "domain" | "http.host" | "request.host" => Field::Host,
            "port" | "http.port" => Field::Port,
            "path" | "action.path" | "http.path" | "request.path" => Field::Path,
            "url" | "endpoint" | "http.url" | "request.url" => Field::Url,
            "resource" | "action.resource" => Field::Resource,
            "query" | "http.query" => Field::Query,
            "tool_description" => Field::Description,
            "tool_response" | "tool_result" | "output" | "response" => Field::Response,
            _ => return None,
        })
    }

    /// The words of [`Field::named`] without the open-ended ones, to tell a misspelt one.
    pub(super) const NAMES: [&'static str; 17] = [
        "agent",
        "tool_name",
        "action",
        "method",
        "mcp_method",
        "server",
        "scheme",
        "host",
        "port",
        "path",
        "url",
        "resource",
        "query",
        "tool_description",
        "tool_response",
        "output",
        "action.tool",
    ];

    /// Whether subjects of this origin can supply the field.
    pub(super) fn comes_from(&self, origin: Origin) -> bool {
        match self {
            Field::Agent | Field::Tool | Field::Path | Field::Resource | Field::Nothing => true,
            Field::Method
            | Field::Scheme
            | Field::Host
            | Field::Port
            | Field::Url
            | Field::Query
            | Field::Header(_) => origin == Origin::Request,
            Field::Argument(pointer) => {
                origin == Origin::Message || matches!(&**pointer, "/method" | "/path" | "/url" | "/host")
            }
            Field::McpMethod | Field::Server | Field::Description | Field::Response => origin == Origin::Message,
        }
    }
}

/// The pointer of a member of the arguments, whatever characters its name has.
pub(super) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The argument that a call's path is.
const PATH_ARGUMENT: &str = "/path";

impl<'s> Facts<'s> {
    pub(super) fn of(subject: &'s Subject<'s>) -> Facts<'s> {
        Facts { subject, reading: 0, scope: Scope::Whole, under_way: false }
    }

    /// Whether something that rules may ask for has not been looked at.
    #[allow(dead_code, reason = "the rules of these dialects can be walked with open facts")]
    pub(super) fn is_open(&self) -> bool {
        self.scope != Scope::Whole || self.subject.is_open()
    }

    fn is_request(&self) -> bool {
        match self.scope {
            Scope::Whole => self.subject.mcp.is_none(),
            Scope::Place { .. } => true,
            Scope::SomeMessage => false,
        }
    }

    /// Who asks.
    pub(super) fn agent(&self) -> Option<&'s str> {
        (!matches!(self.scope, Scope::Place { .. })).then_some(self.subject.agent)
    }

    /// What is known of a field.
    pub(super) fn get(&self, field: &Field) -> Fact<'s> {
        if let Field::Nothing = field {
            return Fact::Missing;
        }
        let field = if self.is_request() { field.of_http() } else { field };
        match (self.scope, field) {
            (Scope::Whole, _) => {}
            (Scope::Place { .. }, Field::Tool | Field::Host) => {}
            (Scope::Place { port: true, .. }, Field::Port) | (Scope::Place { path: true, .. }, Field::Path) => {}
            (Scope::Place { .. }, _) if !field.comes_from(Origin::Request) => return Fact::Missing,
            (Scope::SomeMessage, Field::Server | Field::Agent) => {}
            (Scope::SomeMessage, _) if !field.comes_from(Origin::Message) => return Fact::Missing,
            (Scope::Place { .. } | Scope::SomeMessage, _) => return Fact::Open,
        }
        let subject = self.subject;
        match (field, &subject.mcp) {
            (Field::Agent, _) => some(subject.agent),
            (Field::Description, _) => match subject.stage {
                Stage::Description(text) => Fact::Text(text.into()),
                Stage::Request | Stage::Response(_) => Fact::Missing,
            },
            (Field::Response, _) => match subject.stage {
                Stage::Response(reply) => Fact::Text(reply.texts.into()),
                Stage::Request | Stage::Description(_) => Fact::Missing,
            },
            (field, Some(mcp)) => of_message(field, mcp),
            (field, None) => self.of_request(field),
        }
    }

    fn of_request(&self, field: &Field) -> Fact<'s> {
        let subject = self.subject;
        match field {
            Field::Tool => Fact::Text(HTTP_TOOL.into()),
            Field::Method => some(subject.method),
            Field::Scheme => Fact::Text(subject.scheme.as_str().into()),
            Field::Host => match subject.host {
                Host::Name(name) => some(name),
                Host::Address(address) => Fact::Text(address.to_string().into()),
            },
            Field::Port => Fact::Number(Number::Integer(subject.port.into())),
            Field::Path => subject.paths.get(self.reading).map_or(Fact::Missing, |path| Fact::Text((*path).into())),
            Field::Url | Field::Resource => self.url(),
            Field::Query => match query(subject) {
                Ok(query) => query.map_or(Fact::Missing, Fact::Text),
                Err(fact) => fact,
            },
            Field::Header(name) => one(subject.headers, name),
            _ => Fact::Missing,
        }
    }

    /// The URL as an HTTP client would write it: the port only where it is not the scheme's own. Costs an allocation.
    fn url(&self) -> Fact<'s> {
        let subject = self.subject;
        let host = match subject.host {
            Host::Name("") => return Fact::Missing,
            Host::Name(name) => name.to_owned(),
            Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(address) => address.to_string(),
        };
        let query = match query(subject) {
            Ok(query) => query.map(|query| format!("?{query}")).unwrap_or_default(),
            Err(fact) => return fact,
        };
        let port = match subject.port {
            port if port == subject.scheme.default_port() => String::new(),
            port => format!(":{port}"),
        };
        let path = subject.paths.get(self.reading).copied().unwrap_or("/");
        Fact::Text(format!("{}://{host}{port}{path}{query}", subject.scheme.as_str()).into())
    }
}

fn of_message<'s>(field: &Field, mcp: &Mcp<'s>) -> Fact<'s> {
    match field {
        Field::Tool => Fact::Text(mcp.tool.unwrap_or(mcp.method).into()),
        Field::McpMethod => Fact::Text(mcp.method.into()),
        Field::Server => some(mcp.server),
        Field::Resource => mcp.resource.map_or(Fact::Missing, |resource| Fact::Text(resource.into())),
        Field::Path => match one(mcp.arguments, PATH_ARGUMENT) {
            Fact::Missing => Fact::Text("".into()),
            path => path,
        },
        Field::Argument(pointer) => one(mcp.arguments, pointer),
        _ => Fact::Missing,
    }
}

/// A text, of which none is an empty one.
fn some(text: &str) -> Fact<'_> {
    if text.is_empty() { Fact::Missing } else { Fact::Text(text.into()) }
}

/// The query as it was sent; what is known instead where it is open or cannot be read.
fn query<'s>(subject: &Subject<'s>) -> Result<Option<Cow<'s, str>>, Fact<'s>> {
    match subject.query {
        Look::NotLooked => Err(Fact::Open),
        Look::Absent => Ok(None),
        Look::Unreadable => Err(Fact::Unreadable),
        Look::At(lookup) => match lookup.text().map(utf8) {
            Some(Some(text)) => Ok(Some(text)),
            Some(None) | None => Err(Fact::Unreadable),
        },
    }
}

fn utf8(text: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match text {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The only value under a name.
fn one<'s>(look: Look<'s>, name: &str) -> Fact<'s> {
    let lookup = match look {
        Look::NotLooked => return Fact::Open,
        Look::Absent => return Fact::Missing,
        Look::Unreadable => return Fact::Unreadable,
        Look::At(lookup) => lookup,
    };
    let mut found = Fact::Missing;
    let mut values = 0;
    lookup.values(name, &mut |value| {
        values += 1;
        found = match value {
            // The value is gone when this returns, so a text is copied.
            Value::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Fact::Text(text.to_owned().into()),
                Err(_) => Fact::Unreadable,
            },
            Value::Number(number) => Fact::Number(number),
            Value::Bool(flag) => Fact::Bool(flag),
            Value::Null => Fact::Null,
            Value::List(length) => Fact::List(length),
            Value::Object => Fact::Object,
            Value::Unreadable => Fact::Unreadable,
        };
    });
    if values > 1 { Fact::Unreadable } else { found }
}
