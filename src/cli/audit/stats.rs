//! `ringfence audit stats`: what is in a log, counted. With a picture on a terminal.
//!
//! Filters select decisions; the outcome of a selected decision is counted with it, found by the `id` they share.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::decode::stopped;
use super::fields::{Time, gap_code};
use super::filter::Filter;
use super::picture;
use super::source::{self, Ended};
use crate::audit::record::{ArchivedDecision, ArchivedOutcome, Body, flag};
use crate::audit::segment::Frame;
use crate::audit::{Nanos, Verdict};
use crate::limits::{AUDIT_STATS_KEYS_MAX, AUDIT_STATS_OPEN_MAX};

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Log folders, folders that hold logs, or segment files
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON object, with every count
    #[arg(long)]
    json: bool,
    /// How many of the most frequent rules, hosts, agents and codes are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(args: &StatsArgs) -> io::Result<ExitCode> {
    let mut stats = Stats::new()?;
    let mut whole = true;
    for path in &args.paths {
        for input in source::files(path)? {
            // Which outcomes belong to what is asked for, their decisions say; so the filter is asked here, not on the way.
            let ended = source::scan(&input.path, &args.filter.times(), &mut |frame, body| {
                stats.record(frame, body, &args.filter);
                Ok(())
            })?;
            if let Ended::Stopped(error) = ended {
                whole &= stopped(&input.path, input.is_last, &error);
            }
        }
    }
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = stdout.lock();
    if args.json {
        writeln!(out, "{}", stats.json())?;
    } else {
        picture::print(&stats, args.top, terminal, &mut out)?;
    }
    out.flush()?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How often each word occurred. Bounded: what comes when all places are taken is counted together.
#[derive(Default)]
pub(super) struct Counts {
    by_key: BTreeMap<String, u64>,
    others: u64,
}

impl Counts {
    fn add(&mut self, key: &str) {
        if let Some(count) = self.by_key.get_mut(key) {
            *count += 1;
        } else if self.by_key.len() < AUDIT_STATS_KEYS_MAX {
            self.by_key.insert(key.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// The most frequent first, equally frequent ones by name; what was counted together is not among them.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.by_key.iter().map(|(key, count)| (key.as_str(), *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(most);
        all
    }

    /// Different words that were told apart.
    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }

    fn json(&self) -> Value {
        let mut object: Map<_, _> = self.by_key.iter().map(|(key, count)| (key.clone(), json!(count))).collect();
        if self.others > 0 {
            // No agent, rule or host has an empty name.
            object.insert(String::new(), json!(self.others));
        }
        Value::Object(object)
    }
}

/// What was counted.
pub(super) struct Stats {
    pub(super) records: u64,
    pub(super) earliest: Option<u64>,
    pub(super) latest: Option<u64>,
    pub(super) kinds: Counts,
    pub(super) verdicts: Counts,
    pub(super) rules: Counts,
    pub(super) hosts: Counts,
    pub(super) agents: Counts,
    pub(super) codes: Counts,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// Refused without a record of their own: allows, denies, others.
    pub(super) lost: [u64; 3],
    pub(super) decide: Histogram<u64>,
    pub(super) upstream: Histogram<u64>,
    pub(super) total: Histogram<u64>,
    /// Decisions that were selected and whose outcome has not come.
    open: HashSet<[u8; 16]>,
}

impl Stats {
    fn new() -> io::Result<Self> {
        // To an hour, with three digits; what took longer counts as an hour.
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(io::Error::other);
        Ok(Self {
            records: 0,
            earliest: None,
            latest: None,
            kinds: Counts::default(),
            verdicts: Counts::default(),
            rules: Counts::default(),
            hosts: Counts::default(),
            agents: Counts::default(),
            codes: Counts::default(),
            bytes_up: 0,
            bytes_down: 0,
            lost: [0; 3],
            decide: histogram()?,
            upstream: histogram()?,
            total: histogram()?,
            open: HashSet::new(),
        })
    }

    fn record(&mut self, frame: &Frame<'_>, body: Body<'_>, filter: &Filter) {
        let narrowed = filter.is_about_decisions();
        let wanted = match body {
            Body::Outcome(outcome) if narrowed => self.open.remove(&outcome.id),
            _ => filter.wants(frame, body),
        };
        if !wanted {
            return;
        }
        self.records += 1;
        let time = frame.time.0;
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        self.kinds.add(frame.schema.kind());
        if let Some(decision) = body.decision() {
            let is_refused = decision.verdict == Verdict::Deny.code() && decision.flags & flag::WATCHED == 0;
            if narrowed && !is_refused && self.open.len() < AUDIT_STATS_OPEN_MAX {
                self.open.insert(decision.id);
            }
            self.decision(decision);
        }
        match body {
            Body::Outcome(outcome) => self.outcome(outcome),
            Body::Gap(gap) => {
                if let Some(code) = gap_code(gap) {
                    self.codes.add(code);
                }
                for (sum, lost) in self.lost.iter_mut().zip([gap.allows, gap.denies, gap.events]) {
                    *sum = sum.saturating_add(lost.to_native());
                }
            }
            _ => {}
        }
    }

    fn decision(&mut self, decision: &ArchivedDecision<'_>) {
        match Verdict::from_code(decision.verdict) {
            Some(Verdict::Allow) => self.verdicts.add("allow"),
            Some(Verdict::Deny) if decision.flags & flag::WATCHED != 0 => self.verdicts.add("deny, not enforced"),
            Some(Verdict::Deny) => self.verdicts.add("deny"),
            None => {}
        }
        let named = [
            (&mut self.rules, &decision.rule),
            (&mut self.hosts, &decision.host),
            (&mut self.agents, &decision.agent),
            (&mut self.codes, &decision.code),
        ];
        for (counts, name) in named.into_iter().filter(|(_, name)| !name.is_empty()) {
            counts.add(name);
        }
        self.decide.saturating_record(decision.decide_ns.to_native());
    }

    fn outcome(&mut self, outcome: &ArchivedOutcome<'_>) {
        if !outcome.code.is_empty() {
            self.codes.add(&outcome.code);
        }
        if outcome.flags & flag::ABORTED != 0 {
            return;
        }
        self.bytes_up = self.bytes_up.saturating_add(outcome.bytes_up.to_native());
        self.bytes_down = self.bytes_down.saturating_add(outcome.bytes_down.to_native());
        if outcome.upstream_ns.to_native() > 0 {
            self.upstream.saturating_record(outcome.upstream_ns.to_native());
        }
        self.total.saturating_record(outcome.total_ns.to_native());
    }

    fn json(&self) -> Value {
        let time = |time: Option<u64>| time.map(|time| Time(Nanos(time)).to_string());
        let [allow, deny, event] = self.lost;
        let mut object = json!({
            "records": self.records,
            "kinds": self.kinds.json(), "verdicts": self.verdicts.json(), "rules": self.rules.json(),
            "hosts": self.hosts.json(), "agents": self.agents.json(), "codes": self.codes.json(),
            "bytes_up": self.bytes_up, "bytes_down": self.bytes_down,
            "latency_ns": {
                "decide": percentiles(&self.decide), "upstream": percentiles(&self.upstream), "total": percentiles(&self.total)
            },
            "lost": {"allow": allow, "deny": deny, "event": event},
        });
        if let (Some(object), Some(first), Some(last)) =
            (object.as_object_mut(), time(self.earliest), time(self.latest))
        {
            object.insert("first".to_owned(), first.into());
            object.insert("last".to_owned(), last.into());
        }
        object
    }
}

/// The quantiles that are shown, by name.
pub(super) const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let mut object = Map::from_iter([("count".to_owned(), json!(histogram.len()))]);
    if !histogram.is_empty() {
        let quantiles =
            QUANTILES.map(|(name, quantile)| (name.to_owned(), json!(histogram.value_at_quantile(quantile))));
        object.extend(quantiles);
        object.insert("max".to_owned(), json!(histogram.max()));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::{self, Check};
    use crate::cli::audit::tests::sample;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StatsArgs,
    }

    fn stats(dir: &std::path::Path, options: &[&str]) -> Value {
        let line = ["stats", "x"].iter().chain(options);
        let args = Line::parse_from(line).args;
        let mut stats = Stats::new().unwrap();
        for segment in read::segments(dir).unwrap() {
            let mut reader = read::open(&segment.path, Check::Sums).unwrap();
            while let Some(frame) = reader.next().unwrap() {
                stats.record(&frame, frame.body().unwrap(), &args.filter);
            }
        }
        stats.json()
    }

    #[test]
    fn counts_what_the_log_holds() {
        let root = tempfile::tempdir().unwrap();
        let all = stats(&sample(root.path()), &[]);
        assert_eq!(all["records"], 11);
        assert_eq!(all["kinds"], json!({"decision": 4, "dns": 1, "lifecycle": 2, "outcome": 3, "seal": 1}));
        assert_eq!(all["verdicts"], json!({"allow": 2, "deny": 2, "deny, not enforced": 1}));
        assert_eq!(all["rules"], json!({"model calls": 2}));
        assert_eq!(all["hosts"], json!({"api.example.com": 4, "evil.example": 1}));
        assert_eq!(all["agents"], json!({"coder": 5}));
        assert_eq!(all["codes"], json!({"aborted": 2, "default": 3}));
        assert_eq!((&all["bytes_up"], &all["bytes_down"]), (&json!(12), &json!(0)));
        let total = &all["latency_ns"]["total"];
        assert_eq!(total["count"], 1);
        // Three digits.
        let p50 = total["p50"].as_u64().unwrap();
        assert!((2_500_000..2_503_000).contains(&p50), "{p50}");
    }

    #[test]
    fn a_filter_by_facts_of_decisions_counts_their_outcomes_too() {
        let root = tempfile::tempdir().unwrap();
        let dir = sample(root.path());
        let allowed = stats(&dir, &["--verdict", "allow"]);
        assert_eq!(allowed["kinds"], json!({"decision": 2, "outcome": 2}));
        assert_eq!(allowed["latency_ns"]["total"]["count"], 1);
        let named = stats(&dir, &["--host", "evil.example"]);
        assert_eq!(named["kinds"], json!({"dns": 1}));
        assert_eq!(named["latency_ns"]["total"], json!({"count": 0}));
    }
}
