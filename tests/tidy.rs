//! Claims about the source tree itself, read from the files.
//!
//! Cargo cannot keep the floors of one package apart, so this does. Each rule stands as two claims: the tree keeps it, and a file
//! that breaks it is caught. The second is what makes the first worth reading.

#![allow(clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::Finding;
use source::Source;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Applies a rule to every Rust file below the folders, and fails with one line per finding.
fn holds(folders: &[&str], rule: fn(&Source) -> Vec<Finding>) {
    let sources = source::tree(&root(), folders);
    assert!(!sources.is_empty(), "no source below {folders:?}");
    report(&sources.iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(found: &[Finding]) {
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "{} found:\n{}", found.len(), lines.join("\n"));
}

/// How often the rule is broken by a file of that path and text.
fn broken(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn floors_name_only_themselves_and_limits() {
    holds(&["src"], rules::floors_have_no_doors);
}

#[test]
fn a_door_between_floors_is_found() {
    let rule = rules::floors_have_no_doors;
    assert_eq!(broken(rule, "src/parse/head.rs", "use crate::policy::Permit;"), 1);
    assert_eq!(broken(rule, "src/parse/head.rs", "use crate::{limits, audit::record};"), 1);
    assert_eq!(broken(rule, "src/policy/table.rs", "use super::super::io::flow;"), 1);
    assert_eq!(broken(rule, "src/policy/mod.rs", "use super::{cli, config as c, parse::{head, target}};"), 4);
    assert_eq!(broken(rule, "src/audit/record.rs", "fn a() -> crate::io::Clock { crate::parse::now() }"), 2);
    assert_eq!(broken(rule, "src/audit.rs", "use ringfence::policy::Code;"), 1);
    assert_eq!(broken(rule, "src/audit/mod.rs", "use super::*;"), 1);
    assert_eq!(broken(rule, "src/limits.rs", "use crate::parse::HEAD;"), 1);
    assert_eq!(broken(rule, "src/parse/head.rs", "fn a<'x>() -> impl Sized + use<'x> { b(); crate::io::c() }"), 1);
    assert_eq!(
        broken(rule, "src/parse/head.rs", "use crate::limits::X; use super::framing; use self::a; // crate::io"),
        0
    );
    assert_eq!(broken(rule, "src/io/flow.rs", "use crate::policy::Permit;"), 0);
}

#[test]
fn only_io_and_cli_see_config_and_nothing_below_sees_cli() {
    holds(&["src"], rules::cli_is_the_top);
}

#[test]
fn a_view_of_config_or_cli_from_below_is_found() {
    let rule = rules::cli_is_the_top;
    assert_eq!(broken(rule, "src/policy/mod.rs", "use crate::config::Settings;"), 1);
    assert_eq!(broken(rule, "src/io/worker.rs", "crate::cli::say(1)"), 1);
    assert_eq!(broken(rule, "src/io/worker.rs", "use crate::config::Settings;"), 0);
    assert_eq!(broken(rule, "src/main.rs", "fn main() { ringfence::cli::main() }"), 0);
}

#[test]
fn files_stay_within_600_lines() {
    holds(&["src", "tests", "fuzz", "benches"], rules::files_are_short);
}

#[test]
fn a_file_of_601_lines_is_found() {
    assert_eq!(broken(rules::files_are_short, "src/io/flow.rs", &"\n".repeat(600)), 0);
    assert_eq!(broken(rules::files_are_short, "src/io/flow.rs", &"\n".repeat(601)), 1);
}

#[test]
fn functions_fit_a_screen() {
    holds(&["src"], rules::functions_fit_a_screen);
}

#[test]
fn a_function_of_71_lines_is_found() {
    let long =
        |lines: usize| format!("impl A {{\n pub fn long<T: Fn() -> [u8; 3]>(t: T) {{{}}}\n}}", "\n".repeat(lines - 1));
    assert_eq!(broken(rules::functions_fit_a_screen, "src/io/flow.rs", &long(70)), 0);
    assert_eq!(broken(rules::functions_fit_a_screen, "src/io/flow.rs", &long(71)), 1);
    let tested = format!("#[cfg(test)]\nmod tests {{ {} }}", long(71));
    assert_eq!(broken(rules::functions_fit_a_screen, "src/io/flow.rs", &tested), 0);
}

#[test]
fn floors_neither_unwrap_nor_panic() {
    holds(&["src"], rules::floors_do_not_crash);
}

#[test]
fn an_unwrap_on_a_floor_is_found() {
    let rule = rules::floors_do_not_crash;
    assert_eq!(broken(rule, "src/parse/head.rs", "fn a() { b.unwrap(); c.expect(\"d\"); }"), 2);
    assert_eq!(broken(rule, "src/policy/table.rs", "fn a() { panic!(); }\nfn b() { todo!() }"), 2);
    assert_eq!(
        broken(rule, "src/parse/head.rs", "// b.unwrap()\nconst A: &str = \"panic!\"; fn a() { b.unwrap_or(0) }"),
        0
    );
    assert_eq!(broken(rule, "src/parse/framing.rs", "fn a() { head.headers.expect().is_some() }"), 0);
    assert_eq!(broken(rule, "src/parse/head.rs", "#[cfg(test)]\nmod tests { #[test] fn a() { b.unwrap() } }"), 0);
    assert_eq!(broken(rule, "src/parse/head.rs", "#[cfg(not(test))]\nfn a() { b.unwrap() }"), 1);
}

#[test]
fn unsafe_stays_in_the_engine_the_fence_and_the_ring() {
    holds(&["src"], rules::unsafe_stays_at_the_kernel);
}

#[test]
fn unsafe_elsewhere_is_found() {
    let rule = rules::unsafe_stays_at_the_kernel;
    assert_eq!(broken(rule, "src/io/tls.rs", "fn a() { unsafe { b() } }"), 1);
    assert_eq!(broken(rule, "src/parse/head.rs", "#[cfg(test)] mod tests { unsafe fn a() {} }"), 1);
    assert_eq!(broken(rule, "src/io/engine/uring.rs", "unsafe fn a() {}"), 0);
    assert_eq!(broken(rule, "src/io/tls.rs", "fn a() { /* unsafe */ }"), 0);
}

#[test]
fn only_the_engine_names_io_uring_and_epoll() {
    holds(&["src"], rules::only_the_engine_names_its_backends);
}

#[test]
fn a_backend_named_outside_the_engine_is_found() {
    let rule = rules::only_the_engine_names_its_backends;
    assert_eq!(broken(rule, "src/io/relay.rs", "use io_uring::opcode;"), 1);
    assert_eq!(broken(rule, "src/io/relay.rs", "libc::epoll_wait(a, libc::EPOLLIN)"), 2);
    assert_eq!(broken(rule, "src/cli/run.rs", "Choice::Epoll"), 0);
    assert_eq!(broken(rule, "src/io/netns/seccomp.rs", "libc::SYS_io_uring_setup"), 0);
    assert_eq!(broken(rule, "src/io/engine/epoll.rs", "libc::epoll_wait(a)"), 0);
}

#[test]
fn floors_know_no_socket_file_clock_thread_or_environment() {
    holds(&["src"], rules::floors_know_no_outside);
}

#[test]
fn a_clock_or_a_socket_on_a_floor_is_found() {
    let rule = rules::floors_know_no_outside;
    assert_eq!(broken(rule, "src/parse/head.rs", "use std::time::{Duration, Instant};"), 1);
    assert_eq!(broken(rule, "src/policy/mod.rs", "fn a() { std::fs::read(b); std::env::var(c) }"), 2);
    assert_eq!(broken(rule, "src/policy/mod.rs", "use std::{net::{IpAddr, TcpStream}, time};"), 1);
    assert_eq!(broken(rule, "src/audit/record.rs", "use std::time::SystemTime;"), 1);
    assert_eq!(broken(rule, "src/audit/writer.rs", "use std::time::SystemTime;"), 0);
    assert_eq!(broken(rule, "src/audit/writer/lock.rs", "use std::fs::File;"), 0);
    assert_eq!(broken(rule, "src/parse/head.rs", "use std::net::Ipv4Addr; #[cfg(test)] mod tests { use std::fs; }"), 0);
}

#[test]
fn only_cli_prints() {
    holds(&["src"], rules::only_cli_prints);
}

#[test]
fn a_print_below_cli_is_found() {
    assert_eq!(broken(rules::only_cli_prints, "src/io/flow.rs", "fn a() { eprintln!(\"x\"); }"), 1);
    assert_eq!(broken(rules::only_cli_prints, "src/cli/run.rs", "fn a() { println!(); }"), 0);
}

#[test]
fn every_file_opens_with_what_it_is() {
    holds(&["src", "tests"], rules::files_open_with_what_they_are);
}

#[test]
fn a_file_without_an_opening_is_found() {
    assert_eq!(broken(rules::files_open_with_what_they_are, "src/io/a.rs", "use std::fs;\n//! late"), 1);
}

#[test]
fn tests_wait_on_conditions_and_never_sleep() {
    holds(&["src", "tests"], rules::tests_never_sleep);
}

#[test]
fn a_sleep_is_found() {
    assert_eq!(broken(rules::tests_never_sleep, "tests/flow.rs", "fn a() { std::thread::sleep(b); }"), 1);
    assert_eq!(broken(rules::tests_never_sleep, "tests/flow.rs", "use std::thread;\nfn a() { thread::sleep(b) }"), 1);
    assert_eq!(broken(rules::tests_never_sleep, "tests/util/mod.rs", "fn a() { std::thread::sleep(b); }"), 0);
}

#[test]
fn documents_name_no_machine_path() {
    let mut files = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "bench", "deploy"] {
        source::collect(&root().join(folder), "md", &mut files);
    }
    let texts =
        files.iter().filter(|file| file.exists()).map(|file| (source::relative(&root(), file), source::read(file)));
    report(&texts.flat_map(|(path, text)| rules::documents_name_no_machine(&path, &text)).collect::<Vec<_>>());
}

#[test]
fn a_machine_path_in_a_document_is_found() {
    let broken = |text| rules::documents_name_no_machine("README.md", text).len();
    assert_eq!(broken("Run it in /srv/main, or `/home/me/ringfence`."), 2);
    assert_eq!(broken("See https://example.com/srv/ and /srvspace/**."), 0);
}

#[test]
fn literals_and_lifetimes_do_not_confuse_the_reader() {
    let text = r####"fn a<'x>(b: &'x str) -> char { let _ = r#"use crate::io; " "#; let _ = b"\""; '"' } // "
        /* nested /* "quote" */ unsafe */ fn c() { let _ = '\''; let _ = '\u{7b}'; 'l: loop { break 'l } } use crate::cli;"####;
    let source = Source::new("src/parse/a.rs", text);
    assert_eq!(source.code.chars().count(), text.chars().count());
    assert_eq!(
        source.names(&source.code).iter().map(|named| named.segments.join("::")).collect::<Vec<_>>(),
        ["crate::cli"]
    );
    assert_eq!(
        Source::functions(&source.code).iter().map(|function| function.name.as_str()).collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn a_module_that_only_tests_declare_is_read_as_tests() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(folder.path().join("src/parse/head")).expect("made");
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).expect("written");
    write(
        "src/parse/head.rs",
        "#[cfg(test)]\nmod tests;\n#[cfg(any(test, fuzzing))]\npub mod properties;\nmod shipped;",
    );
    write("src/parse/head/tests.rs", "fn a() { b.unwrap() }");
    write("src/parse/head/properties.rs", "fn a() { b.unwrap() }");
    write("src/parse/head/shipped.rs", "fn a() { b.unwrap() }");
    let found: Vec<_> =
        source::tree(Path::new(folder.path()), &["src"]).iter().flat_map(rules::floors_do_not_crash).collect();
    assert_eq!(
        found.iter().map(Finding::to_string).collect::<Vec<_>>(),
        ["src/parse/head/shipped.rs:1: `.unwrap()` outside tests"]
    );
}
