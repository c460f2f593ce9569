//! `dynamic_condition`: at which times a rule holds.

use super::super::problem::Place;
use super::super::when::Zone;
use super::super::yaml::{Entry, Node, Value};
use super::course::Truth;
use super::facts::{Facts, Scope};
use super::reading::{Reading, find, list, map};

/// When a rule holds.
#[derive(Debug)]
pub(super) enum Moment {
    Times {
        zone: Zone,
        /// From the first minute of the day to before the second; on into the next day where it runs backwards. Nothing for the whole day.
        minutes: Option<(u32, u32)>,
        /// ISO numbers from Monday, 1; none means every day. Of a window past midnight it is the day of the moment, not that of its start.
        days: Box<[i128]>,
    },
    /// Always or never: AGT takes what it cannot read for never, and a budget of which nothing is spent holds.
    Fixed(bool),
}

const DAY_MINUTES: i64 = 24 * 60;

/// Reads the condition; nothing after an error.
pub(super) fn read(node: &Node, reading: &mut Reading<'_>) -> Option<Moment> {
    let Some(entries) = map(node) else {
        reading.problems.error(node.place, "`dynamic_condition` is a map with `type`", "");
        return None;
    };
    let kind = find(entries, "type").and_then(|entry| text(&entry.node));
    match kind {
        Some("time_window") => {
            let minutes = (
                minute(entries, "start_time", node.place, reading)?,
                minute(entries, "end_time", node.place, reading)?,
            );
            let (Some(start), Some(end)) = minutes else { return Some(Moment::Fixed(false)) };
            if start == end {
                reading.problems.warning(node.place, "this window is empty, so the rule never matches", "");
            }
            times(entries, Some((start, end)), reading)
        }
        Some("day_of_week") => {
            let days = find(entries, "days_of_week").and_then(|entry| list(&entry.node));
            if days.is_none_or(<[Node]>::is_empty) {
                reading.problems.error(node.place, "`day_of_week` needs `days_of_week`", "1 is Monday, 7 Sunday");
                return None;
            }
            times(entries, None, reading)
        }
        Some(kind @ ("token_count_per_window" | "cost_per_window")) => {
            let name = if kind == "cost_per_window" { "budget.cost" } else { "budget.token_count" };
            if !reading.is_unsupplied(name) {
                reading.refuse_unsupplied(name, node.place, "");
                return None;
            }
            let limit = find(entries, "limit").map(|entry| &entry.node.value);
            let holds = match limit {
                Some(Value::Integer(limit)) => *limit >= 0,
                Some(Value::Float(limit)) => *limit >= 0.0,
                _ => {
                    reading.problems.error(node.place, format!("`{kind}` needs `window` and `limit`"), "");
                    return None;
                }
            };
            Some(Moment::Fixed(holds))
        }
        _ => {
            let known = "time_window, day_of_week, token_count_per_window or cost_per_window";
            reading.problems.error(node.place, format!("`type` is {known}"), "");
            None
        }
    }
}

fn text(node: &Node) -> Option<&str> {
    if let Value::Text(text) = &node.value { Some(text) } else { None }
}

/// Hours and minutes as minutes of the day. The inner nothing is for a text that AGT takes for never.
#[expect(clippy::option_option, reason = "an error, and a time that never comes, are two things")]
fn minute(entries: &[Entry], key: &str, place: Place, reading: &mut Reading<'_>) -> Option<Option<u32>> {
    let Some(entry) = find(entries, key) else {
        reading.problems.error(place, format!("`time_window` needs `{key}`"), "write it like \"09:00\"");
        return None;
    };
    let Value::Text(value) = &entry.node.value else {
        let remedy = "write it in quotes, like \"09:00\"";
        reading.problems.error(entry.node.place, format!("`{key}` is a text"), remedy);
        return None;
    };
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let found = value.split_once(':').and_then(|(hour, minute)| Some((number(hour)?, number(minute)?)));
    let found = found.filter(|(hour, minute)| *hour < 24 && *minute < 60).map(|(hour, minute)| hour * 60 + minute);
    if found.is_none() {
        let message = format!("`{value}` is no time of the day, so the rule never matches");
        reading.problems.warning(entry.node.place, message, "write it like \"09:00\"");
    }
    Some(found)
}

fn times(entries: &[Entry], minutes: Option<(u32, u32)>, reading: &mut Reading<'_>) -> Option<Moment> {
    let mut days = Vec::new();
    for day in find(entries, "days_of_week").and_then(|entry| list(&entry.node)).unwrap_or_default() {
        let Value::Integer(number) = day.value else {
            reading.problems.error(day.place, "a day is a number, 1 for Monday to 7 for Sunday", "");
            return None;
        };
        if !(1..=7).contains(&number) {
            reading.problems.warning(day.place, format!("there is no day {number}"), "1 is Monday, 7 Sunday");
        }
        days.push(number);
    }
    let named = find(entries, "timezone").map(|entry| (entry.node.place, text(&entry.node)));
    let zone = match named {
        None => Some(Zone::utc()),
        Some((_, Some(name))) if name.is_empty() || name.eq_ignore_ascii_case("utc") => Some(Zone::utc()),
        Some((_, Some(name))) => Zone::read(name),
        Some((place, None)) => {
            reading.problems.error(place, "`timezone` is a text", "write it like \"Europe/Berlin\"");
            return None;
        }
    };
    let Some(zone) = zone else {
        let place = named.map(|(place, _)| place).unwrap_or_default();
        reading.problems.warning(place, "this time zone is not known, so the rule never matches", "");
        return Some(Moment::Fixed(false));
    };
    if let Some((start, end)) = minutes
        && start > end
        && !days.is_empty()
    {
        let message = "past midnight the day of the moment counts, not the day on which the window began";
        let place = find(entries, "days_of_week").map(|entry| entry.place).unwrap_or_default();
        reading.problems.warning(place, message, "list both days");
    }
    Some(Moment::Times { zone, minutes, days: days.into() })
}

impl Moment {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Truth {
        let (zone, minutes, days) = match self {
            Moment::Fixed(holds) => return Truth::from(*holds),
            Moment::Times { .. } if facts.scope != Scope::Whole => return Truth::Maybe,
            Moment::Times { zone, minutes, days } => (zone, minutes, days),
        };
        let Some(local) = zone.local_seconds(facts.subject.time_ns) else { return Truth::No };
        let minute = local.div_euclid(60);
        // 1 January 1970 was a Thursday, the fourth day.
        let day = (minute.div_euclid(DAY_MINUTES) + 3).rem_euclid(7) + 1;
        let now = u32::try_from(minute.rem_euclid(DAY_MINUTES)).unwrap_or_default();
        let today = days.is_empty() || days.contains(&day.into());
        let within = match minutes {
            None => true,
            Some((start, end)) if start <= end => (*start..*end).contains(&now),
            Some((start, end)) => now >= *start || now < *end,
        };
        Truth::from(today && within)
    }
}
