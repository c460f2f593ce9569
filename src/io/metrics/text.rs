//! The Prometheus text exposition format, version 0.0.4, of the counters and of what the proxy says of itself.
//!
//! Names, types and labels are those of docs/METRICS.md; a test compares the two.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::{Buckets, Totals};
use crate::io::status::Report;

/// What is answered with these metrics.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values of labels, and the sample's value.
type Sample<'l> = (&'l [(&'l str, &'l str)], f64);

/// Every metric.
///
/// # Errors
/// If the encoder finds a family that is no valid one, which the tests exclude.
pub(crate) fn write(totals: &Totals, report: &Report) -> Result<String, prometheus::Error> {
    let mut families = itself(totals, report);
    families.extend(agents(totals));
    families.extend(origins(totals));
    families.extend(durations(totals));
    TextEncoder::new().encode_to_string(&families)
}

/// The process, its policy and its readiness.
fn itself(totals: &Totals, report: &Report) -> Vec<MetricFamily> {
    let policy = &report.policy;
    let mut families = vec![
        gauge(
            "ringfence_build_info",
            "Always 1; the labels say what runs.",
            &[(&[("commit", report.commit), ("io", &report.io), ("version", report.version)], 1.0)],
        ),
        gauge(
            "process_start_time_seconds",
            "Start of the process, seconds since 1970 UTC.",
            &[(&[], report.started.as_second() as f64)],
        ),
        gauge("ringfence_ready", "1 while the proxy is ready for traffic.", &[(&[], truth(report.ready))]),
        gauge("ringfence_draining", "1 once the proxy has begun to stop.", &[(&[], truth(report.draining))]),
        gauge(
            "ringfence_workers",
            "Worker threads, by whether they have shown a sign of life lately.",
            &[
                (&[("state", "answering")], totals.workers_answering as f64),
                (&[("state", "silent")], totals.workers_silent as f64),
            ],
        ),
        counter(
            "ringfence_policy_reloads_total",
            "Attempts to load a changed policy.",
            &[
                (&[("result", "success")], policy.reloads_ok as f64),
                (&[("result", "failure")], policy.reloads_failed as f64),
            ],
        ),
        gauge(
            "ringfence_policy_last_reload_successful",
            "1 unless the last attempt failed, so that an older policy is in force.",
            &[(&[], truth(policy.last_error.is_none()))],
        ),
    ];
    families.extend(record(report));
    if let Some(digest) = &policy.digest {
        families.push(gauge(
            "ringfence_policy_info",
            "Always 1; the label is the SHA-256 of the policy in force.",
            &[(&[("digest", digest)], 1.0)],
        ));
    }
    if let Some(loaded) = policy.loaded {
        families.push(gauge(
            "ringfence_policy_loaded_timestamp_seconds",
            "When the policy in force was loaded, seconds since 1970 UTC.",
            &[(&[], loaded.as_second() as f64)],
        ));
    }
    if let Some(expires) = report.ca.expires {
        families.push(gauge(
            "ringfence_ca_expiry_timestamp_seconds",
            "When the certificate authority expires, seconds since 1970 UTC.",
            &[(&[], expires.as_second() as f64)],
        ));
    }
    families
}

/// The audit log, and the second place of its checkpoints.
fn record(report: &Report) -> Vec<MetricFamily> {
    let writable = truth(report.audit.writable);
    let mut families = vec![gauge("ringfence_audit_writable", "1 while records reach the disk.", &[(&[], writable)])];
    if let Some(anchor) = &report.audit.anchor {
        families.push(gauge(
            "ringfence_audit_anchored",
            "1 while checkpoints of the audit log reach their second place.",
            &[(&[], truth(anchor.failure.is_none()))],
        ));
        families.push(counter(
            "ringfence_audit_checkpoints_total",
            "Attempts to carry a checkpoint to its second place.",
            &[(&[("result", "success")], anchor.deliveries as f64), (&[("result", "failure")], anchor.failures as f64)],
        ));
    }
    families
}

/// What agents did, and what was decided and recorded about it.
fn agents(totals: &Totals) -> [MetricFamily; 6] {
    [
        counter(
            "ringfence_connections_accepted_total",
            "Client connections accepted.",
            &[(&[], totals.accepted as f64)],
        ),
        gauge(
            "ringfence_connections_open",
            "Client connections open now.",
            &[(&[], totals.accepted.saturating_sub(totals.closed) as f64)],
        ),
        counter(
            "ringfence_connections_refused_total",
            "Client connections refused: on record with their code, or closed at once at the limit of open ones.",
            &[(&[("reason", "recorded")], totals.refused as f64), (&[("reason", "limit")], totals.over_limit as f64)],
        ),
        counter(
            "ringfence_requests_total",
            "Requests, by what was decided.",
            &[
                (&[("verdict", "allow")], totals.allowed as f64),
                (&[("verdict", "deny")], totals.denied as f64),
                (&[("verdict", "monitored")], totals.monitored as f64),
                (&[("verdict", "malformed")], totals.malformed as f64),
                (&[("verdict", "unrecorded")], totals.unrecorded as f64),
            ],
        ),
        counter(
            "ringfence_dns_queries_total",
            "Queries to the DNS stub.",
            &[
                (&[("result", "answered")], totals.dns_answered as f64),
                (&[("result", "refused")], totals.dns_refused as f64),
            ],
        ),
        counter(
            "ringfence_audit_refusals_total",
            "Records that the audit log did not take; an admission among them was refused with 503.",
            &[
                (&[("reason", "full")], totals.audit_full as f64),
                (&[("reason", "unwritable")], totals.audit_unwritable as f64),
            ],
        ),
    ]
}

/// What went on to origins.
fn origins(totals: &Totals) -> [MetricFamily; 4] {
    let [delivered, upstream_failed, upstream_timeout, client_failed, cut, client_gone] =
        totals.endings.map(|count| count as f64);
    [
        counter(
            "ringfence_exchanges_total",
            "Admitted requests that have ended, by how.",
            &[
                (&[("outcome", "delivered")], delivered),
                (&[("outcome", "upstream_failed")], upstream_failed),
                (&[("outcome", "upstream_timeout")], upstream_timeout),
                (&[("outcome", "client_failed")], client_failed),
                (&[("outcome", "cut")], cut),
                (&[("outcome", "client_gone")], client_gone),
            ],
        ),
        counter(
            "ringfence_upstream_connections_dialled_total",
            "Connections made to origins.",
            &[(&[], totals.dialled as f64)],
        ),
        counter(
            "ringfence_upstream_connections_reused_total",
            "Requests sent on a connection that was there already.",
            &[(&[], totals.reused as f64)],
        ),
        counter(
            "ringfence_body_bytes_total",
            "Bytes of bodies and tunnels, counted when the exchange ends.",
            &[(&[("direction", "up")], totals.bytes_up as f64), (&[("direction", "down")], totals.bytes_down as f64)],
        ),
    ]
}

fn durations(totals: &Totals) -> [MetricFamily; 3] {
    [
        histogram(
            "ringfence_decision_duration_seconds",
            "From a whole request head to its recorded decision.",
            &totals.decide,
        ),
        histogram(
            "ringfence_request_duration_seconds",
            "From a whole request head to the end of its exchange.",
            &totals.total,
        ),
        histogram(
            "ringfence_upstream_response_head_duration_seconds",
            "From the first byte sent to an origin to the head of its response.",
            &totals.upstream,
        ),
    ]
}

fn counter(name: &str, help: &str, samples: &[Sample<'_>]) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

fn gauge(name: &str, help: &str, samples: &[Sample<'_>]) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples, |metric, value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    })
}

fn histogram(name: &str, help: &str, observed: &Buckets) -> MetricFamily {
    let mut cumulative = 0;
    let buckets = observed.buckets.iter().map(|(bound_ns, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(*bound_ns));
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    // The encoder writes the bucket `+Inf` from this.
    histogram.set_sample_count(cumulative + observed.longer);
    histogram.set_sample_sum(seconds(observed.sum_ns));
    family(name, help, MetricType::HISTOGRAM, &[(&[], 0.0)], |metric, _| metric.set_histogram(histogram.clone()))
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: &[Sample<'_>],
    set: impl Fn(&mut Metric, f64),
) -> MetricFamily {
    let metrics = samples.iter().map(|(labels, value)| {
        let labels = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::default();
        metric.set_label(labels.collect());
        set(&mut metric, *value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

fn truth(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
