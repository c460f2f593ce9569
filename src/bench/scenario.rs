//! What is measured: a built-in scenario or a YAML file.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::origin::Behaviour;
use super::target::Target;
use crate::limits::{
    BENCH_BODY_BYTES_MAX, BENCH_CONNECTIONS_MAX, BENCH_DURATION_MAX, BENCH_RATE_MAX, BENCH_ROUNDS_MAX,
    BENCH_ROUNDS_MIN, BENCH_RULES_MAX, BENCH_SLICE,
};

/// A scenario that can be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What is asked for.
    pub call: Call,
    /// TLS on both sides of the target.
    pub tls: bool,
    /// What is measured.
    pub targets: Vec<Target>,
    /// When requests are due.
    pub arrivals: Arrivals,
    /// Requests (or events) a second; without meaning in a closed loop.
    pub rate: f64,
    /// Instead of `rate`: this share of what the slowest target can do, which is found first.
    pub load: Option<f64>,
    /// Connections; of event streams: streams.
    pub connections: usize,
    /// Whether a request gets a connection of its own.
    pub connection: Connection,
    /// What happens to a request that is due while every connection is busy.
    pub busy: Busy,
    /// Connections that are open meanwhile and say nothing.
    pub idle: usize,
    /// Measured seconds per target, over all rounds.
    pub duration: f64,
    /// Which cpus are used.
    pub placement: Placement,
    /// The I/O backend of the targets.
    pub io: Io,
    /// How long the targets look for work before they sleep.
    pub spin: Spin,
    /// Rules of the policy.
    pub rules: usize,
    /// How the log of `ringfence-proxy` is kept.
    pub audit: Durability,
    /// The origin.
    pub origin: Behaviour,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `GET /bytes/N`.
    #[default]
    Bytes,
    /// `POST /mcp`, a `tools/call`.
    Mcp,
    /// `GET /events/…`, a stream; each event counts by itself, from when it was due.
    Events,
}

/// When requests are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// At random: exponential distances, `rate` on average.
    Poisson,
    /// As soon as the answer to the one before is there. Latency counts from the send, and a stall is one slow request.
    Closed,
}

/// Whether connections are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// For the whole run.
    #[default]
    Kept,
    /// A new one for each request; under TLS with a full handshake.
    New,
    /// A new one for each request; under TLS a session is resumed where the target lets it.
    Resumed,
}

/// What a request does that is due while every connection is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// Waits for one; the wait is in its latency.
    #[default]
    Wait,
    /// Opens another: any number is under way.
    Connect,
}

/// Which cpus are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Targets on one, generator on another.
    #[default]
    Apart,
    /// Everything on one: the length of the path, without waking another cpu.
    Together,
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

/// `audit.durability`, as the configuration takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Written in batches.
    #[default]
    Batched,
    /// On disk before the request goes up.
    Strict,
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

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            name: "unnamed".to_owned(),
            call: Call::default(),
            tls: false,
            targets: vec![Target::Direct, Target::Relay, Target::Ringfence],
            arrivals: Arrivals::default(),
            rate: 2000.0,
            load: None,
            connections: 1,
            connection: Connection::default(),
            busy: Busy::default(),
            idle: 0,
            duration: 20.0,
            placement: Placement::default(),
            io: Io::default(),
            spin: Spin::default(),
            rules: 20,
            audit: Durability::default(),
            origin: Behaviour::default(),
        }
    }
}

impl Scenario {
    /// The built-in scenario of this name.
    pub fn built_in(name: &str) -> Option<Scenario> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Scenario::read(text).ok()
    }

    /// The names of the built-in scenarios.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
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
        let closed = self.arrivals == Arrivals::Closed;
        let streams = self.call == Call::Events;
        let problem = match self {
            _ if self.targets.is_empty() => "targets: name at least one, such as direct, relay or ringfence",
            _ if (1..self.targets.len()).any(|at| self.targets[..at].contains(&self.targets[at])) => {
                "targets: name each target once"
            }
            _ if !within(self.rate, BENCH_RATE_MAX) => "rate: must be above 0 and at most 10000000 requests a second",
            _ if self.load.is_some_and(|load| !within(load, 1.0)) => "load: must be above 0 and at most 1",
            _ if closed && self.load.is_some() => "load: a closed loop has no rate; leave one of the two away",
            _ if streams && (closed || self.load.is_some()) => {
                "call: events come at a rate: arrivals constant, no load"
            }
            _ if streams && self.arrivals != Arrivals::Constant => "arrivals: events come at equal distances",
            _ if streams && self.connection != Connection::Kept => "connection: event streams keep theirs",
            _ if closed && self.busy == Busy::Connect => "busy: in a closed loop no request is due while one is busy",
            _ if !within(self.duration, BENCH_DURATION_MAX.as_secs_f64()) => {
                "duration: must be above 0 and at most 86400 seconds"
            }
            _ if !(1..=BENCH_CONNECTIONS_MAX).contains(&self.connections) => "connections: must be from 1 to 10000",
            _ if self.idle > BENCH_CONNECTIONS_MAX => "idle: must be at most 10000",
            _ if self.rules > BENCH_RULES_MAX => "rules: must be at most 100000",
            _ if self.load.is_none() && !closed && self.rate * self.duration < f64::from(BENCH_ROUNDS_MIN) => {
                "rate × duration: too few requests for five rounds"
            }
            _ if self.origin.bytes > BENCH_BODY_BYTES_MAX => "origin.bytes: must be at most 4294967296",
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

impl Durability {
    /// As the configuration takes it.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Batched => "batched",
            Durability::Strict => "strict",
        }
    }
}

/// The files of bench/scenarios, by name: what is built in can be read, and copied.
const BUILT_IN: [(&str, &str); 26] = [
    ("latency", include_str!("../../bench/scenarios/latency.yaml")),
    ("latency-tls", include_str!("../../bench/scenarios/latency-tls.yaml")),
    ("latency-10k", include_str!("../../bench/scenarios/latency-10k.yaml")),
    ("path", include_str!("../../bench/scenarios/path.yaml")),
    ("path-tls", include_str!("../../bench/scenarios/path-tls.yaml")),
    ("half-load", include_str!("../../bench/scenarios/half-load.yaml")),
    ("half-load-tls", include_str!("../../bench/scenarios/half-load-tls.yaml")),
    ("saturation", include_str!("../../bench/scenarios/saturation.yaml")),
    ("saturation-tls", include_str!("../../bench/scenarios/saturation-tls.yaml")),
    ("spin-0", include_str!("../../bench/scenarios/spin-0.yaml")),
    ("spin-50us", include_str!("../../bench/scenarios/spin-50us.yaml")),
    ("rules-10", include_str!("../../bench/scenarios/rules-10.yaml")),
    ("rules-1000", include_str!("../../bench/scenarios/rules-1000.yaml")),
    ("rules-10000", include_str!("../../bench/scenarios/rules-10000.yaml")),
    ("rules-100000", include_str!("../../bench/scenarios/rules-100000.yaml")),
    ("audit-batched", include_str!("../../bench/scenarios/audit-batched.yaml")),
    ("audit-strict", include_str!("../../bench/scenarios/audit-strict.yaml")),
    ("sse", include_str!("../../bench/scenarios/sse.yaml")),
    ("mcp", include_str!("../../bench/scenarios/mcp.yaml")),
    ("new-connections", include_str!("../../bench/scenarios/new-connections.yaml")),
    ("new-tls", include_str!("../../bench/scenarios/new-tls.yaml")),
    ("new-tls-resumed", include_str!("../../bench/scenarios/new-tls-resumed.yaml")),
    ("new-tls-saturation", include_str!("../../bench/scenarios/new-tls-saturation.yaml")),
    ("idle-9000", include_str!("../../bench/scenarios/idle-9000.yaml")),
    ("body-1gib", include_str!("../../bench/scenarios/body-1gib.yaml")),
    ("stall", include_str!("../../bench/scenarios/stall.yaml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_can_be_run() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(scenario.check(), Ok(()), "{name}");
            assert_eq!(scenario.name, name);
        }
        assert_eq!(Scenario::built_in("nonsense"), None);
    }

    #[test]
    fn every_file_of_bench_scenarios_is_built_in() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/scenarios");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
            assert!(Scenario::names().any(|known| known == name), "{}", path.display());
        }
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
        for text in ["ratte: 5", "targets: [../nginx]", "call: nonsense"] {
            assert!(matches!(Scenario::read(text), Err(ScenarioError::Unreadable(_))), "{text}");
        }
        for text in [
            "targets: []",
            "rate: 0",
            "rate: .nan",
            "duration: -1",
            "connections: 0",
            "targets: [direct, direct]",
            "load: 1.5",
            "{ load: 0.5, arrivals: closed }",
            "{ call: events, arrivals: poisson }",
            "{ call: events, connection: new }",
            "idle: 10001",
            "rules: 100001",
        ] {
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
