//! `when`: who asks, on which days, at which hours, in which time zone.
//!
//! Zones come from a database inside the program, so that a policy decides the same on every machine. Time is an argument.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::glob::{self, Glob};

/// The conditions of `when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// `agent`.
    pub agents: Option<Box<[Glob]>>,
    /// `days` and `hours`, in `zone`.
    pub times: Option<Times>,
}

/// Days and hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// One bit for each day from Monday.
    pub(super) days: u8,
    /// Windows as seconds of the day; empty for the whole day. One whose end is not after its start goes on into the next day, and
    /// belongs to the day on which it starts.
    pub(super) hours: Box<[(u32, u32)]>,
    pub(super) zone: Zone,
}

/// A time zone by its name in the IANA database.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    name: Box<str>,
    zone: TimeZone,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl std::hash::Hash for When {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.agents.hash(state);
        self.times.as_ref().map(|times| (times.days, &times.hours, &times.zone.name)).hash(state);
    }
}

impl Zone {
    pub(super) fn utc() -> Zone {
        Zone { name: "UTC".into(), zone: TimeZone::UTC }
    }

    pub(super) fn read(name: &str) -> Option<Zone> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        Some(Zone { name: zone.iana_name().unwrap_or(name).into(), zone })
    }

    /// Seconds since the epoch as the zone's clocks show them.
    pub(super) fn local_seconds(&self, time_ns: u64) -> Option<i64> {
        let seconds = i64::try_from(time_ns / 1_000_000_000).ok()?;
        let timestamp = Timestamp::from_second(seconds).ok()?;
        Some(seconds + i64::from(self.zone.to_offset(timestamp).seconds()))
    }

    /// The names that are known.
    pub(super) fn names() -> Vec<String> {
        TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
    }
}

impl When {
    /// Whether the condition holds for an agent at a time in nanoseconds since the Unix epoch.
    pub(super) fn holds(&self, agent: &str, time_ns: u64) -> bool {
        let agent = (!agent.is_empty()).then_some(agent);
        self.agents.as_ref().is_none_or(|agents| glob::any(agents, agent, true))
            && self.times.as_ref().is_none_or(|times| times.holds(time_ns))
    }
}

impl Times {
    /// The name of the zone.
    pub fn zone_name(&self) -> &str {
        &self.zone.name
    }

    fn holds(&self, time_ns: u64) -> bool {
        let Some(local) = self.zone.local_seconds(time_ns) else { return false };
        let day = local.div_euclid(DAY);
        let second = u32::try_from(local.rem_euclid(DAY)).unwrap_or_default();
        let (today, yesterday) = (self.has_day(day), self.has_day(day - 1));
        if self.hours.is_empty() {
            return today;
        }
        self.hours.iter().any(|(start, end)| {
            if start < end {
                return today && (*start..*end).contains(&second);
            }
            today && second >= *start || yesterday && second < *end
        })
    }

    /// Whether a day, counted from the epoch, is one of the days. 1 January 1970 was a Thursday.
    fn has_day(&self, day: i64) -> bool {
        self.days >> (day + 3).rem_euclid(7) & 1 == 1
    }
}

const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn times(days: u8, hours: &[(u32, u32)], zone: &str) -> Times {
        Times { days, hours: hours.into(), zone: Zone::read(zone).unwrap() }
    }

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_nanosecond().try_into().unwrap()
    }

    const FRIDAY: u8 = 1 << 4;
    const NIGHT: (u32, u32) = (22 * 3_600, 4 * 3_600);

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_it_starts() {
        let nights = times(FRIDAY, &[NIGHT], "UTC");
        for (time, holds) in [
            ("2026-11-20T21:59:59Z", false), // a Friday
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T03:59:59Z", true),
            ("2026-11-21T04:00:00Z", false),
            ("2026-11-20T03:00:00Z", false), // Thursday's night
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(nights.holds(at(time)), holds, "{time}");
        }
    }

    #[test]
    fn hours_are_those_of_the_zone_in_summer_and_in_winter() {
        let morning = times(0x7f, &[(8 * 3_600, 9 * 3_600)], "Europe/Berlin");
        assert!(morning.holds(at("2026-01-15T07:30:00Z")) && !morning.holds(at("2026-01-15T06:30:00Z")));
        assert!(morning.holds(at("2026-07-15T06:30:00Z")) && !morning.holds(at("2026-07-15T07:30:00Z")));
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let fridays = times(FRIDAY, &[], "Pacific/Auckland");
        assert!(fridays.holds(at("2026-11-19T12:00:00Z")) && !fridays.holds(at("2026-11-20T12:00:00Z")));
    }

    #[test]
    fn an_agent_without_a_name_is_nobody() {
        let when = When { agents: Some([Glob::new("*")].into()), times: None };
        assert!(when.holds("coder", 0) && !when.holds("", 0));
    }
}
