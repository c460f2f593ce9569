//! Just enough netlink: messages with nested attributes go out, acknowledgements and dumps come back.
//!
//! Knows the framing of rtnetlink(7) and nothing of links, routes or rules. What the kernel says is read with bounds checks all the same:
//! a torn answer is an error, never a shorter one.

use std::{
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::limits::{NETLINK_ANSWER_BYTES_MAX, NETLINK_DUMP_MESSAGES_MAX};

/// The bytes of one or more messages, and how many of them ask for an acknowledgement.
#[derive(Default)]
pub(in crate::io) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    acknowledged: usize,
}

impl Batch {
    /// Appends a message: netlink header, then `fixed`, then whatever attributes `fill` writes.
    pub(in crate::io) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        if flags & ACK != 0 {
            self.acknowledged += 1;
        }
    }

    /// The messages one by one, as [`Netlink::dump`] gives the kernel's.
    pub(in crate::io) fn messages(&self) -> io::Result<Vec<Message>> {
        split(&self.bytes)
    }

    /// How many messages it has: the sequence number of the last.
    pub(in crate::io) fn len(&self) -> u32 {
        self.sequence
    }
}

/// One message without its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::io) struct Message {
    pub(in crate::io) kind: u16,
    flags: u16,
    sequence: u32,
    /// The fixed part and the attributes.
    pub(in crate::io) body: Vec<u8>,
}

/// The kernel's answer to one message of a batch.
#[derive(Debug)]
pub(in crate::io) struct Refused {
    /// The message's place in the batch, from 1; 0 when none of them was answered.
    pub(in crate::io) sequence: u32,
    pub(in crate::io) error: io::Error,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        refused.error
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}: {}", self.sequence, self.error)
    }
}

/// The attributes of one message or of one nest.
pub(in crate::io) struct Attributes<'b> {
    bytes: &'b mut Vec<u8>,
}

impl Attributes<'_> {
    /// One attribute: length, kind, value, padding to four bytes.
    pub(in crate::io) fn put(&mut self, kind: u16, value: &[u8]) {
        self.framed(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// A NUL-terminated string.
    pub(in crate::io) fn text(&mut self, kind: u16, value: &str) {
        self.framed(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// A 32-bit number in network order, as nftables wants all of its numbers.
    pub(in crate::io) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(in crate::io) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.framed(kind | NESTED, |bytes| fill(&mut Attributes { bytes }));
    }

    fn framed(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self.bytes);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.bytes);
    }
}

/// A netlink socket in the network namespace of the caller.
pub(in crate::io) struct Netlink(OwnedFd);

impl Netlink {
    pub(in crate::io) fn open(protocol: SockProtocol) -> io::Result<Self> {
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?))
    }

    /// Sends the batch and waits until the kernel has acknowledged each message that asked for it; its first refusal is the error.
    pub(in crate::io) fn apply(&self, batch: &Batch) -> Result<(), Refused> {
        send(self.0.as_raw_fd(), &batch.bytes, MsgFlags::empty()).map_err(no_message)?;
        let mut outstanding = batch.acknowledged;
        while outstanding > 0 {
            let answers = self.receive().map_err(no_message)?;
            outstanding = outstanding.saturating_sub(acknowledgements(&answers)?);
        }
        Ok(())
    }

    /// All the messages with which the kernel answers a request for a dump.
    pub(in crate::io) fn dump(&self, kind: u16, fixed: &[u8]) -> io::Result<Vec<Message>> {
        let mut request = Batch::default();
        request.message(kind, DUMP, fixed, |_| ());
        send(self.0.as_raw_fd(), &request.bytes, MsgFlags::empty())?;
        let mut dumped = Vec::new();
        loop {
            for message in self.receive()? {
                match message.kind {
                    DONE => return Ok(dumped),
                    ERROR => acknowledgements(&[message]).map(|_| ()).map_err(io::Error::from)?,
                    // What is dumped changed meanwhile, and this is neither the old nor the new.
                    _ if message.flags & DUMP_INTERRUPTED != 0 => {
                        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
                    }
                    _ if dumped.len() == NETLINK_DUMP_MESSAGES_MAX => {
                        return Err(io::Error::from_raw_os_error(libc::E2BIG));
                    }
                    _ => dumped.push(message),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut answer = vec![0; NETLINK_ANSWER_BYTES_MAX];
        loop {
            match recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => (),
                Err(error) => return Err(error.into()),
                Ok(0) => return Err(garbled()),
                Ok(length) => return split(&answer[..length]),
            }
        }
    }
}

fn no_message(error: impl Into<io::Error>) -> Refused {
    Refused { sequence: 0, error: error.into() }
}

/// How many messages these acknowledge.
fn acknowledgements(answers: &[Message]) -> Result<usize, Refused> {
    let mut count = 0;
    for message in answers.iter().filter(|message| message.kind == ERROR) {
        let code = message.body.first_chunk().map(|code| i32::from_ne_bytes(*code));
        match code.ok_or_else(|| no_message(garbled()))? {
            0 => count += 1,
            code => {
                let error = io::Error::from_raw_os_error(code.saturating_neg());
                return Err(Refused { sequence: message.sequence, error });
            }
        }
    }
    Ok(count)
}

/// The messages of one datagram.
fn split(mut bytes: &[u8]) -> io::Result<Vec<Message>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or_else(garbled)?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = bytes.get(HEADER_BYTES..length).ok_or_else(garbled)?.to_vec();
        let (kind, flags) = (u16::from_ne_bytes([k0, k1]), u16::from_ne_bytes([f0, f1]));
        messages.push(Message { kind, flags, sequence: u32::from_ne_bytes([s0, s1, s2, s3]), body });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// One attribute as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) struct Attribute<'b> {
    pub(in crate::io) kind: u16,
    /// Whether its writer said that it holds attributes. The kernel often does not.
    pub(in crate::io) nested: bool,
    pub(in crate::io) value: &'b [u8],
}

/// The attributes that follow one another in `bytes`.
pub(in crate::io) fn attributes(mut bytes: &[u8]) -> io::Result<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<4>().ok_or_else(garbled)?;
        let (length, kind) = (usize::from(u16::from_ne_bytes([l0, l1])), u16::from_ne_bytes([k0, k1]));
        let value = bytes.get(4..length).ok_or_else(garbled)?;
        found.push(Attribute { kind: kind & !(NESTED | NETWORK_ORDER), nested: kind & NESTED != 0, value });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

fn garbled() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

// <linux/netlink.h>
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(in crate::io) const ACK: u16 = 0x4;
/// `NLM_F_CREATE`.
pub(in crate::io) const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`.
pub(in crate::io) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`.
pub(in crate::io) const APPEND: u16 = 0x800;
/// `NLM_F_DUMP`.
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
const NETWORK_ORDER: u16 = 0x4000;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_the_nested_and_every_part_is_padded() {
        let mut batch = Batch::default();
        batch.message(7, ACK, &[1], |attributes| {
            attributes.nest(1, |inner| inner.put(2, &[9, 9, 9]));
        });
        let bytes = &batch.bytes;
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8);
        assert_eq!(&bytes[..4], &32u32.to_ne_bytes());
        assert_eq!(&bytes[20..24], &[&12u16.to_ne_bytes()[..], &(1 | NESTED).to_ne_bytes()[..]].concat());
        assert_eq!(&bytes[24..28], &[&7u16.to_ne_bytes()[..], &2u16.to_ne_bytes()[..]].concat());
        assert_eq!(&bytes[28..], &[9, 9, 9, 0]);
    }

    #[test]
    fn refusals_name_their_message_and_torn_answers_are_errors() {
        let answer = |code: i32| {
            let mut bytes = 20u32.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&ERROR.to_ne_bytes());
            bytes.extend_from_slice(&[0; 2]);
            bytes.extend_from_slice(&7u32.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes
        };
        let read = |bytes: &[u8]| acknowledgements(&split(bytes).unwrap());
        assert_eq!(read(&[answer(0), answer(0)].concat()).unwrap(), 2);
        let refused = read(&answer(-libc::EPERM)).unwrap_err();
        assert_eq!((refused.sequence, refused.error.raw_os_error()), (7, Some(libc::EPERM)));
        for cut in 1..20 {
            assert!(split(&answer(0)[..cut]).is_err(), "{cut}");
        }
        assert!(split(&[0; 16]).is_err());
        assert!(attributes(&[9, 0, 1, 0, 0]).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut batch = Batch::default();
        batch.message(7, ACK, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "lo");
            attributes.nest(2, |inner| inner.number(3, 9));
        });
        let message = &batch.messages().unwrap()[0];
        assert_eq!(message.kind, 7);
        let read = attributes(&message.body[4..]).unwrap();
        assert_eq!(read[0], Attribute { kind: 1, nested: false, value: b"lo\0" });
        assert_eq!((read[1].kind, read[1].nested), (2, true));
        assert_eq!(attributes(read[1].value).unwrap()[0].value, [0, 0, 0, 9]);
    }
}
