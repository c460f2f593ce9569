//! Unmodified clients, governed: what the policy allows arrives byte for byte, what it denies is answered as the contract says and
//! reaches no origin, and every call is on record.
//!
//! Each claim about something allowed is also shown directly, without ringfence: the control. The others stand for both I/O backends,
//! for whoever runs the tests and for an ordinary user, and for clients that know of a proxy.

#![allow(clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

#[path = "clients/harness.rs"]
mod harness;
#[path = "clients/origins.rs"]
mod origins;
#[path = "clients/programs.rs"]
mod programs;
#[path = "clients/proxied.rs"]
mod proxied;
#[path = "clients/record.rs"]
mod record;
#[path = "clients/repository.rs"]
mod repository;
#[path = "clients/trust.rs"]
mod trust;
mod util;

use harness::{Fence, Identity, Site, peak_memory_kib};
use programs::{Answer, Body, Client, write_pattern};
use record::{Call, all_on_record, decisions, reached_nothing, refused};
use repository::{git, make_repository};
use serde_json::Value;
use util::{Finished, Program};

/// The longest body that every client moves.
const LONG_BYTES: u64 = 100 << 20;
/// The body that is too long to be held anywhere.
const HUGE_BYTES: u64 = 1 << 30;
/// By how much ringfence may grow while such a body passes.
const GROWTH_KIB_MAX: u64 = 16 * 1024;
/// How many events the origin's streams have.
const EVENTS: u32 = 5;

/// A claim under `ringfence run`, on both backends, as two users.
macro_rules! fenced {
    ($($(#[$gate:meta])* $claim:ident)*) => {$(mod $claim {
        use super::{Fence, Identity};

        #[test]
        $(#[$gate])*
        fn on_uring() {
            super::$claim(Fence::Fenced { engine: "uring", identity: Identity::Invoker });
        }

        #[test]
        $(#[$gate])*
        fn on_uring_as_an_ordinary_user() {
            super::$claim(Fence::Fenced { engine: "uring", identity: Identity::OrdinaryUser });
        }

        #[test]
        $(#[$gate])*
        fn on_epoll() {
            super::$claim(Fence::Fenced { engine: "epoll", identity: Identity::Invoker });
        }

        #[test]
        $(#[$gate])*
        fn on_epoll_as_an_ordinary_user() {
            super::$claim(Fence::Fenced { engine: "epoll", identity: Identity::OrdinaryUser });
        }
    })*};
}

/// A claim that also holds without ringfence, and must, before it says anything about it.
macro_rules! everywhere {
    ($($claim:ident)*) => {
        fenced!($($claim)*);
        mod directly {
            $(#[test]
            fn $claim() {
                super::$claim(super::Fence::Direct);
            })*
        }
    };
}

/// A claim that also holds for clients that are told of `ringfence proxy` by their environment.
macro_rules! through_a_proxy {
    ($($claim:ident)*) => {
        mod through_a_proxy {
            $(#[test]
            fn $claim() {
                super::$claim(super::Fence::Proxied);
            })*
        }
    };
}

// Without fetch: Node 20 reads no variable of that kind.
through_a_proxy! {
    curl_moves_bodies_byte_for_byte
    wget_moves_bodies_byte_for_byte
    requests_moves_bodies_byte_for_byte
    httpx_moves_bodies_byte_for_byte
    openai_completes_a_chat
    git_clones_and_pushes
    curl_gets_from_nginx_what_it_asks_for
    curl_sees_events_one_by_one
    wget_sees_events_one_by_one
    requests_sees_events_one_by_one
    httpx_sees_events_one_by_one
    openai_sees_a_streamed_completion_piece_by_piece
    curl_is_told_why_it_was_refused
    wget_is_told_why_it_was_refused
    requests_is_told_why_it_was_refused
    httpx_is_told_why_it_was_refused
    openai_is_told_why_it_was_refused
    git_is_told_that_it_was_refused
}

everywhere! {
    curl_moves_bodies_byte_for_byte
    wget_moves_bodies_byte_for_byte
    requests_moves_bodies_byte_for_byte
    httpx_moves_bodies_byte_for_byte
    fetch_moves_bodies_byte_for_byte
    openai_completes_a_chat
    git_clones_and_pushes
    curl_gets_from_nginx_what_it_asks_for
    curl_sees_events_one_by_one
    wget_sees_events_one_by_one
    requests_sees_events_one_by_one
    httpx_sees_events_one_by_one
    fetch_sees_events_one_by_one
    openai_sees_a_streamed_completion_piece_by_piece
}

fenced! {
    curl_is_told_why_it_was_refused
    wget_is_told_why_it_was_refused
    requests_is_told_why_it_was_refused
    httpx_is_told_why_it_was_refused
    fetch_is_told_why_it_was_refused
    openai_is_told_why_it_was_refused
    git_is_told_that_it_was_refused
    a_closed_host_is_refused_before_the_origin_hears_of_it
    #[ignore = "a gibibyte each way: scripts/test runs it, scripts/test --quick does not"]
    memory_stays_flat_under_a_gibibyte_each_way
}

fn curl_moves_bodies_byte_for_byte(fence: Fence) {
    moves_bodies(fence, Client::Curl);
}

fn wget_moves_bodies_byte_for_byte(fence: Fence) {
    moves_bodies(fence, Client::Wget);
}

fn requests_moves_bodies_byte_for_byte(fence: Fence) {
    moves_bodies(fence, Client::Requests);
}

fn httpx_moves_bodies_byte_for_byte(fence: Fence) {
    moves_bodies(fence, Client::Httpx);
}

fn fetch_moves_bodies_byte_for_byte(fence: Fence) {
    moves_bodies(fence, Client::Fetch);
}

fn moves_bodies(fence: Fence, client: Client) {
    let site = Site::open(fence);
    let sent = site.at("sent");
    let mut calls = Vec::new();
    for bytes in [1, 1 << 10, 1 << 20, LONG_BYTES] {
        let expected = Body::pattern(bytes);
        // Many chunks cost some clients many times what they cost a proxy: fetch takes 40 s for 100 MiB of them, with nobody between.
        let chunked = bytes < LONG_BYTES || matches!(client, Client::Curl);
        let paths = [Some(format!("/pattern/{bytes}")), chunked.then(|| format!("/chunked/{bytes}"))];
        for path in paths.into_iter().flatten() {
            let received = client.call(&site, "GET", &site.url("origin.example.test", &path), None);
            succeeded(&received.finished);
            assert_eq!((received.status, &received.body), (200, &expected), "{path}: {received:?}");
            calls.push(Call::new("GET", path, bytes, 0));
        }
        write_pattern(&sent, bytes);
        let echoed = client.call(&site, "POST", &site.url("origin.example.test", "/echo"), Some(&sent));
        succeeded(&echoed.finished);
        let told = echoed.json(&site);
        assert_eq!((echoed.status, &Body::told(&told)), (200, &expected), "{echoed:?}");
        assert_eq!((told["method"].as_str(), told["target"].as_str()), (Some("POST"), Some("/echo")));
        calls.push(Call::new("POST", "/echo".to_owned(), echoed.body.bytes, bytes));
    }
    all_on_record(&site, &calls);
}

fn openai_completes_a_chat(fence: Fence) {
    let site = Site::open(fence);
    let answer = openai(&site, "llm.example.test", "/v1");
    succeeded(&answer.finished);
    assert_eq!((answer.status, answer.text(&site).as_str()), (200, "stressed"));
    all_on_record(&site, &[Call::new("POST", "/v1/chat/completions".to_owned(), 1, 1)]);
    let seen = site.seen();
    let asked: Vec<_> = seen.iter().map(|request| (request.method.as_str(), request.target.as_str())).collect();
    assert_eq!(asked, [("POST", "/v1/chat/completions")]);
    assert_eq!(seen[0].header("authorization"), Some("Bearer none"), "what the client sends, the origin gets");
}

fn openai(site: &Site, host: &str, base: &str) -> Answer {
    let line = [&site.python(), &site.program("openai_client.py"), "call", &site.url(host, base), "small"];
    Answer::from_json(site, site.run(&line))
}

fn git_clones_and_pushes(fence: Fence) {
    let site = Site::open(fence);
    let commit = make_repository(&site, "project.git");
    let url = site.url("origin.example.test", "/git/project.git");
    succeeded(&site.run(&["git", "clone", "--quiet", &url, "copy"]));
    let clone = site.home().join("copy");
    let clone = clone.to_str().expect("a path in UTF-8");
    assert_eq!(site.run(&["git", "-C", clone, "rev-parse", "HEAD"]).stdout, [commit]);
    succeeded(&site.run(&["git", "-C", clone, "fsck", "--strict"]));

    succeeded(&site.run(&[
        "git",
        "-C",
        clone,
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "Say more",
        "--author",
        "A <a@b.c>",
    ]));
    succeeded(&site.run(&["git", "-C", clone, "push", "--quiet", "origin", "HEAD:refs/heads/more"]));
    let pushed = site.run(&["git", "-C", clone, "rev-parse", "HEAD"]).stdout;
    let arrived = Program::start(&mut git(&site, &["rev-parse", "more"], "repositories/project.git")).finish();
    assert_eq!(arrived.stdout, pushed);
    if site.is_fenced() {
        let paths: Vec<_> = decisions(&site.records()).iter().map(|decision| decision["path"].clone()).collect();
        for end in ["/info/refs", "/git-upload-pack", "/git-receive-pack"] {
            assert!(paths.contains(&format!("/git/project.git{end}").into()), "{end} is not in {paths:?}");
        }
    }
}

fn curl_gets_from_nginx_what_it_asks_for(fence: Fence) {
    let site = Site::open(fence);
    let (page, numbers) = (site.url("nginx.example.test", "/page.html"), site.url("nginx.example.test", "/numbers"));
    let wrote = "%{http_code} %{size_download} %{num_connects}\\n";
    // One process, one connection: whole, compressed, in part, the head alone, and not at all because it has not changed.
    let line = [
        vec!["curl", "-sS", "-w", wrote, "-o", "whole", &numbers],
        vec!["--next", "-sS", "-w", wrote, "-o", "page", "--compressed", "--etag-save", "etag", &page],
        vec!["--next", "-sS", "-w", wrote, "-o", "part", "-r", "100-299", &numbers],
        vec!["--next", "-sS", "-w", wrote, "-o", "head", "-I", &numbers],
        vec!["--next", "-sS", "-w", wrote, "-o", "none", "--compressed", "--etag-compare", "etag", &page],
    ]
    .concat();
    let finished = site.run(&line);
    succeeded(&finished);
    let told: Vec<Vec<&str>> = finished.stdout.iter().map(|line| line.split(' ').collect()).collect();
    let statuses: Vec<&str> = told.iter().map(|line| line[0]).collect();
    assert_eq!(statuses, ["200", "200", "206", "200", "304"], "{finished:?}");
    let connects: Vec<&str> = told.iter().map(|line| line[2]).collect();
    assert_eq!(connects, ["1", "0", "0", "0", "0"], "the connection is kept");
    assert_eq!(Body::of_file(&site.home().join("whole")), Body::of_bytes(origins::numbers().as_bytes()));
    assert_eq!(Body::of_file(&site.home().join("page")), Body::of_bytes(origins::page().as_bytes()));
    assert_eq!(Body::of_file(&site.home().join("part")), Body::of_bytes(&origins::numbers().as_bytes()[100..300]));
    let compressed: usize = told[1][1].parse().expect("a number");
    // To a client of a proxy, and to one on the way to a private address we say that we are one, nginx sends nothing compressed by default.
    let whole = matches!(fence, Fence::Proxied);
    assert_eq!(compressed >= origins::page().len() / 2, whole, "the page travels compressed, in {compressed} bytes");
    if site.is_fenced() {
        assert_eq!(decisions(&site.records()).len(), 5);
    }
}

fn curl_sees_events_one_by_one(fence: Fence) {
    sees_events(fence, Client::Curl);
}

fn wget_sees_events_one_by_one(fence: Fence) {
    sees_events(fence, Client::Wget);
}

fn requests_sees_events_one_by_one(fence: Fence) {
    sees_events(fence, Client::Requests);
}

fn httpx_sees_events_one_by_one(fence: Fence) {
    sees_events(fence, Client::Httpx);
}

fn fetch_sees_events_one_by_one(fence: Fence) {
    sees_events(fence, Client::Fetch);
}

fn sees_events(fence: Fence, client: Client) {
    let mut site = Site::open(fence);
    let program = client.events(&site, &site.url("origin.example.test", "/events"));
    take_events_in_turn(&mut site, program, |number| format!("{{\"n\": {number}}}"));
    all_on_record(&site, &[Call::new("GET", "/events".to_owned(), 1, 0)]);
}

fn openai_sees_a_streamed_completion_piece_by_piece(fence: Fence) {
    let mut site = Site::open(fence);
    let base = site.url("llm.example.test", "/v1");
    let program = site.start(&[&site.python(), &site.program("openai_client.py"), "events", &base, "small"]);
    take_events_in_turn(&mut site, program, |number| number.to_string());
    all_on_record(&site, &[Call::new("POST", "/v1/chat/completions".to_owned(), 1, 1)]);
}

/// The origin sends an event only when the client has shown the one before, so whoever holds one back stops both.
fn take_events_in_turn(site: &mut Site, program: Program, expected: impl Fn(u32) -> String) {
    for number in 0..EVENTS {
        let event = loop {
            match program.line() {
                Some(line) if line.is_empty() => {}
                Some(line) => break line.trim_start_matches("data: ").to_owned(),
                None => panic!("the stream ends before event {number}: {:?}", program.finish()),
            }
        };
        assert_eq!(event, expected(number));
        if number + 1 < EVENTS {
            site.origin.send_next_event();
        }
    }
    succeeded(&program.finish());
}

fn curl_is_told_why_it_was_refused(fence: Fence) {
    is_told(fence, Client::Curl);
}

fn wget_is_told_why_it_was_refused(fence: Fence) {
    is_told(fence, Client::Wget);
}

fn requests_is_told_why_it_was_refused(fence: Fence) {
    is_told(fence, Client::Requests);
}

fn httpx_is_told_why_it_was_refused(fence: Fence) {
    is_told(fence, Client::Httpx);
}

fn fetch_is_told_why_it_was_refused(fence: Fence) {
    is_told(fence, Client::Fetch);
}

fn is_told(fence: Fence, client: Client) {
    let site = Site::open(fence);
    let sent = site.at("sent");
    write_pattern(&sent, 1 << 10);
    let url = |path| site.url("origin.example.test", path);
    let by_method = client.call(&site, "DELETE", &url("/echo"), None);
    refused(
        &site,
        &by_method,
        ("DELETE", "/echo"),
        Some(["delete anything", "Deletion needs a person.", "Open a pull request instead."]),
    );
    let by_path = client.call(&site, "GET", &url("/vault/key"), None);
    refused(&site, &by_path, ("GET", "/vault/key"), Some(["the vault", "The vault is closed.", "Ask its owner."]));
    let by_default = client.call(&site, "POST", &url("/elsewhere"), Some(&sent));
    refused(&site, &by_default, ("POST", "/elsewhere"), None);
    reached_nothing(&site);
}

fn openai_is_told_why_it_was_refused(fence: Fence) {
    let site = Site::open(fence);
    let answer = openai(&site, "origin.example.test", "/vault/v1");
    let rule = ["the vault", "The vault is closed.", "Ask its owner."];
    refused(&site, &answer, ("POST", "/vault/v1/chat/completions"), Some(rule));
    reached_nothing(&site);
}

fn git_is_told_that_it_was_refused(fence: Fence) {
    let site = Site::open(fence);
    make_repository(&site, "private.git");
    let url = site.url("origin.example.test", "/git/private.git");
    let finished = site.run(&["env", "GIT_TRACE_CURL=1", "git", "clone", &url, "copy"]);
    assert_eq!(finished.status.code(), Some(128), "{finished:?}");
    assert!(finished.stderr.contains("The requested URL returned error: 403"), "{finished:?}");
    let id =
        finished.stderr.lines().find_map(|line| line.split_once("ringfence-decision: ")).expect("the id is shown").1;
    let records = site.records();
    let decision = decisions(&records)[0];
    assert_eq!((decision["id"].as_str(), decision["rule"].as_str()), (Some(id.trim()), Some("the vault")));
    reached_nothing(&site);
}

/// Where a host is closed as a whole, its name does not resolve; who knows an address is refused by name all the same.
fn a_closed_host_is_refused_before_the_origin_hears_of_it(fence: Fence) {
    let site = Site::open(fence);
    let unresolved = site.run(&["curl", "-sS", "https://closed.example.test/"]);
    assert_eq!(unresolved.status.code(), Some(6), "curl could not resolve the host: {unresolved:?}");

    let address = "closed.example.test:443:203.0.113.7";
    let refused_by_name = site.run(&["curl", "-sS", "--resolve", address, "https://closed.example.test/"]);
    assert_eq!(refused_by_name.status.code(), Some(35), "curl was refused in the TLS handshake: {refused_by_name:?}");

    let address = "closed.example.test:80:203.0.113.7";
    let line = ["curl", "-sS", "-D", "head", "-o", "body", "--resolve", address, "http://closed.example.test/"];
    let answer = Answer::from_curl(&site, site.run(&line));
    refused(&site, &answer, ("GET", "/"), Some(["a closed host", "This host is closed.", "Use another."]));

    let records = site.records();
    let about = |record: &&Value| {
        [&record["host"], &record["sni"]].iter().any(|name| name.as_str() == Some("closed.example.test"))
    };
    let denied: Vec<&Value> = records.iter().filter(about).filter(|record| record["verdict"] == "deny").collect();
    let protocols: Vec<&str> = denied.iter().filter_map(|record| record["protocol"].as_str()).collect();
    for protocol in ["dns", "tls", "http/1.1"] {
        assert!(protocols.contains(&protocol), "no denial of {protocol} in {records:?}");
    }
    reached_nothing(&site);
}

fn memory_stays_flat_under_a_gibibyte_each_way(fence: Fence) {
    let site = Site::open(fence);
    let origin = |path: String| site.url("origin.example.test", &path);
    let down = |bytes: u64| format!("curl -sS {} | sha256sum", origin(format!("/pattern/{bytes}")));
    let pattern = format!("python3 {} --pattern", site.program("origin.py"));
    let up = |bytes: u64| format!("{pattern} {bytes} | curl -sS -X PUT -T - {} && echo", origin("/echo".to_owned()));
    let steps = [down(1 << 20), up(1 << 20), down(HUGE_BYTES), up(HUGE_BYTES)].join("; read go; ");
    let mut program = site.start(&["sh", "-c", &format!("{steps}; read go")]);
    let mut peaks = Vec::new();
    for bytes in [1 << 20, HUGE_BYTES] {
        for _way in ["down", "up"] {
            let told = program.line().unwrap_or_default();
            let expected = Body::pattern(bytes);
            assert!(told.contains(&expected.sha256), "{bytes} bytes: {told:?}");
            peaks.push(peak_memory_kib(program.id()));
            program.tell("go");
        }
    }
    succeeded(&program.finish());
    let growth = peaks[3] - peaks[1];
    assert!(growth <= GROWTH_KIB_MAX, "ringfence grew by {growth} KiB: {peaks:?}");
    all_on_record(
        &site,
        &[
            Call::new("GET", format!("/pattern/{}", 1 << 20), 1 << 20, 0),
            Call::new("PUT", "/echo".to_owned(), 1, 1 << 20),
            Call::new("GET", format!("/pattern/{HUGE_BYTES}"), HUGE_BYTES, 0),
            Call::new("PUT", "/echo".to_owned(), 1, HUGE_BYTES),
        ],
    );
}

fn succeeded(finished: &Finished) {
    assert!(finished.status.success(), "{finished:?}");
}
