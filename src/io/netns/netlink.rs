//! Just enough netlink: messages with nested attributes go out, acknowledgements come back.
//!
//! Everything is encoded here and nothing is decoded but `NLMSG_ERROR`, because the fence only ever sets things in an empty namespace.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The bytes of one or more messages, and how many of them ask for an acknowledgement.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    acknowledged: usize,
}

impl Batch {
    /// Appends a message: netlink header, then `fixed`, then whatever attributes `fill` writes.
    pub(super) fn message(&mut self, kind: u16, flags: u16, fixed: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
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

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The attributes of one message or of one nest.
pub(super) struct Attributes<'b> {
    bytes: &'b mut Vec<u8>,
}

impl Attributes<'_> {
    /// One attribute: length, kind, value, padding to four bytes.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.framed(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// A NUL-terminated string.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.framed(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// A 32-bit number in network order, as nftables wants all of its numbers.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
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
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?))
    }

    /// Sends the batch and waits until the kernel has acknowledged each message that asked for it; its first refusal is the error.
    pub(super) fn apply(&self, batch: &Batch) -> io::Result<()> {
        send(self.0.as_raw_fd(), &batch.bytes, MsgFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let mut outstanding = batch.acknowledged;
        while outstanding > 0 {
            let length = match recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => continue,
                result => result?,
            };
            outstanding = outstanding.saturating_sub(acknowledgements(&answer[..length])?);
        }
        Ok(())
    }
}

/// How many messages this datagram acknowledges.
fn acknowledgements(mut bytes: &[u8]) -> io::Result<usize> {
    let garbled = || io::Error::from_raw_os_error(libc::EBADMSG);
    let mut count = 0;
    while !bytes.is_empty() {
        let length = bytes.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize).ok_or_else(garbled)?;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER_BYTES).ok_or_else(garbled)?;
        if u16::from_ne_bytes([message[4], message[5]]) == ERROR {
            let code =
                message[HEADER_BYTES..].first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)).ok_or_else(garbled)?;
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
            count += 1;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(count)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

// <linux/netlink.h>
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 0x4;
/// `NLM_F_CREATE`.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`.
pub(super) const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_the_nested_and_every_part_is_padded() {
        let mut batch = Batch::default();
        batch.message(7, ACK, &[1], |attributes| {
            attributes.nest(1, |inner| inner.put(2, &[9, 9, 9]));
        });
        let bytes = batch.bytes();
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8);
        assert_eq!(&bytes[..4], &32u32.to_ne_bytes());
        assert_eq!(&bytes[20..24], &[&12u16.to_ne_bytes()[..], &(1 | NESTED).to_ne_bytes()[..]].concat());
        assert_eq!(&bytes[24..28], &[&7u16.to_ne_bytes()[..], &2u16.to_ne_bytes()[..]].concat());
        assert_eq!(&bytes[28..], &[9, 9, 9, 0]);
    }

    #[test]
    fn refusals_and_torn_answers_are_errors() {
        let answer = |code: i32| {
            let mut bytes = 20u32.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&ERROR.to_ne_bytes());
            bytes.extend_from_slice(&[0; 10]);
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes
        };
        assert_eq!(acknowledgements(&[answer(0), answer(0)].concat()).unwrap(), 2);
        assert_eq!(acknowledgements(&answer(-libc::EPERM)).unwrap_err().raw_os_error(), Some(libc::EPERM));
        for cut in 1..20 {
            assert!(acknowledgements(&answer(0)[..cut]).is_err(), "{cut}");
        }
        assert!(acknowledgements(&[0; 16]).is_err());
    }
}
