//! The channel between ringfence and pid 1 of its fence: one sequenced-packet socket pair, one message a packet.
//!
//! Its end is a message too. Pid 1 exits when ringfence's end is gone, and ringfence learns from pid 1's end that everything inside is dead.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
        socketpair,
    },
};

use super::error::FenceError;

/// What ringfence tells pid 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The id maps are written.
    Mapped,
    /// Execute the command.
    Start,
    /// Pass a signal to the command alone.
    Signal(i32),
    /// Pass a signal to the command's process group, as a terminal does.
    SignalGroup(i32),
    /// Continue the command, as the terminal's foreground group or without the terminal.
    Continue {
        /// Whether the command gets the terminal.
        foreground: bool,
    },
}

/// What pid 1 tells ringfence.
#[derive(Debug)]
pub(super) enum Report {
    /// The listeners, in the order of [`super::network::Sockets`].
    Listeners(Vec<OwnedFd>),
    /// Everything stands; waiting for [`Order::Start`].
    Ready,
    /// A step failed; pid 1 exits.
    Failed(FenceError),
    /// The command was stopped by this signal.
    Stopped(i32),
}

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends, closed on exec.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ours), Self(theirs)))
    }

    pub(super) fn order(&self, order: &Order) -> io::Result<()> {
        let (tag, value) = match order {
            Order::Mapped => (MAPPED, 0),
            Order::Start => (START, 0),
            Order::Signal(signal) => (SIGNAL, *signal),
            Order::SignalGroup(signal) => (SIGNAL_GROUP, *signal),
            Order::Continue { foreground } => (CONTINUE, i32::from(*foreground)),
        };
        self.send(tag, &value.to_ne_bytes(), &[])
    }

    /// Hands the trust bundle to pid 1, in a memory file: it may be longer than a message.
    pub(super) fn hand_bundle(&self, bundle: &[u8]) -> io::Result<()> {
        let mut file = File::from(memfd_create(c"trust", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(bundle)?;
        self.send(BUNDLE, &[], &[ControlMessage::ScmRights(&[file.as_raw_fd()])])
    }

    /// The trust bundle, which follows [`Order::Mapped`]; `None` when ringfence is gone.
    pub(super) fn take_bundle(&self) -> io::Result<Option<Vec<u8>>> {
        let (bytes, mut descriptors) = self.receive()?;
        let (Some(&BUNDLE), Some(file)) = (bytes.first(), descriptors.pop()) else { return Ok(None) };
        let mut file = File::from(file);
        // The offset is shared with the end that wrote.
        file.rewind()?;
        let mut bundle = Vec::new();
        file.read_to_end(&mut bundle)?;
        Ok(Some(bundle))
    }

    /// The next order; `None` when ringfence is gone or speaks nonsense, which pid 1 treats alike.
    pub(super) fn next_order(&self) -> io::Result<Option<Order>> {
        let (bytes, _) = self.receive()?;
        let Some((tag, value)) = bytes.split_first() else { return Ok(None) };
        let value = value.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes));
        Ok(match (*tag, value) {
            (MAPPED, _) => Some(Order::Mapped),
            (START, _) => Some(Order::Start),
            (SIGNAL, Some(signal)) => Some(Order::Signal(signal)),
            (SIGNAL_GROUP, Some(signal)) => Some(Order::SignalGroup(signal)),
            (CONTINUE, Some(foreground)) => Some(Order::Continue { foreground: foreground != 0 }),
            _ => None,
        })
    }

    pub(super) fn report_listeners(&self, listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
        self.send(LISTENERS, &[], &[ControlMessage::ScmRights(&raw)])
    }

    pub(super) fn report_ready(&self) -> io::Result<()> {
        self.send(READY, &[], &[])
    }

    pub(super) fn report_failed(&self, error: &FenceError) -> io::Result<()> {
        self.send(FAILED, &error.encode(), &[])
    }

    pub(super) fn report_stopped(&self, signal: i32) -> io::Result<()> {
        self.send(STOPPED, &signal.to_ne_bytes(), &[])
    }

    /// The next report; `None` when pid 1 is gone.
    pub(super) fn next_report(&self) -> io::Result<Option<Report>> {
        let (bytes, descriptors) = self.receive()?;
        let Some((tag, rest)) = bytes.split_first() else { return Ok(None) };
        let garbled = || io::Error::from_raw_os_error(libc::EBADMSG);
        match *tag {
            LISTENERS => Ok(Some(Report::Listeners(descriptors))),
            READY => Ok(Some(Report::Ready)),
            FAILED => FenceError::decode(rest).map(|error| Some(Report::Failed(error))).ok_or_else(garbled),
            STOPPED => {
                let signal = rest.first_chunk::<4>().ok_or_else(garbled)?;
                Ok(Some(Report::Stopped(i32::from_ne_bytes(*signal))))
            }
            _ => Err(garbled()),
        }
    }

    fn send(&self, tag: u8, body: &[u8], control: &[ControlMessage<'_>]) -> io::Result<()> {
        let tag = [tag];
        let parts = [IoSlice::new(&tag), IoSlice::new(&body[..body.len().min(MESSAGE_BYTES_MAX - 1)])];
        loop {
            match sendmsg::<UnixAddr>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
                Err(nix::Error::EINTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(nix::Error::EINTR) => {}
                // A peer that died with unread messages of ours shows as a reset; it is as gone as one that closed.
                Err(nix::Error::ECONNRESET) => return Ok((Vec::new(), Vec::new())),
                result => break result?,
            }
        };
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                for descriptor in raw {
                    // SAFETY: the kernel has just installed this descriptor for us and nothing else knows its number.
                    descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
        }
        let length = message.bytes;
        bytes.truncate(length);
        Ok((bytes, descriptors))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const MAPPED: u8 = b'm';
const START: u8 = b's';
const SIGNAL: u8 = b'k';
const SIGNAL_GROUP: u8 = b'g';
const CONTINUE: u8 = b'c';
const BUNDLE: u8 = b't';
const LISTENERS: u8 = b'L';
const READY: u8 = b'R';
const FAILED: u8 = b'F';
const STOPPED: u8 = b'S';

/// Longest message: an error whose subject is a path of PATH_MAX bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Most descriptors in one message: two families of TCP, DNS over UDP and DNS over TCP.
const DESCRIPTORS_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_reports_arrive_as_sent() {
        let (ringfence, init) = Channel::pair().unwrap();
        for order in [
            Order::Mapped,
            Order::Start,
            Order::Signal(15),
            Order::SignalGroup(2),
            Order::Continue { foreground: true },
        ] {
            ringfence.order(&order).unwrap();
            assert_eq!(init.next_order().unwrap(), Some(order));
        }
        let bundle = vec![7; 300_000];
        ringfence.hand_bundle(&bundle).unwrap();
        assert!(init.take_bundle().unwrap() == Some(bundle));
        init.report_stopped(20).unwrap();
        assert!(matches!(ringfence.next_report().unwrap(), Some(Report::Stopped(20))));
        init.report_listeners(&[init.as_fd(), init.as_fd()]).unwrap();
        assert!(matches!(ringfence.next_report().unwrap(), Some(Report::Listeners(fds)) if fds.len() == 2));
        drop(init);
        assert!(ringfence.next_report().unwrap().is_none());
    }

    #[test]
    fn an_abandoned_end_reads_as_the_end_even_with_unread_messages() {
        let (ringfence, init) = Channel::pair().unwrap();
        ringfence.order(&Order::Start).unwrap();
        drop(init);
        assert!(ringfence.next_report().unwrap().is_none());
    }
}
