//! `ringfence policy test POLICY --from-audit DIR`: the requests of an audit log, decided under a candidate policy.
//!
//! A record keeps the address and the head's first line of a request, not its header fields and body, and its query only where that is
//! configured. [`Policy::ask`] says whether a verdict depends on what is missing; if it does, it is undecidable, never unchanged. Whether an
//! address may be dialled is no rule's verdict, so a request that was refused for its address is only said to stay refused where a rule, or
//! none, refuses it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::request::{Placed, canonical};
use super::{FAILED, MISUSED, finish, plural};
use crate::audit::read::{self, Check, ReadError};
use crate::audit::record::{ArchivedDecision, ArchivedMessage, Body, Schema, flag};
use crate::audit::segment::Fault;
use crate::audit::{Protocol, Scheme, Verdict};
use crate::parse::target;
use crate::policy::{Answer, Decision, Look, Policy, Subject, Verdict as Decided};

/// The request of a record as it would come; the buffers are used again for the next one.
#[derive(Debug, Default)]
struct Request {
    authority: String,
    head: String,
}

impl Request {
    fn write(&mut self, record: &ArchivedDecision<'_>) {
        let (host, port) = (record.host.as_str(), record.port.to_native());
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        self.authority.clear();
        let mut digits = itoa::Buffer::new();
        self.authority.extend([open, host, close, ":", digits.format(port)]);
        self.head.clear();
        let (method, path) = (record.method.as_str(), record.path.as_str());
        self.head.extend([method, " ", path, " HTTP/1.1\r\nHost: ", &self.authority, "\r\n\r\n"]);
    }
}

/// What the replay has come to.
#[derive(Debug, Default)]
pub(super) struct Drift {
    pub(super) unchanged: usize,
    pub(super) changed: usize,
    pub(super) undecidable: usize,
    /// Changes by host and by the rules before and after.
    by_host: BTreeMap<String, usize>,
    by_rule: BTreeMap<String, usize>,
    request: Request,
}

pub(super) fn run(policy: &Policy, audit: &Path) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut drift = Drift::default();
    match replay(policy, audit, &mut drift, &mut out) {
        Ok(Ok(())) => {}
        Ok(Err(printed)) => return finish(Err(printed)).unwrap_or(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("ringfence: {}: {error}", audit.display());
            return ExitCode::from(MISUSED);
        }
    }
    let code = if drift.changed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    finish(drift.print(&mut out).and_then(|()| out.flush())).unwrap_or(code)
}

/// Reads all logs under a path. The outer error is the log's, the inner one that of printing.
pub(super) fn replay(
    policy: &Policy,
    audit: &Path,
    drift: &mut Drift,
    out: &mut impl Write,
) -> io::Result<io::Result<()>> {
    let logs = read::logs(audit)?;
    let mut segments = Vec::new();
    for log in logs {
        segments.extend(read::segments(&log)?);
    }
    if segments.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no audit log here"));
    }
    let damaged = |path: &Path, error: &ReadError| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    for segment in segments {
        let mut reader = read::open(&segment.path, Check::Sums).map_err(|error| damaged(&segment.path, &error))?;
        loop {
            let offset = reader.offset();
            let frame = match reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // A crash, or a writer at work.
                Err(ReadError::Damaged { fault: Fault::Torn, .. }) => break,
                Err(error) => return Err(damaged(&segment.path, &error)),
            };
            if !matches!(frame.schema, Schema::DECISION | Schema::MESSAGE) {
                continue;
            }
            let body = frame.body().map_err(|fault| damaged(&segment.path, &ReadError::Damaged { offset, fault }))?;
            let (Body::Decision(record) | Body::Message(ArchivedMessage { decision: record, .. })) = body else {
                continue;
            };
            if let Err(error) = drift.count(policy, record, frame.time.0, out) {
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(()))
}

/// A verdict, and whether it was enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    allow: bool,
    enforced: bool,
}

impl Drift {
    /// Decides one record and tells a verdict that would change.
    pub(super) fn count(
        &mut self,
        policy: &Policy,
        record: &ArchivedDecision<'_>,
        time_ns: u64,
        out: &mut impl Write,
    ) -> io::Result<()> {
        // Refused before any rule was asked, and refused under every policy.
        if matches!(record.status.to_native(), 400 | 421) {
            self.unchanged += 1;
            return Ok(());
        }
        let watched = record.flags & flag::WATCHED != 0;
        let before = Outcome { allow: Verdict::from_code(record.verdict) == Some(Verdict::Allow), enforced: !watched };
        let Some((now, rule)) = decide(policy, record, time_ns, &mut self.request) else {
            self.undecidable += 1;
            return Ok(());
        };
        if now == before {
            self.unchanged += 1;
            return Ok(());
        }
        let (was, is) = (by(&record.rule), by(rule.unwrap_or_default()));
        self.changed += 1;
        *self.by_host.entry(record.host.as_str().to_owned()).or_default() += 1;
        *self.by_rule.entry(format!("{was} -> {is}")).or_default() += 1;
        let time = Timestamp::from_nanosecond(time_ns.into()).unwrap_or_default();
        let (method, host, path) = (record.method.as_str(), record.host.as_str(), record.path.as_str());
        writeln!(out, "{time} {method} {host}{path}: {} ({was}) -> {} ({is})", before.word(), now.word())
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for (title, counts) in [("by rule", &self.by_rule), ("by host", &self.by_host)] {
            if !counts.is_empty() {
                writeln!(out, "{title}:")?;
            }
            for (key, count) in counts {
                writeln!(out, "  {count:>8}  {key}")?;
            }
        }
        let all = self.unchanged + self.changed + self.undecidable;
        let (unchanged, changed, undecidable) = (self.unchanged, self.changed, self.undecidable);
        writeln!(out, "{}: {unchanged} unchanged, {changed} changed, {undecidable} undecidable", plural(all, "request"))
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match (self.allow, self.enforced) {
            (true, _) => "allow",
            (false, true) => "deny",
            (false, false) => "deny, not enforced",
        }
    }
}

fn by(rule: &str) -> String {
    if rule.is_empty() { "no rule".to_owned() } else { format!("`{rule}`") }
}

/// The candidate's verdict and its rule; nothing where it depends on what the record does not keep.
fn decide<'p>(
    policy: &'p Policy,
    record: &ArchivedDecision<'_>,
    time_ns: u64,
    request: &mut Request,
) -> Option<(Outcome, Option<&'p str>)> {
    if record.flags & flag::CUT != 0 || Protocol::from_code(record.protocol) != Some(Protocol::Http11) {
        return None;
    }
    let scheme = match Scheme::from_code(record.scheme)? {
        Scheme::Http => target::Scheme::Http,
        Scheme::Https => target::Scheme::Https,
    };
    request.write(record);
    let canonical = canonical(&request.head, scheme, &request.authority).ok()?;
    let placed = Placed::new(policy, &canonical);
    let paths = placed.paths();
    // Without a query there is none; a text of one that was kept is read as the proxy read it.
    let had_query = record.flags & (flag::QUERY_REDACTED | flag::QUERY_KEPT) != 0;
    let parameters = crate::io::facts::Parameters(&record.query);
    let query = match record.flags & flag::QUERY_KEPT != 0 {
        true => Look::At(&parameters),
        false if had_query => Look::NotLooked,
        false => Look::Absent,
    };
    let upstream = record.upstream.get().map(|address| address.ip());
    let subject = Subject {
        agent: &record.agent,
        method: &record.method,
        headers: Look::NotLooked,
        query,
        body: Look::NotLooked,
        time_ns,
        ..placed.subject(&paths)
    };
    let subject = Subject { address: subject.address.or(upstream), ..subject };
    let Answer::Decided(decision) = policy.ask(&subject) else { return None };
    let denied = decision.verdict == Decided::Deny && decision.enforced;
    // While the address is unknown, an allow with a block counts as possible and a deny with one does not.
    let address_open = policy.needs_address() && subject.address.is_none();
    // Refused by something else than a rule: for its address, or because an upstream failed.
    let not_by_rule = record.rule.is_empty() && !matches!(record.code.as_str(), "" | "default");
    if !denied && (address_open || not_by_rule) {
        return None;
    }
    let rule = decision.rule.map(|rule| rule.name);
    take_token(policy, &subject, decision);
    let outcome = Outcome { allow: decision.verdict == Decided::Allow, enforced: decision.enforced };
    Some((outcome, rule))
}

/// Rates run over the recorded times.
fn take_token(policy: &Policy, subject: &Subject<'_>, decision: Decision<'_>) {
    if let Ok(permit) = decision.admit() {
        // Nobody else takes tokens here, so the one that was seen is there.
        let _taken = permit.take(policy, subject);
    }
}
