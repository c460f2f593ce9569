//! Claims about the rules of a shared namespace, tried in namespaces of their own by the agent, the proxy's user and root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

mod util;
#[path = "redirect/world.rs"]
mod world;

use std::process::Command;

use util::Program;
use world::{Group, OUT_V4, OUT_V6, OWN_V4, OWN_V6, Who, World, lines, nft, python, text};

#[test]
fn connections_of_every_user_arrive_with_their_destination() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    for who in [Who::Plain, Who::Root] {
        let said = world
            .dial(who, &["tcp:198.51.100.7:80", "tcp:2001:db8::5:8443", "tcp:203.0.113.1:15001", "tcp:192.0.2.2:22"]);
        assert_eq!(
            said,
            ["to 198.51.100.7:80", "to [2001:db8::5]:8443", "to 203.0.113.1:15001", "to 192.0.2.2:22"],
            "{who:?}"
        );
    }
}

#[test]
fn the_exempt_user_goes_straight_out() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    let said = world.dial(
        Who::Exempt,
        &["tcp:198.51.100.7:80", "tcp:2001:db8::5:443", "udp:198.51.100.7:53", "tcp:198.51.100.7:53"],
    );
    assert_eq!(said, ["outside"; 4]);
}

#[test]
fn every_dns_question_reaches_the_stub() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    let servers = ["198.51.100.7", "2001:db8::5", "127.0.0.11", "127.0.0.53", "::1", OWN_V4];
    for who in [Who::Plain, Who::Root] {
        for protocol in ["udp", "tcp"] {
            let targets: Vec<String> = servers.iter().map(|server| format!("{protocol}:{server}:53")).collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            assert_eq!(world.dial(who, &targets), ["stub"; 6], "{who:?} {protocol}");
        }
    }
}

#[test]
fn quic_is_refused_at_once_and_other_protocols_do_not_leave() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    assert_eq!(world.dial(Who::Plain, &["udp:198.51.100.7:443", "udp:2001:db8::5:443"]), ["ECONNREFUSED at once"; 2]);
    let said = world.dial(Who::Plain, &["udp:198.51.100.7:9999", "udp:2001:db8::5:123", "udplite:198.51.100.7:443"]);
    assert!(said.iter().all(|line| line.starts_with('E') && line.ends_with("at once")), "{said:?}");
    // Raw sockets, which only root has.
    let said = world.dial(Who::Root, &["icmp:198.51.100.7:0", "sctp:198.51.100.7:0"]);
    assert!(said.iter().all(|line| line.starts_with('E') && line.ends_with("at once")), "{said:?}");
    assert_eq!(world.frames(&mut world.inside(Who::Exempt)), [""; 0]);
}

#[test]
fn applying_twice_is_as_applying_once_and_removing_restores() {
    let Some(world) = World::new() else { return };
    let before = world.rules();
    let mut seen = Vec::new();
    for _ in 0..2 {
        assert!(world.ringfence(&["redirect", "apply"]).status.success());
        seen.push(world.rules());
    }
    assert!(seen[0].contains("ringfence") && seen[0] == seen[1], "{seen:#?}");
    // Also with a configuration that is not valid any more.
    for arguments in [&["redirect", "remove"][..], &["redirect", "remove", "--config", "/no/such/file"]] {
        assert!(world.ringfence(arguments).status.success());
        assert_eq!(world.rules(), before);
    }
    assert_eq!(world.dial(Who::Plain, &["tcp:198.51.100.7:80", "udp:2001:db8::5:9999"]), ["outside"; 2]);
}

#[test]
fn applying_again_reaches_interfaces_that_were_added() {
    let Some(world) = World::new() else { return };
    assert!(world.ringfence(&["redirect", "apply"]).status.success());
    assert!(!world.rules().contains("eth1"));
    lines(world.inside(Who::Almighty).args(["ip", "link", "add", "eth1", "type", "veth"]));
    assert!(world.ringfence(&["redirect", "apply"]).status.success());
    assert!(world.rules().contains("eth1"));
}

#[test]
fn what_is_printed_is_what_is_applied() {
    let (Some(world), Some(other)) = (World::new(), World::new()) else { return };
    assert!(world.ringfence(&["redirect", "apply"]).status.success());
    let printed = other.ringfence(&["redirect", "print"]);
    assert!(printed.status.success());
    let file = other.path("rules.nft");
    std::fs::write(&file, &printed.stdout).unwrap();
    nft(other.inside(Who::Almighty), &["--file", file.to_str().unwrap()]);
    assert_eq!(world.rules(), other.rules());
    // nft quotes no names in a list of devices; all else is printed as it would print it.
    assert_eq!(text(&printed.stdout).replace("{ \"lo\", \"eth0\" }", "{ lo, eth0 }"), sorted_devices(&other.rules()));
}

/// nft lists devices by name, we in the kernel's order.
fn sorted_devices(rules: &str) -> String {
    rules.replace("{ eth0, lo }", "{ lo, eth0 }")
}

#[test]
fn applying_needs_one_capability_and_says_so_without() {
    let Some(world) = World::new() else { return };
    let apply = |set: &str| {
        let mut command = world.inside(Who::Almighty);
        command.args(["setpriv", "--inh-caps=-all", &format!("--bounding-set={set}")]);
        command.arg(world.path("ringfence")).args(["redirect", "apply"]).output().unwrap()
    };
    let refused = apply("-all");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("needs CAP_NET_ADMIN"), "{}", text(&refused.stderr));
    assert_eq!(world.rules(), "");
    let applied = apply("-all,+net_admin");
    assert!(applied.status.success(), "{}", text(&applied.stderr));
}

#[test]
fn a_configuration_that_gives_no_rules_is_refused_with_its_key() {
    let Some(world) = World::new() else { return };
    for (exempt, key) in [("uid: 0", "exempt"), ("cgroup: no/such/group", "redirect.exempt.cgroup")] {
        let config = world.config(exempt, "");
        let refused = world.ringfence(&["redirect", "apply", "--config", config.to_str().unwrap()]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("ringfence.yaml") && said.contains(key), "{said}");
    }
    assert_eq!(world.rules(), "");
}

#[test]
fn a_dead_proxy_means_refused_and_nothing_leaves() {
    let Some(world) = World::new() else { return };
    drop(world.govern(&[]));
    let targets = ["tcp:198.51.100.7:80", "tcp:2001:db8::5:443", "udp:198.51.100.7:53", "tcp:127.0.0.11:53"];
    for who in [Who::Plain, Who::Root] {
        assert_eq!(world.dial(who, &targets), ["ECONNREFUSED at once"; 4], "{who:?}");
    }
    assert_eq!(world.frames(&mut world.inside(Who::Exempt)), [""; 0]);
}

#[test]
fn servers_inside_still_answer() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    let serve = "import socket, threading\n\
        t = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)\n\
        u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('::', 8081))\n\
        def datagrams():\n\
        \x20   while True: u.sendto(b'inside', u.recvfrom(100)[1])\n\
        threading.Thread(target=datagrams, daemon=True).start(); print('ready', flush=True)\n\
        while True: t.accept()[0].sendall(b'inside')";
    let server = Program::start(world.inside(Who::Plain).args([python(), "-c", serve]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let targets = [OWN_V4, OWN_V6].map(|own| [format!("tcp:{own}:8080"), format!("udp:{own}:8081")]).concat();
    let mut dial = world.outside();
    assert_eq!(lines(dial.arg(python()).arg(world.path("dial.py")).args(&targets)), ["inside"; 4]);
    // From the inside too, over loopback and by the own address.
    let targets = ["tcp:127.0.0.1:8080", "udp:::1:8081", "tcp:192.0.2.1:8080"];
    assert_eq!(world.dial(Who::Plain, &targets), ["inside"; 3]);
}

/// Connection tracking sees such a connection for the first time in the peer's packet, and would take the peer for its beginner.
#[test]
fn a_connection_from_before_the_rules_does_not_go_on_when_the_peer_speaks_first() {
    let Some(world) = World::new() else { return };
    let serve = "import socket, sys\n\
        s = socket.create_server(('', 7000)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 7001))\n\
        print('ready', flush=True); c, _ = s.accept(); print('accepted', flush=True)\n\
        sys.stdin.readline(); c.sendall(b'speak'); c.settimeout(1)\n\
        try: print('leaked', c.recv(100), flush=True)\n\
        except OSError as error: print('held', error, flush=True)";
    let mut server = Program::start(world.outside().args([python(), "-c", serve]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let talk = format!(
        "import socket\n\
         c = socket.create_connection(('{OUT_V4}', 7000)); print('ready', flush=True)\n\
         while True: c.sendall(c.recv(100))"
    );
    let early = Program::start(world.inside(Who::Plain).args([python(), "-c", &talk]));
    assert_eq!(early.line().as_deref(), Some("ready"));
    assert_eq!(server.line().as_deref(), Some("accepted"));
    let _proxy = world.govern(&[]);
    server.tell("go on");
    let said = server.line().unwrap();
    assert!(said.starts_with("held"), "{said}");
}

#[test]
fn a_connection_from_before_the_rules_does_not_go_on() {
    let Some(world) = World::new() else { return };
    let talk = format!(
        "import socket, sys\n\
         c = socket.create_connection(('{OUT_V4}', 8443)); print(c.recv(100).decode(), flush=True); c.settimeout(5)\n\
         sys.stdin.readline()\n\
         try: c.sendall(b'more'); print(c.recv(100), flush=True)\n\
         except OSError as error: print('held', error, flush=True)"
    );
    let mut early = Program::start(world.inside(Who::Plain).args([python(), "-c", &talk]));
    assert_eq!(early.line().as_deref(), Some("outside"));
    let _proxy = world.govern(&[]);
    early.tell("go on");
    let said = early.line().unwrap();
    assert!(said.starts_with("held"), "{said}");
}

/// Its last words are sent when nobody owns the socket any more.
#[test]
fn what_the_proxy_has_sent_arrives_though_it_closed_at_once() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    // The server reads nothing before the client has closed, and takes little on account.
    let count = "import socket, sys\n\
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192); s.bind(('', 7000)); s.listen()\n\
        print('ready', flush=True); c, _ = s.accept(); sys.stdin.readline(); n = 0\n\
        while data := c.recv(1 << 20): n += len(data)\n\
        print(n, flush=True)";
    let mut server = Program::start(world.outside().args([python(), "-c", count]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let send = format!(
        "import socket; c = socket.create_connection(('{OUT_V4}', 7000))\n\
         c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20); c.setblocking(False); print(c.send(b'x' * (2 << 20))); c.close()"
    );
    let sent = lines(world.inside(Who::Exempt).args([python(), "-c", &send]));
    server.tell("read");
    assert_eq!(server.line(), Some(sent[0].clone()));
}

#[test]
fn so_mark_changes_nothing() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    assert_eq!(world.dial(Who::Root, &["mark:198.51.100.7:80"]), ["to 198.51.100.7:80"]);
    assert_eq!(world.dial(Who::Plain, &["mark:198.51.100.7:80"]), ["EPERM at once"]);
}

#[test]
fn no_frame_of_a_packet_socket_leaves() {
    let Some(world) = World::new() else { return };
    let send = "import socket\n\
        p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); p.bind(('eth0', 0))\n\
        try: p.send(b'\\xff' * 6 + b'\\2' * 6 + b'\\x88\\xb5' + b'ESCAPE'); print('sent')\n\
        except OSError as error: print(error)";
    let send = |who| lines(world.inside(who).args([python(), "-c", send]));
    assert_eq!(send(Who::Root), ["sent"]);
    assert_eq!(world.frames(&mut world.inside(Who::Exempt)).len(), 1, "the watch sees frames where no rules are");
    let _proxy = world.govern(&[]);
    assert_ne!(send(Who::Root), ["sent"]);
    assert_eq!(world.frames(&mut world.inside(Who::Exempt)), [""; 0]);
}

/// A hole that is known: it is why `doctor` refuses CAP_SETUID beside an exempt user, and why a control group is better.
#[test]
fn who_becomes_the_exempt_user_goes_straight_out() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    let become_it = become_the_proxy();
    assert_eq!(lines(world.inside(Who::Root).args([python(), "-c", &become_it])), ["outside"]);
    let output = world.inside(Who::Plain).args([python(), "-c", &become_it]).output().unwrap();
    assert!(text(&output.stderr).contains("PermissionError"), "{}", text(&output.stderr));
}

fn become_the_proxy() -> String {
    format!(
        "import os, socket; os.setuid(1337); c = socket.create_connection(('{OUT_V4}', 8443), 5); print(c.recv(100).decode())"
    )
}

/// The better exemption: another user's or root's process does not get into the group by becoming somebody.
#[test]
fn who_becomes_the_proxys_user_outside_its_control_group_is_redirected() {
    let Some(world) = World::new() else { return };
    let Some(group) = Group::new() else { return };
    let _proxy = world.govern(&["--config", group.config(&world).to_str().unwrap()]);
    assert_eq!(lines(group.join(world.inside(Who::Exempt)).args([python(), "-c", &become_the_proxy()])), ["outside"]);
    assert_eq!(
        lines(world.inside(Who::Root).args([python(), "-c", &become_the_proxy()])),
        [format!("to {OUT_V4}:8443")]
    );
    assert_eq!(
        world.dial(Who::Exempt, &["tcp:198.51.100.7:80", "udp:198.51.100.7:53"]),
        ["to 198.51.100.7:80", "stub"]
    );
    assert!(world.rules().contains(&format!("socket cgroupv2 level 1 \"{}", group.shown())), "{}", world.rules());
}

#[test]
fn an_escape_by_root_with_dockers_capabilities_finds_nothing_beside_an_exempt_control_group() {
    let Some(world) = World::new() else { return };
    let Some(group) = Group::new() else { return };
    let _proxy = world.govern(&["--config", group.config(&world).to_str().unwrap()]);
    escape(&world, Who::Root, &mut group.join(world.inside(Who::Exempt)));
}

#[test]
fn an_escape_by_an_ordinary_user_finds_nothing() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    escape(&world, Who::Plain, &mut world.inside(Who::Exempt));
}

/// A hole that is known, and that no rule can close: AF_XDP hands frames to the driver itself. It needs CAP_NET_RAW, which is why `doctor`
/// refuses that even though packet sockets are closed.
#[test]
fn a_frame_by_af_xdp_leaves_with_cap_net_raw_and_not_without() {
    let Some(world) = World::new() else { return };
    let _proxy = world.govern(&[]);
    let said = attempt(&world, Who::Plain, &["xdp"]);
    assert!(said.contains("held frame by AF_XDP on eth0 [Errno 1]"), "{said}");
    assert_eq!(world.frames(&mut world.inside(Who::Exempt)), [""; 0]);
    let said = attempt(&world, Who::Root, &["xdp"]);
    let left = world.frames(&mut world.inside(Who::Exempt));
    // A kernel without XDP sockets has no such hole.
    assert!(said.contains("held frame by AF_XDP on eth0 sent") == (left.len() == 1), "{said} {left:?}");
}

/// Runs the script, and looks outside whether it spoke the truth.
fn escape(world: &World, who: Who, exempt: &mut Command) {
    let said = attempt(world, who, &["plain", "options", "others", "raw", "mirrors"]);
    assert!(said.lines().filter(|line| line.starts_with("held")).count() > 100, "{said}");
    assert_eq!(world.frames(exempt), [""; 0], "{said}");
}

fn attempt(world: &World, who: Who, parts: &[&str]) -> String {
    let resolver = "import socket, threading\n\
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.11', 40053))\n\
        t = socket.create_server(('127.0.0.11', 40053)); print('ready', flush=True)\n\
        def datagrams():\n\
        \x20   while True: u.sendto(b'outside', u.recvfrom(100)[1])\n\
        threading.Thread(target=datagrams, daemon=True).start()\n\
        while True: t.accept()[0].sendall(b'outside')";
    let resolver = Program::start(world.inside(Who::Almighty).args([python(), "-c", resolver]));
    assert_eq!(resolver.line().as_deref(), Some("ready"));
    let asked = serde_json::json!({
        "exempt": 1337, "interface": "eth0", "address4": OUT_V4, "address6": OUT_V6, "own4": OWN_V4, "own6": OWN_V6,
        "gateway": "02:00:00:00:00:02", "resolver": 40053, "parts": parts,
    });
    let mut command = world.inside(who);
    let output = command.arg(python()).arg(world.path("escape.py")).env("ESCAPE", asked.to_string()).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{who:?}: {said} {}", text(&output.stderr));
    said
}
