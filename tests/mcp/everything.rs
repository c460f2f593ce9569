//! MCP's reference server (`@modelcontextprotocol/server-everything`) on its three transports, unchanged, used by the SDK for Python.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use super::sdks::{node, packages};
use super::{Place, python, repository, step};
use crate::util::{Program, until};

const POLICY: &str = r#"ringfence: v1
mcp_servers:
  everything: { stdio: everything }
rules:
  - allow: what does no harm
    mcp: { server: everything, tool: [echo, trigger-long-running-operation] }
  - deny: secrets in an echo
    mcp: { server: everything, tool: echo }
    args: { message: { glob: "*secret*" } }
  - deny: the environment
    mcp: { server: everything, tool: get-env }
    reason: The environment of a server holds keys.
"#;

fn server(transport: &str) -> Vec<String> {
    let script = format!("{}/node_modules/@modelcontextprotocol/server-everything/dist/index.js", packages());
    vec![node(), script, transport.to_owned()]
}

/// The server over HTTP, and where it is once it answers.
fn serve(transport: &str) -> (Program, u16) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let words = server(transport);
    let program = Program::start(Command::new(&words[0]).args(&words[1..]).env("PORT", port.to_string()));
    until("the server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    (program, port)
}

/// The client's words.
fn client() -> Vec<String> {
    let script = repository("tests/mcp/everything.py").display().to_string();
    vec![python().display().to_string(), "-W".into(), "ignore".into(), script]
}

fn told(mut client: Command) -> Vec<Value> {
    let finished = Program::start(&mut client).finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    finished.stdout.iter().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// What has to come of the calls, in whatever way they went.
fn holds(place: &Place, told: &[Value]) {
    assert_eq!(step(told, "tools")["names"], json!(["echo", "trigger-long-running-operation"]));
    assert_eq!(step(told, "echo")["text"], "Echo: hello");
    let denied = step(told, "environment");
    assert_eq!((&denied["code"], &denied["text"]), (&json!(-31403), &Value::Null));
    assert_eq!(denied["message"], "Blocked by policy: The environment of a server holds keys.");
    assert_eq!(step(told, "argument")["code"], -31403);
    assert_eq!(step(told, "progress")["steps"], json!([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0], [4.0, 4.0]]));
    assert_eq!(step(told, "long")["is_error"], false);
    assert_eq!(step(told, "echo again")["text"], "Echo: still here");
    let denials: Vec<_> = place.records().into_iter().filter(|record| record["verdict"] == "deny").collect();
    for rule in ["secrets in an echo", "the environment"] {
        assert_eq!(denials.iter().filter(|record| record["rule"] == rule).count(), 1, "{rule}: {denials:?}");
    }
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn the_reference_server_is_governed_on_standard_streams() {
    let place = Place::new();
    std::fs::write(place.path("policy.yaml"), POLICY).expect("the policy is written");
    let words = client();
    let mut command = Command::new(&words[0]);
    let governed = place.governed_as("everything");
    command.args(&words[1..]).args(governed).args(server("stdio")).env("RINGFENCE_STATE", place.path("state"));
    holds(&place, &told(command));
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn the_reference_server_is_governed_over_both_http_transports() {
    for (transport, path) in [("streamableHttp", "/mcp"), ("sse", "/sse")] {
        println!("{transport}");
        let place = Place::new();
        let (_server, port) = serve(transport);
        let upstream = format!("upstreams:\n  every.test: {{ address: \"127.0.0.1:{port}\" }}\nmcp_servers:");
        let url = format!("http://every.test{path}");
        let policy = POLICY
            .replace("mcp_servers:", &upstream)
            .replace("{ stdio: everything }", &format!("{{ url: \"{url}\" }}"));
        std::fs::write(place.path("policy.yaml"), policy).expect("the policy is written");
        let mut run = place.ringfence();
        run.args(["run", "--policy"]).arg(place.path("policy.yaml")).arg("--audit").arg(place.path("audit"));
        run.arg("--").args(client()).arg(&url);
        holds(&place, &told(run));
    }
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn without_ringfence_the_reference_server_tells_its_environment() {
    let words = client();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(server("stdio")).env("CANARY", "in-the-environment");
    let told = told(command);
    assert!(step(&told, "environment")["text"].as_str().expect("a text").contains("in-the-environment"), "{told:?}");
    assert_eq!(step(&told, "argument")["text"], "Echo: the secret is out");
}
