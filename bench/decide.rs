//! What one decision costs, by number of rules: `cargo bench --bench decide`.
//!
//! Policies are of the kinds people write: one rule per host, one host with a rule per path, rules that differ in everything. Each line gives
//! percentiles over batches of distinct subjects, so that no branch predictor learns one of them by heart; a batch is 64 decisions,
//! because one is shorter than a clock reading is exact. `own` is the share of batches while which the core was ours, and their percentiles;
//! `linear` is the same policy walked rule by rule.
//!
//! `cargo bench --bench decide -- agt [FILE]` measures a policy of AGT's with 1,500 patterns over one field; `-- agt-policy` prints it.

#[path = "undisturbed.rs"]
mod undisturbed;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use ringfence::policy::{
    Direction, Host, Look, Mcp, NoFiles, Policy, Scheme, Source, Stage, Subject, Terms, load, load_with,
};

use self::undisturbed::Laps;

const BATCH: usize = 64;
/// Batches of each policy.
const ROUNDS: usize = 8_000;

/// How to write rule `n` of a policy and the request that it is about.
struct Kind {
    name: &'static str,
    rule: fn(usize) -> String,
    /// Host, path and method.
    request: fn(usize) -> (String, String, &'static str),
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "a host each",
        rule: |n| format!("host: h{n}.example.com\n    method: [GET, POST]\n    path: /v1/**"),
        request: |n| (format!("h{n}.example.com"), format!("/v1/items/{n}"), "GET"),
    },
    Kind {
        name: "a path each",
        rule: |n| format!("host: api.example.com\n    access: read-only\n    path: /repos/acme-{n}/**"),
        request: |n| ("api.example.com".to_owned(), format!("/repos/acme-{n}/pulls/{n}"), "GET"),
    },
    Kind {
        name: "mixed",
        rule: |n| match n % 5 {
            0 => format!("host: \"*.h{n}.example.com\"\n    path: /v1/**"),
            1 => format!("host: h{n}.example.com\n    access: read-only"),
            2 => format!("method: [PUT, DELETE]\n    path: /repos/*/r{n}/**"),
            3 => format!("host: [a{n}.example.com, b{n}.example.com]\n    port: [443, 8443]"),
            _ => format!("path: [/x{n}, /y{n}/**]\n    scheme: https"),
        },
        request: |n| match n % 3 {
            0 => (format!("www.h{n}.example.com"), format!("/v1/items/{n}"), "GET"),
            1 => (format!("h{n}.example.com"), format!("/repos/acme/r{n}/x"), "DELETE"),
            _ => (format!("a{n}.example.com"), format!("/y{n}/z"), "POST"),
        },
    },
    // Every block of the two dimensions is full, and no rule is in both.
    Kind {
        name: "worst: dense, disjoint",
        rule: |n| {
            if n % 2 == 0 { "host: one.example.com\n    method: PUT" } else { "host: two.example.com\n    method: GET" }
                .to_owned()
        },
        request: |_| ("one.example.com".to_owned(), "/".to_owned(), "GET"),
    },
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    if let Some(kind) = arguments.next() {
        if kind == "agt-policy" {
            return print!("{}", agt_policy());
        }
        if kind == "agt" {
            return agt(arguments.next());
        }
        return count(&kind, arguments.next().and_then(|rules| rules.parse().ok()).unwrap_or(10));
    }
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>12} {:>12} {:>14}",
        "policy",
        "rules",
        "p50 ns",
        "p99 ns",
        "p99.9 ns",
        "p50 own",
        "p99 own",
        "own",
        "compile ms",
        "table KiB",
        "linear p50 ns"
    );
    for kind in &KINDS {
        for rules in [10, 1_000, 10_000, 100_000] {
            measure(kind, rules);
        }
    }
}

/// A v4 document of AGT's with 1,500 patterns over one field of 1 KB: one of our making, or the file at a path.
/// `bench/agt_search.py` walks the same file rule by rule.
fn agt(file: Option<String>) {
    let text = match file.map(std::fs::read_to_string) {
        None => agt_policy(),
        Some(Ok(text)) => text,
        Some(Err(error)) => return eprintln!("{error}"),
    };
    let started = Instant::now();
    let terms = Terms { unsupplied: &["user_input".into(), "tool_response".into()], files: &NoFiles };
    let Some(policy) = load_with(Source { name: "bench", text: &text }, &terms).policy else {
        return eprintln!("the policy does not load");
    };
    let compile = started.elapsed().as_millis();
    let (rules, kib) = (policy.outline().len(), policy.table_bytes() / 1024);
    println!("{rules} rules, compiled in {compile} ms into {kib} KiB");
    println!("{:<24} {:>10} {:>10} {:>10} {:>8}", "field of 1 KB", "p50 us", "p99 us", "max us", "verdict");
    for (name, field) in [("plain", agt_field("")), ("the last rule matches", agt_field("lorem 1499 ipsum leak 1499"))]
    {
        let mcp = Mcp {
            server: "bench",
            declared: true,
            direction: Direction::ToServer,
            method: "tools/call",
            tool: Some("t"),
            resource: None,
            prompt: None,
            arguments: Look::Absent,
        };
        let subject = Subject { mcp: Some(mcp), stage: Stage::Description(&field), ..Subject::EMPTY };
        let verdict = policy.decide(&subject).verdict.as_str();
        let mut times: Vec<u64> = (0..2_000)
            .map(|_| {
                let started = Instant::now();
                let _ = black_box(policy.decide(black_box(&subject)));
                u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
            })
            .collect();
        times.sort_unstable();
        #[allow(clippy::cast_precision_loss)]
        let at =
            |share: usize| times.get((times.len() - 1) * share / 1_000).copied().unwrap_or_default() as f64 / 1_000.0;
        println!("{name:<24} {:>10.2} {:>10.2} {:>10.2} {verdict:>8}", at(500), at(990), at(1_000));
    }
}

/// 1,500 patterns of the shapes that shipped files have: alternatives without regard to case, blanks, bounded gaps.
fn agt_policy() -> String {
    let mut text = String::from("version: \"1.0\"\nname: bench\ndefaults: {action: allow}\nrules:\n");
    for n in 0..1_500 {
        let pattern = match n % 4 {
            0 => format!(
                "(?i)(ignore|disregard|forget)\\\\s+(all\\\\s+)?(previous|prior)\\\\s+instructions?\\\\b.{{0,40}}{n}"
            ),
            1 => format!("(?i)\\\\b(send|post|upload)\\\\b.{{0,60}}\\\\b(token|secret|key){n}\\\\b"),
            2 => format!("(?:curl|wget)\\\\s+[^|]{{0,80}}\\\\|\\\\s*(?:ba)?sh\\\\s+{n}"),
            _ => format!("(?i)lorem {n} ipsum\\\\s+leak\\\\s+{n}$"),
        };
        let _ = writeln!(
            text,
            "- {{name: r{n}, action: deny, condition: {{field: tool_description, operator: matches, value: \"{pattern}\"}}}}"
        );
    }
    text
}

/// 1 KB of prose with the words that patterns look for, ended by a text.
fn agt_field(end: &str) -> String {
    let prose = "Sends the previous report to a key account and posts all instructions; tokens are never part of it, nor curl or wget. ";
    let mut field = prose.repeat(9);
    field.truncate(1_024 - end.len());
    field + end
}

/// One decision, by a name that callgrind can be told to collect.
#[inline(never)]
fn decide_once(policy: &Policy, subject: &Subject<'_>) -> bool {
    policy.decide(subject).rule.is_some()
}

/// 4,096 decisions of one kind, for `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*decide_once*'`.
fn count(name: &str, rules: usize) {
    let Some(kind) = KINDS.iter().find(|kind| kind.name.starts_with(name)) else { return };
    let Some(policy) = load(Source { name: "bench", text: &policy_text(kind, rules) }).policy else { return };
    let requests: Vec<_> = (0..4_096).map(|n| (kind.request)(n * 7_919 % rules)).collect();
    let paths: Vec<[&str; 1]> = requests.iter().map(|(_, path, _)| [path.as_str()]).collect();
    let subjects = requests.iter().zip(&paths).map(|((host, _, method), paths)| subject(host, paths, method));
    let named = subjects.filter(|subject| black_box(decide_once(&policy, subject)));
    println!("{} of {} decisions name a rule", named.count(), requests.len());
}

fn policy_text(kind: &Kind, rules: usize) -> String {
    let mut text = String::from("ringfence: v1\nrules:\n");
    for n in 0..rules {
        let effect = if n % 10 == 9 { "deny" } else { "allow" };
        let _ = writeln!(text, "  - {effect}: rule {n}\n    {}", (kind.rule)(n));
    }
    text
}

fn measure(kind: &Kind, rules: usize) {
    let text = policy_text(kind, rules);
    let started = Instant::now();
    let Some(policy) = load(Source { name: "bench", text: &text }).policy else {
        println!("{}: the policy does not load", kind.name);
        return;
    };
    let compile = started.elapsed();
    let requests: Vec<_> = (0..4_096).map(|n| (kind.request)(n * 7_919 % rules)).collect();
    let paths: Vec<[&str; 1]> = requests.iter().map(|(_, path, _)| [path.as_str()]).collect();
    let subjects: Vec<Subject<'_>> =
        requests.iter().zip(&paths).map(|((host, _, method), paths)| subject(host, paths, method)).collect();
    let [times, ours] = batches(&subjects, ROUNDS, |subject| {
        let _ = black_box(policy.decide(black_box(subject)));
    });
    let linear_rounds = (2_000_000 / rules / BATCH).clamp(1, 200);
    let [linear, _] = batches(&subjects, linear_rounds, |subject| {
        black_box(walk(&policy, black_box(subject)));
    });
    let at = |times: &[u64], share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
    let (milliseconds, kib, share) = (compile.as_millis(), policy.table_bytes() / 1024, ours.len() * 100 / ROUNDS);
    println!(
        "{:<24} {rules:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {share:>5} % {milliseconds:>12} {kib:>12} {:>14}",
        kind.name,
        at(&times, 500),
        at(&times, 990),
        at(&times, 999),
        at(&ours, 500),
        at(&ours, 990),
        at(&linear, 500)
    );
}

fn subject<'a>(host: &'a str, paths: &'a [&'a str], method: &'a str) -> Subject<'a> {
    Subject {
        agent: "bench",
        scheme: Scheme::Https,
        host: Host::Name(host),
        port: 443,
        address: None,
        method,
        paths,
        ..Subject::EMPTY
    }
}

/// Nanoseconds per call, one value a batch, ascending: of all batches, and of those while which the core was ours.
fn batches(subjects: &[Subject<'_>], rounds: usize, mut call: impl FnMut(&Subject<'_>)) -> [Vec<u64>; 2] {
    let (mut laps, mut times) = (Laps::default(), Vec::with_capacity(rounds));
    for round in 0..rounds {
        laps.around(|| {
            let started = Instant::now();
            for n in 0..BATCH {
                if let Some(subject) = subjects.get((round * BATCH + n) % subjects.len()) {
                    call(subject);
                }
            }
            times.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX) / BATCH as u64);
        });
    }
    let ours = times.iter().zip(laps.undisturbed()).filter(|(_, ours)| *ours);
    let mut ours: Vec<u64> = ours.map(|(time, _)| *time).collect();
    times.sort_unstable();
    ours.sort_unstable();
    [times, ours]
}

/// How many rules match, asked one by one.
fn walk(policy: &Policy, subject: &Subject<'_>) -> usize {
    policy.rules().iter().filter(|rule| rule.failed(subject).is_none()).count()
}
