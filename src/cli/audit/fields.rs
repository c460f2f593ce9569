//! The contract's names, order and absence rules for what a record shows. Every format prints from here.

use std::fmt;

use super::scratch::Scratch;
use crate::audit::record::{
    ArchivedDecision, ArchivedEvent, ArchivedGap, ArchivedMessage, ArchivedOutcome, ArchivedSeal, Body, flag,
};
use crate::audit::segment::Frame;
use crate::audit::{Lifecycle, Mode, Nanos, Protocol, Scheme, Transport, Verdict};

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    /// A text of ours in visible ASCII without quotes: a time, a word, an address, digits.
    Plain(&'a str),
    Number(u64),
    False,
    True,
    /// Words of a set.
    List(&'a [&'a str]),
    /// Numbers under names.
    Map(&'a [(&'a str, u64)]),
    /// Texts under names; an empty one is absent.
    Texts(&'a [(&'a str, &'a str)]),
}

/// The name of a field, also in the form in which a JSON object goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) plain: &'static str,
    /// A comma, the name in quotes, a colon.
    pub(super) member: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name { plain: $name, member: concat!(",\"", $name, "\":") }
    };
}

/// Receives the fields of a record, in order.
pub(super) trait Sink {
    fn field(&mut self, name: Name, value: Value<'_>);
}

/// Every name that [`visit`] gives, in its order; nested ones with a dot. For formats with columns.
pub(super) const NAMES: [&str; 55] = [
    "seq",
    "time",
    "kind",
    "event",
    "id",
    "agent",
    "mode",
    "connection",
    "protocol",
    "scheme",
    "source",
    "destination",
    "upstream",
    "sni",
    "host",
    "port",
    "method",
    "path",
    "query",
    "mcp.server",
    "mcp.transport",
    "mcp.version",
    "mcp.method",
    "mcp.tool",
    "mcp.resource",
    "mcp.prompt",
    "mcp.arguments_digest",
    "verdict",
    "enforced",
    "rule",
    "reason",
    "code",
    "policy",
    "inspected",
    "status",
    "bytes_up",
    "bytes_down",
    "latency_ns.decide",
    "latency_ns.upstream",
    "latency_ns.total",
    "error",
    "location",
    "truncated",
    "version",
    "process",
    "detail",
    "ring",
    "lost.allow",
    "lost.deny",
    "lost.event",
    "segment",
    "records",
    "link",
    "root",
    "key",
];

/// Hands the fields of a record to `sink`.
pub(super) fn visit(frame: &Frame<'_>, body: Body<'_>, scratch: &mut Scratch, sink: &mut impl Sink) {
    sink.field(name!("seq"), Value::Number(frame.seq));
    sink.field(name!("time"), Value::Plain(scratch.time(frame.time)));
    sink.field(name!("kind"), Value::Plain(frame.schema.kind()));
    match body {
        Body::Decision(decision) | Body::Tunnel(decision) => {
            self::decision(decision, None, true, sink, scratch);
        }
        Body::Message(message) => self::decision(&message.decision, Some(message), true, sink, scratch),
        Body::Dns(decision) => self::decision(decision, None, decision.connection != 0, sink, scratch),
        Body::Outcome(outcome) => self::outcome(outcome, sink, scratch),
        Body::Lifecycle(event) => lifecycle(event, sink, scratch),
        Body::Gap(gap) => self::gap(gap, sink),
        Body::Seal(seal) => self::seal(seal, sink, scratch),
        Body::Unknown => {}
    }
}

fn decision(
    record: &ArchivedDecision<'_>,
    message: Option<&ArchivedMessage<'_>>,
    connected: bool,
    sink: &mut impl Sink,
    scratch: &mut Scratch,
) {
    sink.field(name!("id"), Value::Plain(scratch.hex(&record.id)));
    some(sink, name!("agent"), &record.agent);
    word(sink, name!("mode"), Mode::from_code(record.mode).map(Mode::word));
    if connected {
        sink.field(name!("connection"), Value::Number(record.connection.to_native()));
    }
    word(sink, name!("protocol"), Protocol::from_code(record.protocol).map(Protocol::word));
    word(sink, name!("scheme"), Scheme::from_code(record.scheme).map(Scheme::word));
    for (name, address) in [
        (name!("source"), &record.source),
        (name!("destination"), &record.destination),
        (name!("upstream"), &record.upstream),
    ] {
        if let Some(address) = address.get() {
            sink.field(name, Value::Plain(scratch.address(address)));
        }
    }
    some(sink, name!("sni"), &record.sni);
    some(sink, name!("host"), &record.host);
    number(sink, name!("port"), record.port.to_native().into());
    some(sink, name!("method"), &record.method);
    some(sink, name!("path"), &record.path);
    if record.flags & flag::QUERY_KEPT != 0 {
        sink.field(name!("query"), Value::Text(&record.query));
    } else if record.flags & flag::QUERY_REDACTED != 0 {
        sink.field(name!("query"), Value::Text("[redacted]"));
    }
    if let Some(message) = message {
        self::message(message, sink, scratch);
    }
    word(sink, name!("verdict"), Verdict::from_code(record.verdict).map(Verdict::word));
    if record.flags & flag::WATCHED != 0 {
        sink.field(name!("enforced"), Value::False);
    }
    some(sink, name!("rule"), &record.rule);
    some(sink, name!("reason"), &record.reason);
    some(sink, name!("code"), &record.code);
    policy(sink, scratch, record.flags, &record.policy);
    let mut inspected = [""; 5];
    let mut length = 0;
    for (place, word) in inspected.iter_mut().zip(record.looked_at().words()) {
        *place = word;
        length += 1;
    }
    if length > 0 {
        sink.field(name!("inspected"), Value::List(&inspected[..length]));
    }
    number(sink, name!("status"), record.status.to_native().into());
    sink.field(name!("latency_ns"), Value::Map(&[("decide", record.decide_ns.to_native())]));
    truncated(sink, record.flags | message.map_or(0, |message| message.flags));
}

fn message(record: &ArchivedMessage<'_>, sink: &mut impl Sink, scratch: &mut Scratch) {
    let digested = record.flags & flag::ARGUMENTS != 0;
    let arguments_digest = if digested { scratch.keyed_digest(&record.arguments_digest) } else { "" };
    sink.field(
        name!("mcp"),
        Value::Texts(&[
            ("server", &record.server),
            ("transport", Transport::from_code(record.transport).map_or("", Transport::word)),
            ("version", &record.version),
            ("method", &record.method),
            ("tool", &record.tool),
            ("resource", &record.resource),
            ("prompt", &record.prompt),
            ("arguments_digest", arguments_digest),
        ]),
    );
}

fn outcome(record: &ArchivedOutcome<'_>, sink: &mut impl Sink, scratch: &mut Scratch) {
    sink.field(name!("id"), Value::Plain(scratch.hex(&record.id)));
    if let Some(address) = record.upstream.get() {
        sink.field(name!("upstream"), Value::Plain(scratch.address(address)));
    }
    some(sink, name!("code"), &record.code);
    number(sink, name!("status"), record.status.to_native().into());
    if record.flags & flag::ABORTED == 0 {
        sink.field(name!("bytes_up"), Value::Number(record.bytes_up.to_native()));
        sink.field(name!("bytes_down"), Value::Number(record.bytes_down.to_native()));
        let (upstream, total) = (record.upstream_ns.to_native(), record.total_ns.to_native());
        let both = [("upstream", upstream), ("total", total)];
        sink.field(name!("latency_ns"), Value::Map(if upstream == 0 { &both[1..] } else { &both }));
    }
    let leads = record.flags & flag::LOCATION != 0;
    some(sink, if leads { name!("location") } else { name!("error") }, &record.error);
    truncated(sink, record.flags);
}

fn lifecycle(record: &ArchivedEvent<'_>, sink: &mut impl Sink, scratch: &mut Scratch) {
    word(sink, name!("event"), Lifecycle::from_code(record.event).map(Lifecycle::word));
    some(sink, name!("agent"), &record.agent);
    word(sink, name!("mode"), Mode::from_code(record.mode).map(Mode::word));
    policy(sink, scratch, record.flags, &record.policy);
    truncated(sink, record.flags);
    some(sink, name!("version"), &record.version);
    sink.field(name!("process"), Value::Number(record.process.to_native().into()));
    some(sink, name!("detail"), &record.detail);
}

fn gap(record: &ArchivedGap, sink: &mut impl Sink) {
    word(sink, name!("code"), gap_code(record));
    sink.field(name!("ring"), Value::Number(record.ring.to_native().into()));
    let lost = [
        ("allow", record.allows.to_native()),
        ("deny", record.denies.to_native()),
        ("event", record.events.to_native()),
    ];
    sink.field(name!("lost"), Value::Map(&lost));
}

/// Why records were not taken.
pub(super) fn gap_code(record: &ArchivedGap) -> Option<&'static str> {
    match record.cause.to_native() {
        1 => Some("ring_full"),
        2 => Some("audit_unavailable"),
        _ => None,
    }
}

fn seal(record: &ArchivedSeal, sink: &mut impl Sink, scratch: &mut Scratch) {
    sink.field(name!("segment"), Value::Number(record.segment.to_native()));
    sink.field(name!("records"), Value::Number(record.records.to_native()));
    sink.field(name!("link"), Value::Plain(scratch.hex(&record.link)));
    sink.field(name!("root"), Value::Plain(scratch.hex(&record.root)));
    sink.field(name!("key"), Value::Plain(scratch.hex(&record.key)));
}

fn policy(sink: &mut impl Sink, scratch: &mut Scratch, flags: u8, digest: &[u8; 32]) {
    if flags & flag::POLICY != 0 {
        sink.field(name!("policy"), Value::Plain(scratch.digest(digest)));
    }
}

fn truncated(sink: &mut impl Sink, flags: u8) {
    if flags & flag::CUT != 0 {
        sink.field(name!("truncated"), Value::True);
    }
}

fn some(sink: &mut impl Sink, name: Name, value: &str) {
    if !value.is_empty() {
        sink.field(name, Value::Text(value));
    }
}

fn word(sink: &mut impl Sink, name: Name, value: Option<&'static str>) {
    if let Some(value) = value {
        sink.field(name, Value::Plain(value));
    }
}

/// A number that is absent when it is 0.
fn number(sink: &mut impl Sink, name: Name, value: u64) {
    if value != 0 {
        sink.field(name, Value::Number(value));
    }
}

/// RFC 3339 with nanoseconds, UTC.
pub(super) struct Time(pub(super) Nanos);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.0.0.into()) {
            Ok(time) => write!(f, "{time:.9}"),
            // Beyond year 9999, which 64 bits of nanoseconds do not reach.
            Err(_) => write!(f, "{}", self.0.0),
        }
    }
}
