//! `when` and `rate` of a rule.

use super::super::problem::{Problems, did_you_mean};
use super::super::rate::{Period, Rate};
use super::super::when::{Times, When, Zone};
use super::super::yaml::{Node, Value};
use super::{map, matchers, refuse_unknown, values};
use crate::limits;

pub(super) const KEYS: [&str; 4] = ["agent", "days", "hours", "zone"];
const DAYS: [(&str, u8); 7] =
    [("mon", 1), ("tue", 1 << 1), ("wed", 1 << 2), ("thu", 1 << 3), ("fri", 1 << 4), ("sat", 1 << 5), ("sun", 1 << 6)];
const EVERY_DAY: u8 = 0x7f;

/// `when`.
pub(super) fn when(node: &Node, problems: &mut Problems) -> Option<Box<When>> {
    let entries = map(node, "`when`", problems);
    if entries.is_empty() {
        if matches!(node.value, Value::Map(_)) {
            problems.error(node.place, "an empty `when` asks nothing", "name an `agent`, `days` or `hours`");
        }
        return None;
    }
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "`when`", problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let agents = find("agent").and_then(|entry| values::list(&entry.node, "agent", problems, matchers::glob));
    let day = |node: &Node, problems: &mut Problems| values::choice(node, "days", &DAYS, problems);
    let days = find("days").and_then(|entry| values::list(&entry.node, "days", problems, day));
    let hours = find("hours").and_then(|entry| values::list(&entry.node, "hours", problems, window));
    let zone = find("zone").and_then(|entry| zone(&entry.node, problems));
    if let Some(entry) = find("zone")
        && find("days").is_none()
        && find("hours").is_none()
    {
        problems.error(entry.place, "`zone` says nothing without `days` or `hours`", "add them, or remove it");
    }
    let days = days.map(|days| days.iter().fold(0, |all, day| all | day));
    let times = (days.is_some() || hours.is_some()).then(|| Times {
        days: days.unwrap_or(EVERY_DAY),
        hours: hours.unwrap_or_default(),
        zone: zone.unwrap_or_else(Zone::utc),
    });
    Some(Box::new(When { agents, times }))
}

/// A window of hours as seconds of the day.
fn window(node: &Node, problems: &mut Problems) -> Option<(u32, u32)> {
    let text = values::text(node, "hours", problems)?;
    let window = text.split_once('-').and_then(|(start, end)| clock(start).zip(clock(end)));
    match window {
        Some((start, end)) if start == end || start == DAY_SECONDS || end == 0 && start == 0 => {
            problems.error(
                node.place,
                format!("the window `{text}` is empty"),
                "write `00:00-24:00` for the whole day",
            );
            None
        }
        Some(window) => Some(window),
        None => {
            problems.error(node.place, format!("`{text}` is no window of hours"), "write it as `22:00-04:00`");
            None
        }
    }
}

const DAY_SECONDS: u32 = 86_400;

fn clock(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<u32>().ok()?, minute.parse::<u32>().ok()?);
    let seconds = hour * 3_600 + minute * 60;
    (minute < 60 && seconds <= DAY_SECONDS).then_some(seconds)
}

fn zone(node: &Node, problems: &mut Problems) -> Option<Zone> {
    let text = values::text(node, "zone", problems)?;
    let zone = Zone::read(text);
    if zone.is_none() {
        let known = Zone::names();
        let lower = text.to_lowercase();
        let alike = known.iter().filter(|name| name.to_lowercase().starts_with(lower.get(..2).unwrap_or_default()));
        let remedy = match did_you_mean(text, alike.map(String::as_str)) {
            near if near.is_empty() => "write it as `UTC` or `Europe/Berlin`".to_owned(),
            near => near,
        };
        problems.error(node.place, format!("`{text}` is no time zone"), remedy);
    }
    zone
}

/// `rate`.
pub(super) fn rate(node: &Node, problems: &mut Problems) -> Option<Rate> {
    let text = values::text(node, "rate", problems)?;
    let (count, period) = text.split_once('/').unwrap_or((text, ""));
    let count = count.trim().parse::<u32>().ok().filter(|count| (1..=limits::POLICY_RATE_COUNT_MAX).contains(count));
    let period = Period::WORDS.iter().find(|(word, _)| *word == period.trim());
    if let (Some(count), Some((_, period))) = (count, period) {
        return Some(Rate::new(count, *period));
    }
    let remedy =
        match did_you_mean(text.split_once('/').map_or("", |(_, word)| word), Period::WORDS.map(|(word, _)| word)) {
            near if count.is_some() && !near.is_empty() => near,
            _ => format!(
                "write it as `10/minute`, from 1 to {}, per second, minute, hour or day",
                limits::POLICY_RATE_COUNT_MAX
            ),
        };
    problems.error(node.place, format!("`{text}` is no rate"), remedy);
    None
}
