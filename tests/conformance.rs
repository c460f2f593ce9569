//! The official conformance suite of MCP, once direct and once through ringfence: every check has the same verdict.
//!
//! The suite plays the client for a server on the official SDK, and the server for a client on it; both of ours offer what the suite asks for. What is
//! allowed is everything, so that whatever differs is a change that ringfence has made. Its packages are installed by `scripts/test`, which
//! runs these tests by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

mod util;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use util::Program;

const RINGFENCE: &str = env!("CARGO_BIN_EXE_ringfence");

/// The verdicts on one check of a scenario, in the order they were given. A check that is made several times has several.
type Verdicts = BTreeMap<(String, String), Vec<String>>;

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn servers_are_judged_alike_direct_and_through_ringfence_2025_11_25() {
    servers("2025-11-25", 75);
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn servers_are_judged_alike_direct_and_through_ringfence_2026_07_28() {
    servers("2026-07-28", 150);
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn clients_are_judged_alike_direct_and_through_ringfence_2025_11_25() {
    clients("2025-11-25", 280);
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn clients_are_judged_alike_direct_and_through_ringfence_2026_07_28() {
    clients("2026-07-28", 440);
}

/// The suite as a client of our server: at the server's own port, and at a gateway in front of it.
fn servers(revision: &str, passed_min: usize) {
    let server = Program::start(Command::new(python()).args(["-W", "ignore"]).arg(repository("server.py")));
    let port: u16 = server.line().expect("the server says its port").parse().expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, at) = gateway(folder.path(), port);
    let judge = |port: u16, name: &str, alone: Option<&str>| {
        let url = format!("http://localhost:{port}/mcp");
        suite(&["server", "--url", &url], revision, alone, &folder.path().join(name))
    };
    let same =
        Comparison { direct: &|name, alone| judge(port, name, alone), through: &|name, alone| judge(at, name, alone) };
    same.holds(passed_min);
    drop(gateway);
    let recorded = messages_on_record(&folder.path().join("audit"));
    assert!(recorded > 2 * passed_min / 3, "the suite went through: {recorded} messages on record");
}

/// The suite as a server of our client, which has a proxy of its own for each scenario, since the suite's servers choose their ports.
fn clients(revision: &str, passed_min: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = [python().display().to_string(), "-W ignore".into(), repository("client.py").display().to_string()];
    let governed = [
        python().display().to_string(),
        "-W ignore".into(),
        repository("governed.py").display().to_string(),
        RINGFENCE.into(),
        repository("client.py").display().to_string(),
    ];
    let judge = |command: &[String], name: &str, alone: Option<&str>| {
        let command = command.join(" ");
        suite(&["client", "--command", &command, "--timeout", "240000"], revision, alone, &folder.path().join(name))
    };
    let same = Comparison {
        direct: &|name, alone| judge(&plain, name, alone),
        through: &|name, alone| judge(&governed, name, alone),
    };
    same.holds(passed_min);
    let mut went_through = 0;
    each_file(&folder.path().join("through"), "stdout.txt", &mut |_, text| {
        let recorded = text.lines().find_map(|line| line.strip_prefix("messages on record: "));
        went_through += usize::from(recorded.is_some_and(|number| number != "0"));
    });
    assert!(went_through >= 20, "{went_through} scenarios went through ringfence");
}

/// Two ways to run the suite: into a folder of that name, all of a revision or one scenario alone.
struct Comparison<'c> {
    direct: &'c dyn Fn(&str, Option<&str>) -> Verdicts,
    through: &'c dyn Fn(&str, Option<&str>) -> Verdicts,
}

impl Comparison<'_> {
    /// Some scenarios measure time, and many run side by side on a busy machine: one that differs is run again, alone, and must not differ then.
    fn holds(&self, passed_min: usize) {
        let (direct, through) = ((self.direct)("direct", None), (self.through)("through", None));
        let passed = direct.values().flatten().filter(|verdict| *verdict == "SUCCESS").count();
        assert!(passed >= passed_min, "{passed} checks passed without ringfence: {direct:?}");
        let mut differ: Vec<&str> = differing(&direct, &through);
        differ.dedup();
        for scenario in differ {
            let again = |attempt: &str, run: &dyn Fn(&str, Option<&str>) -> Verdicts| run(attempt, Some(scenario));
            let direct = again(&format!("direct-{}", scenario.replace('/', "-")), self.direct);
            let through = again(&format!("through-{}", scenario.replace('/', "-")), self.through);
            assert_eq!(direct, through, "{scenario}: left is direct, right is through ringfence");
            assert!(!direct.is_empty(), "{scenario} was run again");
        }
    }
}

/// The scenarios with a check that is judged in two ways.
fn differing<'v>(one: &'v Verdicts, other: &'v Verdicts) -> Vec<&'v str> {
    let checks = one.keys().chain(other.keys());
    let mut scenarios: Vec<&str> =
        checks.filter(|check| one.get(*check) != other.get(*check)).map(|(scenario, _)| &**scenario).collect();
    scenarios.sort_unstable();
    scenarios
}

/// Runs the suite and reads what it has found.
fn suite(words: &[&str], revision: &str, alone: Option<&str>, folder: &Path) -> Verdicts {
    let npm = target().join("mcp-npm/node_modules");
    let node = ["x64", "arm64"].map(|machine| npm.join(format!("node-linux-{machine}/bin/node")));
    let node = node.into_iter().find(|node| node.exists()).expect("scripts/test installs it");
    let mut command = Command::new(node);
    command
        .arg(npm.join("@modelcontextprotocol/conformance/dist/index.js"))
        .args(words)
        .arg("--output-dir")
        .arg(folder);
    // One folder for all tests: what runs side by side counts, whoever started it.
    let turns = target().join("conformance-turns");
    std::fs::create_dir_all(&turns).expect("a folder");
    command.env("CONFORMANCE_TURNS", turns);
    match alone {
        None => command.args(["--requirements", revision]),
        Some(scenario) => command.args(["--force", "--spec-version", revision, "--scenario", scenario]),
    };
    let finished = Program::start(&mut command).finish();
    let mut verdicts = Verdicts::new();
    each_file(folder, "checks.json", &mut |scenario, text| {
        let checks: Value = serde_json::from_str(text).expect("the checks are JSON");
        for check in checks.as_array().expect("a list") {
            // What is only noted has no verdict.
            if check["status"] != "INFO" {
                let id = check["id"].as_str().expect("a check has an id").to_owned();
                let verdict = check["status"].as_str().expect("a check has a verdict").to_owned();
                verdicts.entry((scenario.to_owned(), id)).or_default().push(verdict);
            }
        }
    });
    assert!(!verdicts.is_empty(), "the suite found nothing: {:?}\n{}", finished.stdout, finished.stderr);
    verdicts
}

/// Every file of that name below a folder, with the scenario that its own folder is named for.
fn each_file(folder: &Path, name: &str, then: &mut dyn FnMut(&str, &str)) {
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, group)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of results") {
            let path = entry.expect("an entry").path();
            let part = path.file_name().and_then(|part| part.to_str()).expect("a name").to_owned();
            if path.is_dir() {
                folders.push((path, format!("{group}{part}/")));
            } else if part == name {
                then(&scenario(&group), &std::fs::read_to_string(&path).expect("a result"));
            }
        }
    }
}

/// `server-tools-list-2026-11-30T20-54-39-836Z/` is about `tools-list`.
fn scenario(folder: &str) -> String {
    let name = folder.trim_end_matches('/');
    let stamp = "-2026-11-30T20-54-39-836Z".len();
    let name = name.get(..name.len().saturating_sub(stamp)).unwrap_or(name);
    name.strip_prefix("server-").unwrap_or(name).to_owned()
}

/// A gateway in front of the server, and its port.
fn gateway(folder: &Path, server: u16) -> (Program, u16) {
    // A configuration has to name a port: one that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let policy = format!(
        "ringfence: v1
upstreams:
  \"localhost:{port}\": {{ address: \"127.0.0.1:{server}\" }}
mcp_servers:
  suite: {{ url: \"http://localhost:{port}/mcp\", pin: off }}
rules:
  - allow: whatever a client sends
    mcp: {{ server: suite }}
  - allow: whatever the server asks
    mcp: {{ server: suite, method: [sampling/createMessage, elicitation/create, roots/list] }}
"
    );
    let config = format!(
        "listen: [{{ mode: gateway, address: \"127.0.0.1\", ports: [{port}] }}]
policy: policy.yaml
audit: {{ dir: audit }}
ca: {{ dir: ca }}
"
    );
    std::fs::write(folder.join("policy.yaml"), policy).expect("the policy is written");
    std::fs::write(folder.join("ringfence.yaml"), config).expect("the configuration is written");
    let mut command = Command::new(RINGFENCE);
    command.arg("proxy").arg("--config").arg(folder.join("ringfence.yaml"));
    let gateway = Program::start(command.env("RINGFENCE_STATE", folder.join("state")));
    util::until("the gateway listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (gateway, port)
}

fn messages_on_record(audit: &Path) -> usize {
    let output = Command::new(RINGFENCE).args(["audit", "decode", "--format", "json"]).arg(audit).output();
    let text = String::from_utf8(output.expect("decode runs").stdout).expect("UTF-8");
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("one object a line"));
    records.filter(|record| record["kind"] == "decision" && record["protocol"] == "mcp").count()
}

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/conformance").join(name)
}

fn target() -> PathBuf {
    Path::new(RINGFENCE).parent().and_then(Path::parent).expect("target/debug/ringfence").to_owned()
}

fn python() -> PathBuf {
    target().join("mcp-venv/bin/python")
}
