use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::words::Words;
use crate::policy::{Effect, Host, Scheme, Source, Subject, load, properties};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn decides_as_the_reference_evaluator(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        properties::decides_as_the_reference(&bytes, 100);
    }

    #[test]
    fn loads_any_text_or_says_why(text in "(ringfence: v1\n)?(rules:\n)?([ -~\n\t]|é|☃|- allow: |host: |path: |    ){0,120}") {
        properties::loads_or_says_why(&text);
    }
}

/// `cargo nextest run --release --lib --run-ignored only ten_million --no-capture`
#[test]
#[ignore = "takes more than half an hour of two processors, optimised"]
fn ten_million_decisions_are_those_of_the_reference() {
    const SUBJECTS: usize = 500;
    const POLICIES: u64 = 20_000;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while let seed @ 0..POLICIES = next.fetch_add(1, Ordering::Relaxed) {
                    properties::decides_as_the_reference(&seed.to_le_bytes(), SUBJECTS);
                    if seed % 2_000 == 0 {
                        println!("{seed} policies");
                    }
                }
            });
        }
    });
    println!("{} requests under {POLICIES} policies, decided alike", POLICIES * SUBJECTS as u64);
}

/// Every pattern of nine segments that are `a` or `*`, and a request that all of them match: more nodes than one walk visits.
#[test]
fn a_path_that_leads_everywhere_is_still_decided() {
    let mut text = String::from("ringfence: v1\nrules:\n");
    for number in 0..512u32 {
        let segment = |bit: u32| if number >> bit & 1 == 1 { "/*" } else { "/a" };
        let path: String = (0..9).map(segment).collect();
        let port = if number == 300 { 443 } else { 8443 };
        text += &format!("- allow: r{number}\n  path: {path}\n  port: {port}\n");
    }
    let policy = load(Source { name: "p", text: &text }).policy.unwrap();
    let named = |paths: &[&str]| {
        let host = Host::Name("x.example");
        let method = "GET";
        let subject = Subject {
            agent: "",
            scheme: Scheme::Https,
            host,
            port: 443,
            address: None,
            method,
            paths,
            ..Subject::EMPTY
        };
        policy.decide(&subject).rule.map(|rule| rule.name.to_owned())
    };
    assert_eq!(named(&["/a/a/a/a/a/a/a/a/a"]).as_deref(), Some("r300"));
    assert_eq!(named(&["/b/a/a/a/a/a/a/a/a"]), None);
}

#[test]
fn a_large_policy_gives_the_same_answers_as_its_rules_one_by_one() {
    let mut text = String::from("ringfence: v1\nrules:\n");
    for n in 0..3_000 {
        let effect = if n % 3 == 0 { "deny" } else { "allow" };
        let (host, method) = (n % 7, ["GET", "PUT", "POST"][n % 3]);
        text += &format!("- {effect}: r{n}\n  host: h{host}.example\n  method: {method}\n  path: /p{}/**\n", n % 11);
    }
    let policy = load(Source { name: "p", text: &text }).policy.unwrap();
    for (host, method, path) in
        (0..8).flat_map(|h| ["GET", "PUT", "POST"].map(|m| (h, m))).flat_map(|(h, m)| (0..12).map(move |p| (h, m, p)))
    {
        let (host, path) = (format!("h{host}.example"), format!("/p{path}/x"));
        let subject = Subject {
            agent: "",
            scheme: Scheme::Https,
            host: Host::Name(&host),
            port: 443,
            address: None,
            method,
            paths: &[&path],
            ..Subject::EMPTY
        };
        let matching = || policy.rules().iter().filter(|rule| rule.failed(&subject).is_none());
        let deny = matching().find(|rule| rule.effect == Effect::Deny);
        let expected = deny.or_else(|| matching().next()).map(|rule| &*rule.name);
        assert_eq!(policy.decide(&subject).rule.map(|rule| rule.name), expected);
    }
}

/// The index knows names by their lengths, of which it keeps the remainder by 64.
#[test]
fn hosts_below_long_and_short_names_are_found() {
    let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    let text = format!(
        "ringfence: v1\nrules:\n- allow: long\n  host: \"*.{long}\"\n- allow: short\n  host: \"*.example.org\"\n- allow: exact\n  host: y.z\n"
    );
    let policy = load(Source { name: "p", text: &text }).policy.unwrap();
    let named = |host: &str| {
        let subject = Subject {
            scheme: Scheme::Https,
            host: Host::Name(host),
            port: 443,
            method: "GET",
            paths: &["/"],
            ..Subject::EMPTY
        };
        policy.decide(&subject).rule.map(|rule| rule.name.to_owned())
    };
    assert_eq!(named(&format!("x.{long}")).as_deref(), Some("long"));
    assert_eq!(named(&long), None);
    assert_eq!(named("x.example.org").as_deref(), Some("short"));
    assert_eq!(named("x.y.example.org").as_deref(), Some("short"));
    assert_eq!(named(&format!("x.{}.example.org", "c".repeat(50))).as_deref(), Some("short"));
    assert_eq!(named("example.org"), None);
    assert_eq!(named("xexample.org"), None);
    assert_eq!(named("x.z"), None);
}

/// Nine segments that are `a` or `*`, of which only few lead on to where the request goes, and one allow that its walk meets at once.
#[test]
fn a_walk_that_ends_early_hides_no_deny() {
    let mut text = String::from(
        "ringfence: v1\nrules:\n- allow: found at once\n  path: /a/**\n- deny: found last\n  path: /*/*/*/*/*/*/*/*/*/y\n",
    );
    for number in 0..511u32 {
        let path: String = (0..9).map(|bit| if number >> bit & 1 == 1 { "/*" } else { "/a" }).collect();
        text += &format!("- allow: r{number}\n  path: {path}/z\n");
    }
    let policy = load(Source { name: "p", text: &text }).policy.unwrap();
    let subject = Subject {
        scheme: Scheme::Https,
        host: Host::Name("x.example"),
        port: 443,
        method: "GET",
        paths: &["/a/a/a/a/a/a/a/a/a/y"],
        ..Subject::EMPTY
    };
    assert_eq!(policy.decide(&subject).rule.map(|rule| rule.name), Some("found last"));
}

/// A string stands in its slot or, if it is too long for that, elsewhere.
#[test]
fn strings_of_every_length_are_told_apart() {
    let of = |len: usize, last: char| format!("{}{last}", "w".repeat(len - 1));
    let (mut words, mut narrow) = (Words::<u32>::default(), Words::<u32, 16>::default());
    for len in 1..200 {
        let value = u32::try_from(len).unwrap();
        assert_eq!(words.intern(of(len, 'x').as_bytes(), value), value);
        assert_eq!(narrow.intern_in(7, of(len, 'x').as_bytes(), value), value);
    }
    let words = words.map(|value| value * 2);
    for len in 1..200 {
        let value = u32::try_from(len).unwrap();
        assert_eq!(words.find(of(len, 'x').as_bytes()), Some(&(value * 2)));
        assert_eq!(words.find(of(len, 'y').as_bytes()), None);
        assert_eq!(words.find(of(len, 'x').to_uppercase().as_bytes()), None);
        assert_eq!(narrow.find_in(7, of(len, 'x').as_bytes()), Some(&value));
        assert_eq!(narrow.find_in(7, of(len, 'y').as_bytes()), None);
        assert_eq!(narrow.find_in(8, of(len, 'x').as_bytes()), None);
    }
    assert_eq!(words.find(b""), None);
}
