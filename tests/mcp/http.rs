//! A server over Streamable HTTP or the older HTTP+SSE, declared by its URL, and its client under `ringfence run`: the same claims as on standard streams.

use std::process::Command;

use super::sdks::{self, Sdk};
use super::{EVERYTHING, Place, WAYS, holds, step};

/// A client's command that starts with `ringfence run`.
fn governed(place: &Place, port: u16, path: &str, client: Sdk) -> Command {
    let upstream = format!("upstreams:\n  files.test: {{ address: \"127.0.0.1:{port}\" }}\nmcp_servers:");
    let policy = include_str!("policy.yaml")
        .replace("mcp_servers:", &upstream)
        .replace("{ stdio: files }", &format!("{{ url: \"http://files.test{path}\" }}"));
    std::fs::write(place.path("policy.yaml"), policy).expect("the policy is written");
    let mut run = place.ringfence();
    run.args(["run", "--name", "coder", "--policy"]).arg(place.path("policy.yaml"));
    run.arg("--audit").arg(place.path("audit")).arg("--").args(client.client());
    run
}

fn claim(client: Sdk, server: Sdk, way: (&str, &str)) {
    let place = Place::new();
    let (_server, port) = server.serve(&place, "http");
    let told = place.talk_in(governed(&place, port, "/mcp", client), way.0, &["http://files.test/mcp".to_owned()]);
    let denial = holds(&place, &told, way);
    assert_eq!((&denial["mode"], &denial["host"]), (&"run".into(), &"files.test".into()));
}

#[test]
fn the_sdk_hands_denials_to_its_caller_and_the_session_lives_on() {
    for way in WAYS {
        claim(Sdk::Python, Sdk::Python, way);
    }
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn every_sdk_hands_denials_to_its_caller_and_the_session_lives_on() {
    for (client, server) in sdks::ALL.into_iter().flat_map(|client| sdks::ALL.map(|server| (client, server))) {
        for way in WAYS.into_iter().filter(|way| client.speaks(way.0) && server.speaks(way.0)) {
            println!("{client:?} with {server:?}, {}", way.1);
            claim(client, server, way);
        }
    }
}

#[test]
fn without_ringfence_the_same_calls_are_executed() {
    let place = Place::new();
    let (_server, port) = Sdk::Python.serve(&place, "http");
    let told = place.talk_of(Sdk::Python, "legacy", &[format!("http://127.0.0.1:{port}/mcp")]);
    assert_eq!(step(&told, "denied tool")["text"], "deleted /workspace/a");
    assert_eq!(place.executed(), EVERYTHING);
}

/// The older transport has the same claims: the SDK's client gets its errors on the stream, and lives on.
#[test]
fn the_sdk_is_governed_over_the_older_transport() {
    let place = Place::new();
    let (_server, port) = Sdk::Python.serve(&place, "sse");
    let governed = governed(&place, port, "/sse", Sdk::Python);
    let told = place.talk_in(governed, "legacy", &["http://files.test/sse".to_owned()]);
    let denial = holds(&place, &told, ("legacy", "2025-11-25"));
    assert_eq!((&denial["mode"], &denial["path"]), (&"run".into(), &"/messages/".into()));
}

#[test]
fn over_the_older_transport_without_ringfence_the_same_calls_are_executed() {
    let place = Place::new();
    let (_server, port) = Sdk::Python.serve(&place, "sse");
    let told = place.talk_of(Sdk::Python, "legacy", &[format!("http://127.0.0.1:{port}/sse")]);
    assert_eq!(step(&told, "denied tool")["text"], "deleted /workspace/a");
    assert_eq!(place.executed(), EVERYTHING);
}
