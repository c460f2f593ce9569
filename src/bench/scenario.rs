//! What is measured: a built-in scenario or a YAML file.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::origin::Behaviour;
use crate::limits::{
    BENCH_BODY_BYTES_MAX, BENCH_CONNECTIONS_MAX, BENCH_DURATION_MAX, BENCH_RATE_MAX, BENCH_ROUNDS_MAX,
    BENCH_ROUNDS_MIN, BENCH_SLICE,
};

/// A scenario that can be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// TLS on both sides of the target.
    pub tls: bool,
    /// What is measured.
    pub targets: Vec<Target>,
    /// Requests a second.
    pub rate: f64,
    /// Keep-alive connections.
    pub connections: usize,
    /// Measured seconds per target, over all rounds.
    pub duration: f64,
    /// The I/O backend of the targets.
    pub io: Io,
    /// How long the targets look for work before they sleep.
    pub spin: Spin,
    /// Rules of ringfence's policy.
    pub rules: usize,
    /// The origin.
    pub origin: Behaviour,
}

/// Something that load is sent through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Nothing in between.
    Direct,
    /// A byte relay on our engine: the floor.
    Relay,
    /// A program under `ringfence run`, with a policy and the audit log on.
    Ringfence,
}

/// The I/O backend, as `--io` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// The kernel decides.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// The spin, as `--spin` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spin {
    /// 50 µs where a core is left over.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// None.
    #[serde(rename = "0")]
    Never,
    /// 50 µs.
    #[serde(rename = "50us")]
    Short,
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScenarioError {
    /// The file is no scenario; the text says where and why.
    Unreadable(String),
    /// A value cannot be; the text names key and remedy.
    Value(&'static str),
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScenarioError::Unreadable(why) => f.write_str(why),
            ScenarioError::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ScenarioError {}

/// The names of the built-in scenarios.
pub const BUILT_IN: [&str; 2] = ["latency", "latency-tls"];

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            name: "unnamed".to_owned(),
            tls: false,
            targets: vec![Target::Direct, Target::Relay, Target::Ringfence],
            rate: 2000.0,
            connections: 1,
            duration: 20.0,
            io: Io::default(),
            spin: Spin::default(),
            rules: 20,
            origin: Behaviour::default(),
        }
    }
}

impl Scenario {
    /// The built-in scenario of this name.
    pub fn built_in(name: &str) -> Option<Scenario> {
        BUILT_IN.contains(&name).then(|| Scenario {
            name: name.to_owned(),
            tls: name == "latency-tls",
            ..Scenario::default()
        })
    }

    /// Reads a scenario file; keys it does not have keep the defaults of `latency`.
    ///
    /// # Errors
    /// If it is no YAML of this shape.
    pub fn read(text: &str) -> Result<Scenario, ScenarioError> {
        serde_saphyr::from_str(text).map_err(|error| ScenarioError::Unreadable(error.to_string()))
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// Naming the key.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let within = |value: f64, max: f64| value.is_finite() && value > 0.0 && value <= max;
        let problem = match self {
            _ if self.targets.is_empty() => "targets: name at least one of direct, relay, ringfence",
            _ if (1..self.targets.len()).any(|at| self.targets[..at].contains(&self.targets[at])) => {
                "targets: name each target once"
            }
            _ if !within(self.rate, BENCH_RATE_MAX) => "rate: must be above 0 and at most 10000000 requests a second",
            _ if !within(self.duration, BENCH_DURATION_MAX.as_secs_f64()) => {
                "duration: must be above 0 and at most 86400 seconds"
            }
            _ if !(1..=BENCH_CONNECTIONS_MAX).contains(&self.connections) => "connections: must be from 1 to 10000",
            _ if self.rate * self.duration < f64::from(BENCH_ROUNDS_MIN) => {
                "rate × duration: too few requests for five rounds"
            }
            _ if self.origin.bytes > BENCH_BODY_BYTES_MAX => "origin.bytes: must be at most 67108864",
            _ if !(200..600).contains(&self.origin.status) => "origin.status: must be from 200 to 599",
            _ => return Ok(()),
        };
        Err(ScenarioError::Value(problem))
    }

    /// Rounds, and how long each target's turn in one is.
    pub fn rounds(&self) -> (u32, Duration) {
        let whole = Duration::from_secs_f64(self.duration);
        let wanted = whole.as_millis().div_ceil(BENCH_SLICE.as_millis());
        let rounds = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(BENCH_ROUNDS_MIN, BENCH_ROUNDS_MAX);
        (rounds, whole / rounds)
    }
}

impl Target {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Target::Direct => "direct",
            Target::Relay => "relay",
            Target::Ringfence => "ringfence",
        }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Target> {
        [Target::Direct, Target::Relay, Target::Ringfence].into_iter().find(|target| target.name() == name)
    }
}

impl Io {
    /// As `--io` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Io::Auto => "auto",
            Io::Uring => "uring",
            Io::Epoll => "epoll",
        }
    }
}

impl Spin {
    /// As `--spin` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Spin::Auto => "auto",
            Spin::Never => "0",
            Spin::Short => "50us",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_can_be_run() {
        for name in BUILT_IN {
            let scenario = Scenario::built_in(name).unwrap();
            assert_eq!(scenario.check(), Ok(()));
            assert_eq!(scenario.name, name);
        }
        assert_eq!(Scenario::built_in("nonsense"), None);
    }

    #[test]
    fn a_file_overrides_what_it_names() {
        let scenario =
            Scenario::read("name: mine\ntls: true\ntargets: [direct]\nspin: 50us\norigin: { stall_ms: 100 }\n")
                .unwrap();
        assert_eq!((scenario.tls, scenario.spin, scenario.origin.stall_ms), (true, Spin::Short, 100));
        assert_eq!(scenario.connections, 1);
    }

    #[test]
    fn refuses_unknown_keys_and_impossible_values() {
        assert!(matches!(Scenario::read("ratte: 5"), Err(ScenarioError::Unreadable(_))));
        for text in
            ["targets: []", "rate: 0", "rate: .nan", "duration: -1", "connections: 0", "targets: [direct, direct]"]
        {
            assert!(Scenario::read(text).unwrap().check().is_err(), "{text}");
        }
    }

    #[test]
    fn rounds_share_the_duration() {
        let rounds = |duration| Scenario { duration, ..Scenario::default() }.rounds();
        assert_eq!(rounds(20.0), (40, Duration::from_millis(500)));
        assert_eq!(rounds(1.0), (5, Duration::from_millis(200)));
        assert_eq!(rounds(600.0), (60, Duration::from_secs(10)));
    }
}
