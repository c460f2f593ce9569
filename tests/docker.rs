//! Agents in containers: the compose files as they are printed, an unmodified Python agent, an origin, and a canary on the machine itself.
//!
//! What an agent sees is claimed by one program, tests/docker/claims.py, in every form; what it may try, by another, escape.py. Needs root
//! and Debian, takes minutes, and is therefore ignored in ordinary runs: `scripts/test` runs it by name.

#![allow(clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

#[path = "docker/engine.rs"]
mod engine;
#[path = "docker/forms.rs"]
mod forms;
#[path = "docker/printed.rs"]
mod printed;
#[path = "docker/run.rs"]
mod run;
#[path = "docker/table.rs"]
mod table;
#[allow(dead_code, reason = "the programs find certificate and key by their names")]
#[path = "clients/trust.rs"]
mod trust;
mod util;

use engine::{Engine, IMAGE, repository, succeeded};
use forms::{Backend, Form, SECRET, Site, changed_policy, first_policy};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use util::{Program, until};

const IMAGE_BYTES_MAX: u64 = 25_000_000;

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn the_image_holds_one_small_static_binary_and_runs_as_nobody() {
    let engine = Engine::take();
    let size =
        engine.run(&["image", "inspect", "--format", "{{ .Size }}", IMAGE]).stdout[0].parse::<u64>().expect("bytes");
    eprintln!("the image has {size} bytes");
    assert!(size < IMAGE_BYTES_MAX, "{size}");
    let user = engine.run(&["image", "inspect", "--format", "{{ .Config.User }}", IMAGE]).stdout;
    assert_eq!(user, ["1337:1337"]);
    let container = engine.run(&["create", IMAGE]).stdout.remove(0);
    let listed = format!("docker export {container} | tar -t");
    let mut list = std::process::Command::new("sh");
    let listed = Program::start(engine.speak_to(&mut list).args(["-c", &listed])).finish();
    engine.run(&["rm", &container]);
    let ours = |name: &&String| {
        !name.ends_with('/') && !["dev", "etc", "proc", "sys", ".dockerenv"].iter().any(|top| name.starts_with(top))
    };
    let files: Vec<&String> = listed.stdout.iter().filter(ours).collect();
    assert_eq!(files, ["usr/local/bin/ringfence"]);
    let version = engine.run(&["run", "--rm", IMAGE, "--version"]).stdout;
    assert!(!version[0].contains("unknown") && version[0].ends_with(')'), "it names its commit: {version:?}");
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn io_uring_is_chosen_with_the_profile_and_epoll_where_it_is_refused() {
    let engine = Engine::take();
    let says = |profile: &str| {
        let option = format!("seccomp={}", repository().join(profile).display());
        let line = [
            "run",
            "--rm",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            &option,
            IMAGE,
            "--version",
        ];
        engine.run(&line).stdout.remove(1)
    };
    assert!(says("deploy/docker/seccomp.json").starts_with("I/O: io_uring (chosen)"));
    assert!(says("tests/docker/seccomp-without-io-uring.json").starts_with("I/O: epoll (chosen); io_uring refused"));
    // The agent's profile has what current Engines have, on any Engine.
    assert!(says("deploy/docker/seccomp.agent.json").starts_with("I/O: epoll (chosen); io_uring refused"));
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn the_claims_hold_in_every_form() {
    let engine = Engine::take();
    let mut table = table::Table::default();
    let (claims, records) = run::claims("auto");
    table.column("run", &claims);
    let decided = requests(&records);
    ids_are_on_record(&claims, &records);
    for form in [Form::Gateway, Form::Sidecar, Form::Proxy] {
        let mut columns = Vec::new();
        for backend in [Backend::Uring, Backend::Epoll] {
            let site = Site::open(&engine, form, backend);
            let chosen = site.log();
            assert_eq!(chosen.contains("io=\"epoll\""), backend == Backend::Epoll, "{chosen}");
            let mut claims = site.claims("running");
            let records = site.records();
            ids_are_on_record(&claims, &records);
            same_decisions(form, &decided, &requests(&records));
            nothing_denied_arrived(&site.origin_says());
            claims.extend(as_time_goes_by(&site));
            columns.push(claims);
        }
        table.column(form.name(), &columns[0]);
        assert_eq!(outcomes(&columns[0]), outcomes(&columns[1]), "io_uring and epoll differ in {form:?}");
    }
    table.failures().unwrap_or_else(|failures| panic!("{failures}"));
    table.must_be_the_page();
}

/// What an operator does while an agent works, and what the agent sees of it.
fn as_time_goes_by(site: &Site<'_>) -> Vec<Value> {
    site.write_policy(&changed_policy());
    let holds = |claims: &[Value]| claims.iter().all(|claim| claim["holds"] == true);
    let mut claims =
        until("the changed policy is in force", || Some(site.claims("changed")).filter(|claims| holds(claims)));
    site.write_policy("ringfence: v1\nrulez: []\n");
    until("the broken policy is told of", || site.log().contains("stays in force").then_some(()));
    claims.extend(site.claims("kept"));
    site.write_policy(first_policy());
    let bundle = || site.run(&["exec", "-T", "agent", "sha256sum", "/shared/ca-bundle.crt"]).stdout;
    let before = bundle();
    site.compose_well(&["restart", "ringfence"]);
    claims.extend(until("ringfence is back", || Some(site.claims("restarted")).filter(|claims| holds(claims))));
    assert!(!before.is_empty() && before == bundle(), "another authority");
    site.compose_well(&["stop", "--timeout", "20", "ringfence"]);
    claims.extend(site.claims("stopped"));
    claims
}

/// Every decision that a refused caller was told is on record, as a denial.
fn ids_are_on_record(claims: &[Value], records: &[Value]) {
    let told: Vec<&Value> = claims.iter().filter_map(|claim| claim["decisions"].as_array()).flatten().collect();
    assert!(told.len() > 5, "{claims:?}");
    for id in told {
        let record = records.iter().find(|record| record["kind"] == "decision" && record["id"] == *id);
        assert!(record.is_some_and(|record| record["verdict"] == "deny"), "{id} is not on record as denied");
    }
}

/// The decisions about requests with a target, without what tells one run or one way of arriving from another.
fn requests(records: &[Value]) -> BTreeSet<String> {
    let facts = [
        "protocol",
        "scheme",
        "sni",
        "host",
        "port",
        "method",
        "path",
        "verdict",
        "enforced",
        "rule",
        "reason",
        "code",
        "inspected",
    ];
    let decisions = records.iter().filter(|record| record["kind"] == "decision" && record["protocol"] == "http/1.1");
    // What is asked of an address is asked of whoever has it, and that differs.
    let named = decisions.filter(|record| record["host"].as_str().is_some_and(|host| host.ends_with(".test")));
    let told = named
        .map(|record| facts.iter().map(|fact| (*fact, record[*fact].clone())).filter(|(_, value)| !value.is_null()));
    told.map(|told| serde_json::to_string(&told.collect::<BTreeMap<_, _>>()).expect("JSON")).collect()
}

fn same_decisions(form: Form, expected: &BTreeSet<String>, found: &BTreeSet<String>) {
    assert!(expected.len() >= 15, "{expected:#?}");
    // On a port where a gateway does not listen nobody is asked, and nothing is decided.
    let asked = |decision: &&String| form != Form::Gateway || !decision.contains("/other-port");
    let missing: Vec<_> = expected.difference(found).filter(asked).collect();
    let more: Vec<_> = found.difference(expected).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "{form:?} decided otherwise than run\nnot here: {missing:#?}\nonly here: {more:#?}"
    );
}

/// The origin heard what was allowed, and nothing else.
fn nothing_denied_arrived(said: &[Value]) {
    let requests: Vec<&Value> = said.iter().map(|fact| &fact["request"]).filter(|request| !request.is_null()).collect();
    assert!(requests.len() > 10, "{requests:?}");
    for request in requests {
        let (method, target) = (request["method"].as_str().unwrap_or(""), request["target"].as_str().unwrap_or(""));
        let allowed = ["/hello", "/echo/", "/later/", "/next", "/events", "/pattern/", "/v1/chat/completions"];
        assert!(method != "DELETE" && allowed.iter().any(|path| target.starts_with(path)), "it heard {request}");
    }
}

fn outcomes(claims: &[Value]) -> Vec<(&Value, &Value)> {
    claims.iter().map(|claim| (&claim["claim"], &claim["outcome"])).collect()
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn nothing_gets_out_of_the_gateway_form_as_root() {
    nothing_gets_out(Form::Gateway, "0");
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn nothing_gets_out_of_the_sidecar_form() {
    nothing_gets_out(Form::Sidecar, "1000");
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn nothing_gets_out_of_the_explicit_proxy_form_as_root() {
    nothing_gets_out(Form::Proxy, "0");
}

fn nothing_gets_out(form: Form, user: &str) {
    let engine = Engine::take();
    let site = Site::open(&engine, form, Backend::Uring);
    let canary = canary(&engine);
    let id = site.compose_well(&["exec", "-T", "agent", "id", "-u"]);
    assert_eq!(id.stdout, [user]);
    let tried = site.agent("escape.py", &[]);
    let escaped: Vec<&String> = tried.stdout.iter().filter(|line| line.starts_with("ESCAPED")).collect();
    assert!(tried.status.success() && escaped.is_empty(), "{escaped:#?}\n{}", tried.stderr);
    let last = tried.stdout.last().expect("it says how many");
    let attempts: usize = last.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    assert!(attempts >= 100, "{last}");
    let came = came(canary);
    assert!(came.is_empty(), "the machine heard {came:?}");
}

/// What the two claims above would look like if they did not hold.
#[test]
#[ignore = "needs root and an Engine; minutes"]
fn the_same_attempts_get_out_of_an_ordinary_container() {
    let engine = Engine::take();
    let canary = canary(&engine);
    let programs = format!("{}:/programs:ro", repository().join("tests/docker").display());
    let asked = format!(
        r#"ESCAPE={{"secret":"{SECRET}","addresses":["172.17.0.1"],"origin":"172.29.0.10","ringfence":"172.17.0.200","listens":[],"scan":false}}"#
    );
    let line = [
        "run",
        "--rm",
        "--init",
        "--env",
        &asked,
        "--volume",
        &programs,
        "python:3.13-slim",
        "python",
        "/programs/escape.py",
    ];
    let tried = Program::start(&mut engine.docker(&line)).finish();
    let escaped = |name: &str| tried.stdout.iter().any(|line| line.starts_with(&format!("ESCAPED {name}")));
    for attempt in ["tcp 172.17.0.1 port 22", "udp 172.17.0.1 port 53", "packet socket", "raw socket"] {
        assert!(escaped(attempt), "{attempt}: {tried:?}");
    }
    assert!(came(canary).len() > 5);
}

fn canary(engine: &Engine) -> Program {
    let path = repository().join("tests/docker/canary.py");
    let canary = engine.on_the_machine(&["python3", &path.to_string_lossy(), SECRET]);
    assert!(canary.line().is_some_and(|line| line.contains("ready")), "the canary does not sing");
    canary
}

/// Who came to the canary. It has heard all of them: it answers itself last.
fn came(mut canary: Program) -> Vec<String> {
    canary.tell("end");
    canary.finish().stdout
}

/// Docker gives a container that starts again a new network namespace, and whoever joins it joins that one.
#[test]
#[ignore = "needs root and an Engine; minutes"]
fn an_agent_that_restarts_alone_finds_filters_or_no_network() {
    let engine = Engine::take();
    let site = Site::open(&engine, Form::Sidecar, Backend::Uring);
    for restarted in [&["ringfence", "agent"][..], &["network", "agent"]] {
        for service in restarted {
            site.compose_well(&["restart", "--timeout", "3", service]);
        }
        let claims = if restarted[0] == "network" { site.claims("stopped") } else { site.claims("restarted") };
        assert!(claims.iter().all(|claim| claim["holds"] == true), "{restarted:?}: {claims:?}");
    }
    // ringfence joins the new network like anybody else, and the agent is governed again.
    site.compose_well(&["restart", "ringfence"]);
    until("the agent is governed again", || {
        site.claims("restarted").iter().all(|claim| claim["holds"] == true).then_some(())
    });
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn doctor_finds_nothing_wrong_with_the_gateway_form() {
    let engine = Engine::take();
    let site = Site::open(&engine, Form::Gateway, Backend::Uring);
    let found = site.ringfence(&["doctor", "--config", "/etc/ringfence/ringfence.yaml"]);
    let said = found.stdout.join("\n");
    assert!(found.status.success() && said.contains("gateway networks"), "{said}\n{}", found.stderr);
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn doctor_refuses_an_agent_that_could_go_around_the_filters() {
    let engine = Engine::take();
    let site = Site::open(&engine, Form::Sidecar, Backend::Uring);
    let doctor = || site.run(&["run", "--rm", "doctor"]);
    let healthy = doctor();
    assert!(healthy.status.success(), "{healthy:?}");
    let network = site.compose_well(&["ps", "--quiet", "network"]).stdout.remove(0);
    let network = format!("container:{network}");
    for (option, value, told) in [
        ("--cap-add", "NET_RAW", "CAP_NET_RAW"),
        ("--cap-add", "SETUID", "CAP_SETUID"),
        ("--user", "1337:1337", "1337"),
    ] {
        let line = [
            "run",
            "--detach",
            "--rm",
            "--network",
            &network,
            "--cap-drop",
            "ALL",
            "--user",
            "1000",
            option,
            value,
            "python:3.13-slim",
            "sleep",
            "600",
        ];
        let other = engine.run(&line).stdout.remove(0);
        let pid = format!("container:{other}");
        let config = format!("{}:/etc/ringfence:ro", repository().join("deploy/docker/sidecar").display());
        let look = [
            "run",
            "--rm",
            "--user",
            "0",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "NET_ADMIN",
            "--network",
            &network,
            "--pid",
            &pid,
            "--volume",
            &config,
            IMAGE,
            "doctor",
            "--config",
            "/etc/ringfence/ringfence.yaml",
        ];
        let found = Program::start(&mut engine.docker(&look)).finish();
        engine.run(&["kill", &other]);
        let said = found.stdout.join("\n");
        assert!(
            !found.status.success() && said.lines().any(|line| line.starts_with("miss") && line.contains(told)),
            "{option} {value}: {said}"
        );
    }
}

#[test]
#[ignore = "needs root and an Engine; minutes"]
fn the_quick_start_works_as_printed() {
    let engine = Engine::take();
    let printed = printed::quick_start();
    assert!(printed.len() <= 5, "{printed:#?}");
    let place = tempfile::tempdir().expect("a temporary folder");
    let output = printed::run_in_one_shell(&engine, place.path(), &printed);
    succeeded(&output);
    let said = |words: &[&str]| output.stdout.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(
        said(&["\"status\":403", "\"rule\":\"delete anything\"", "\"remedy\""]),
        "the agent is told why: {output:?}"
    );
    assert!(said(&["deny", "DELETE api.github.com/repos/acme/site"]), "it is on record: {output:?}");
    // What `down` keeps for the user is in the way of the next test.
    engine.run(&["volume", "rm", "docker_state", "docker_trust"]);
}

#[test]
fn the_profiles_differ_from_the_default_only_where_they_say_so() {
    let ringfence = printed::profile("deploy/docker/seccomp.json");
    let agent = printed::profile("deploy/docker/seccomp.agent.json");
    let only = |these: &BTreeSet<(String, String)>, those: &BTreeSet<(String, String)>| -> BTreeSet<String> {
        these.difference(those).map(|(name, _)| name.clone()).collect()
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let taken = named(&["io_uring_enter", "io_uring_register", "io_uring_setup", "setsockopt", "socketcall"]);
    assert_eq!(only(&ringfence, &agent), taken);
    assert_eq!(only(&agent, &ringfence), named(&["setsockopt"]));
}

#[test]
fn the_compose_files_set_the_variables_that_env_prints() {
    for file in ["compose.gateway.yaml", "compose.sidecar.yaml"] {
        let text = std::fs::read_to_string(repository().join("deploy/docker").join(file)).expect("it is there");
        let set: BTreeSet<&str> =
            text.lines().filter_map(|line| line.trim().strip_suffix(": /shared/ca-bundle.crt")).collect();
        let known: BTreeSet<&str> = ringfence::config::TRUST_VARIABLES.into_iter().collect();
        assert_eq!(set, known, "{file}");
    }
}
