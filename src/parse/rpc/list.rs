//! The entries of a list result: what a client is shown of a server's tools, resources and prompts.
//!
//! Entries are spans of the message. What is kept keeps its bytes, and so does everything around the lists. One answer may have several
//! lists; each is read, whatever was asked for.

use std::borrow::Cow;
use std::ops::Range;

use super::RpcError;
use crate::limits::{RPC_LIST_ENTRIES_MAX, RPC_NAME_BYTES_MAX};
use crate::parse::json::{Kind, Layout, Scanner, Step, Token, decode, fold};

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// `tools`, by `name`.
    Tools,
    /// `resources`, by `uri`.
    Resources,
    /// `resourceTemplates`, by `uriTemplate`.
    ResourceTemplates,
    /// `prompts`, by `name`.
    Prompts,
    /// `tasks`, by `taskId`.
    Tasks,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'b> {
    /// Which list it is in.
    pub of: Of,
    /// Where it stands in the message.
    pub span: Range<usize>,
    /// Its bytes.
    pub raw: &'b [u8],
    /// Its name or URI, decoded. Nothing if it has none that could be asked for: it is of no use to an honest client.
    pub name: Option<Cow<'b, str>>,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// It stays with other bytes, which are JSON.
    Replace(Vec<u8>),
}

impl Of {
    const ALL: [Of; 5] = [Of::Tools, Of::Resources, Of::ResourceTemplates, Of::Prompts, Of::Tasks];

    /// The method that asks for such a list.
    pub fn method(self) -> &'static str {
        match self {
            Of::Tools => "tools/list",
            Of::Resources => "resources/list",
            Of::ResourceTemplates => "resources/templates/list",
            Of::Prompts => "prompts/list",
            Of::Tasks => "tasks/list",
        }
    }

    /// The name of the list in a result.
    pub fn list(self) -> &'static str {
        match self {
            Of::Tools => "tools",
            Of::Resources => "resources",
            Of::ResourceTemplates => "resourceTemplates",
            Of::Prompts => "prompts",
            Of::Tasks => "tasks",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Of::Tools | Of::Prompts => "name",
            Of::Resources => "uri",
            Of::ResourceTemplates => "uriTemplate",
            Of::Tasks => "taskId",
        }
    }
}

/// The entries of every list in the result of one message, in order. A list that is no array of objects is refused.
pub fn read(message: &[u8]) -> Result<Vec<Entry<'_>>, RpcError> {
    let mut scanner = Scanner::new(Layout::Free);
    let mut lists = Lists { message, in_result: false, list: None, is_name: false, name: None, entries: Vec::new() };
    loop {
        match scanner.step(message, true)? {
            Step::Token(token) => lists.take(token)?,
            Step::More | Step::End => return Ok(lists.entries),
        }
    }
}

/// The message with its entries as `fate` has it. Borrowed where all are kept.
pub fn retain<'b>(message: &'b [u8], entries: &[Entry<'b>], mut fate: impl FnMut(&Entry<'b>) -> Fate) -> Cow<'b, [u8]> {
    let fates: Vec<Fate> = entries.iter().map(&mut fate).collect();
    if fates.iter().all(|fate| *fate == Fate::Keep) {
        return Cow::Borrowed(message);
    }
    let mut out = Vec::with_capacity(message.len());
    let mut copied = 0;
    let between = |range: Range<usize>| message.get(range).unwrap_or_default();
    // Whether the list under way has an entry in `out`.
    let mut filled = false;
    for (index, (entry, fate)) in entries.iter().zip(&fates).enumerate() {
        let is_first =
            index.checked_sub(1).and_then(|before| entries.get(before)).is_none_or(|before| before.of != entry.of);
        if is_first {
            out.extend_from_slice(between(copied..entry.span.start));
            filled = false;
        }
        let bytes = match fate {
            Fate::Keep => entry.raw,
            Fate::Replace(bytes) => bytes,
            Fate::Drop => {
                copied = entry.span.end;
                continue;
            }
        };
        if filled {
            out.push(b',');
        }
        out.extend_from_slice(bytes);
        filled = true;
        copied = entry.span.end;
    }
    out.extend_from_slice(between(copied..message.len()));
    Cow::Owned(out)
}

struct Lists<'b> {
    message: &'b [u8],
    /// Behind the name `result` of the envelope, or inside of its value.
    in_result: bool,
    /// The list whose name was the last one in the result.
    list: Option<Of>,
    /// Behind the naming member of an entry.
    is_name: bool,
    name: Option<Cow<'b, str>>,
    entries: Vec<Entry<'b>>,
}

impl<'b> Lists<'b> {
    /// Depths: the envelope's members at 1, the result's at 2, entries at 3, their members at 4.
    fn take(&mut self, token: Token) -> Result<(), RpcError> {
        if token.kind == Kind::Key {
            return self.key(token);
        }
        let Some(of) = self.list.filter(|_| self.in_result) else { return Ok(()) };
        match (token.depth, token.kind) {
            (2, Kind::ArrayStart) | (3, Kind::ObjectStart) => Ok(()),
            (2, Kind::ArrayEnd) => {
                self.list = None;
                Ok(())
            }
            (3, Kind::ObjectEnd) => self.entry(of, token),
            (2 | 3, _) => Err(RpcError::Outcome),
            (4, Kind::String) if self.is_name => {
                self.is_name = false;
                let name = decode(token.of(self.message));
                self.name = (name.len() <= RPC_NAME_BYTES_MAX).then_some(name);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn key(&mut self, token: Token) -> Result<(), RpcError> {
        let name = decode(token.of(self.message));
        match token.depth {
            1 => self.in_result = name == "result",
            2 if self.in_result => {
                self.list = Of::ALL.into_iter().find(|of| of.list() == name);
                let folded = fold(&name);
                let is_twin = |of: Of| folded.eq_ignore_ascii_case(of.list());
                if self.list.is_none() && Of::ALL.into_iter().any(is_twin) {
                    return Err(RpcError::LookAlike);
                }
            }
            4 if self.in_result => {
                let Some(of) = self.list else { return Ok(()) };
                self.is_name = name == of.name();
                if !self.is_name && fold(&name).eq_ignore_ascii_case(of.name()) {
                    return Err(RpcError::LookAlike);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, of: Of, token: Token) -> Result<(), RpcError> {
        if self.entries.len() == RPC_LIST_ENTRIES_MAX {
            return Err(RpcError::TooMany);
        }
        let (raw, name) = (token.of(self.message), self.name.take());
        self.entries.push(Entry { of, span: token.start..token.end, raw, name });
        self.is_name = false;
        Ok(())
    }
}
