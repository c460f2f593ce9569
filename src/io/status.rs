//! What the proxy says of itself: what it runs, since when, under which policy, and what it is not ready for.
//!
//! The main thread tells it, the admin thread reports it; no worker comes near. Nothing here decides anything.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use crate::audit::outbox::{Delivery, Outbox};

/// Whether the audit log can be written: `None`, or why not.
type AuditWatch = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What is known so far.
pub struct Status {
    started: Timestamp,
    since: Instant,
    facts: Mutex<Facts>,
    audit: AuditWatch,
}

#[derive(Debug)]
struct Facts {
    io: String,
    waits_for: Vec<String>,
    draining: bool,
    policy: PolicyReport,
    expires: Option<Timestamp>,
    anchor: Option<Arc<Outbox>>,
}

/// What [`Status`] comes to at one moment, as `/status` prints it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct Report {
    pub version: &'static str,
    pub commit: &'static str,
    pub started: Timestamp,
    pub uptime_seconds: u64,
    pub io: String,
    pub ready: bool,
    /// Why it is not ready; empty when it is.
    pub why: Vec<String>,
    pub draining: bool,
    pub policy: PolicyReport,
    pub audit: AuditReport,
    pub ca: CaReport,
}

/// The policy in force, and how the attempts to change it went.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct PolicyReport {
    pub digest: Option<String>,
    pub loaded: Option<Timestamp>,
    pub reloads_ok: u64,
    pub reloads_failed: u64,
    /// What was wrong with the last attempt; absent after one that went well.
    pub last_error: Option<String>,
}

/// Whether records reach the disk.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct AuditReport {
    pub writable: bool,
    pub failure: Option<String>,
    /// Whether checkpoints reach their second place; absent where there is none.
    pub anchor: Option<AnchorReport>,
}

/// How the delivery of checkpoints goes.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct AnchorReport {
    pub failure: Option<String>,
    pub deliveries: u64,
    pub failures: u64,
}

/// The certificate authority.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct CaReport {
    pub expires: Option<Timestamp>,
}

impl Status {
    /// A proxy that starts now and is not ready. `audit` is asked at each report why the log cannot be written.
    pub fn new(audit: impl Fn() -> Option<String> + Send + Sync + 'static) -> Status {
        Status {
            started: Timestamp::now(),
            since: Instant::now(),
            facts: Mutex::new(Facts {
                io: "unknown".to_owned(),
                waits_for: vec!["the proxy is starting".to_owned()],
                draining: false,
                policy: PolicyReport::default(),
                expires: None,
                anchor: None,
            }),
            audit: Box::new(audit),
        }
    }

    /// The I/O backend that serves, as `io_uring` or `epoll`.
    pub fn serves_on(&self, io: &str) {
        self.change(|facts| io.clone_into(&mut facts.io));
    }

    /// What the proxy still waits for, one sentence each; none when it is ready.
    pub fn waits_for(&self, reasons: Vec<String>) {
        self.change(|facts| facts.waits_for = reasons);
    }

    /// The proxy has begun to stop.
    pub fn drains(&self) {
        self.change(|facts| facts.draining = true);
    }

    /// The first policy is in force.
    pub fn loaded(&self, digest: &[u8; 32]) {
        self.change(|facts| facts.policy.put_in_force(digest));
    }

    /// A changed policy is in force.
    pub fn reloaded(&self, digest: &[u8; 32]) {
        self.change(|facts| {
            facts.policy.put_in_force(digest);
            facts.policy.reloads_ok += 1;
        });
    }

    /// A changed policy was not taken; the one before stays in force.
    pub fn reload_failed(&self, why: &dyn fmt::Display) {
        self.change(|facts| {
            facts.policy.reloads_failed += 1;
            facts.policy.last_error = Some(why.to_string());
        });
    }

    /// When the certificate authority expires.
    pub fn authority_expires(&self, at: SystemTime) {
        // A time that no calendar has is not worth telling.
        self.change(|facts| facts.expires = Timestamp::try_from(at).ok());
    }

    /// Where checkpoints are left for their second place.
    pub fn anchored(&self, outbox: Arc<Outbox>) {
        self.change(|facts| facts.anchor = Some(outbox));
    }

    /// What holds now.
    #[must_use]
    pub fn report(&self) -> Report {
        let failure = (self.audit)();
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut why = facts.waits_for.clone();
        if facts.draining {
            why.push("the proxy is stopping".to_owned());
        }
        // Every request would be answered with 503.
        why.extend(failure.iter().map(|failure| format!("the audit log cannot be written: {failure}")));
        let anchor = facts.anchor.as_ref().map(|outbox| {
            let Delivery { failure, deliveries, failures } = outbox.delivery();
            AnchorReport { failure, deliveries, failures }
        });
        Report {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("RINGFENCE_COMMIT"),
            started: self.started,
            uptime_seconds: self.since.elapsed().as_secs(),
            io: facts.io.clone(),
            ready: why.is_empty(),
            why,
            draining: facts.draining,
            policy: facts.policy.clone(),
            audit: AuditReport { writable: failure.is_none(), failure, anchor },
            ca: CaReport { expires: facts.expires },
        }
    }

    fn change(&self, with: impl FnOnce(&mut Facts)) {
        with(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("started", &self.started).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl PolicyReport {
    fn put_in_force(&mut self, digest: &[u8; 32]) {
        self.digest = Some(digest.iter().map(|octet| format!("{octet:02x}")).collect());
        self.loaded = Some(Timestamp::now());
        self.last_error = None;
    }
}
