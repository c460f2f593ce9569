//! `ringfence audit decode --follow`: what a writer appends, as it comes, into each next segment, until somebody interrupts.
//!
//! A reader needs no word of the writer: a segment only grows, a record counts when all of it is there, and no segment grows any more once the
//! next one exists. Damage in a log ends the reading of that segment, is said, and does not end the reading of the log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::decode::{Printer, stopped};
use super::filter::Filter;
use super::source::{self, Ended, Next};
use crate::audit::read::{self, Check, ReadError, Reader};
use crate::audit::record::Body;
use crate::audit::segment::Frame;
use crate::limits::{AUDIT_FOLLOW_RECORDS, AUDIT_FOLLOW_WAIT};

pub(super) fn run(paths: &[PathBuf], filter: &Filter, printer: &mut Printer<impl Write>) -> io::Result<ExitCode> {
    for path in paths {
        if !std::fs::metadata(path).map_err(|error| named(path, &error))?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: --follow takes folders", path.display()),
            ));
        }
    }
    let end = End::watch()?;
    let mut tails = BTreeMap::new();
    loop {
        for path in paths {
            for log in read::logs(path).map_err(|error| named(path, &error))? {
                tails.entry(log.clone()).or_insert_with(|| Tail { log, segment: None, passed: 0 });
            }
        }
        let mut moved = false;
        for tail in tails.values_mut() {
            moved |= tail.go_on(filter, printer)?;
        }
        printer.flush()?;
        if end.has_come(!moved)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// How far one log has been read.
struct Tail {
    log: PathBuf,
    /// The segment that is being read.
    segment: Option<Reader<File>>,
    /// Number of the last segment that has been read to its end.
    passed: u64,
}

impl Tail {
    /// Reads what is there, up to a bound; says whether there may be more at once.
    fn go_on(&mut self, filter: &Filter, printer: &mut Printer<impl Write>) -> io::Result<bool> {
        // What comes after the last of these is seen the next time: by then the last one may have grown too.
        let segments = read::segments(&self.log)?;
        let Some(at) = segments.iter().position(|segment| segment.number > self.passed) else { return Ok(false) };
        let (segment, is_last) = (&segments[at], at + 1 == segments.len());
        let mut see = |frame: &Frame<'_>, body: Body<'_>| printer.record(frame, body);
        if self.segment.is_none() && filter.has_time() && matches!(read::spans(&segment.path), Ok(Some(_))) {
            // It is sealed and has an index.
            if let Ended::Stopped(error) = source::scan(&segment.path, filter, &mut see)? {
                stopped(&segment.path, false, &error);
            }
            self.passed = segment.number;
            return Ok(true);
        }
        if self.segment.is_none() {
            match read::open(&segment.path, Check::Sums) {
                Ok(reader) => self.segment = Some(reader),
                Err(error) => return Ok(self.cannot(segment.number, &segment.path, is_last, &error)),
            }
        }
        let Some(reader) = &mut self.segment else { return Ok(false) };
        for _ in 0..AUDIT_FOLLOW_RECORDS {
            match source::next(reader, filter, &mut see)? {
                Next::Record => {}
                Next::End if is_last => return Ok(false),
                Next::End => {
                    (self.segment, self.passed) = (None, segment.number);
                    return Ok(true);
                }
                Next::Stopped(error) => return Ok(self.cannot(segment.number, &segment.path, is_last, &error)),
            }
        }
        Ok(true)
    }

    /// A record or header that is not whole may become so while its segment is the last.
    fn cannot(&mut self, number: u64, path: &Path, is_last: bool, error: &ReadError) -> bool {
        if is_last && source::is_torn(error) {
            return false;
        }
        stopped(path, false, error);
        (self.segment, self.passed) = (None, number);
        true
    }
}

/// What ends the following: a signal, or nobody who reads.
struct End {
    signals: SignalFd,
}

impl End {
    fn watch() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        signals.thread_block()?;
        Ok(Self { signals: SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)? })
    }

    /// Looks, after a pause where there is nothing else to do.
    fn has_come(&self, idle: bool) -> io::Result<bool> {
        let stdout = io::stdout();
        // A pipe without a reader reports an error without being asked.
        let mut watched =
            [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let timeout = if idle { AUDIT_FOLLOW_WAIT } else { std::time::Duration::ZERO };
        poll(&mut watched, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO))?;
        Ok(watched.iter().any(|fd| fd.revents().is_some_and(|events| !events.is_empty())))
    }
}
