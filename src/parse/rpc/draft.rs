//! What the tokens of a message say, noted while they pass.
//!
//! The protocol's own objects are places, the names in them that mean something are slots. Everything else is passed over, except the
//! arguments, which a [`Watch`] looks at.

use super::RpcError;
use crate::limits::{RPC_BATCH_MAX, RPC_INPUTS_MAX, RPC_OPAQUE_BYTES_MAX};
use crate::parse::json::{Kind, Pointers, Token, Watch, decode, fold};

/// An object of the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Batch,
    Envelope,
    Params,
    Meta,
    Arguments,
    Reference,
    Filter,
    Uris,
    Tasks,
    Result,
    Task,
    InputRequests,
    InputRequest,
    Error,
    /// Nothing of the protocol's.
    Other,
}

/// A value that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Name,
    Arguments,
    Uri,
    Meta,
    Reference,
    TaskId,
    ParamsVersion,
    Filter,
    InputResponses,
    RequestId,
    MetaVersion,
    ReferenceType,
    ReferenceName,
    ReferenceUri,
    Uris,
    TaskIds,
    InputRequests,
    ResultVersion,
    ResultTask,
    List,
    InputMethod,
    InputParams,
    ErrorCode,
    /// What only its maker reads: passed on as it is, if it is not too long.
    Opaque,
    /// Known, so that nothing may look like it, and of no use here.
    Known,
}

const SLOTS: usize = Slot::Known as usize + 1;

/// The names in a place that mean something in some version of MCP.
fn names(place: Place) -> &'static [(&'static str, Slot)] {
    match place {
        Place::Envelope => &[
            ("jsonrpc", Slot::Jsonrpc),
            ("id", Slot::Id),
            ("method", Slot::Method),
            ("params", Slot::Params),
            ("result", Slot::Result),
            ("error", Slot::Error),
        ],
        Place::Params => &[
            ("name", Slot::Name),
            ("arguments", Slot::Arguments),
            ("uri", Slot::Uri),
            ("_meta", Slot::Meta),
            ("ref", Slot::Reference),
            ("taskId", Slot::TaskId),
            ("protocolVersion", Slot::ParamsVersion),
            ("notifications", Slot::Filter),
            ("inputResponses", Slot::InputResponses),
            ("requestId", Slot::RequestId),
            ("requestState", Slot::Opaque),
            ("argument", Slot::Known),
            ("task", Slot::Known),
            ("cursor", Slot::Opaque),
            ("progressToken", Slot::Opaque),
        ],
        Place::Meta => &[
            ("io.modelcontextprotocol/protocolVersion", Slot::MetaVersion),
            ("io.modelcontextprotocol/clientCapabilities", Slot::Known),
            ("io.modelcontextprotocol/clientInfo", Slot::Known),
            ("progressToken", Slot::Opaque),
        ],
        Place::Reference => {
            &[("type", Slot::ReferenceType), ("name", Slot::ReferenceName), ("uri", Slot::ReferenceUri)]
        }
        Place::Filter => &[("resourceSubscriptions", Slot::Uris), ("taskIds", Slot::TaskIds)],
        Place::Result => &[
            ("inputRequests", Slot::InputRequests),
            ("protocolVersion", Slot::ResultVersion),
            ("tools", Slot::List),
            ("resources", Slot::List),
            ("resourceTemplates", Slot::List),
            ("prompts", Slot::List),
            ("tasks", Slot::List),
            ("taskId", Slot::ResultTask),
            ("task", Slot::Known),
            ("resultType", Slot::Known),
            ("requestState", Slot::Opaque),
            ("nextCursor", Slot::Opaque),
            ("content", Slot::Known),
            ("structuredContent", Slot::Known),
        ],
        Place::Task => &[("taskId", Slot::ResultTask)],
        Place::InputRequest => &[("method", Slot::InputMethod), ("params", Slot::InputParams)],
        Place::Error => &[("code", Slot::ErrorCode), ("message", Slot::Known), ("data", Slot::Known)],
        Place::Batch | Place::Arguments | Place::Uris | Place::Tasks | Place::InputRequests | Place::Other => &[],
    }
}

/// The messages under way.
#[derive(Debug, Clone)]
pub(super) struct Drafts<'p> {
    arguments: &'p Pointers,
    pub(super) drafts: Vec<Draft<'p>>,
    pub(super) is_batch: bool,
    levels: Vec<Level>,
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Draft<'p> {
    /// The whole message, once it has ended.
    pub(super) span: Option<Token>,
    slots: [Option<Token>; SLOTS],
    pub(super) uris: Vec<Token>,
    pub(super) tasks: Vec<Token>,
    pub(super) inputs: Vec<Input>,
    pub(super) watch: Watch<'p>,
}

/// One of the input requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Input {
    pub(super) key: Option<Token>,
    pub(super) method: Option<Token>,
    pub(super) params: Option<Token>,
}

/// An open container.
#[derive(Debug, Clone, Copy)]
struct Level {
    place: Place,
    /// What the value behind the last name is.
    slot: Option<Slot>,
    key: Option<Token>,
}

impl Draft<'_> {
    /// The value of a slot. That of an object or an array is the token of its end, which spans it.
    pub(super) fn slot(&self, slot: Slot) -> Option<Token> {
        self.slots.get(slot as usize).copied().flatten()
    }
}

impl<'p> Drafts<'p> {
    pub(super) fn new(arguments: &'p Pointers) -> Self {
        Drafts { arguments, drafts: Vec::new(), is_batch: false, levels: Vec::new() }
    }

    /// Takes the next token of the text.
    pub(super) fn take(&mut self, bytes: &[u8], token: Token) -> Result<(), RpcError> {
        let Some(level) = self.levels.last().copied() else { return self.begin(token) };
        if level.place == Place::Arguments {
            self.watch(bytes, token);
        }
        match token.kind {
            Kind::Key => self.key(bytes, token, level.place),
            Kind::ObjectStart | Kind::ArrayStart => self.open(bytes, token, level),
            Kind::ObjectEnd | Kind::ArrayEnd => {
                self.levels.pop();
                match (self.levels.last().copied(), self.drafts.last_mut()) {
                    (_, Some(draft)) if level.place == Place::Envelope => draft.span = Some(token),
                    (Some(outer), _) => self.note(bytes, token, outer)?,
                    _ => {}
                }
                Ok(())
            }
            _ => self.note(bytes, token, level),
        }
    }

    /// The first token of all.
    fn begin(&mut self, token: Token) -> Result<(), RpcError> {
        let place = match token.kind {
            Kind::ObjectStart => Place::Envelope,
            Kind::ArrayStart => Place::Batch,
            _ => return Err(RpcError::Message),
        };
        self.is_batch = place == Place::Batch;
        if !self.is_batch {
            self.draft()?;
        }
        self.levels.push(Level { place, slot: None, key: None });
        Ok(())
    }

    fn draft(&mut self) -> Result<(), RpcError> {
        if self.drafts.len() == RPC_BATCH_MAX {
            return Err(RpcError::Batch);
        }
        let watch = Watch::new(self.arguments);
        self.drafts.push(Draft {
            span: None,
            slots: [None; SLOTS],
            uris: Vec::new(),
            tasks: Vec::new(),
            inputs: Vec::new(),
            watch,
        });
        Ok(())
    }

    fn watch(&mut self, bytes: &[u8], token: Token) {
        if let Some(draft) = self.drafts.last_mut() {
            draft.watch.take(bytes, token);
        }
    }

    fn key(&mut self, bytes: &[u8], token: Token, place: Place) -> Result<(), RpcError> {
        let known = names(place);
        let mut slot = None;
        if !known.is_empty() {
            let name = decode(token.of(bytes));
            slot = known.iter().find(|(known, _)| **known == *name).map(|&(_, slot)| slot);
            if slot.is_none() && is_look_alike(&name, known) {
                return Err(RpcError::LookAlike);
            }
        }
        if let Some(level) = self.levels.last_mut() {
            (level.slot, level.key) = (slot, Some(token));
        }
        Ok(())
    }

    fn open(&mut self, bytes: &[u8], token: Token, level: Level) -> Result<(), RpcError> {
        let is_object = token.kind == Kind::ObjectStart;
        let place = match (level.place, level.slot) {
            (Place::Batch, _) if is_object => {
                self.draft()?;
                Place::Envelope
            }
            (Place::Batch, _) => return Err(RpcError::Message),
            (Place::Envelope, Some(Slot::Params)) if is_object => Place::Params,
            (Place::Envelope, Some(Slot::Result)) if is_object => Place::Result,
            (Place::Envelope, Some(Slot::Error)) if is_object => Place::Error,
            (Place::Params, Some(Slot::Meta)) if is_object => Place::Meta,
            (Place::Params, Some(Slot::Reference)) if is_object => Place::Reference,
            (Place::Params, Some(Slot::Filter)) if is_object => Place::Filter,
            (Place::Params, Some(Slot::Arguments)) => {
                self.watch(bytes, token);
                Place::Arguments
            }
            (Place::Arguments, _) => Place::Arguments,
            (Place::Filter, Some(Slot::Uris)) if !is_object => Place::Uris,
            (Place::Filter, Some(Slot::TaskIds)) if !is_object => Place::Tasks,
            (Place::Result, Some(Slot::InputRequests)) if is_object => Place::InputRequests,
            (Place::Result, Some(Slot::Known)) if is_object && is_task(level, bytes) => Place::Task,
            (Place::InputRequests, _) if is_object => {
                let Some(draft) = self.drafts.last_mut().filter(|draft| draft.inputs.len() < RPC_INPUTS_MAX) else {
                    return Err(RpcError::TooMany);
                };
                draft.inputs.push(Input { key: level.key, ..Input::default() });
                Place::InputRequest
            }
            _ => Place::Other,
        };
        self.levels.push(Level { place, slot: None, key: None });
        Ok(())
    }

    /// A value is complete that stands in `level`.
    fn note(&mut self, bytes: &[u8], token: Token, level: Level) -> Result<(), RpcError> {
        let draft = self.drafts.last_mut();
        match (level.place, level.slot, draft) {
            (Place::Batch, ..) => return Err(RpcError::Message),
            (Place::Uris | Place::Tasks, _, Some(draft)) => {
                let list = if level.place == Place::Uris { &mut draft.uris } else { &mut draft.tasks };
                if list.len() == RPC_INPUTS_MAX {
                    return Err(RpcError::TooMany);
                }
                list.push(token);
            }
            (Place::InputRequests, _, _) if token.kind != Kind::ObjectEnd => return Err(RpcError::Outcome),
            (Place::InputRequest, Some(slot), Some(draft)) => {
                if let Some(input) = draft.inputs.last_mut() {
                    match slot {
                        Slot::InputMethod => input.method = Some(token),
                        _ => input.params = Some(token),
                    }
                }
            }
            (_, Some(Slot::Opaque | Slot::Meta), _) if token.of(bytes).len() > RPC_OPAQUE_BYTES_MAX => {
                return Err(RpcError::Opaque);
            }
            (_, Some(slot), Some(draft)) => {
                if let Some(place) = draft.slots.get_mut(slot as usize) {
                    *place = Some(token);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the value is that of `task`.
fn is_task(level: Level, bytes: &[u8]) -> bool {
    level.key.is_some_and(|key| decode(key.of(bytes)) == "task")
}

/// Whether a name that is not known is taken for a known one by some recipient, or for what every JavaScript object has.
pub(super) fn is_look_alike(name: &str, known: &[(&str, Slot)]) -> bool {
    if matches!(name, "__proto__" | "constructor" | "prototype" | "toString" | "valueOf" | "hasOwnProperty") {
        return true;
    }
    // Known names are ASCII without blanks: folding only lowers their case.
    let folded = fold(name);
    known.iter().any(|(known, _)| known.eq_ignore_ascii_case(&folded))
}
