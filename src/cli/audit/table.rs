//! Records for people: a decision and its outcome share a row.

use std::collections::HashMap;
use std::io::{self, Write};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, Width};

use super::escape;
use super::fields::{Time, gap_code};
use crate::audit::record::{ArchivedDecision, ArchivedOutcome, Body, flag};
use crate::audit::segment::Frame;
use crate::audit::{Lifecycle, Protocol, Verdict};

/// Rows that are laid out together. An outcome that comes later than that has a row of its own.
const ROWS_MAX: usize = 10_000;

/// One rule, under the header.
const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Rows in waiting.
pub(super) struct Table {
    rows: Vec<Row>,
    /// Rows of decisions whose outcome has not come.
    open: HashMap<[u8; 16], usize>,
    terminal: bool,
    /// Rows are printed as they come: the header once, and an outcome in a row of its own that says again what was asked.
    follows: bool,
    /// What requests asked whose row is printed and whose outcome has not come.
    asked: HashMap<[u8; 16], String>,
    has_header: bool,
}

#[derive(Default)]
struct Row {
    time: String,
    verdict: String,
    color: Option<Color>,
    what: String,
    why: String,
    status: String,
    latency: String,
}

impl Table {
    pub(super) fn new(terminal: bool, follows: bool) -> Self {
        Self { rows: Vec::new(), open: HashMap::new(), terminal, follows, asked: HashMap::new(), has_header: false }
    }

    pub(super) fn record(&mut self, frame: &Frame<'_>, body: Body<'_>, out: &mut impl Write) -> io::Result<()> {
        let time = Time(frame.time).to_string();
        // Milliseconds are enough for people.
        let time = time.get(..23).map_or_else(|| time.clone(), |short| short.replace('T', " "));
        let mut row = match body {
            Body::Decision(decision) | Body::Tunnel(decision) | Body::Dns(decision) => {
                self.open.insert(decision.id, self.rows.len());
                decided(decision)
            }
            Body::Message(message) => {
                self.open.insert(message.decision.id, self.rows.len());
                let (server, method) = (message.server.as_str(), message.method.as_str());
                let about = [message.tool.as_str(), &message.resource, &message.prompt].concat();
                Row { what: format!("mcp {server} {method} {about}"), ..decided(&message.decision) }
            }
            Body::Outcome(outcome) => {
                if let Some(row) = self.open.remove(&outcome.id).and_then(|at| self.rows.get_mut(at)) {
                    ended(outcome, row);
                    return Ok(());
                }
                let what = self.asked.remove(&outcome.id).unwrap_or_default();
                let mut row = Row { verdict: "outcome".to_owned(), what, ..Row::default() };
                ended(outcome, &mut row);
                row
            }
            Body::Lifecycle(event) => Row {
                verdict: Lifecycle::from_code(event.event).map_or("lifecycle", Lifecycle::word).to_owned(),
                what: event.detail.as_str().to_owned(),
                ..Row::default()
            },
            Body::Gap(gap) => Row {
                verdict: "gap".to_owned(),
                color: Some(Color::Yellow),
                what: format!(
                    "refused unrecorded: {} allows, {} denies, {} others",
                    gap.allows, gap.denies, gap.events
                ),
                why: gap_code(gap).unwrap_or("").to_owned(),
                ..Row::default()
            },
            Body::Seal(seal) => Row {
                verdict: "seal".to_owned(),
                what: format!("segment {} after {} records", seal.segment, seal.records),
                ..Row::default()
            },
            Body::Unknown => Row { verdict: "unknown".to_owned(), ..Row::default() },
        };
        row.time = time;
        self.rows.push(row);
        if self.rows.len() >= ROWS_MAX { self.flush(out) } else { Ok(()) }
    }

    /// Prints the rows in waiting.
    pub(super) fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_style(RULED);
        table.set_content_arrangement(if self.terminal {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        if !self.has_header {
            table.set_header(["TIME (UTC)", "VERDICT", "REQUEST", "RULE / CODE", "STATUS", "LATENCY"]);
        }
        if self.follows {
            self.has_header = true;
            self.remember();
        }
        for row in self.rows.drain(..) {
            let verdict = Cell::new(row.verdict);
            let verdict = match row.color {
                Some(color) if self.terminal => verdict.fg(color),
                _ => verdict,
            };
            let text = |text: String| Cell::new(escape::terminal(&text));
            let cells =
                [Cell::new(row.time), verdict, text(row.what), text(row.why), text(row.status), Cell::new(row.latency)];
            table.add_row(cells);
        }
        self.open.clear();
        // Tables of a few rows each would not stand one below the other.
        for (column, width) in table.column_iter_mut().zip([23, 14, 48, 16, 6, 7]).filter(|_| self.follows) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
        }
        writeln!(out, "{table}")
    }

    /// Keeps what those rows ask whose outcome is to come, as long as there are not too many.
    fn remember(&mut self) {
        let open = self.open.iter().filter_map(|(id, at)| Some((*id, self.rows.get(*at)?)));
        let requests = open.filter(|(_, row)| row.verdict != "deny").map(|(id, row)| (id, row.what.clone()));
        if self.asked.len() < ROWS_MAX {
            self.asked.extend(requests);
        } else {
            self.asked.clear();
        }
    }
}

fn decided(decision: &ArchivedDecision<'_>) -> Row {
    let watched = decision.flags & flag::WATCHED != 0;
    let (verdict, color) = match Verdict::from_code(decision.verdict) {
        Some(Verdict::Allow) => ("allow", Color::Green),
        Some(Verdict::Deny) if watched => ("deny (watched)", Color::Yellow),
        _ => ("deny", Color::Red),
    };
    let host = match (decision.host.as_str(), decision.destination.get()) {
        ("", Some(address)) => address.to_string(),
        (host, _) => host.to_owned(),
    };
    // Without a request it is the protocol that says what was refused.
    let method = match Protocol::from_code(decision.protocol) {
        Some(protocol) if decision.method.is_empty() => protocol.word(),
        _ => &decision.method,
    };
    let port = match decision.port.to_native() {
        0 | 80 | 443 => String::new(),
        _ if decision.host.is_empty() => String::new(),
        port => format!(":{port}"),
    };
    let query = if decision.flags & (flag::QUERY_KEPT | flag::QUERY_REDACTED) == 0 { "" } else { "?…" };
    let why = if decision.rule.is_empty() { &decision.code } else { &decision.rule };
    Row {
        verdict: verdict.to_owned(),
        color: Some(color),
        what: format!("{method} {host}{port}{}{query}", decision.path),
        why: why.as_str().to_owned(),
        status: match decision.status.to_native() {
            0 => String::new(),
            status => status.to_string(),
        },
        latency: duration(decision.decide_ns.to_native()),
        ..Row::default()
    }
}

fn ended(outcome: &ArchivedOutcome<'_>, row: &mut Row) {
    row.status = match (outcome.status.to_native(), outcome.code.as_str()) {
        (0, code) => code.to_owned(),
        (status, "") => status.to_string(),
        (status, code) => format!("{status} {code}"),
    };
    row.latency = duration(outcome.total_ns.to_native());
}

/// Three digits and a unit.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0 => String::new(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => scaled(ns, 1_000_000, "ms"),
        _ => scaled(ns, 1_000_000_000, "s"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn scaled(ns: u64, unit: u64, name: &str) -> String {
    let digits = match ns / unit {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    format!("{:.digits$} {name}", ns as f64 / unit as f64)
}
