//! JSON-RPC 2.0 as MCP speaks it: what one message asks for, or answers.
//!
//! A [`Reader`] takes a body, a line or an event's data, and yields a [`Body`]: each message with its shape, its id, its method, what the method
//! is about, and the values of its arguments that policy asks for. The spans of the message itself are what travels on. A message has exactly
//! one shape; a name in the protocol's own objects that some decoder would take for a known one is refused, and so are parameters that do
//! not fit a known method. It does not know which methods are allowed, nor what was asked before.

mod draft;
mod envelope;
mod error;
pub mod header;
pub mod hidden;
pub mod list;
mod shape;
pub mod uri;
mod version;

use std::borrow::Cow;

use self::draft::Drafts;
use self::uri::Uri;
use super::Progress;
use super::json::{self, Facts, Layout, Pointers, Scanner, Step};
use crate::limits::{RPC_BATCH_MAX, RPC_ID_BYTES_MAX};

pub use self::envelope::Envelope;
pub use self::error::RpcError;
pub use self::version::Version;

/// Reads one JSON-RPC text.
#[derive(Debug, Clone)]
pub struct Reader<'p> {
    scanner: Scanner,
    drafts: Drafts<'p>,
}

impl<'p> Reader<'p> {
    /// In front of the first byte. `arguments` is what policy asks of the arguments of tools and prompts.
    pub fn new(layout: Layout, arguments: &'p Pointers) -> Self {
        Reader { scanner: Scanner::new(layout), drafts: Drafts::new(arguments) }
    }

    /// Reads on. `bytes` is the text from its beginning, as far as it has arrived; `last` says that this is all of it. After an error the
    /// reader is of no further use.
    pub fn step(&mut self, bytes: &[u8], last: bool) -> Result<Progress<()>, RpcError> {
        loop {
            match self.scanner.step(bytes, last)? {
                Step::Token(token) => self.drafts.take(bytes, token)?,
                Step::More => return Ok(Progress::More),
                Step::End => return Ok(Progress::Done(())),
            }
        }
    }

    /// What was read, once the last step was [`Progress::Done`]. `bytes` is the whole text.
    pub fn finish<'b>(self, bytes: &'b [u8]) -> Result<Body<'b>, RpcError>
    where
        'p: 'b,
    {
        shape::body(self.drafts, bytes)
    }
}

/// Reads a whole text.
pub fn read<'b>(bytes: &'b [u8], layout: Layout, arguments: &'b Pointers) -> Result<Body<'b>, RpcError> {
    let mut reader = Reader::new(layout, arguments);
    reader.step(bytes, true)?;
    reader.finish(bytes)
}

/// The messages of one text, at least one.
#[derive(Debug, Clone)]
pub struct Body<'b> {
    /// Every message, in order.
    pub messages: Vec<Message<'b>>,
    /// They stand in an array, which only one version of MCP has.
    pub is_batch: bool,
}

impl Body<'_> {
    /// Whether an endpoint that nobody has declared speaks MCP here: some message has a method of MCP's. (A header of MCP's says so, too.)
    pub fn is_mcp(&self) -> bool {
        self.messages.iter().any(|message| message.call().is_some_and(|call| is_mcp_method(&call.method)))
    }
}

/// The id in a strict JSON text that is no message all the same: of what would be a request, or of what would be an answer.
pub fn recover_id(bytes: &[u8], of_request: bool) -> Option<Id<'static>> {
    let pointers = Pointers::new(["/id", "/method"]);
    let facts = json::facts(bytes, Layout::Free, &pointers).ok()?;
    if facts.value("/method").is_some() != of_request {
        return None;
    }
    match facts.value("/id")? {
        json::Value::Text(text) if text.len() <= RPC_ID_BYTES_MAX => Some(Id::Text(text).into_owned()),
        json::Value::Number(digits) => {
            let digits = str::from_utf8(digits).ok()?;
            let is_plain = digits.parse::<i64>().is_ok_and(|number| number.to_string() == digits);
            is_plain.then(|| Id::Number(Cow::Borrowed(digits)).into_owned())
        }
        _ => None,
    }
}

/// Whether a text that is no strict message for this reason could be one of MCP's to somebody who reads it less strictly.
pub fn may_be_mcp_to_others(bytes: &[u8], error: &RpcError) -> bool {
    let names_itself = memchr::memmem::find(bytes, b"jsonrpc").is_some();
    if matches!(error, RpcError::Json(_) | RpcError::LookAlike | RpcError::Batch) {
        return names_itself;
    }
    let places: Vec<String> = (0..RPC_BATCH_MAX).map(|at| format!("/{at}/method")).collect();
    let pointers = Pointers::new(places.iter().map(String::as_str).chain(["/method"]));
    let Ok(facts) = json::facts(bytes, Layout::Free, &pointers) else { return names_itself };
    let mut methods = pointers.names().filter_map(|place| facts.value(place));
    methods.any(|method| if let json::Value::Text(method) = method { is_mcp_method(&method) } else { names_itself })
}

/// Whether a text that begins like this can be a JSON-RPC text at all. Nothing but blanks decides nothing yet.
pub fn may_begin(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .is_none_or(|byte| matches!(byte, b'{' | b'['))
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message<'b> {
    /// The message as it was received.
    pub raw: &'b [u8],
    /// Which of the three it is.
    pub shape: Shape<'b>,
}

impl<'b> Message<'b> {
    /// What is asked or told, unless this is an answer.
    pub fn call(&self) -> Option<&Call<'b>> {
        match &self.shape {
            Shape::Request(_, call) | Shape::Notification(call) => Some(call),
            Shape::Response(..) => None,
        }
    }

    /// The id: of a request its own, of a response that of the request.
    pub fn id(&self) -> Option<&Id<'b>> {
        match &self.shape {
            Shape::Request(id, _) => Some(id),
            Shape::Response(id, _) => id.as_ref(),
            Shape::Notification(_) => None,
        }
    }
}

/// The three shapes of JSON-RPC 2.0 (§4, §4.1, §5).
#[derive(Debug, Clone)]
pub enum Shape<'b> {
    /// Wants an answer.
    Request(Id<'b>, Call<'b>),
    /// Wants none.
    Notification(Call<'b>),
    /// An answer. Without an id it is an error about a message that could not be read.
    Response(Option<Id<'b>>, Outcome<'b>),
}

/// The id of a request: MCP has strings and integers, never null. Equal ids are equal for every recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id<'b> {
    /// An integer that a double holds, in its only way to be written.
    Number(Cow<'b, str>),
    /// A string, decoded.
    Text(Cow<'b, str>),
}

impl Id<'_> {
    /// The same id, borrowing nothing.
    pub fn into_owned(self) -> Id<'static> {
        match self {
            Id::Number(digits) => Id::Number(Cow::Owned(digits.into_owned())),
            Id::Text(text) => Id::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// Appends the id as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Id::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Id::Text(text) => super::json::encode(text, out),
        }
    }
}

/// What a request asks for, or a notification tells.
#[derive(Debug, Clone)]
pub struct Call<'b> {
    /// The method.
    pub method: Cow<'b, str>,
    /// The parameters as they were received.
    pub params: Option<&'b [u8]>,
    /// `tools/call`: the tool.
    pub tool: Option<Cow<'b, str>>,
    /// `prompts/get`, and `completion/complete` about a prompt: its name.
    pub prompt: Option<Cow<'b, str>>,
    /// `resources/read`, `resources/subscribe` and `resources/unsubscribe`: the resource. `completion/complete` about a resource: its
    /// template. `subscriptions/listen`: each resource. Every one must be allowed.
    pub resources: Vec<Uri<'b>>,
    /// `tasks/*` and `notifications/tasks*`: the task. `subscriptions/listen`: each task.
    pub tasks: Vec<Cow<'b, str>>,
    /// The arguments of a tool or a prompt as they were received.
    pub arguments: Option<&'b [u8]>,
    /// The values in them that policy asks for.
    pub facts: Facts<'b>,
    /// The version that the message itself names: `_meta`'s (2026-07-28 and later), or that which `initialize` offers.
    pub version: Option<Cow<'b, str>>,
    /// The version in `_meta`, where the message has one.
    pub meta_version: Option<Cow<'b, str>>,
    /// `notifications/cancelled`: the request it is about.
    pub cancels: Option<Id<'b>>,
    /// The answers to what an earlier result asked for (`inputResponses`) as they were received.
    pub input_responses: Option<&'b [u8]>,
}

impl Call<'_> {
    /// What `Mcp-Name` mirrors, and whether a version with such fields demands it. (2026-07-28, "Standard Headers"; for tasks, SEP-2663.)
    pub fn mirrored(&self) -> Option<(&str, bool)> {
        match &*self.method {
            "tools/call" => Some((self.tool.as_deref()?, true)),
            "prompts/get" => Some((self.prompt.as_deref()?, true)),
            "resources/read" => Some((&*self.resources.first()?.received, true)),
            "tasks/get" | "tasks/update" | "tasks/cancel" => Some((self.tasks.first()?, false)),
            _ => None,
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Outcome<'b> {
    /// It worked.
    Result {
        /// The result as it was received.
        raw: &'b [u8],
        /// What the server asks of the client before it goes on (2026-07-28): each to be decided as the request it stands for.
        input_requests: Vec<InputRequest<'b>>,
        /// There is a list of tools, resources, resource templates or prompts: [`list::read`] has its entries.
        has_list: bool,
        /// The task that the server has made of the request, or that the answer is about: in `task` (2025-11-25), or by itself (SEP-2663).
        task: Option<Cow<'b, str>>,
        /// The version that `initialize` has agreed on.
        version: Option<Cow<'b, str>>,
    },
    /// It did not.
    Error {
        /// The error as it was received.
        raw: &'b [u8],
    },
}

/// A request of the server to the client, inside of a result.
#[derive(Debug, Clone)]
pub struct InputRequest<'b> {
    /// Under which name the answer comes back.
    pub key: Cow<'b, str>,
    /// `sampling/createMessage`, `elicitation/create` or `roots/list`, unless it is something new.
    pub method: Cow<'b, str>,
    /// The parameters as they were received.
    pub params: Option<&'b [u8]>,
}

/// Whether a method is one of MCP's, in any version.
pub fn is_mcp_method(method: &str) -> bool {
    METHODS.binary_search(&method).is_ok() || method.starts_with("notifications/")
}

/// Sorted.
const METHODS: [&str; 24] = [
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/delete",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
