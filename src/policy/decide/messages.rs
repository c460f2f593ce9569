//! One test for each sentence of the contract about messages, rates, moments, tunnels and what nobody has looked at.

use super::super::{Answer, Direction, Look, Lookup, Mcp, Need, Value};
use super::tests::{ask, get, policy};
use super::*;

#[derive(Debug)]
struct One(&'static str, &'static str);

impl Lookup for One {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        if name == self.0 {
            found(Value::Text(self.1.as_bytes()));
        }
    }
}

fn call<'a>(server: &'a str, method: &'a str) -> Subject<'a> {
    let direction = match method {
        "sampling/createMessage" | "elicitation/create" | "roots/list" => Direction::ToClient,
        _ => Direction::ToServer,
    };
    let mcp = Mcp {
        server,
        declared: true,
        direction,
        method,
        tool: None,
        resource: None,
        prompt: None,
        arguments: Look::Absent,
    };
    Subject { method: "POST", mcp: Some(mcp), ..get("mcp.example", &["/mcp"]) }
}

fn tool<'a>(server: &'a str, tool: &'a str) -> Subject<'a> {
    let subject = call(server, "tools/call");
    Subject { mcp: subject.mcp.map(|mcp| Mcp { tool: Some(tool), ..mcp }), ..subject }
}

fn elsewhere<'a>(subject: Subject<'a>) -> Subject<'a> {
    Subject { mcp: subject.mcp.map(|mcp| Mcp { declared: false, ..mcp }), ..subject }
}

const SERVERS: &str = "mcp_servers: { files: { url: \"https://mcp.example/mcp\" }, local: { stdio: local } }\n";

#[test]
fn an_unusual_tool_is_admitted_by_a_rule_that_spells_it_out_alone() {
    let rules = "- allow: all\n  mcp: { server: files }\n- allow: spelt\n  mcp: { server: local, tool: [\"re*\", \"lire/fichier\"] }\n";
    let policy = policy(&format!("ringfence: v1\n{SERVERS}rules:\n{rules}- deny: env\n  mcp: {{ tool: \"*env*\" }}\n"));
    assert_eq!(ask(&policy, &tool("files", "read_file")), "allow all");
    assert_eq!(ask(&policy, &tool("local", "read.file-2")), "allow spelt");
    assert_eq!(ask(&policy, &tool("local", "lire/fichier")), "allow spelt");
    // The second has a Cyrillic letter.
    let long = "read".repeat(33);
    for name in ["re\u{430}d_file", "read file", "re/x", "", &long] {
        assert_eq!(ask(&policy, &tool("files", name)), "deny default", "{name}");
        assert_eq!(ask(&policy, &tool("local", name)), "deny default", "{name}");
    }
    assert_eq!(ask(&policy, &tool("files", "get env")), "deny env", "a deny needs no spelling");
}

#[test]
fn a_message_is_admitted_by_rules_about_messages_alone() {
    let policy = policy(&format!(
        "ringfence: v1\n{SERVERS}rules:\n- allow: host\n  host: mcp.example\n- allow: read\n  mcp: {{ server: files, tool: \"read_*\" }}\n"
    ));
    assert_eq!(ask(&policy, &tool("files", "read_file")), "allow read");
    assert_eq!(ask(&policy, &tool("files", "write_file")), "deny default");
    assert_eq!(ask(&policy, &tool("local", "read_file")), "deny default");
    // And the other way round: a rule about messages admits no plain request.
    assert_eq!(ask(&policy, &get("mcp.example", &["/mcp"])), "allow host");
    assert_eq!(ask(&policy, &get("other.example", &["/mcp"])), "deny default");
}

#[test]
fn denies_without_mcp_apply_to_messages_too_and_default_allow_covers_them() {
    let policy = policy(&format!(
        "ringfence: v1\ndefault: allow\n{SERVERS}rules:\n- deny: host\n  host: mcp.example\n- deny: tool\n  mcp: {{ tool: x }}\n"
    ));
    assert_eq!(ask(&policy, &tool("files", "y")), "deny host");
    assert_eq!(ask(&policy, &Subject { host: Host::Name(""), port: 0, ..tool("local", "y") }), "allow default");
    assert_eq!(ask(&policy, &Subject { host: Host::Name(""), port: 0, ..tool("local", "x") }), "deny tool");
}

#[test]
fn handshake_and_list_messages_pass_as_soon_as_some_rule_allows_something_of_the_server() {
    let policy = policy(&format!(
        "ringfence: v1\n{SERVERS}rules:\n- allow: one\n  mcp: {{ server: files, tool: x }}\n  args: {{ a: b }}\n  rate: 1/day\n  when: {{ agent: coder }}\n"
    ));
    for method in ["initialize", "ping", "tools/list", "prompts/list", "server/discover", "notifications/initialized"] {
        assert_eq!(ask(&policy, &Subject { agent: "coder", ..call("files", method) }), "allow one", "{method}");
        assert_eq!(ask(&policy, &Subject { agent: "other", ..call("files", method) }), "deny default", "{method}");
        assert_eq!(ask(&policy, &Subject { agent: "coder", ..call("local", method) }), "deny default", "{method}");
    }
    for method in ["tools/call", "resources/read", "logging/setLevel"] {
        assert_eq!(ask(&policy, &Subject { agent: "coder", ..call("files", method) }), "deny default", "{method}");
    }
    // They take no token.
    let subject = Subject { agent: "coder", ..call("files", "tools/list") };
    for _ in 0..3 {
        assert!(policy.decide(&subject).admit().unwrap().take(&policy, &subject));
    }
}

#[test]
fn a_server_alone_covers_messages_to_the_server_and_messages_to_the_client_must_be_named() {
    let policy = policy(&format!(
        "ringfence: v1\n{SERVERS}rules:\n- allow: all\n  mcp: {{ server: files }}\n- allow: roots\n  mcp: {{ server: files, method: roots/list }}\n"
    ));
    assert_eq!(ask(&policy, &tool("files", "x")), "allow all");
    assert_eq!(ask(&policy, &call("files", "tasks/get")), "allow all");
    assert_eq!(ask(&policy, &call("files", "sampling/createMessage")), "deny default");
    assert_eq!(ask(&policy, &call("files", "roots/list")), "allow roots");
}

#[test]
fn at_an_endpoint_that_is_not_declared_the_request_admits_and_denies_about_messages_apply() {
    let policy = policy(
        "ringfence: v1\nrules:\n- allow: host\n  host: mcp.example\n- deny: tool\n  mcp: { tool: x }\n- allow: any\n  mcp: { tool: y }\n",
    );
    assert_eq!(ask(&policy, &elsewhere(tool("mcp.example", "x"))), "deny tool");
    assert_eq!(ask(&policy, &elsewhere(tool("mcp.example", "y"))), "allow host");
    assert_eq!(
        ask(&policy, &Subject { host: Host::Name("b.example"), ..elsewhere(tool("b.example", "y")) }),
        "deny default"
    );
}

#[test]
fn a_declared_server_makes_its_host_worth_an_address_when_a_rule_allows_something_of_it() {
    let allowed = policy(&format!("ringfence: v1\n{SERVERS}rules:\n- allow: a\n  mcp: {{ server: files }}\n"));
    let other = policy(&format!("ringfence: v1\n{SERVERS}rules:\n- allow: a\n  mcp: {{ server: local }}\n"));
    assert!(allowed.may_admit(Host::Name("mcp.example")) && !allowed.may_admit(Host::Name("x.example")));
    assert!(!other.may_admit(Host::Name("mcp.example")));
    assert_eq!(allowed.mcp_server(super::super::Scheme::Https, Host::Name("mcp.example"), 443, "/mcp"), Some("files"));
    assert_eq!(allowed.mcp_server(super::super::Scheme::Https, Host::Name("mcp.example"), 443, "/mcp/"), None);
    assert_eq!(allowed.mcp_stdio_server("local"), Some("local"));
}

#[test]
fn an_empty_bucket_means_that_the_rule_does_not_match() {
    let rules = "rules:\n- allow: few\n  rate: 2/hour\n- allow: more\n  host: x.example\n  rate: 1/hour\n- deny: d\n  method: PUT\n";
    let policy = policy(&format!("ringfence: v1\n{rules}"));
    let subject = Subject { agent: "a", time_ns: 1 << 60, ..get("x.example", &["/"]) };
    let mut winners = Vec::new();
    for _ in 0..5 {
        // Decisions look, and take nothing.
        let named = ask(&policy, &subject);
        assert_eq!(ask(&policy, &subject), named);
        if let Ok(permit) = policy.decide(&subject).admit() {
            assert!(permit.take(&policy, &subject));
        }
        winners.push(named);
    }
    assert_eq!(winners, ["allow few", "allow few", "allow more", "deny default", "deny default"]);
    assert_eq!(ask(&policy, &Subject { agent: "b", ..subject }), "allow few");
    let later = Subject { time_ns: (1 << 60) + 3_600_000_000_000, ..subject };
    assert_eq!(ask(&policy, &later), "allow few");
}

#[test]
fn a_token_that_another_worker_took_is_told() {
    let policy = policy("ringfence: v1\nrules:\n- allow: one\n  rate: 1/day\n");
    let subject = Subject { agent: "a", ..get("x.example", &["/"]) };
    let [first, second] = [policy.decide(&subject), policy.decide(&subject)];
    assert!(first.admit().unwrap().take(&policy, &subject));
    assert!(!second.admit().unwrap().take(&policy, &subject));
}

#[test]
fn copies_of_a_policy_share_their_buckets() {
    let policy = policy("ringfence: v1\nrules:\n- allow: one\n  rate: 1/day\n");
    let copy = policy.clone();
    let subject = Subject { agent: "a", ..get("x.example", &["/"]) };
    assert!(policy.decide(&subject).admit().unwrap().take(&policy, &subject));
    assert_eq!(ask(&copy, &subject), "deny default");
}

#[test]
fn only_rules_about_addresses_speak_of_a_tunnel() {
    let rules = "rules:\n- allow: path\n  host: x.example\n  path: /**\n- allow: host\n  host: y.example\n  port: [443, 8443]\n- deny: delete\n  method: DELETE\n- deny: z\n  host: z.example\n";
    let policy = policy(&format!("ringfence: v1\n{rules}tls: {{ passthrough: [\"*.example\"] }}\n"));
    let tunnel = |host| Subject { tunnel: true, method: "", ..get(host, &[]) };
    assert_eq!(ask(&policy, &tunnel("x.example")), "deny default");
    assert_eq!(ask(&policy, &tunnel("y.example")), "allow host");
    assert_eq!(ask(&policy, &tunnel("z.example")), "deny z");
    assert!(policy.passes_through(Host::Name("a.example")) && !policy.passes_through(Host::Name("example")));
}

#[test]
fn a_body_is_needed_only_where_the_outcome_depends_on_it() {
    let rules = "rules:\n- allow: read\n  method: GET\n- allow: small\n  method: POST\n  body: { /n: x }\n- deny: secret\n  host: s.example\n  body: { /k: y }\n- deny: put\n  method: PUT\n";
    let policy = policy(&format!("ringfence: v1\n{rules}"));
    let open = |host, method| Subject { method, body: Look::NotLooked, ..get(host, &["/"]) };
    let asked = |subject: &Subject<'_>| match policy.ask(subject) {
        Answer::Decided(decision) => {
            format!("{} {:?}", decision.verdict.as_str(), decision.rule.map(|rule| rule.name))
        }
        Answer::Needs(need) => format!("needs {need:?}"),
    };
    assert_eq!(asked(&open("x.example", "GET")), "allow Some(\"read\")");
    assert_eq!(asked(&open("x.example", "POST")), "needs Body");
    assert_eq!(asked(&open("s.example", "GET")), "needs Body");
    assert_eq!(asked(&open("s.example", "PUT")), "deny Some(\"put\")");
    assert_eq!(asked(&open("s.example", "DELETE")), "deny None");
    // Who decides without having looked is on the safe side.
    assert_eq!(ask(&policy, &open("x.example", "POST")), "deny default");
    assert_eq!(ask(&policy, &open("s.example", "GET")), "deny secret");
    let body = One("/n", "x");
    assert_eq!(ask(&policy, &Subject { body: Look::At(&body), ..open("x.example", "POST") }), "allow small");
}

#[test]
fn arguments_are_needed_only_where_the_outcome_depends_on_them() {
    let policy = policy(&format!(
        "ringfence: v1\n{SERVERS}rules:\n- allow: a\n  mcp: {{ server: files, tool: t }}\n  args: {{ k: v }}\n- allow: b\n  mcp: {{ server: local }}\n"
    ));
    let open = |server, name| {
        let subject = tool(server, name);
        Subject { mcp: subject.mcp.map(|mcp| Mcp { arguments: Look::NotLooked, ..mcp }), ..subject }
    };
    assert_eq!(policy.ask(&open("files", "t")).need(), Some(Need::Arguments));
    assert_eq!(policy.ask(&open("files", "u")).need(), None);
    assert_eq!(policy.ask(&open("local", "t")).need(), None);
    assert_eq!(ask(&policy, &open("files", "t")), "deny default");
}

#[test]
fn an_unreadable_header_satisfies_the_matchers_of_a_deny_and_none_of_an_allow() {
    let rules = "rules:\n- allow: a\n  header: { x: { not: bad } }\n- deny: d\n  header: { y: { prefix: p } }\n";
    let policy = policy(&format!("ringfence: v1\n{rules}"));
    let with = |headers| Subject { headers, ..get("x.example", &["/"]) };
    assert_eq!(ask(&policy, &with(Look::Absent)), "allow a");
    assert_eq!(ask(&policy, &with(Look::Unreadable)), "deny d");
    assert_eq!(ask(&policy, &with(Look::NotLooked)), "deny d");
    assert_eq!(ask(&policy, &with(Look::At(&One("x", "bad")))), "deny default");
    assert_eq!(ask(&policy, &with(Look::At(&One("y", "pq")))), "deny d");
}
