//! The policy and the configuration of the ringfence that is measured.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::driver::HOST;
use super::mcp;
use super::scenario::{Call, Scenario};

/// A policy as people write them: some services with methods and paths, two denies, and among them the rule that admits the load.
pub fn policy_text(origin: SocketAddr, tls: bool, rules: usize) -> String {
    policy(origin, tls, rules, false)
}

/// The same for a scenario; where that calls tools, its server is declared and the tool is allowed.
pub(super) fn policy_of(scenario: &Scenario, origin: SocketAddr) -> String {
    policy(origin, scenario.tls, scenario.rules, scenario.call == Call::Mcp)
}

fn policy(origin: SocketAddr, tls: bool, rules: usize, mcp: bool) -> String {
    let (trust, scheme) = if tls { (", trust: ./origin.pem", "https") } else { ("", "http") };
    let mut text = format!("ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\"{trust} }}\n");
    let admits = match mcp {
        // Writing to a String cannot fail.
        true => {
            let _ = writeln!(text, "mcp_servers:\n  bench: {{ url: \"{scheme}://{HOST}{}\", pin: off }}", mcp::PATH);
            format!("mcp: {{ server: bench, tool: {} }}", mcp::TOOL)
        }
        false => format!("host: {HOST}, method: [GET, POST], path: [/bytes/**, /events/**]"),
    };
    let _ = writeln!(text, "rules:\n  - {{ allow: the load, {admits} }}");
    let denies = [
        "  - { deny: delete anything, method: DELETE, reason: Deletion needs a person. }\n",
        "  - { deny: administration, path: /admin/** }\n",
    ];
    for (rule, deny) in (1..rules).zip(denies) {
        debug_assert!(rule < rules);
        text.push_str(deny);
    }
    for service in 3..rules {
        let hosts = format!("[api{service}.example.com, \"*.s{service}.example.net\"]");
        let _ = writeln!(
            text,
            "  - {{ allow: service {service}, host: {hosts}, access: read-write, path: [/v1/**, /v2/items/*] }}"
        );
    }
    text
}

/// The configuration of `ringfence proxy`, which can do what `run` cannot: keep a strict log.
pub(super) fn proxy_text(scenario: &Scenario, listen: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "listen:\n  - {{ mode: proxy, address: \"{listen}\" }}\npolicy: \"{folder}/policy.yaml\"\n\
         audit: {{ dir: \"{folder}/audit\", durability: {} }}\nca: {{ dir: \"{folder}/ca\", bundle: \"{folder}/bundle.crt\" }}\n\
         io: {{ workers: 1 }}\nlimits: {{ connections: 65536, connections_per_agent: 65536, idle: 24h }}\n",
        scenario.audit.name()
    )
}
