//! What this machine, and the namespace we are in, has of what ringfence needs.
//!
//! [`machine`] looks at the kernel and the programs found, [`proxy`] at what a configuration asks for, and [`ready()`] asks a running proxy.
//! Nothing is changed: what has to be tried is tried in a namespace that ends with the probe. Each look gives [`Finding`]s and never fails by
//! itself; what cannot be looked at is a finding too.

mod gateway;
mod kernel;
mod listeners;
mod namespaces;
mod processes;
mod program;
mod ready;
mod runtimes;
mod shared;
mod store;

use std::fmt;

use crate::config::{Listen, Settings};

pub use namespaces::{PROBES, probe};
pub use ready::{NotReady, ready};

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub state: State,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found and, where something is missing, what mends it.
    pub text: String,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Missing, or not as it could be; what was asked for works without.
    Note,
    /// Missing, and what was asked for needs it.
    Miss,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Miss => "miss",
        };
        write!(f, "{state:<4} {}: {}", self.subject, self.text)
    }
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Ok, subject, text: text.into() }
    }

    fn note(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Note, subject, text: text.into() }
    }

    fn miss(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Miss, subject, text: text.into() }
    }

    /// Missing something is a mere note where nobody needs it.
    fn needed(self, needed: bool) -> Finding {
        if self.state == State::Miss && !needed { Finding { state: State::Note, ..self } } else { self }
    }
}

/// The kernel, its limits on us, and the runtimes found. Without settings the question is what `ringfence run` needs.
#[must_use]
pub fn machine(settings: Option<&Settings>) -> Vec<Finding> {
    let mut findings = kernel::look(settings.map(|settings| settings.io.engine));
    findings.extend(namespaces::look(settings.is_none()));
    findings.extend(runtimes::look());
    findings
}

/// What the configuration asks for: its files, its addresses, and for each form what would lead around the proxy.
#[must_use]
pub fn proxy(settings: &Settings) -> Vec<Finding> {
    let mut findings = store::look(settings);
    findings.extend(listeners::look(settings));
    if settings.listeners.iter().any(|listen| matches!(listen, Listen::Redirect { .. })) {
        findings.extend(shared::look(settings));
    }
    findings.extend(gateway::look(settings));
    findings
}
