//! What a right file means; the refusals and the look at permissions have files of their own.

mod exposure;
mod refusals;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Anchor, Bounds, ConfigError, Engine, Exempt, Listen, Settings, Spin};
use crate::audit::{Durability, OnFull, Retention};

/// What is left out of a minimal file below, so that each test adds its own.
const REST: &str = "policy: p.yaml\naudit: { dir: log }\nca: { dir: ca }\n";
const LOOPBACK: &str = "listen: [{ mode: proxy, address: 127.0.0.1:3128 }]\n";

fn understand(text: &str, cores: usize) -> Result<Settings, ConfigError> {
    super::understand(text, Path::new("r.yaml"), Path::new("/etc/ringfence/r.yaml"), cores)
}

fn settings(text: &str) -> Settings {
    understand(text, 4).unwrap_or_else(|error| panic!("{error}"))
}

/// The one line that a text is refused with.
fn refusal(text: &str) -> String {
    let lines = understand(text, 4).map(|_| ()).unwrap_err().to_string();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    lines
}

/// The refusal of an otherwise right file with this first line.
fn refused(first_line: &str) -> String {
    let listen = if first_line.starts_with("listen") { "" } else { LOOPBACK };
    refusal(&format!("{first_line}\n{listen}{REST}"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn the_documented_example_means_what_it_says() {
    let text = r#"
listen:
  - { mode: redirect, address: "127.0.0.1:15001" }              # nftables sends connections here
  - { mode: gateway, address: "0.0.0.0", ports: [80, 443], from: [172.28.0.0/16] }   # names resolve to us; SNI or Host tells where to
  - { mode: proxy, address: "127.0.0.1:3128" }                  # HTTP_PROXY: absolute form and CONNECT
dns: { address: "127.0.0.1:15053" }
redirect: { exempt: { uid: 1337 } }                             # or cgroup: PATH
policy: policy.yaml
audit: { dir: /var/lib/ringfence/audit, durability: batched, on_full: deny }
ca: { dir: /var/lib/ringfence/ca, bundle: /shared/ca-bundle.crt }
io: { engine: auto, workers: auto, spin: auto }
admin: { socket: /run/ringfence/admin.sock }                    # metrics: "ADDRESS" too, refused where an agent could reach it
agents: [{ name: coder, source: 172.28.0.3 }]
"#;
    let settings = settings(text);
    assert_eq!(settings.file, PathBuf::from("/etc/ringfence/r.yaml"));
    assert_eq!(
        settings.listeners,
        [
            Listen::Redirect { address: address("127.0.0.1:15001") },
            Listen::Gateway {
                address: IpAddr::from([0, 0, 0, 0]),
                ports: vec![80, 443],
                from: vec!["172.28.0.0/16".parse().expect("a network")]
            },
            Listen::Proxy { address: address("127.0.0.1:3128"), from: Vec::new() },
        ]
    );
    assert_eq!(settings.dns, Some(address("127.0.0.1:15053")));
    assert_eq!(settings.exempt, Some(Exempt::Uid(1337)));
    assert_eq!(settings.policy, PathBuf::from("/etc/ringfence/policy.yaml"));
    assert_eq!(settings.audit.dir, PathBuf::from("/var/lib/ringfence/audit"));
    assert_eq!(settings.ca.dir, PathBuf::from("/var/lib/ringfence/ca"));
    assert_eq!(settings.ca.bundle, Some(PathBuf::from("/shared/ca-bundle.crt")));
    assert_eq!(settings.io.engine, Engine::Auto);
    let admin = settings.admin.expect("an admin socket");
    assert_eq!((admin.socket, admin.metrics), (PathBuf::from("/run/ringfence/admin.sock"), None));
    assert_eq!((&*settings.agents[0].name, settings.agents[0].source.to_string()), ("coder", "172.28.0.3/32".into()));
    assert_eq!(settings.bounds, Bounds::default());
}

#[test]
fn the_example_of_the_manual_loads() {
    let manual = include_str!("../../docs/OPERATING.md");
    let (_, rest) = manual.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    assert_eq!(settings(example).agents.len(), 1);
}

#[test]
fn half_of_the_cores_work_and_spin_only_beside_an_idle_one() {
    let io = |cores, line: &str| {
        let settings =
            understand(&format!("{line}\n{LOOPBACK}{REST}"), cores).unwrap_or_else(|error| panic!("{error}"));
        (settings.io.workers.get(), settings.io.spin)
    };
    let (spin, sleep) = (Spin::Auto, Spin::Never);
    assert_eq!(io(1, ""), (1, sleep));
    assert_eq!(io(2, ""), (1, spin));
    assert_eq!(io(3, ""), (1, spin));
    assert_eq!(io(8, "io: { workers: auto }"), (4, spin));
    assert_eq!(io(10_000, ""), (256, spin));
    assert_eq!(io(4, "io: { workers: 4 }"), (4, sleep));
    assert_eq!(io(4, "io: { workers: 4, spin: 50us }"), (4, Spin::Always));
    assert_eq!(io(4, "io: { spin: 0 }"), (2, sleep));
}

#[test]
fn waits_are_seconds_or_carry_a_unit() {
    let text = format!(
        "{LOOPBACK}{REST}limits: {{ head: 5, handshake: 500ms, idle: 2m, response_head: 600s, body: 1h, request_body: 20, held_body: 20s, connect: \"3 s\", drain: 30s, connections: 100, connections_per_agent: 10 }}"
    );
    let second = Duration::from_secs(1);
    let expected = Bounds {
        head: 5 * second,
        handshake: second / 2,
        idle: 120 * second,
        response_head: 600 * second,
        held_body: 20 * second,
        body: 3600 * second,
        request_body: 20 * second,
        connect: 3 * second,
        drain: 30 * second,
        connections: 100,
        connections_per_agent: 10,
    };
    assert_eq!(settings(&text).bounds, expected);
}

#[test]
fn the_audit_section_says_how_hard_the_log_is_kept() {
    let audit = |more: &str| {
        settings(&format!("audit: {{ dir: log{more} }}\nlisten: [{{ mode: proxy, address: \"127.0.0.1:3128\" }}]\npolicy: p\nca: {{ dir: ca }}\n")).audit
    };
    let plain = audit("");
    assert_eq!((plain.durability, plain.on_full, plain.anchor), (Durability::Batched, OnFull::Deny, None));
    let kept = audit(", durability: strict, on_full: block, retention: { bytes: 20GiB, age: 90d }");
    assert_eq!((kept.durability, kept.on_full), (Durability::Strict, OnFull::Block));
    let age = Duration::from_secs(90 * 24 * 3600);
    assert_eq!(kept.retention, Retention { bytes: Some(20 << 30), age: Some(age) });
    assert!(matches!(audit(", anchor: /x/head").anchor, Some(Anchor::File(path)) if path == Path::new("/x/head")));
    assert!(matches!(audit(", anchor: \"unix:/x/w\"").anchor, Some(Anchor::Socket(path)) if path == Path::new("/x/w")));
    let post = |text: &str| match audit(&format!(", anchor: \"{text}\"")).anchor {
        Some(Anchor::Post { host, port, authority, target }) => (host, port, authority, target),
        other => panic!("{other:?}"),
    };
    let is = |host: &str, port, authority: &str, target: &str| {
        (host.to_owned(), port, authority.to_owned(), target.to_owned())
    };
    assert_eq!(post("https://w.example/add?x=1"), is("w.example", 443, "w.example", "/add?x=1"));
    assert_eq!(post("https://w.example:8443"), is("w.example", 8443, "w.example:8443", "/"));
    assert_eq!(post("https://[::1]:8443/a"), is("::1", 8443, "[::1]:8443", "/a"));
    assert_eq!(post("https://[::1]/a"), is("::1", 443, "[::1]", "/a"));
}

#[test]
fn a_control_group_counts_from_the_root_of_its_hierarchy() {
    let text = format!("redirect: {{ exempt: {{ cgroup: /system.slice/ringfence.service }} }}\n{LOOPBACK}{REST}");
    assert_eq!(settings(&text).exempt, Some(Exempt::Cgroup("system.slice/ringfence.service".into())));
}

#[test]
fn paths_count_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("r.yaml");
    fs::write(&file, format!("{LOOPBACK}{REST}")).expect("written");
    let settings = super::read(&file).expect("right");
    assert_eq!(settings.policy, folder.path().join("p.yaml"));
    assert_eq!(settings.ca.dir, folder.path().join("ca"));
    let missing = super::read(&folder.path().join("none.yaml")).unwrap_err().to_string();
    let at = folder.path().join("none.yaml");
    assert_eq!(
        missing,
        format!(
            "{}: error: cannot be read: No such file or directory (os error 2) (name a file that this user can read with --config)",
            at.display()
        )
    );
}
