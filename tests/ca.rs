//! The authority of a long-running proxy as its operator meets it: made at the first start, the same after a restart, handed out by
//! `ca` and `env`, and refused where an agent could change what decides.

#![allow(clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

mod util;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A folder with a policy and a configuration whose listener has an address that no other test uses.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(listen: &str) -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { folder };
        fs::write(place.path("policy.yaml"), "ringfence: v1\nrules: []\n").expect("written");
        let rest = "policy: policy.yaml\naudit: { dir: audit }\nca: { dir: ca, bundle: shared/bundle.crt }\n";
        fs::write(
            place.path("ringfence.yaml"),
            format!("listen: [{listen}]\n{rest}io: {{ engine: epoll, workers: 1 }}\n"),
        )
        .expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(arguments).current_dir(self.folder.path()).env("RINGFENCE_STATE", self.path("state"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    /// Starts the proxy, waits for what `there` waits for, and stops it.
    fn serve_until(&self, there: &Path) {
        let mut child =
            self.command(&["proxy", "--config", "ringfence.yaml"]).stderr(Stdio::null()).spawn().expect("started");
        util::until("the proxy writes its bundle", || {
            assert!(child.try_wait().expect("asked").is_none(), "the proxy ended by itself");
            there.exists().then_some(())
        });
        stop(&mut child);
    }
}

fn stop(child: &mut Child) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("an id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("told");
    assert!(child.wait().expect("ended").success());
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LISTEN: &str = "{ mode: proxy, address: \"127.83.1.1:3128\" }";

#[test]
fn the_authority_survives_a_restart_and_is_handed_out_without_its_key() {
    let place = Place::new(LISTEN);
    let show = ["ca", "show", "--config", "ringfence.yaml"];
    let before = place.run(&show);
    assert_eq!(before.status.code(), Some(1));
    let ca = place.path("ca");
    assert_eq!(
        stderr(&before),
        format!(
            "ringfence: there is no authority in {} yet: `ringfence proxy` makes one at its first start\n",
            ca.display()
        )
    );
    place.serve_until(&place.path("shared/bundle.crt"));
    let first = stdout(&place.run(&show));
    assert!(first.starts_with("subject      CN=ringfence authority "), "{first}");
    assert!(first.ends_with(&format!("key          {}\n", ca.join("key.pem").display())), "{first}");
    fs::remove_file(place.path("shared/bundle.crt")).expect("removed");
    place.serve_until(&place.path("shared/bundle.crt"));
    assert_eq!(stdout(&place.run(&show)), first);

    let exported = stdout(&place.run(&["ca", "export", "--config", "ringfence.yaml"]));
    assert_eq!(exported, fs::read_to_string(ca.join("ca.pem")).expect("read"));
    assert!(exported.starts_with("-----BEGIN CERTIFICATE-----\n") && !exported.contains("PRIVATE"));
    let bundle = stdout(&place.run(&["ca", "bundle", "--config", "ringfence.yaml"]));
    assert_eq!(bundle, fs::read_to_string(place.path("shared/bundle.crt")).expect("read"));
    assert!(bundle.ends_with(&exported) && bundle.len() > exported.len());
    stdout(&place.run(&["ca", "bundle", "--config", "ringfence.yaml", "--out", "again.crt"]));
    assert_eq!(fs::read_to_string(place.path("again.crt")).expect("read"), bundle);
    assert_eq!(fs::metadata(place.path("again.crt")).expect("there").permissions().mode() & 0o777, 0o644);
}

#[test]
fn env_prints_what_a_shell_and_an_env_file_need() {
    let place = Place::new(LISTEN);
    let bundle = place.path("shared/bundle.crt");
    let shell = stdout(&place.run(&["env", "--config", "ringfence.yaml"]));
    let lines: Vec<_> = shell.lines().collect();
    assert_eq!(
        lines[..8],
        [
            "export HTTP_PROXY='http://127.83.1.1:3128'",
            "export http_proxy='http://127.83.1.1:3128'",
            "export HTTPS_PROXY='http://127.83.1.1:3128'",
            "export https_proxy='http://127.83.1.1:3128'",
            "export NO_PROXY='localhost,127.0.0.1,::1'",
            "export no_proxy='localhost,127.0.0.1,::1'",
            "export NODE_USE_ENV_PROXY='1'",
            &format!("export SSL_CERT_FILE='{}'", bundle.display()),
        ]
    );
    assert_eq!(lines.len(), 7 + 9);
    let dotenv = stdout(&place.run(&[
        "env",
        "--config",
        "ringfence.yaml",
        "--format",
        "dotenv",
        "--host",
        "gate",
        "--bundle",
        "/etc/trust.crt",
    ]));
    assert!(dotenv.starts_with("HTTP_PROXY=http://gate:3128\n"), "{dotenv}");
    assert!(dotenv.ends_with("\nDENO_CERT=/etc/trust.crt\n"), "{dotenv}");
}

#[test]
fn env_prints_no_proxy_where_none_listens_and_asks_for_the_host_where_all_do() {
    let gateway = Place::new("{ mode: gateway, address: 0.0.0.0, ports: [443], from: [10.0.0.0/8] }");
    let lines = stdout(&gateway.run(&["env", "--config", "ringfence.yaml"]));
    assert!(lines.starts_with("export SSL_CERT_FILE="), "{lines}");
    assert!(!lines.contains("PROXY"));
    let everywhere = Place::new("{ mode: proxy, address: \"0.0.0.0:3128\", from: [10.0.0.0/8] }");
    let refused = everywhere.run(&["env", "--config", "ringfence.yaml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        stderr(&refused),
        "ringfence: ringfence.yaml: `listen.address` 0.0.0.0:3128 is every address; name the one that the agent uses with --host\n"
    );
    let without = everywhere.run(&["env"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(stderr(&without).contains("there is no bundle at"), "{}", stderr(&without));
}

#[test]
fn a_configuration_that_is_wrong_is_one_line_and_exit_2() {
    let place = Place::new("{ mode: proxy, address: \"0.0.0.0:3128\" }");
    for command in [&["proxy"][..], &["env"], &["ca", "show"]] {
        let output = place.run(&[command, &["--config", "ringfence.yaml"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            stderr(&output),
            "ringfence.yaml:1:10: error: the proxy listener at 0.0.0.0:3128 is off loopback and names nobody who may connect (add `from: [NETWORK]` here, or `agents:`)\n"
        );
    }
}

#[test]
fn a_policy_that_an_agent_could_write_is_refused() {
    let place = Place::new(LISTEN);
    let policy = place.path("policy.yaml");
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o666)).expect("permissions set");
    let output = place.run(&["proxy", "--config", "ringfence.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let policy = policy.display();
    assert_eq!(
        stderr(&output),
        format!(
            "ringfence.yaml: error: `policy` is within an agent's reach: {policy} can be written by everybody (chmod o-w {policy})\n"
        )
    );
    assert!(!place.path("ca").exists(), "nothing was made");
}
