//! Claims about counters, histograms, the text they are served as, and the page that documents them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::exposition::{self, Family};
use super::histogram::Histogram;
use super::*;
use crate::io::status::Status;

const PAGE: &str = include_str!("../../../docs/METRICS.md");

/// The families as served, with everything there that can be.
fn served(metrics: &Metrics) -> BTreeMap<String, Family> {
    let status = Status::new(|| None);
    status.anchored(Arc::default());
    status.serves_on("epoll");
    status.loaded(&[7; 32]);
    status.authority_expires(std::time::SystemTime::UNIX_EPOCH);
    exposition::read(&text::write(&metrics.read(Instant::now()), &status.report()).unwrap())
}

fn value(families: &BTreeMap<String, Family>, sample: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let found: Vec<f64> = families
        .values()
        .flat_map(|family| &family.samples)
        .filter(|found| found.name == sample && found.labels == labels)
        .map(|found| found.value)
        .collect();
    assert_eq!(found.len(), 1, "{sample}{labels:?}");
    found[0]
}

#[test]
fn each_event_shows_in_its_own_sample() {
    let metrics = Metrics::default();
    let counters = metrics.counters();
    let times = |count: u32, event: &dyn Fn()| (0..count).for_each(|_| event());
    times(50, &|| counters.accepted());
    times(8, &|| counters.closed());
    times(3, &|| counters.refused());
    times(4, &|| counters.over_limit());
    times(5, &|| counters.decided(Verdict::Allow, 300));
    times(6, &|| counters.decided(Verdict::Deny, 300));
    times(7, &|| counters.decided(Verdict::Monitored, 300));
    times(9, &|| counters.malformed());
    times(10, &|| counters.unrecorded(Refused::Full));
    times(11, &|| counters.audit_refused(Refused::Unwritable));
    times(12, &|| counters.dialled());
    times(13, &|| counters.reused());
    times(14, &|| counters.dns_answered());
    times(15, &|| counters.dns_refused());
    let outcome = OutcomeFacts { bytes_up: 2, bytes_down: 3, total_ns: 20_000_000, ..OutcomeFacts::default() };
    for (count, ending) in (16..).zip(ENDINGS) {
        times(count, &|| counters.concluded(ending, &outcome));
    }
    let families = served(&metrics);
    let is = |sample: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(value(&families, sample, labels), expected, "{sample}{labels:?}");
    };
    is("ringfence_connections_accepted_total", &[], 50.0);
    is("ringfence_connections_open", &[], 42.0);
    is("ringfence_connections_refused_total", &[("reason", "recorded")], 3.0);
    is("ringfence_connections_refused_total", &[("reason", "limit")], 4.0);
    for (verdict, count) in
        [("allow", 5.0), ("deny", 6.0), ("monitored", 7.0), ("malformed", 9.0), ("unrecorded", 10.0)]
    {
        is("ringfence_requests_total", &[("verdict", verdict)], count);
    }
    is("ringfence_audit_refusals_total", &[("reason", "full")], 10.0);
    is("ringfence_audit_refusals_total", &[("reason", "unwritable")], 11.0);
    is("ringfence_upstream_connections_dialled_total", &[], 12.0);
    is("ringfence_upstream_connections_reused_total", &[], 13.0);
    is("ringfence_dns_queries_total", &[("result", "answered")], 14.0);
    is("ringfence_dns_queries_total", &[("result", "refused")], 15.0);
    let outcomes = ["delivered", "upstream_failed", "upstream_timeout", "client_failed", "cut", "client_gone"];
    for (outcome, count) in outcomes.into_iter().zip(16..) {
        is("ringfence_exchanges_total", &[("outcome", outcome)], f64::from(count));
    }
    is("ringfence_body_bytes_total", &[("direction", "up")], 2.0 * 111.0);
    is("ringfence_body_bytes_total", &[("direction", "down")], 3.0 * 111.0);
    is("ringfence_decision_duration_seconds_count", &[], 18.0);
    is("ringfence_request_duration_seconds_count", &[], 111.0);
    is("ringfence_upstream_response_head_duration_seconds_count", &[], 0.0);
}

#[test]
fn workers_are_summed_and_outlive_their_threads_in_the_counts() {
    let metrics = Metrics::default();
    let threads: Vec<_> = (1..=3)
        .map(|count| {
            let counters = metrics.counters();
            std::thread::spawn(move || (0..count * 1000).for_each(|_| counters.accepted()))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(metrics.read(Instant::now()).accepted, 6000);
}

#[test]
fn a_worker_that_ended_or_shows_no_sign_of_life_is_silent() {
    let metrics = Metrics::default();
    let (kept, ended) = (metrics.counters(), metrics.counters());
    let states = |now| {
        let totals = metrics.read(now);
        (totals.workers_answering, totals.workers_silent)
    };
    let start = Instant::now();
    assert_eq!(states(start), (2, 0));
    drop(ended);
    assert_eq!(states(start), (1, 1));
    let late = start + WORKER_SILENCE_MAX + Duration::from_millis(5);
    assert_eq!(states(late), (0, 2));
    drop(kept);
}

#[test]
fn a_sign_of_life_ends_a_silence() {
    let mut metrics = Metrics::default();
    // A process that has run for an hour.
    let epoch = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
    Arc::get_mut(&mut metrics.0).unwrap().epoch = epoch;
    let counters = metrics.counters();
    counters.cells.beat_ms.store(0, Ordering::Relaxed);
    assert_eq!(metrics.read(Instant::now()).workers_silent, 1);
    counters.beat();
    assert_eq!(metrics.read(Instant::now()).workers_silent, 0);
}

#[test]
fn a_status_of_ours_is_an_ending() {
    assert_eq!(Ending::failed(502), Ending::UpstreamFailed);
    assert_eq!(Ending::failed(504), Ending::UpstreamTimedOut);
    assert_eq!(Ending::failed(400), Ending::ClientFailed);
}

#[test]
fn the_places_of_endings_are_their_numbers() {
    assert!(ENDINGS.iter().enumerate().all(|(place, ending)| *ending as usize == place));
}

#[test]
fn a_histograms_sum_and_count_are_those_of_its_observations() {
    let histogram = Histogram::<8, 17>::default();
    let observed = [0, 1, 255, 256, 257, 512, 513, 1 << 24, (1 << 24) + 1, 1 << 40];
    observed.iter().for_each(|ns| histogram.observe(*ns));
    let mut buckets = Buckets::default();
    histogram.add_to(&mut buckets);
    assert_eq!(buckets.sum_ns, observed.iter().sum::<u64>());
    let counted: Vec<(u64, u64)> = buckets.buckets.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(256, 4), (512, 2), (1024, 1), (1 << 24, 1)]);
    assert_eq!(buckets.longer, 2);
}

proptest! {
    #[test]
    fn an_observation_is_in_the_first_bucket_that_holds_it(ns: u64, shift in 0_u32..64) {
        let ns = ns >> shift;
        let histogram = Histogram::<14, 26>::default();
        histogram.observe(ns);
        let mut buckets = Buckets::default();
        histogram.add_to(&mut buckets);
        let expected = buckets.buckets.iter().find(|(bound, _)| ns <= *bound).map(|(bound, _)| *bound);
        let found = buckets.buckets.iter().find(|(_, count)| *count == 1).map(|(bound, _)| *bound);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(buckets.longer, u64::from(expected.is_none()));
    }
}

/// Name → type and labels, as the page's table has them: `label: values` or, where values are open, the labels alone.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    PAGE.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let labels = quoted(cells[3]);
            let labels = match labels.split_first() {
                Some((label, values)) if cells[3].contains(':') => {
                    values.iter().map(|value| format!("{label}={value}")).collect()
                }
                _ => labels.into_iter().collect(),
            };
            (quoted(cells[1]).remove(0), (cells[2].to_owned(), labels))
        })
        .collect()
}

#[test]
fn the_page_documents_exactly_what_is_served() {
    let metrics = Metrics::default();
    let _worker = metrics.counters();
    let served: BTreeMap<_, _> = served(&metrics)
        .into_iter()
        .map(|(name, family)| {
            let open = name.ends_with("_info");
            let labels = family.samples.iter().flat_map(|sample| &sample.labels).filter(|(label, _)| *label != "le");
            let labels =
                labels.map(|(label, value)| if open { label.clone() } else { format!("{label}={value}") }).collect();
            (name, (family.kind, labels))
        })
        .collect();
    assert_eq!(documented(), served);
}

#[test]
fn the_pages_examples_name_only_metrics_that_exist() {
    let documented = documented();
    let word = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
    let named: Vec<&str> = PAGE.split(word).filter(|word| word.starts_with("ringfence_")).collect();
    assert!(named.len() > documented.len(), "there are examples");
    for name in named {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(documented.contains_key(family), "{name}");
    }
}

#[test]
fn before_a_policy_is_loaded_no_digest_is_shown() {
    let report = Status::new(|| None).report();
    let families = exposition::read(&text::write(&Metrics::default().read(Instant::now()), &report).unwrap());
    assert!(!families.contains_key("ringfence_policy_info"));
    assert_eq!(value(&families, "ringfence_ready", &[]), 0.0);
}
