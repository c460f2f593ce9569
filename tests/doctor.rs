//! Claims about `ringfence doctor`: what it finds where something is missing, and how it asks whether a proxy is ready.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

mod util;
#[path = "redirect/world.rs"]
mod world;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use util::Program;
use world::{Who, World, python, text};

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("doctor").args(arguments).output().unwrap()
}

#[test]
fn each_finding_is_a_line_and_the_exit_status_tells_of_misses() {
    let output = doctor(&[]);
    let said = text(&output.stdout);
    for subject in
        ["kernel", "io_uring", "seccomp", "cores", "clock", "user namespaces", "network namespaces", "nftables"]
    {
        let line = said.lines().find(|line| line[5..].starts_with(&format!("{subject}: ")));
        assert!(line.is_some(), "{subject}: {said}");
    }
    let states = ["ok   ", "note ", "miss "];
    assert!(said.lines().all(|line| states.iter().any(|state| line.starts_with(state))), "{said}");
    let missing = said.lines().any(|line| line.starts_with("miss "));
    assert_eq!(output.status.code(), Some(i32::from(missing)), "{said}");
}

#[test]
fn a_denied_ring_is_told_with_what_denies_it() {
    // setpriv has no filter; the limit is what an ordinary user meets.
    let script = "ulimit -l 0; exec \"$0\" doctor";
    let mut command = Command::new("sh");
    if nix::unistd::geteuid().is_root() {
        command = Command::new("setpriv");
        command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh"]);
    }
    let said = text(&command.args(["-c", script, env!("CARGO_BIN_EXE_ringfence")]).output().unwrap().stdout);
    let line = said.lines().find(|line| line.contains(" io_uring: ")).unwrap();
    // Kernels before 5.12 charge rings to this limit; later ones may charge other things, and then the ring is granted.
    assert!(line.starts_with("ok ") || line.contains("RLIMIT_MEMLOCK is 0"), "{line}");
}

/// A configuration whose admin socket answers with this, if anything.
fn ready(answer: Option<&'static str>) -> (Output, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.yaml");
    let text = "listen: [{ mode: proxy, address: \"127.0.0.1:3128\" }]\npolicy: p.yaml\naudit: { dir: a }\nca: { dir: c }\n\
        admin: { socket: admin.sock }\n";
    std::fs::write(&config, text).unwrap();
    let listener = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        if let Some(answer) = answer {
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        } else {
            // Until the asker loses patience.
            stream.read_to_end(&mut asked).unwrap();
        }
        String::from_utf8(asked).unwrap()
    });
    let began = Instant::now();
    let output = doctor(&["--ready", "--config", config.to_str().unwrap()]);
    let asked = server.join().unwrap();
    assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n") && asked.contains("\r\nHost: localhost\r\n"), "{asked}");
    (output, began.elapsed())
}

#[test]
fn ready_is_what_the_admin_socket_says() {
    let (output, _) = ready(Some("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ready\":true}"));
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let (output, _) = ready(Some("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"why\":[\"draining\"]}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("draining"), "{}", text(&output.stderr));
}

#[test]
fn ready_does_not_wait_long_for_a_silent_proxy() {
    let (output, took) = ready(None);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("within 2 s"), "{}", text(&output.stderr));
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn ready_without_a_proxy_or_a_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.yaml");
    let common =
        "listen: [{ mode: proxy, address: \"127.0.0.1:3128\" }]\npolicy: p.yaml\naudit: { dir: a }\nca: { dir: c }\n";
    std::fs::write(&config, format!("{common}admin: {{ socket: admin.sock }}\n")).unwrap();
    let asked = ["--ready", "--config", config.to_str().unwrap()];
    assert_eq!(doctor(&asked).status.code(), Some(1));
    std::fs::write(&config, common).unwrap();
    assert_eq!(doctor(&asked).status.code(), Some(2));
    assert_eq!(doctor(&["--ready"]).status.code(), Some(2));
}

/// What doctor says of these subjects in the world, as pid 1 of a pid namespace in which `agent` runs.
fn look(world: &World, config: &Path, agent: &str) -> String {
    let script = format!(
        "mkfifo -m 666 {fifo}; {agent} sh -c 'echo up > {fifo}; exec sleep 600' & read up < {fifo}; rm {fifo}
         exec {program} doctor --config {config}",
        fifo = world.path("up").display(),
        program = world.path("ringfence").display(),
        config = config.display()
    );
    let mut command = world.inside(Who::Almighty);
    command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-e", "-c", &script]);
    let output = command.output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

fn line<'s>(said: &'s str, subject: &str) -> &'s str {
    said.lines().find(|line| line.contains(&format!(" {subject}: "))).unwrap_or_else(|| panic!("{subject}: {said}"))
}

const HARMLESS: &str = "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set=-all --inh-caps=-all";

#[test]
fn rules_are_found_missing_and_found_in_force() {
    let Some(world) = World::new() else { return };
    let config = world.config("uid: 1337", "");
    let said = look(&world, &config, HARMLESS);
    assert!(line(&said, "redirect rules").starts_with("miss "), "{said}");
    let _proxy = world.govern(&[]);
    let said = look(&world, &config, HARMLESS);
    for subject in ["redirect rules", "packet sockets", "raw sockets", "processes"] {
        assert!(line(&said, subject).starts_with("ok "), "{said}");
    }
    // Somebody takes one rule away.
    let rules = world.rules();
    assert!(rules.contains("udp dport 443"));
    let kept: String =
        rules.lines().filter(|line| !line.contains("udp dport 443")).map(|line| format!("{line}\n")).collect();
    std::fs::write(world.path("rules.nft"), format!("flush ruleset\n{kept}")).unwrap();
    world::nft(world.inside(Who::Almighty), &["--file", world.path("rules.nft").to_str().unwrap()]);
    assert!(line(&look(&world, &config, HARMLESS), "redirect rules").starts_with("miss "));
}

#[test]
fn who_may_not_read_the_rules_feels_them() {
    let Some(world) = World::new() else { return };
    let config = world.config("uid: 1337", "");
    let ask = || {
        let mut command = world.inside(Who::Plain);
        text(&command.arg(world.path("ringfence")).args(["doctor", "--config"]).arg(&config).output().unwrap().stdout)
    };
    let said = ask();
    assert!(line(&said, "redirect rules").starts_with("miss "), "{said}");
    let _proxy = world.govern(&[]);
    let said = ask();
    assert!(line(&said, "redirect rules").starts_with("ok "), "{said}");
}

#[test]
fn agents_with_capabilities_or_the_exempt_user_are_refused() {
    let Some(world) = World::new() else { return };
    let config = world.config("uid: 1337", "");
    let docker = "setpriv --inh-caps=-all --bounding-set=-all,+setuid,+net_raw,+chown";
    let said = look(&world, &config, docker);
    assert!(line(&said, "processes").contains("held: CAP_NET_RAW, CAP_SETUID; cap_drop: [ALL]"), "{said}");
    let said = look(&world, &config, &HARMLESS.replace("1000", "1337"));
    assert!(line(&said, "processes").contains("exempt user 1337"), "{said}");
    let could = "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all,+net_raw";
    let said = look(&world, &config, could);
    assert!(line(&said, "processes").contains("to be gained: CAP_NET_RAW"), "{said}");
    let said = look(&world, &config, &format!("{could} --no-new-privs"));
    assert!(line(&said, "processes").starts_with("ok "), "{said}");
}

#[test]
fn an_open_packet_socket_is_found() {
    let Some(world) = World::new() else { return };
    let config = world.config("uid: 1337", "");
    let hold = "import socket\np = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
        r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nprint('ready', flush=True)\ninput()";
    let holder = Program::start(world.inside(Who::Almighty).args([python(), "-c", hold]));
    assert_eq!(holder.line().as_deref(), Some("ready"));
    let said = look(&world, &config, HARMLESS);
    assert!(
        line(&said, "packet sockets").starts_with("miss ") && line(&said, "raw sockets").starts_with("miss "),
        "{said}"
    );
}

#[test]
fn a_neighbour_that_routes_on_the_agents_network_is_found() {
    let Some(world) = World::new() else { return };
    let config = world.path("gateway.yaml");
    let write = |from: &str| {
        let text = format!(
            "listen: [{{ mode: gateway, address: \"192.0.2.1\", ports: [8443], from: [{from}] }}]\npolicy: policy.yaml\n\
             audit: {{ dir: audit }}\nca: {{ dir: ca }}\n"
        );
        std::fs::write(&config, text).unwrap();
    };
    write("192.0.2.0/24");
    let said = look(&world, &config, HARMLESS);
    assert!(line(&said, "gateway networks").starts_with("miss ") && said.contains("192.0.2.2 answers"), "{said}");
    world::lines(world.inside(Who::Almighty).args(["ip", "route", "del", "default"]));
    let said = look(&world, &config, HARMLESS);
    assert!(line(&said, "gateway networks").starts_with("ok "), "{said}");
    write("203.0.113.0/24");
    let said = look(&world, &config, HARMLESS);
    assert!(line(&said, "gateway networks").contains("no interface"), "{said}");
}
