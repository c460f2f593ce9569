//! From what was noted of a message to what it is.

use std::borrow::Cow;

use super::draft::{Draft, Drafts, Input, Slot};
use super::uri::{self, Uri};
use super::{Body, Call, Id, InputRequest, Message, Outcome, RpcError, Shape, Version};
use crate::limits::{RPC_ID_BYTES_MAX, RPC_NAME_BYTES_MAX};
use crate::parse::json::{Kind, Token, canonical, decode, is_exact};

/// All messages of a text.
pub(super) fn body<'b>(drafts: Drafts<'b>, bytes: &'b [u8]) -> Result<Body<'b>, RpcError> {
    let is_batch = drafts.is_batch;
    let mut messages = Vec::with_capacity(drafts.drafts.len());
    for draft in drafts.drafts {
        messages.push(Reading { bytes }.message(draft)?);
    }
    if messages.is_empty() { Err(RpcError::Batch) } else { Ok(Body { messages, is_batch }) }
}

#[derive(Clone, Copy)]
struct Reading<'b> {
    bytes: &'b [u8],
}

impl<'b> Reading<'b> {
    fn message(self, draft: Draft<'b>) -> Result<Message<'b>, RpcError> {
        let version = draft.slot(Slot::Jsonrpc).filter(|token| token.kind == Kind::String);
        if version.is_none_or(|token| decode(token.of(self.bytes)) != "2.0") {
            return Err(RpcError::Version);
        }
        let raw = draft.span.map(|token| token.of(self.bytes)).unwrap_or_default();
        let method = draft.slot(Slot::Method);
        let shape = match (method, draft.slot(Slot::Id), draft.slot(Slot::Result), draft.slot(Slot::Error)) {
            (Some(method), Some(id), None, None) => Shape::Request(self.id(id)?, self.call(method, draft)?),
            (Some(method), None, None, None) => Shape::Notification(self.call(method, draft)?),
            // §5: an error about a message whose id could not be read has none, or null.
            (None, id, None, Some(error)) => {
                self.no_params(&draft)?;
                let id = id.filter(|id| id.kind != Kind::Null).map(|id| self.id(id)).transpose()?;
                Shape::Response(id, self.error(error, &draft)?)
            }
            (None, Some(id), Some(result), None) => {
                self.no_params(&draft)?;
                Shape::Response(Some(self.id(id)?), self.result(result, &draft)?)
            }
            _ => return Err(RpcError::Shape),
        };
        Ok(Message { raw, shape })
    }

    fn no_params(self, draft: &Draft<'_>) -> Result<(), RpcError> {
        if draft.slot(Slot::Params).is_some() { Err(RpcError::Shape) } else { Ok(()) }
    }

    fn id(self, token: Token) -> Result<Id<'b>, RpcError> {
        let span = token.of(self.bytes);
        if span.len() > RPC_ID_BYTES_MAX {
            return Err(RpcError::Id);
        }
        match token.kind {
            Kind::String => Ok(Id::Text(decode(span))),
            Kind::Number => {
                // One way to write each value: `1.0`, `1e0` and `-0` are integers to some.
                let digits = str::from_utf8(span).map_err(|_| RpcError::Id)?;
                let plain = digits.strip_prefix('-').unwrap_or(digits);
                let is_plain = plain.len() <= 16 && plain.bytes().all(|byte| byte.is_ascii_digit()) && digits != "-0";
                let is_safe = plain.parse::<u64>().is_ok_and(|value| value < 1 << 53);
                if is_plain && is_safe && is_exact(span) {
                    Ok(Id::Number(Cow::Borrowed(digits)))
                } else {
                    Err(RpcError::Id)
                }
            }
            _ => Err(RpcError::Id),
        }
    }

    fn call(self, method: Token, draft: Draft<'b>) -> Result<Call<'b>, RpcError> {
        let method = self.name(method).map_err(|_| RpcError::Method)?;
        let params = self.object(&draft, Slot::Params)?;
        let meta_version = self.text_of(&draft, Slot::MetaVersion)?;
        self.object(&draft, Slot::Meta)?;
        let is_stateless = meta_version.as_deref().and_then(Version::read).is_some_and(Version::is_stateless);
        let (mut tool, mut prompt, mut arguments) = (None, None, None);
        let (mut resources, mut tasks) = (Vec::new(), Vec::new());
        match &*method {
            "tools/call" => tool = Some(self.required(&draft, Slot::Name)?),
            "prompts/get" => prompt = Some(self.required(&draft, Slot::Name)?),
            // 2026-07-28 has none of these any more, and so nothing that they demand: the server says that it does not know them.
            "resources/subscribe" | "resources/unsubscribe" if is_stateless && draft.slot(Slot::Uri).is_none() => {}
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                resources.push(self.uri(draft.slot(Slot::Uri))?);
            }
            "completion/complete" => match &*self.required(&draft, Slot::ReferenceType)? {
                "ref/prompt" => prompt = Some(self.required(&draft, Slot::ReferenceName)?),
                "ref/resource" => resources.push(self.uri(draft.slot(Slot::ReferenceUri))?),
                _ => return Err(RpcError::Params),
            },
            "subscriptions/listen" => (resources, tasks) = self.subscriptions(&draft)?,
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" | "tasks/delete" => {
                tasks.push(self.required(&draft, Slot::TaskId)?);
            }
            "notifications/tasks" | "notifications/tasks/status" => tasks.extend(self.text_of(&draft, Slot::TaskId)?),
            _ => {}
        }
        if tool.is_some() || prompt.is_some() && *method == *"prompts/get" {
            arguments = self.object(&draft, Slot::Arguments)?;
        }
        let is_handshake = *method == *"initialize";
        let offered = if is_handshake { self.text_of(&draft, Slot::ParamsVersion)? } else { None };
        let cancels = match draft.slot(Slot::RequestId) {
            Some(id) if *method == *"notifications/cancelled" => Some(self.id(id)?),
            _ => None,
        };
        let input_responses = self.object(&draft, Slot::InputResponses)?;
        Ok(Call {
            version: meta_version.clone().or(offered),
            facts: draft.watch.finish(self.bytes),
            method,
            params,
            tool,
            prompt,
            resources,
            tasks,
            arguments,
            meta_version,
            cancels,
            input_responses,
        })
    }

    /// The bytes of an object, if there is one; anything else in its place is refused.
    fn object(self, draft: &Draft<'_>, slot: Slot) -> Result<Option<&'b [u8]>, RpcError> {
        match draft.slot(slot) {
            None => Ok(None),
            Some(token) if token.kind == Kind::ObjectEnd => Ok(Some(token.of(self.bytes))),
            Some(_) => Err(RpcError::Params),
        }
    }

    fn text_of(self, draft: &Draft<'_>, slot: Slot) -> Result<Option<Cow<'b, str>>, RpcError> {
        draft.slot(slot).map(|token| self.name(token)).transpose()
    }

    fn required(self, draft: &Draft<'_>, slot: Slot) -> Result<Cow<'b, str>, RpcError> {
        self.text_of(draft, slot)?.ok_or(RpcError::Params)
    }

    /// A string that names something.
    fn name(self, token: Token) -> Result<Cow<'b, str>, RpcError> {
        if token.kind != Kind::String {
            return Err(RpcError::Params);
        }
        let name = decode(token.of(self.bytes));
        if name.is_empty() || name.len() > RPC_NAME_BYTES_MAX {
            return Err(RpcError::Params);
        }
        if name.chars().any(char::is_control) { Err(RpcError::Character) } else { Ok(name) }
    }

    fn uri(self, token: Option<Token>) -> Result<Uri<'b>, RpcError> {
        let text = self.name(token.ok_or(RpcError::Params)?)?;
        Ok(uri::read(text)?)
    }

    /// The resources and the tasks of a subscription.
    fn subscriptions(self, draft: &Draft<'_>) -> Result<(Vec<Uri<'b>>, Vec<Cow<'b, str>>), RpcError> {
        self.object(draft, Slot::Filter)?;
        let is_list = |slot| draft.slot(slot).is_none_or(|token| token.kind == Kind::ArrayEnd);
        if !is_list(Slot::Uris) || !is_list(Slot::TaskIds) {
            return Err(RpcError::Params);
        }
        let resources = draft.uris.iter().map(|&token| self.uri(Some(token))).collect::<Result<_, _>>()?;
        let tasks = draft.tasks.iter().map(|&token| self.name(token)).collect::<Result<_, _>>()?;
        Ok((resources, tasks))
    }

    fn result(self, token: Token, draft: &Draft<'_>) -> Result<Outcome<'b>, RpcError> {
        if draft.slot(Slot::InputRequests).is_some_and(|token| token.kind != Kind::ObjectEnd) {
            return Err(RpcError::Outcome);
        }
        let input_requests = draft.inputs.iter().map(|input| self.input(input)).collect::<Result<_, _>>()?;
        Ok(Outcome::Result {
            raw: token.of(self.bytes),
            input_requests,
            has_list: draft.slot(Slot::List).is_some(),
            // What is no name is none that anybody could ask for.
            task: self.text_of(draft, Slot::ResultTask).unwrap_or_default(),
            version: self.text_of(draft, Slot::ResultVersion).map_err(|_| RpcError::Outcome)?,
        })
    }

    fn input(self, input: &Input) -> Result<InputRequest<'b>, RpcError> {
        let (Some(key), Some(method)) = (input.key, input.method) else { return Err(RpcError::Outcome) };
        let params = match input.params {
            None => None,
            Some(token) if token.kind == Kind::ObjectEnd => Some(token.of(self.bytes)),
            Some(_) => return Err(RpcError::Outcome),
        };
        let method = self.name(method).map_err(|_| RpcError::Method)?;
        Ok(InputRequest { key: decode(key.of(self.bytes)), method, params })
    }

    fn error(self, token: Token, draft: &Draft<'_>) -> Result<Outcome<'b>, RpcError> {
        let code = draft.slot(Slot::ErrorCode).filter(|code| code.kind == Kind::Number).ok_or(RpcError::Outcome)?;
        let is_integer = canonical(code.of(self.bytes))?.iter().all(|&byte| byte == b'-' || byte.is_ascii_digit());
        if token.kind != Kind::ObjectEnd || !is_integer {
            return Err(RpcError::Outcome);
        }
        Ok(Outcome::Error { raw: token.of(self.bytes) })
    }
}
