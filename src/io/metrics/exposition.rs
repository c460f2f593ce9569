//! For tests: a strict reader of the Prometheus text format 0.0.4. It panics where a scraper, or a promtool lint, would complain.

use std::collections::{BTreeMap, BTreeSet};

/// One metric family.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The families by name.
pub(crate) fn read(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut helped = None;
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(help.ends_with('.'), "help is a sentence: {line}");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(helped.take().as_deref(), Some(name), "HELP stands in front of TYPE");
            name.clone_into(&mut current);
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} stands there twice");
        } else {
            let sample = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("no TYPE in front of {line}"));
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")), "{line} in {current}");
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn check(name: &str, family: &Family) {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(name.bytes().all(letters) && name.starts_with(|first: char| first.is_ascii_lowercase()), "{name}");
    assert!(!family.samples.is_empty(), "{name} has no sample");
    let different: BTreeSet<_> = family.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
    assert_eq!(different.len(), family.samples.len(), "{name} has the same sample twice");
    assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
    match family.kind.as_str() {
        "counter" => assert!(family.samples.iter().all(|sample| sample.value >= 0.0)),
        "gauge" => {}
        "histogram" => check_histogram(name, family),
        kind => panic!("{name}: {kind}"),
    }
}

/// Of a histogram without labels of its own.
fn check_histogram(name: &str, family: &Family) {
    let named =
        |suffix: &'static str| family.samples.iter().filter(move |sample| sample.name == format!("{name}{suffix}"));
    let buckets: Vec<(f64, f64)> = named("_bucket").map(|sample| (bound(&sample.labels["le"]), sample.value)).collect();
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: bounds rise");
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}: counts are cumulative");
    let count: Vec<f64> = named("_count").map(|sample| sample.value).collect();
    assert_eq!(buckets.last().copied(), Some((f64::INFINITY, count[0])), "{name}: +Inf is the count");
    assert_eq!((count.len(), named("_sum").count()), (1, 1), "{name}");
}

fn bound(le: &str) -> f64 {
    if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("unfinished: {line}"))),
    };
    let labels = labels.split_terminator(',').map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_suffix('"').unwrap_or_else(|| panic!("no end of a label: {line}"));
        // None of ours needs an escape, or has a comma in it.
        assert!(!value.contains(['"', '\\']), "{line}");
        (name.to_owned(), value.to_owned())
    });
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels: labels.collect(), value }
}
