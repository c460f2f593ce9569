//! Claims about the fence, tried from inside it. As root they are tried as root and as an ordinary user.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

#[path = "fence/outside.rs"]
mod outside;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use outside::{Canaries, Room, SECRET, addresses, be, install, listen_at, namespaces, python, users};

#[test]
fn nothing_gets_out() {
    for user in users() {
        let room = Room::new();
        let doors = room.folder("doors");
        let canaries = Canaries::listen(&doors);
        listen_at(&room.join("exposed.sock"));
        let hidden: Vec<_> =
            ["state", "audit"].map(|name| (room.folder(name), room.file(&format!("{name}/file"), SECRET))).into();
        let policy = room.file("policy.yaml", &format!("ringfence: v1\ndefault: allow # {SECRET}\nrules: []\n"));
        let runtime = room.folder("runtime");
        listen_at(&runtime.join("bus"));
        let asked = serde_json::json!({
            "secret": SECRET, "tcp": canaries.tcp, "udp": canaries.udp, "addresses": addresses(),
            "unix": canaries.unix, "abstract": canaries.abstract_name, "exposed": room.join("exposed.sock"),
            "hidden": [hidden[0].1, hidden[1].1, policy], "namespaces": namespaces(), "pid": std::process::id(),
        });
        let mut command = launch(&room, user, &policy);
        command.arg(python()).arg(room.join("escape.py"));
        command.env("ESCAPE", asked.to_string()).env("XDG_RUNTIME_DIR", &runtime).process_group(0);
        let output = output(&mut command);
        let text = text(&output.stdout);
        let escapes: Vec<_> = text.lines().filter(|line| line.starts_with("ESCAPED")).collect();
        assert!(escapes.is_empty(), "as {user}: {escapes:#?}");
        assert!(output.status.success(), "as {user}: {} {text} {}", output.status, self::text(&output.stderr));
        assert!(text.lines().filter(|line| line.starts_with("held")).count() > 600, "as {user}: {text}");
        assert_eq!(canaries.touched(), 0, "as {user}: a canary was reached");
    }
}

/// The product where it has `run` already, else the example.
fn launch(room: &Room, user: u32, policy: &Path) -> Command {
    let product = Path::new(env!("CARGO_BIN_EXE_ringfence"));
    let has_run = Command::new(product).args(["run", "--help"]).output().is_ok_and(|output| output.status.success());
    let mut command = if has_run {
        install(product, &room.join("ringfence"));
        let mut command = Command::new(room.join("ringfence"));
        command.arg("run").arg("--policy").arg(policy).arg("--audit").arg(room.join("audit"));
        command
    } else {
        let mut command = Command::new(room.join("fence"));
        command.arg("--hide-dir").arg(room.join("state")).arg("--hide-dir").arg(room.join("audit"));
        command.arg("--hide-file").arg(policy);
        command
    };
    command.arg("--expose").arg(room.join("exposed.sock")).arg("--").current_dir(room.path());
    be(&mut command, user);
    command.env("RINGFENCE_STATE", room.join("state"));
    command
}

#[test]
fn connections_to_anywhere_arrive_with_their_destination() {
    let dial = "import socket,sys\n\
        for host, port in zip(sys.argv[1::2], sys.argv[2::2]):\n\
        \x20   with socket.create_connection((host, int(port)), 5) as s: print(s.recv(200).decode().strip())";
    for user in users() {
        let room = Room::new();
        let hosts =
            ["198.51.100.7", "80", "2001:db8::5", "8443", "198.51.100.7", "15001", "10.99.0.2", "22", "8.8.8.8", "53"];
        let lines = stdout(room.fence(user, &[python(), "-c", dial]).args(hosts));
        let expected =
            "to 198.51.100.7:80\nto [2001:db8::5]:8443\nto 198.51.100.7:15001\nto 10.99.0.2:22\nto 8.8.8.8:53\n";
        assert_eq!(lines, expected, "as {user}");
    }
}

#[test]
fn a_connection_straight_to_the_listener_has_no_destination() {
    let dial = "import socket\n\
        for host in '127.0.0.1', '::1':\n\
        \x20   with socket.create_connection((host, 15001), 5) as s: print(s.recv(200).decode().strip())";
    let room = Room::new();
    let lines = stdout(&mut room.fence(users()[0], &[python(), "-c", dial]));
    assert_eq!(lines.matches("refused: no original destination").count(), 2, "{lines}");
}

#[test]
fn names_are_asked_of_the_stub() {
    let ask = "import socket\n\
        for family, server in (socket.AF_INET, '8.8.8.8'), (socket.AF_INET, '127.0.0.53'), (socket.AF_INET6, '2001:db8::53'):\n\
        \x20   s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5); s.connect((server, 53)); s.send(b'asked'); print(s.recv(9))";
    let room = Room::new();
    assert_eq!(stdout(&mut room.fence(users()[0], &[python(), "-c", ask])), "b'asked'\n".repeat(3));
}

#[test]
fn resolv_conf_is_at_the_stub_whatever_the_host_has() {
    let room = Room::new();
    let etc =
        "mount -t tmpfs none /etc; echo 'root:x:0:0::/:/bin/sh' > /etc/passwd; mkdir /etc/ssl; ln -s ssl /etc/certs";
    for host in [
        ":",
        "echo nameserver 192.0.2.53 > /etc/resolv.conf; echo 192.0.2.1 secret-name > /etc/hosts",
        "ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
        "ln -s /var/run/NetworkManager/resolv.conf /etc/resolv.conf",
        "ln -s /nowhere/resolv.conf /etc/resolv.conf; ln -s /nowhere/hosts /etc/hosts",
        "ln -s resolv.conf /etc/resolv.conf",
        "mkdir /etc/there; echo nameserver 192.0.2.53 > /etc/there/conf; ln -s there/conf /etc/resolv.conf",
    ] {
        let look = "grep -v '^#' /etc/resolv.conf; grep -c secret-name /etc/hosts; cat /etc/passwd; readlink /etc/certs; test -d /etc/ssl";
        let output = output(&mut room.fence_after(&format!("{etc}; {host}"), &["sh", "-c", look]));
        let expected = "nameserver 127.0.0.1\n0\nroot:x:0:0::/:/bin/sh\nssl\n";
        assert_eq!(text(&output.stdout), expected, "with {host}: {}", text(&output.stderr));
    }
}

#[test]
fn masks_cover_every_name_of_what_they_hide() {
    let room = Room::new();
    let (place, alias) = (room.folder("place"), room.folder("alias"));
    room.folder("place/state");
    room.file("place/state/key", SECRET);
    room.file("place/policy", SECRET);
    listen_at(&place.join("door.sock"));
    let knock = "import socket,sys\nfor path in sys.argv[1:]:\n\
        \x20   try: socket.socket(socket.AF_UNIX).connect(path); print('reached', path)\n\
        \x20   except OSError: print('held')";
    let prepare = format!("mount --bind {} {}", place.display(), alias.display());
    let masked = ["--hide-dir", "place/state", "--hide-file", "place/policy", "--"];
    let look = "cat place/policy alias/policy; ls -A place/state alias/state; ls alias";
    let seen = stdout(&mut room.fence_after(&prepare, &[&masked[..], &["sh", "-c", look]].concat()));
    assert_eq!(seen, "alias/state:\n\nplace/state:\ndoor.sock\npolicy\nstate\n");
    let knocked = [&masked[..], &[python(), "-c", knock, "place/door.sock", "alias/door.sock"]].concat();
    assert_eq!(stdout(&mut room.fence_after(&prepare, &knocked)), "held\nheld\n");
}

#[test]
fn a_working_directory_that_is_hidden_shows_empty() {
    let room = Room::new();
    let state = room.folder("state");
    room.file("state/key", SECRET);
    for user in users() {
        let mut command =
            room.fence(user, &["--hide-dir", ".", "--", "sh", "-c", "pwd; ls -A . ; cat key || echo none"]);
        let expected = format!("{}\nnone\n", state.display());
        assert_eq!(stdout(command.current_dir(&state)), expected, "as {user}");
    }
    let output = output(room.fence(users()[0], &["true"]).current_dir("/run"));
    assert!(output.status.success(), "/run itself exists inside");
}

#[test]
fn a_folder_as_a_standard_stream_is_refused() {
    let room = Room::new();
    let output = output(room.fence(users()[0], &["true"]).stdin(fs::File::open("/").unwrap()));
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("stdin"), "{}", text(&output.stderr));
}

#[test]
fn the_exit_code_is_the_commands() {
    for user in users() {
        let room = Room::new();
        for (command, code) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -9 $$"], 137),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["no-such-command"], 127),
            (&["/etc/passwd"], 126),
            (&["--hide-dir", "/no/such/folder", "--", "true"], 125),
            (&["--expose", "/run", "--", "true"], 125),
        ] {
            let output = output(&mut room.fence(user, command));
            assert_eq!(output.status.code(), Some(code), "{command:?} as {user}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn descriptors_and_proxy_variables_stay_outside() {
    for user in users() {
        let room = Room::new();
        let mut fenced = Command::new("sh");
        fenced.args(["-c", "exec 9</etc/passwd; exec \"$@\"", "sh"]).arg(room.join("fence")).args([
            "sh",
            "-c",
            "ls /proc/self/fd; echo; env",
        ]);
        be(&mut fenced, user);
        fenced.env("https_proxy", "http://192.0.2.1").env("ALL_PROXY", "x").env("KEPT", "yes").current_dir(room.path());
        let seen = stdout(&mut fenced);
        // The fourth is the folder that ls reads.
        assert!(seen.starts_with("0\n1\n2\n3\n\n"), "as {user}: {seen}");
        assert!(seen.contains("KEPT=yes") && !seen.to_lowercase().contains("proxy="), "as {user}: {seen}");
    }
}

#[test]
fn signals_to_ringfence_reach_the_command() {
    for user in users() {
        let room = Room::new();
        for (signal, code) in [(Signal::SIGTERM, 15), (Signal::SIGHUP, 1), (Signal::SIGINT, 2), (Signal::SIGUSR1, 10)] {
            let script = format!("trap 'exit {}' {code}; echo ready; while :; do sleep 0.02; done", 40 + code);
            let mut child = room.fence(user, &["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "ready");
            kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(40 + code), "{signal} as {user}");
        }
    }
}

#[test]
fn a_signal_to_its_group_does_not_leave_the_fence() {
    for user in users() {
        let room = Room::new();
        let script = "trap '' USR1; kill -USR1 0; kill -USR1 -1; echo sent; read wait; exit 5";
        let mut fenced = room.fence(user, &["sh", "-c", script]);
        let mut fenced = fenced.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut bystander = Command::new("sleep");
        be(&mut bystander, user);
        let mut bystander = bystander.arg("600").process_group(fenced.id().cast_signed()).spawn().unwrap();
        let mut lines = BufReader::new(fenced.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "sent");
        drop(fenced.stdin.take());
        assert_eq!(fenced.wait().unwrap().code(), Some(5), "as {user}");
        assert!(bystander.try_wait().unwrap().is_none(), "as {user}: the signal came through");
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }
}

#[test]
fn everything_inside_dies_with_ringfence() {
    for user in users() {
        let room = Room::new();
        // A daemon of its own session, which keeps the pipe open for as long as it lives.
        let script = "setsid sleep 600 & echo ready; exec sleep 600";
        let mut fenced = room.fence(user, &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(fenced.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        fenced.kill().unwrap();
        assert_eq!(fenced.wait().unwrap().signal(), Some(9));
        // The end of the pipe is the death of the last that held it.
        output.read_to_string(&mut line).unwrap();
        assert_eq!(line, "ready\n", "as {user}");
    }
}

#[test]
fn the_terminal_behaves_as_without_the_fence() {
    for user in users() {
        let room = Room::new();
        let mut command = Command::new(python());
        command.arg(room.join("terminal.py")).arg(room.join("fence")).current_dir(room.path());
        be(&mut command, user);
        let output = output(&mut command);
        assert!(output.status.success(), "as {user}: {} {}", text(&output.stdout), text(&output.stderr));
    }
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn stdout(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}: {} {}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
