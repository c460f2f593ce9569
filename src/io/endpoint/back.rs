//! What a server gets for a request of its own that is refused: a JSON-RPC error, posted as the client would post its answer.
//!
//! The client does not see such a request, so that it is for us to answer it; else the server would wait. The error goes to the same address, with
//! the header fields that the client sent: its credentials, its session and its version. It goes by a connection of its own, so that
//! neither the stream nor the client waits for it; where it does not get through the server is none the wiser, and the refusal stands.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::engine;
use crate::io::transport::{Filled, Transport};
use crate::io::upstream;
use crate::io::wire;
use crate::limits::MCP_ERRORS_BACK_MAX;
use crate::parse::Progress;
use crate::parse::head::{self, Scan};
use crate::parse::target;

use super::Place;
use super::response::Reply;

/// Fields of the request that opened the stream, and of no answer.
const OF_THE_REQUEST: [&str; 9] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "content-encoding",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
];

impl Reply<'_> {
    /// Sends an error back, unless too many are on their way.
    pub(super) fn tell_server(&self, place: &Place, error: &[u8]) {
        let connection = self.connection;
        let Some((route, upstream)) = &connection.upstream else { return };
        let Some(post) = self.post(place, error) else { return };
        if self.back.get() >= MCP_ERRORS_BACK_MAX {
            return;
        }
        let counted = Counted::new(&self.back);
        let (worker, host) = (Rc::clone(&connection.worker), route.host.clone());
        let (vetted, manner) = (upstream.vetted, upstream.manner.clone());
        engine::spawn(async move {
            let _counted = counted;
            // The refusal is the decision: it is on record before anything of this goes up.
            if worker.producer.durable().await.is_err() {
                return;
            }
            let Ok(upstream) = upstream::dial(&[vetted], &host, &manner, &worker.bounds).await else { return };
            let bound = worker.bounds.body;
            if matches!(engine::timeout(bound, upstream.transport.send(post)).await, Ok((Ok(()), _))) {
                // A server that sees the end before it has answered may drop what it was told.
                let _ = engine::timeout(bound, answered(&upstream.transport)).await;
                let _ = engine::timeout(bound, upstream.transport.close()).await;
            }
        });
    }

    fn post(&self, place: &Place, error: &[u8]) -> Option<Vec<u8>> {
        let head = head::request(&self.connection.asked).ok()?;
        let target = target::canonical(&self.connection.asks(&head)).ok()?;
        let to = place.older.as_ref().map_or_else(|| target.wire.to_string(), super::streams::Target::wire);
        let keeps = |name: &[u8]| {
            let is_param = name.get(..10).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"mcp-param-"));
            !is_param && !OF_THE_REQUEST.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        };
        let mut out = Vec::with_capacity(error.len() + 512);
        wire::post((&head, &target, &to), keeps, self.connection.via(Some(self.address)), &mut out);
        if let Some(id) = &place.id {
            out.extend_from_slice(format!("Mcp-Session-Id: {id}\r\n").as_bytes());
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", error.len()).as_bytes());
        out.extend_from_slice(error);
        Some(out)
    }
}

/// Waits for the head of an answer; what it says makes no difference.
async fn answered(transport: &Transport) {
    let mut scan = Scan::default();
    while matches!(transport.received(|bytes| scan.find(bytes)), Ok(Progress::More)) {
        if !matches!(transport.fill().await, Ok(Filled::Bytes)) {
            return;
        }
    }
}

/// One error on its way.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(all: &Rc<Cell<usize>>) -> Counted {
        all.set(all.get() + 1);
        Counted(Rc::clone(all))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
