//! Lines that wait for somebody's leave, while others pass.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::io::approval::{Answer, Approvers, Asked};
use crate::io::mcp::{Held, Leave, Session};
use crate::limits::APPROVAL_HEARTBEAT_EVERY;
use crate::parse::rpc::Id;

/// Those who are asked, and the lines that wait for them.
pub(super) struct Approvals {
    approvers: Approvers,
    lines: Vec<Line>,
    /// Questions so far.
    count: u64,
    answers: Receiver<(u64, Answer)>,
    /// Readable when there is an answer.
    bell: PipeReader,
    told: (Sender<(u64, Answer)>, Arc<PipeWriter>),
}

/// A line that waits.
struct Line {
    number: u64,
    text: Vec<u8>,
    held: Held,
    /// Dropped with the line, which withdraws the question.
    _asked: Asked,
    beats: u64,
    next_beat: Instant,
}

/// A line that waits no more, and what was said to it.
pub(super) struct Settled {
    pub(super) text: Vec<u8>,
    pub(super) id: Id<'static>,
    pub(super) leave: Leave,
}

impl Approvals {
    pub(super) fn new(approvers: Approvers) -> io::Result<Approvals> {
        let (bell, ring) = io::pipe()?;
        fcntl(&bell, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (told, answers) = channel();
        Ok(Approvals { approvers, lines: Vec::new(), count: 0, answers, bell, told: (told, Arc::new(ring)) })
    }

    /// Asks about a line and keeps it. Given back at once where nobody can be asked.
    pub(super) fn ask(&mut self, agent: &str, held: Held, text: &[u8]) -> Option<Settled> {
        self.count += 1;
        let number = self.count;
        let (told, ring) = self.told.clone();
        let tell = move |answer| {
            // Whoever has asked may be gone; then nobody wants to know. A full pipe rings already.
            if told.send((number, answer)).is_ok() {
                let _ = (&*ring).write(&[1]);
            }
        };
        match self.approvers.ask(&held.question, agent, tell) {
            Ok(asked) => {
                let next_beat = Instant::now() + APPROVAL_HEARTBEAT_EVERY;
                self.lines.push(Line { number, text: text.to_vec(), held, _asked: asked, beats: 0, next_beat });
                None
            }
            Err(answer) => Some(Line::settled(text.to_vec(), &held, Leave::of(answer, &held.question))),
        }
    }

    /// The descriptor that shows that there is an answer, while somebody is asked.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        (!self.lines.is_empty()).then(|| self.bell.as_fd())
    }

    /// Lines to which something was said since the last look.
    pub(super) fn answered(&mut self) -> Vec<Settled> {
        let mut rung = [0; 64];
        while self.bell.read(&mut rung).is_ok_and(|read| read > 0) {}
        let mut settled = Vec::new();
        while let Ok((number, answer)) = self.answers.try_recv() {
            if let Some(at) = self.lines.iter().position(|line| line.number == number) {
                let Line { text, held, .. } = self.lines.remove(at);
                let leave = Leave::of(answer, &held.question);
                settled.push(Line::settled(text, &held, leave));
            }
        }
        settled
    }

    /// Lines whose senders have cancelled them; all where nobody waits any more.
    pub(super) fn withdrawn(&mut self, session: &Session, all: bool) -> Vec<Settled> {
        let gone = self.lines.extract_if(.., |line| all || !session.is_held(&line.held.id));
        gone.map(|line| Line::settled(line.text, &line.held, Leave::Refused("approval_withdrawn"))).collect()
    }

    /// How long until somebody is to hear that it goes on.
    pub(super) fn until_beat(&self) -> Option<Duration> {
        let beats = self.lines.iter().filter(|line| line.held.progress.is_some());
        beats.map(|line| line.next_beat.saturating_duration_since(Instant::now())).min()
    }

    /// The words for those who are to hear it now.
    pub(super) fn beats(&mut self) -> Vec<Vec<u8>> {
        let now = Instant::now();
        let due = self.lines.iter_mut().filter(|line| line.next_beat <= now);
        due.filter_map(|line| {
            line.next_beat = now + APPROVAL_HEARTBEAT_EVERY;
            line.beats += 1;
            line.held.heartbeat(line.beats)
        })
        .collect()
    }
}

impl Line {
    fn settled(text: Vec<u8>, held: &Held, leave: Leave) -> Settled {
        Settled { text, id: held.id.clone(), leave }
    }
}
