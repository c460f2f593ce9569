//! The answers in what a client sends, which belong to requests of the server's that came over another connection; and the error for header
//! fields that contradict their body.

use crate::io::mcp::Session;
use crate::parse::rpc::{self, Body, Version, header};

use super::Place;
use super::sessions::Sessions;

/// Whose conversation it is.
pub(super) struct Owner<'o> {
    pub(super) place: &'o Place,
    pub(super) agent: &'o str,
}

impl Owner<'_> {
    /// Lets the session know which of the server's requests these answers belong to: they came over another carrier.
    pub(super) fn expect_answers(&self, body: &Body<'_>, session: &mut Session) {
        for id in answers(body) {
            if let Some(method) = Sessions::all().asked(&self.place.key(self.agent), id) {
                session.expects(id.clone().into_owned(), &method);
            }
        }
    }

    /// Each of the server's requests is answered once.
    pub(super) fn note_answers(&self, body: &Body<'_>) {
        for id in answers(body) {
            Sessions::all().answered(&self.place.key(self.agent), id);
        }
    }
}

/// The ids of the answers in a text.
fn answers<'b>(body: &'b Body<'_>) -> impl Iterator<Item = &'b rpc::Id<'b>> {
    body.messages.iter().filter_map(|message| match &message.shape {
        rpc::Shape::Response(id, _) => id.as_ref(),
        _ => None,
    })
}

/// The error for header fields that do not agree with the body (2026-07-28, "Error Codes").
pub(super) fn header_error(body: &Body<'_>, fields: &header::Fields<'_>, error: &header::HeaderError) -> Vec<u8> {
    let mut out = br#"{"jsonrpc":"2.0","#.to_vec();
    if let [rpc::Message { shape: rpc::Shape::Request(id, _), .. }] = &body.messages[..] {
        out.extend_from_slice(b"\"id\":");
        id.write(&mut out);
        out.push(b',');
    }
    out.extend_from_slice(format!("\"error\":{{\"code\":{},\"message\":\"{error}\"", error.rpc_code()).as_bytes());
    if let (header::HeaderError::VersionUnknown, Some(requested)) = (error, fields.version) {
        // What a client goes on with: of versions without a handshake. The others it asks for with one.
        let supported: Vec<&str> =
            Version::ALL.into_iter().filter(|version| version.is_stateless()).map(Version::name).collect();
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        out.extend_from_slice(format!(",\"data\":{data}").as_bytes());
    }
    out.extend_from_slice(b"}}");
    out
}
