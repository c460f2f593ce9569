//! `ringfence mcp`: stands between an MCP client and the server that it starts, on standard streams.
//!
//! One thread and one `poll(2)`: a line comes, is decided and recorded by the [`Session`], and goes on. Neither side can hold up the other: what cannot be
//! written yet waits, bounded, and its source is not read meanwhile. The server's stderr is ours, signals and the exit status pass, and the
//! server has no descriptor but its three. A line that is not exactly one strict text goes nowhere.

mod approvals;
mod child;
mod lines;
mod outlet;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::audit::{self, DecisionFacts, Mode, Nanos, OutcomeFacts, Producer, Transport, Writer, WriterOptions};
use crate::io::approval::{ApproverError, Approvers};
use crate::io::clock;
use crate::io::mcp::pins::{PinError, Pins};
use crate::io::mcp::{Carrier, FromClient, Session};
use crate::limits::{STDIO_FLUSH_WAIT, STDIO_QUEUE_BYTES_MAX};
use crate::parse::json::Pointers;
use crate::policy::{Host, Policy, Subject};

use self::approvals::{Approvals, Settled};
use self::child::{Child, Signals};
use self::lines::{Line, Lines};
use self::outlet::Outlet;

/// What `mcp` is asked to do.
#[derive(Debug)]
pub struct Options {
    /// The server's command and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The compiled policy.
    pub policy: Policy,
    /// The folder that its relative paths count from.
    pub folder: PathBuf,
    /// The server's name, as the policy's rules have it.
    pub server: String,
    /// Whether tools are pinned; not where the name says nothing about which server it is.
    pub pins: bool,
    /// Where the log goes.
    pub audit: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// The agent's name on record.
    pub agent: String,
}

/// Why a server was not started, or not to its end on record.
#[derive(Debug)]
pub enum StdioError {
    /// A folder of ours cannot be made.
    Folder(PathBuf, io::Error),
    /// The log cannot be written.
    Audit(audit::StartError),
    /// The log could not be finished; the command's status is inside.
    Unfinished(audit::WriteError, i32),
    /// The pins cannot be read.
    Pins(PinError),
    /// Somebody whom the policy names cannot be asked.
    Approver(ApproverError),
    /// The command cannot be started.
    Command(OsString, io::Error),
    /// A descriptor or signal could not be had.
    System(io::Error),
}

impl fmt::Display for StdioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StdioError::Folder(path, error) => write!(
                f,
                "{}: cannot be made ({error}); choose another with RINGFENCE_STATE or --audit",
                path.display()
            ),
            StdioError::Audit(error) => error.fmt(f),
            StdioError::Unfinished(error, _) => write!(f, "the audit log could not be finished: {error}"),
            StdioError::Pins(error) => error.fmt(f),
            StdioError::Approver(error) => write!(f, "approvals: {error}"),
            StdioError::Command(command, error) => write!(f, "{}: {error}", command.display()),
            StdioError::System(error) => write!(f, "the standard streams cannot be governed: {error}"),
        }
    }
}

impl std::error::Error for StdioError {}

impl From<audit::StartError> for StdioError {
    fn from(error: audit::StartError) -> StdioError {
        StdioError::Audit(error)
    }
}

/// Starts the command and governs what passes between it and our own standard streams, to its end. Gives its exit status as a shell counts it.
/// Must be called while the process has one thread.
///
/// # Errors
/// If the command could not be governed or recorded: it was then not started, or its record is unfinished.
pub fn serve(options: Options) -> Result<i32, StdioError> {
    for path in [&options.state, &options.audit] {
        std::fs::create_dir_all(path).map_err(|error| StdioError::Folder(path.clone(), error))?;
    }
    let pins = options.pins.then(|| Arc::new(Pins::under(&options.state)));
    if let Some(pins) = &pins {
        pins.load(&options.server).map_err(StdioError::Pins)?;
    }
    let approvers = Approvers::read(&options.policy, &options.folder, None).map_err(StdioError::Approver)?;
    // Before the first thread, so that every thread inherits the mask and only the descriptor sees the signals.
    let signals = Signals::new().map_err(StdioError::System)?;
    let (writer, mut seats) = Writer::start(WriterOptions {
        agent: options.agent.clone(),
        mode: Some(Mode::Stdio),
        policy: Some(*options.policy.digest()),
        ..WriterOptions::new(&options.audit, &options.state, 1)
    })?;
    let seat = seats.pop().ok_or(StdioError::System(io::ErrorKind::NotFound.into()))?;
    let status = Approvals::new(approvers)
        .map_err(StdioError::System)
        .and_then(|approvals| Exchange::start(&options, seat.take(), signals, pins, approvals))
        .and_then(Exchange::run);
    let finished = writer.finish();
    let status = child::as_a_shell_counts(status?);
    finished.map_err(|error| StdioError::Unfinished(error, status))?;
    Ok(status)
}

/// Everything that is open between a client and its server.
struct Exchange<'o> {
    options: &'o Options,
    producer: Producer,
    arguments: Pointers,
    session: Session,
    approvals: Approvals,
    pins: Option<Arc<Pins>>,
    signals: Signals,
    child: Child,
    status: Option<ExitStatus>,
    /// The client's lines; nothing once it has closed.
    client: Option<(File, Lines)>,
    /// The server's lines.
    server: Option<(File, Lines)>,
    to_client: Outlet,
    to_server: Outlet,
}

impl<'o> Exchange<'o> {
    fn start(
        options: &'o Options,
        producer: Producer,
        signals: Signals,
        pins: Option<Arc<Pins>>,
        approvals: Approvals,
    ) -> Result<Exchange<'o>, StdioError> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from).map_err(StdioError::System);
        let (stdin, stdout) = (own(io::stdin().as_fd())?, own(io::stdout().as_fd())?);
        let (child, to_server, from_server) = Child::start(&options.command)
            .map_err(|error| StdioError::Command(options.command.first().cloned().unwrap_or_default(), error))?;
        Ok(Exchange {
            arguments: Pointers::new(options.policy.argument_pointers()),
            session: Session::new(&options.server, true, Transport::Stdio, pins.clone()),
            options,
            producer,
            approvals,
            pins,
            signals,
            child,
            status: None,
            client: Some((stdin, Lines::default())),
            server: Some((from_server, Lines::default())),
            to_client: Outlet::shared(stdout),
            to_server: Outlet::own(to_server).map_err(StdioError::System)?,
        })
    }

    fn run(mut self) -> Result<ExitStatus, StdioError> {
        let status = loop {
            self.turn(PollTimeout::NONE).map_err(StdioError::System)?;
            if let Some(status) = self.status {
                break status;
            }
        };
        // What the server has said before its end is delivered; a child of its own that keeps the pipe open is not waited for.
        let patience = PollTimeout::try_from(STDIO_FLUSH_WAIT).unwrap_or(PollTimeout::MAX);
        self.client = None;
        self.withdraw(true);
        while (self.server.is_some() && self.turn(PollTimeout::ZERO).map_err(StdioError::System)?)
            || (self.to_client.waiting() > 0 && self.turn(patience).map_err(StdioError::System)?)
        {}
        self.session.end(&OutcomeFacts { code: Some("server_ended"), ..OutcomeFacts::default() });
        Ok(status)
    }

    /// Waits until something can be done and does it; false when nothing could be in time.
    fn turn(&mut self, patience: PollTimeout) -> io::Result<bool> {
        self.approvals.beats().iter().for_each(|beat| self.to_client.line(beat));
        let has_room =
            self.to_client.waiting() < STDIO_QUEUE_BYTES_MAX && self.to_server.waiting() < STDIO_QUEUE_BYTES_MAX;
        let (client, server) = (self.client.as_ref().filter(|_| has_room), self.server.as_ref().filter(|_| has_room));
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let places = [
            watch(&mut fds, client.map(|(file, _)| file.as_fd()), PollFlags::POLLIN),
            watch(&mut fds, server.map(|(file, _)| file.as_fd()), PollFlags::POLLIN),
            watch(&mut fds, self.to_client.wants(), PollFlags::POLLOUT),
            watch(&mut fds, self.to_server.wants(), PollFlags::POLLOUT),
            watch(&mut fds, self.approvals.bell(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, self.until_beat(patience)) {
            Ok(0) => return Ok(false),
            Err(Errno::EINTR) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |place: Option<usize>| {
            let answer = place.and_then(|place| fds.get(place)).and_then(PollFd::revents);
            answer.is_some_and(|flags| !flags.is_empty())
        };
        let [client, server, to_client, to_server, bell] = places.map(is_ready);
        let signal = is_ready(Some(0));
        if signal && self.signals.pass(&self.child)? {
            self.status = self.child.ended()?;
        }
        if bell {
            let answered = self.approvals.answered();
            answered.into_iter().for_each(|settled| self.settle(settled));
        }
        if server {
            self.read_server();
        }
        if client {
            self.read_client();
        }
        if to_client && self.to_client.write().is_err() {
            // Nobody hears the server any more: it learns that as it would without us.
            self.server = None;
            self.withdraw(true);
            self.to_server.close_when_empty();
        }
        if to_server && self.to_server.write().is_err() {
            self.to_server.abandon();
        }
        Ok(true)
    }

    fn read_client(&mut self) {
        let Some((mut file, mut lines)) = self.client.take() else { return };
        let is_open = lines.fill(&mut file);
        while let Some(line) = lines.next() {
            self.client_sent(line);
        }
        if is_open {
            self.client = Some((file, lines));
        } else {
            if lines.has_rest() {
                self.client_sent(Line::Unusable("incomplete"));
            }
            // Whoever could take the answer has closed.
            self.withdraw(true);
            self.to_server.close_when_empty();
        }
    }

    fn read_server(&mut self) {
        let Some((mut file, mut lines)) = self.server.take() else { return };
        let is_open = lines.fill(&mut file);
        while let Some(line) = lines.next() {
            self.server_sent(line);
        }
        if is_open {
            self.server = Some((file, lines));
        } else if lines.has_rest() {
            self.server_sent(Line::Unusable("incomplete"));
        }
    }

    fn client_sent(&mut self, line: Line<'_>) {
        if let Some(pins) = &self.pins
            && let Err(error) = pins.refresh(&self.options.server)
        {
            tracing::warn!(%error, "pins cannot be read");
        }
        let carrier = carrier(self.options, &self.producer, &self.arguments);
        let text = match line {
            Line::Text(text) => text,
            Line::Unusable(code) => return self.session.garbled_by_client(&carrier, code),
        };
        let became = self.session.client_sent(&carrier, text);
        self.pass(text, became);
        self.withdraw(false);
    }

    /// Does with a line of the client's what has become of it.
    fn pass(&mut self, text: &[u8], became: FromClient) {
        match became {
            FromClient::Forward { told, permit: _permit } => {
                self.to_server.line(text);
                for credit in told {
                    let outcome = OutcomeFacts { bytes_up: text.len() as u64, ..OutcomeFacts::default() };
                    credit.outcome(Nanos(clock::wall()), &outcome);
                }
            }
            FromClient::Refused(refusal) if refusal.is_awaited => self.to_client.line(&refusal.answer),
            FromClient::Refused(_) => {}
            FromClient::Ask(held) => {
                if let Some(settled) = self.approvals.ask(&self.options.agent, *held, text) {
                    self.settle(settled);
                }
            }
        }
    }

    /// Decides a line anew to which somebody has said something.
    fn settle(&mut self, settled: Settled) {
        let Settled { text, id, leave } = settled;
        let carrier = carrier(self.options, &self.producer, &self.arguments);
        let became = self.session.client_asked(&carrier, &text, &id, leave);
        self.pass(&text, became);
    }

    /// Nobody is asked any more about lines that were cancelled, or about any. They are on record, and nobody waits for an answer.
    fn withdraw(&mut self, all: bool) {
        for Settled { text, id, leave } in self.approvals.withdrawn(&self.session, all) {
            let carrier = carrier(self.options, &self.producer, &self.arguments);
            let _: FromClient = self.session.client_asked(&carrier, &text, &id, leave);
        }
    }

    /// Not longer than until a client is to hear that it waits still.
    fn until_beat(&self, patience: PollTimeout) -> PollTimeout {
        let beat = self.approvals.until_beat().and_then(|left| PollTimeout::try_from(left + MOMENT).ok());
        match beat {
            Some(beat) if patience == PollTimeout::NONE || beat < patience => beat,
            _ => patience,
        }
    }

    fn server_sent(&mut self, line: Line<'_>) {
        let carrier = carrier(self.options, &self.producer, &self.arguments);
        let told = match line {
            Line::Text(text) => self.session.server_sent(&carrier, text),
            Line::Unusable(code) => self.session.garbled(&carrier, code, "a line of the server cannot be read"),
        };
        if let Some(text) = &told.to_client {
            self.to_client.line(text);
        }
        if let Some(text) = &told.to_server {
            self.to_server.line(text);
        }
        if let Some(pins) = &self.pins
            && let Err(error) = pins.save(&self.options.server)
        {
            tracing::warn!(%error, "pins cannot be kept");
        }
    }
}

/// A beat is never looked for a moment too early.
const MOMENT: Duration = Duration::from_millis(1);

/// Adds a descriptor to those that are waited for; its place.
fn watch<'f>(fds: &mut Vec<PollFd<'f>>, fd: Option<BorrowedFd<'f>>, flags: PollFlags) -> Option<usize> {
    fds.push(PollFd::new(fd?, flags));
    Some(fds.len() - 1)
}

/// What carries a line: who asks, and when. There is no host, no address and no head.
fn carrier<'c>(options: &'c Options, producer: &'c Producer, arguments: &'c Pointers) -> Carrier<'c> {
    Carrier {
        producer,
        policy: &options.policy,
        arguments,
        subject: Subject { agent: &options.agent, host: Host::Name(""), time_ns: clock::wall(), ..Subject::EMPTY },
        facts: DecisionFacts { agent: &options.agent, mode: Mode::Stdio, ..DecisionFacts::default() },
        outcome: OutcomeFacts::default(),
        vet: &|_| Ok(()),
        started: Instant::now(),
    }
}
