//! Claims about `ringfence bench` as a process: what it leaves behind, whom it starts and ends, and what it says.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::errno::Errno;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(["bench", "run"]).args(arguments).output().expect("run")
}

#[test]
fn a_run_leaves_a_summary_its_environment_and_a_histogram_per_target() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().to_str().expect("text");
    let run = bench(&[
        "--scenario",
        "latency",
        "--target",
        "direct,relay",
        "--rate",
        "100",
        "--duration",
        "0.5",
        "--out",
        folder,
    ]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let read = |name: &str| fs::read_to_string(out.path().join(name)).expect(name);
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).expect("JSON");
    assert_eq!(summary["scenario"], "latency");
    assert_eq!(summary["rounds"], 5);
    assert!(summary["valid"].is_boolean() && summary["why"].is_string());
    for target in ["direct", "relay"] {
        let figures = &summary["targets"][target];
        assert_eq!((&figures["requests"], &figures["errors"]), (&50.into(), &0.into()), "{summary}");
        for figure in ["rps", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "cpu_us_per_request"] {
            assert!(figures[figure].is_number(), "{target} {figure}");
        }
        assert!(read(&format!("{target}.hgrm")).contains("#[Mean"));
    }
    assert!(summary["targets"]["relay"]["cpu_us_per_request"].as_f64() > Some(0.0));
    assert_eq!(summary["added"]["relay"]["over"], "direct");
    assert_eq!(summary["added"]["relay"]["p50_ci95_us"].as_array().map(Vec::len), Some(2));
    let environment: serde_json::Value = serde_json::from_str(&read("environment.json")).expect("JSON");
    assert_eq!(environment, summary["environment"]);
}

#[test]
fn a_run_with_errors_is_invalid_and_fails_only_when_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broken.yaml");
    fs::write(&file, "targets: [direct]\nrate: 100\nduration: 0.2\norigin: { status: 500 }\n").expect("written");
    let scenario = file.to_str().expect("text");
    let lenient = bench(&["--scenario", scenario]);
    assert_eq!(lenient.status.code(), Some(0), "{}", String::from_utf8_lossy(&lenient.stderr));
    assert!(String::from_utf8_lossy(&lenient.stdout).contains("INVALID"));
    assert_eq!(bench(&["--scenario", scenario, "--strict"]).status.code(), Some(1));
}

#[test]
fn wrong_use_is_told_in_one_line() {
    for arguments in [["--scenario", "nonsense"], ["--scenario", "Cargo.toml"]] {
        let refused = bench(&arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with("ringfence: bench: "));
    }
    assert_eq!(bench(&["--scenario", "latency", "--rate", "-1"]).status.code(), Some(2));
}

#[test]
fn every_kind_of_call_goes_through_the_long_running_proxy() {
    for scenario in ["audit-batched", "audit-strict", "mcp", "sse", "new-tls", "latency-tls"] {
        let out = tempfile::tempdir().expect("a folder");
        let run = bench(&[
            "--scenario",
            scenario,
            "--target",
            "direct,ringfence-proxy",
            "--rate",
            "100",
            "--duration",
            "0.5",
            "--out",
            out.path().to_str().expect("text"),
        ]);
        assert!(run.status.success(), "{scenario}: {}", String::from_utf8_lossy(&run.stderr));
        let summary = summary(out.path());
        for target in ["direct", "ringfence-proxy"] {
            assert_eq!(summary["targets"][target]["errors"], 0, "{scenario}: {summary}");
            assert_eq!(summary["targets"][target]["requests"], 50, "{scenario}: {summary}");
        }
    }
}

#[test]
fn half_load_finds_out_what_the_slowest_target_can_do() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().to_str().expect("text");
    let run =
        bench(&["--scenario", "half-load", "--target", "direct,relay-epoll", "--duration", "0.5", "--out", folder]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let environment = &summary(out.path())["environment"];
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let (rate, able) = (number(&environment["rate"]), number(&environment["capacity"]["relay-epoll"]));
    assert!(able > 100.0 && (rate / able - 0.5).abs() < 0.001, "{environment}");
}

fn summary(out: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(out.join("summary.json")).expect("a summary")).expect("JSON")
}

/// A folder of peers with one in it, called `shim`.
fn peer(script: &str) -> tempfile::TempDir {
    let peers = tempfile::tempdir().expect("a folder");
    let home = peers.path().join("shim");
    fs::create_dir(&home).expect("made");
    fs::write(home.join("start"), format!("#!/bin/sh\n{script}")).expect("written");
    fs::set_permissions(home.join("start"), fs::Permissions::from_mode(0o755)).expect("executable");
    peers
}

fn bench_peer(peers: &Path, more: &[&str]) -> Output {
    let base =
        ["bench", "run", "--scenario", "latency", "--target", "direct,shim", "--rate", "100", "--duration", "0.5"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(base).arg("--peers").arg(peers).args(more).env("RINGFENCE", env!("CARGO_BIN_EXE_ringfence"));
    command.output().expect("run")
}

/// A relay that is a peer: several processes, of which one says where it listens.
const RELAYING: &str = r#"
[ "$1" = --version ] && { echo "shim 1.0"; exit 0; }
echo $$ >"$PWD/pid"
echo "starting"
tail -f /dev/null | "$RINGFENCE" bench relay --to "$BENCH_ORIGIN" | { read -r address; echo "ready reverse $address"; cat; }
"#;

#[test]
fn a_peer_is_measured_with_all_its_processes_and_ends_with_the_run() {
    let (peers, out) = (peer(RELAYING), tempfile::tempdir().expect("a folder"));
    let run = bench_peer(peers.path(), &["--out", out.path().to_str().expect("text")]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let summary = summary(out.path());
    assert_eq!(summary["targets"]["shim"]["errors"], 0, "{summary}");
    // The relay is a grandchild of the run.
    assert!(summary["targets"]["shim"]["cpu_us_per_request"].as_f64() > Some(0.0), "{summary}");
    assert_eq!(summary["environment"]["peers"]["shim"], "shim 1.0");
    let pid = fs::read_to_string(peers.path().join("shim/pid")).expect("a pid");
    let pid: i32 = pid.trim().parse().expect("a number");
    assert_eq!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH), "the script is still there");
    assert_eq!(living(pid), Vec::<String>::new(), "some of its group are still there");
}

/// Processes of a group that have not ended. Those that have, and whose new parent has not looked yet, are none.
fn living(group: i32) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let of_group = |stat: &String| {
        // proc_pid_stat(5): state, parent and group follow the name.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next().unwrap_or_default();
        !"ZX".contains(state) && fields.nth(1) == Some(&group.to_string())
    };
    stats.filter(of_group).collect()
}

#[test]
fn a_peer_that_says_it_enforces_is_tried() {
    let peers = peer(&RELAYING.replace("$address\"", "$address enforcing\""));
    let run = bench_peer(peers.path(), &[]);
    assert_eq!(run.status.code(), Some(1));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("shim: ") && said.contains("/admin/bench was answered 200, not 403"), "{said}");
}

#[test]
fn a_peer_that_is_not_installed_fails_the_run_or_is_left_out() {
    let peers = peer("echo 'apt-get install shim' >&2; exit 77");
    let refused = bench_peer(peers.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("apt-get install shim") && said.contains("shim: not installed"), "{said}");
    let run = bench_peer(peers.path(), &["--skip-missing"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).contains("shim: left out"));
    assert_eq!(bench(&["--scenario", "latency", "--target", "no-such-peer"]).status.code(), Some(2));
}

#[test]
fn an_interrupt_keeps_the_rounds_that_are_over_and_marks_them() {
    let (out, terminal) = (tempfile::tempdir().expect("a folder"), openpty(None, None).expect("a terminal"));
    let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["bench", "run", "--scenario", "latency", "--target", "direct,relay", "--rate", "100"])
        .args(["--duration", "60", "--out", out.path().to_str().expect("text")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(terminal.slave))
        .spawn()
        .expect("started");
    // The live line says when the first round is over; it is there because stderr is a terminal.
    let (mut live, mut said) = (File::from(terminal.master), String::new());
    let mut bytes = [0; 256];
    // Rounds that count as disturbed are not in the line's count: then the line of a third turn says that one is over.
    while !said.contains(" 1/60 ") && said.matches("p99").count() < 4 {
        let count = live.read(&mut bytes).expect("the live line");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGINT).expect("told");
    let ended = child.wait_with_output().expect("ended");
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("INVALID: interrupted: "));
    let summary = summary(out.path());
    assert_eq!(summary["valid"], false);
    assert!(summary["rounds"].as_u64() >= Some(1) && summary["rounds"].as_u64() < Some(60), "{summary}");
    assert!(out.path().join("report.html").is_file());
}

#[test]
fn without_a_terminal_there_is_no_live_line() {
    let run = bench(&["--scenario", "latency", "--target", "direct", "--rate", "100", "--duration", "0.2"]);
    assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn two_runs_are_compared_and_shown_on_one_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    for name in ["one", "other"] {
        let run = bench(&[
            "--scenario",
            "latency",
            "--target",
            "direct,relay",
            "--rate",
            "100",
            "--duration",
            "0.5",
            "--out",
            &at(name),
        ]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    let ringfence = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("bench").args(arguments).output().expect("run")
    };
    let compared = ringfence(&["compare", &at("one"), &at("other/summary.json")]);
    let said = String::from_utf8_lossy(&compared.stdout);
    assert_eq!(compared.status.code(), Some(0), "{said}");
    for figure in ["p50 us", "p99 us", "added p50 us", "rate /s", "cpu/request us"] {
        assert!(said.contains(figure), "{figure}: {said}");
    }
    assert!(!said.contains("unknown"), "{said}");
    assert_eq!(ringfence(&["compare", &at("one"), &at("nothing")]).status.code(), Some(2));
    assert_eq!(ringfence(&["compare", &at("one"), &at("one"), "--fail-above", "0"]).status.code(), Some(0));
    let reported = ringfence(&["report", &at("")]);
    assert!(reported.status.success(), "{}", String::from_utf8_lossy(&reported.stderr));
    let page = fs::read_to_string(folder.path().join("report.html")).expect("a page");
    assert_eq!(page.matches("<svg ").count(), 4);
    assert!(
        fs::read_to_string(folder.path().join("one/report.html")).expect("a page").contains("ringfence bench: latency")
    );
    assert_eq!(ringfence(&["report", &at("nothing")]).status.code(), Some(2));
}
