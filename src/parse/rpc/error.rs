//! Why a text is no message of MCP's.

use std::fmt;

use super::uri::UriError;
use crate::parse::json::JsonError;

/// Why a JSON-RPC text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpcError {
    /// No strict JSON.
    Json(JsonError),
    /// Neither an object nor an array of objects.
    Message,
    /// `jsonrpc` is not the string `2.0`.
    Version,
    /// Not exactly one of request, notification and response.
    Shape,
    /// An id that is neither a string nor an integer that every recipient holds, or too long.
    Id,
    /// A method that is no string, or has a character that no name has.
    Method,
    /// Parameters that are no object, or do not fit the method.
    Params,
    /// A result or an error against the protocol.
    Outcome,
    /// A name that some recipients take for a known one, or for a part of every object.
    LookAlike,
    /// A name with a control character.
    Character,
    /// A resource that is no URI with one meaning.
    Uri(UriError),
    /// An empty array, or more than [`crate::limits::RPC_BATCH_MAX`] messages.
    Batch,
    /// More than [`crate::limits::RPC_INPUTS_MAX`] input requests or subscriptions, or more than
    /// [`crate::limits::RPC_LIST_ENTRIES_MAX`] entries of a list.
    TooMany,
    /// A token, a cursor or a state that is longer than [`crate::limits::RPC_OPAQUE_BYTES_MAX`].
    Opaque,
}

impl RpcError {
    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        "malformed"
    }

    /// The code of the JSON-RPC error (§5.1) that answers it.
    pub fn rpc_code(&self) -> i32 {
        match self {
            RpcError::Json(_) => -32700,
            RpcError::Params | RpcError::Character | RpcError::Uri(_) => -32602,
            _ => -32600,
        }
    }
}

impl From<JsonError> for RpcError {
    fn from(error: JsonError) -> Self {
        RpcError::Json(error)
    }
}

impl From<UriError> for RpcError {
    fn from(error: UriError) -> Self {
        RpcError::Uri(error)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            RpcError::Json(error) => return error.fmt(out),
            RpcError::Uri(error) => return error.fmt(out),
            RpcError::Message => "the JSON text is no JSON-RPC message",
            RpcError::Version => "the message does not say that it is JSON-RPC 2.0",
            RpcError::Shape => "the message is not exactly one of request, notification and response",
            RpcError::Id => "the id of the message is neither a string nor a plain integer",
            RpcError::Method => "the method of the message is no name",
            RpcError::Params => "the parameters of the message do not fit its method",
            RpcError::Outcome => "the result or error of the message is malformed",
            RpcError::LookAlike => "the message has a name that can be taken for another",
            RpcError::Character => "a name in the message has a control character",
            RpcError::Batch => "the batch is empty or too long",
            RpcError::Opaque => "the message has a token, a cursor or a state that is too long",
            RpcError::TooMany => "the message asks for too much at once",
        })
    }
}

impl std::error::Error for RpcError {}
