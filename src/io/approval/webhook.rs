//! An approver that is a webhook: the question is posted, and the answer is what comes back when somebody has decided.
//!
//! One connection for each question, dialled outside of every fence and policy, because the policy's author names it. It stays open until
//! there is an answer; that it closes tells the other side that nobody waits any more.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Came, Open, is_too_long};
use crate::limits::{APPROVAL_CONNECT_WAIT, APPROVAL_LOOK_EVERY, HEAD_BYTES_MAX};
use crate::parse::Progress;
use crate::parse::chunked::{Decoder, Step};
use crate::parse::framing::{self, ResponseFraming};
use crate::parse::head::{self, Scan};
use crate::policy::Webhook;

/// Posts the question and waits for the answer.
pub(super) fn ask(webhook: &Webhook, config: Option<&Arc<ClientConfig>>, question: &[u8], open: &Open) -> Came {
    let asked = connect(webhook, open).and_then(|socket| {
        let mut stream: Box<dyn Channel> = match config {
            None => Box::new(socket.try_clone()?),
            Some(config) => {
                let name = ServerName::try_from(webhook.host.to_string()).map_err(io::Error::other)?;
                let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(client, socket.try_clone()?))
            }
        };
        let Webhook { target, authority, .. } = webhook;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            question.len()
        );
        stream.write_all(&[head.as_bytes(), question].concat())?;
        stream.flush()?;
        socket.set_read_timeout(Some(APPROVAL_LOOK_EVERY))?;
        Ok(answer(&mut *stream, open))
    });
    asked.unwrap_or_else(|error| if open.left().is_zero() { Came::Nothing } else { Came::Failed(error.to_string()) })
}

/// Both ways of a connection, in the clear or within TLS.
trait Channel: Read + Write {}

impl<T: Read + Write> Channel for T {}

fn connect(webhook: &Webhook, open: &Open) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (&*webhook.host, webhook.port).to_socket_addrs()? {
        let wait = APPROVAL_CONNECT_WAIT.min(open.left()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => {
                stream.set_write_timeout(Some(wait))?;
                stream.set_read_timeout(Some(wait))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads until there is a whole response, or nobody wants one any more.
fn answer(stream: &mut dyn Channel, open: &Open) -> Came {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        if open.is_withdrawn() {
            return Came::Withdrawn;
        }
        if open.left().is_zero() {
            return Came::Nothing;
        }
        let ended = match stream.read(&mut room) {
            Ok(0) => true,
            // Without the goodbye of TLS the end may be anybody's; a length or the last chunk says where it is.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Came::Failed("it breaks off".to_owned());
            }
            Ok(read) => {
                bytes.extend_from_slice(room.get(..read).unwrap_or_default());
                false
            }
            Err(error) if is_for_later(&error) => continue,
            Err(error) => return Came::Failed(error.to_string()),
        };
        match body(&bytes, ended) {
            Ok(Progress::Done(body)) => return Came::Said(body),
            Ok(Progress::More) if ended => return Came::Failed("it breaks off".to_owned()),
            Ok(Progress::More) => {}
            Err(why) => return Came::Failed(why),
        }
        if bytes.len() > HEAD_BYTES_MAX && is_too_long(&bytes) {
            return Came::Failed("it says more than an answer takes".to_owned());
        }
    }
}

/// The body of a response of success, once it is whole.
fn body(bytes: &[u8], ended: bool) -> Result<Progress<Vec<u8>>, String> {
    let mut rest = bytes;
    let (head, framing) = loop {
        if rest.is_empty() {
            return Ok(Progress::More);
        }
        let length = match Scan::default().find(rest).map_err(|error| error.to_string())? {
            Progress::Done(length) => length,
            Progress::More => return Ok(Progress::More),
        };
        let (head, after) = rest.split_at_checked(length).ok_or("a broken head")?;
        let parsed = head::response(head).map_err(|error| error.to_string())?;
        rest = after;
        if (100..200).contains(&parsed.status) && parsed.status != 101 {
            continue;
        }
        let framing = framing::response(&parsed, "POST").map_err(|error| error.to_string())?;
        break (parsed.status, framing);
    };
    if !(200..300).contains(&head) {
        return Err(format!("it answers with status {head}"));
    }
    let whole = match framing {
        ResponseFraming::None => Some(Vec::new()),
        ResponseFraming::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            rest.get(..length).map(<[u8]>::to_vec)
        }
        ResponseFraming::Chunked => chunks(rest)?,
        ResponseFraming::UntilClose => ended.then(|| rest.to_vec()),
    };
    Ok(whole.map_or(Progress::More, Progress::Done))
}

/// The data of a chunked body, if its last chunk is there.
fn chunks(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (mut decoder, mut at, mut data) = (Decoder::new(), 0, Vec::new());
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        match decoder.step(rest).map_err(|error| error.to_string())? {
            Step::Data { skip, len } => {
                data.extend_from_slice(rest.get(skip..skip + len).unwrap_or_default());
                at += skip + len;
            }
            Step::More => return Ok(None),
            Step::End { .. } => return Ok(Some(data)),
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
