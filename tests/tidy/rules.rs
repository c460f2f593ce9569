//! The rules. Each takes one file and gives what breaks the rule there.

use super::source::Source;
use std::fmt;

/// Files longer than this do not read well any more; 100 to 250 lines are the aim.
pub(crate) const FILE_LINES_MAX: usize = 600;
/// A function fits a screen.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

const FLOORS: [&str; 3] = ["parse", "policy", "audit"];

/// The files of `audit` that write and read the log on disk. Its record, ring and chain are floors like the others.
const AUDIT_ON_DISK: [&str; 4] = ["src/audit/writer", "src/audit/segment", "src/audit/read", "src/audit/verify"];

/// What a floor may not name: sockets, files, clocks, threads, processes, the environment, and the crates that lead there.
const OUTSIDE: [&str; 17] = [
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "libc",
    "nix",
    "tokio",
];

/// One place where a rule is broken.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn finding(source: &Source, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: source.path.clone(), line, what: what.into() }
}

fn floor(source: &Source) -> Option<&'static str> {
    FLOORS.into_iter().find(|floor| source.within(&format!("src/{floor}")))
}

/// The floors see themselves and `limits`; `limits` sees nothing.
pub(crate) fn floors_have_no_doors(source: &Source) -> Vec<Finding> {
    let own = match floor(source) {
        Some(own) => own,
        None if source.path == "src/limits.rs" => "limits",
        None => return Vec::new(),
    };
    let mut found = Vec::new();
    for named in source.names(&source.code) {
        let room = named.segments.get(1).filter(|_| named.segments[0] == "crate");
        if let Some(room) = room.filter(|room| *room != own && *room != "limits") {
            found.push(finding(source, named.line, format!("`{own}` names `crate::{room}`")));
        }
    }
    found
}

/// `cli` is the top: nothing below names it. `config` is what `cli` and `io` read.
pub(crate) fn cli_is_the_top(source: &Source) -> Vec<Finding> {
    let sees_config = ["src/cli", "src/io", "src/config"].iter().any(|folder| source.within(folder));
    let sees_cli = source.within("src/cli") || source.path == "src/main.rs";
    let mut found = Vec::new();
    for named in source.names(&source.code).iter().filter(|_| source.within("src")) {
        let (root, room) = (named.segments[0].as_str(), named.segments.get(1).map_or("", String::as_str));
        if root == "crate" && ((room == "cli" && !sees_cli) || (room == "config" && !sees_config)) {
            found.push(finding(source, named.line, format!("names `crate::{room}`")));
        }
    }
    found
}

pub(crate) fn files_are_short(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let long = lines > FILE_LINES_MAX;
    long.then(|| finding(source, lines, format!("{lines} lines, at most {FILE_LINES_MAX}"))).into_iter().collect()
}

pub(crate) fn functions_fit_a_screen(source: &Source) -> Vec<Finding> {
    let long = Source::functions(&source.shipped).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
    long.map(|function| {
        let what = format!("`{}` takes {} lines, at most {FUNCTION_LINES_MAX}", function.name, function.lines);
        finding(source, function.line, what)
    })
    .collect()
}

/// What the peer or the operator does wrong is a value on the floors, never a crash.
pub(crate) fn floors_do_not_crash(source: &Source) -> Vec<Finding> {
    if floor(source).is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.shipped.lines().enumerate() {
        let dense: String = line.chars().filter(|each| !each.is_whitespace()).collect();
        for crash in [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "panic!", "todo!", "unimplemented!"] {
            // `.expect()` without a message is somebody's own, such as the Expect header's.
            if dense.replace(".expect()", "").contains(crash) {
                found.push(finding(source, number + 1, format!("`{crash}` outside tests")));
            }
        }
    }
    found
}

/// `unsafe` lives where the kernel, or memory shared between threads, is touched.
pub(crate) fn unsafe_stays_at_the_kernel(source: &Source) -> Vec<Finding> {
    let rooms = ["src/io/engine", "src/io/netns", "src/audit/ring"];
    if !source.within("src") || rooms.iter().any(|room| source.within(room)) {
        return Vec::new();
    }
    let words = Source::words(&source.code);
    words.into_iter().filter(|(_, word)| word == "unsafe").map(|(line, _)| finding(source, line, "`unsafe`")).collect()
}

/// The engine is the only one that knows how the kernel is asked. (`Choice::Epoll` is a name that users type, not an interface.)
pub(crate) fn only_the_engine_names_its_backends(source: &Source) -> Vec<Finding> {
    if !source.within("src") || source.within("src/io/engine") {
        return Vec::new();
    }
    let backend = |word: &str| {
        word == "io_uring"
            || word == "IoUring"
            || word.starts_with("epoll_")
            || word.starts_with("EPOLL")
            || word == "EpollEvent"
    };
    let named = Source::words(&source.code).into_iter().filter(|(_, word)| backend(word));
    named.map(|(line, word)| finding(source, line, format!("names `{word}`"))).collect()
}

/// Bytes and time come in, facts come out.
pub(crate) fn floors_know_no_outside(source: &Source) -> Vec<Finding> {
    if floor(source).is_none() || AUDIT_ON_DISK.iter().any(|file| source.within(file)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for named in source.names(&source.shipped) {
        let path = named.segments.join("::");
        let outside =
            |banned: &&str| path == *banned || path.strip_prefix(*banned).is_some_and(|rest| rest.starts_with("::"));
        let glob = ["std::*", "std::net::*", "std::time::*"].contains(&path.as_str());
        if OUTSIDE.iter().any(outside) || glob {
            found.push(finding(source, named.line, format!("names `{path}`")));
        }
    }
    found
}

/// Diagnostics and results go through `cli`; everything else returns them.
pub(crate) fn only_cli_prints(source: &Source) -> Vec<Finding> {
    if !source.within("src") || source.within("src/cli") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.shipped.lines().enumerate() {
        for print in ["println!", "eprintln!", "print!", "eprint!"] {
            let starts = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
            };
            if line.match_indices(print).any(starts) {
                found.push(finding(source, number + 1, format!("`{print}` outside cli")));
            }
        }
    }
    found
}

/// A reader learns from the first line what a file is.
pub(crate) fn files_open_with_what_they_are(source: &Source) -> Vec<Finding> {
    let ships = !source.shipped.trim().is_empty();
    let opens = source.text.starts_with("//!");
    (ships && !opens).then(|| finding(source, 1, "does not open with `//!`")).into_iter().collect()
}

/// Waiting for a time is a race; waiting for a condition is not. `tests/util` holds the one loop that polls.
pub(crate) fn tests_never_sleep(source: &Source) -> Vec<Finding> {
    if source.within("tests/util") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for named in source.names(&source.code) {
        if named.segments.ends_with(&["thread".to_owned(), "sleep".to_owned()]) {
            found.push(finding(source, named.line, "sleeps"));
        }
    }
    found
}

/// Documents speak to every reader, so they name no folder of the machine on which they were written.
pub(crate) fn documents_name_no_machine(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in ["/srv/", "/root/", "/home/", "/Users/"] {
            let starts = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '.')
            };
            if line.match_indices(folder).any(starts) {
                found.push(Finding { path: path.to_owned(), line: number + 1, what: format!("names `{folder}…`") });
            }
        }
    }
    found
}
