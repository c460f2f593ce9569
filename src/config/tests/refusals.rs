//! Every refusal with its exact text.

use super::{LOOPBACK, REST, refusal, refused, settings, understand};

#[test]
fn listeners_that_are_wrong_are_refused() {
    for (line, said) in [
        ("listen: []", "1:9: error: `listen` is empty (name at least one, or remove the key)"),
        ("listen: [x]", "1:10: error: an entry of `listen` is a map, found the text `x`"),
        (
            "listen: [{ adress: x }]",
            "1:10: error: `listen.mode` is missing (write `mode: gateway`, `mode: redirect` or `mode: proxy`)",
        ),
        ("listen: [{ mode: gatway }]", "1:18: error: `listen.mode` cannot be `gatway` (did you mean `gateway`?)"),
        (
            "listen: [{ mode: proxy, adress: x }]",
            "1:25: error: unknown key `adress` in a proxy listener (did you mean `address`?)",
        ),
        ("listen: [{ mode: proxy }]", "1:10: error: `listen.address` is missing (write `address: \"127.0.0.1:3128\"`)"),
        (
            "listen: [{ mode: proxy, address: 127.0.0.1 }]",
            "1:34: error: `listen.address` is an IP address and a port, found `127.0.0.1` (add the port: `127.0.0.1:3128`)",
        ),
        (
            "listen: [{ mode: proxy, address: \":3128\" }]",
            "1:34: error: `listen.address` is an IP address and a port, found `:3128` (write `127.0.0.1:3128`, or `0.0.0.0:3128` for every interface)",
        ),
        (
            "listen: [{ mode: proxy, address: localhost:3128 }]",
            "1:34: error: `listen.address` is an IP address and a port, found `localhost:3128` (names are not looked up: write `127.0.0.1:3128`)",
        ),
        (
            "listen: [{ mode: proxy, address: \"[::ffff:127.0.0.1]:3128\" }]",
            "1:34: error: `listen.address` is an IPv4 address written as IPv6: `::ffff:127.0.0.1` (write `127.0.0.1`)",
        ),
        (
            "listen: [{ mode: proxy, address: 127.0.0.1:1, ports: [1] }]",
            "1:47: error: `ports` has no place in a proxy listener (write the port into `address`, like `127.0.0.1:3128`)",
        ),
        (
            "listen: [{ mode: redirect, address: 0.0.0.0:15001 }]",
            "1:37: error: `listen.address` of a redirect listener is a fixed port on loopback, found `0.0.0.0:15001` (write `127.0.0.1:15001`)",
        ),
        (
            "listen: [{ mode: redirect, address: \"[::]:0\" }]",
            "1:37: error: `listen.address` of a redirect listener is a fixed port on loopback, found `[::]:0` (write `[::1]:15001`)",
        ),
        (
            "listen: [{ mode: redirect, address: 127.0.0.1:1, from: [10.0.0.1] }]",
            "1:50: error: `from` has no place in a redirect listener (remove it: only its own loopback reaches a redirect listener)",
        ),
        (
            "listen: [{ mode: gateway, address: 127.0.0.1 }]",
            "1:10: error: `listen.ports` is missing (name the ports that agents dial: `ports: [80, 443]`)",
        ),
        (
            "listen: [{ mode: gateway, address: 127.0.0.1, ports: [] }]",
            "1:54: error: `listen.ports` is empty (name at least one, or remove the key)",
        ),
        (
            "listen: [{ mode: gateway, address: 127.0.0.1, ports: [0] }]",
            "1:55: error: `listen.ports` is a number from 1 to 65535, found the number `0`",
        ),
        (
            "listen: [{ mode: gateway, address: 0.0.0.0:80, ports: [80] }]",
            "1:36: error: `listen.address` is an IP address without a port, found `0.0.0.0:80` (write `address: \"0.0.0.0\"` and `ports: [80]`)",
        ),
        (
            "listen: [{ mode: gateway, address: 0.0.0.0, ports: [80], from: [0.0.0.0/0] }]",
            "1:64: error: `listen.from` lets everybody in (name the networks of the agents, such as `172.28.0.0/16`)",
        ),
        (
            "listen: [{ mode: gateway, address: 0.0.0.0, ports: [80], from: [0.0.0.0/1, 128.0.0.0/1] }]",
            "1:64: error: `listen.from` lets everybody in (name the networks of the agents, such as `172.28.0.0/16`)",
        ),
        (
            "listen: [{ mode: proxy, address: 0.0.0.0:3128, from: [172.28.0.1/16] }]",
            "1:55: error: `listen.from` has bits beyond its prefix: `172.28.0.1/16` (did you mean `172.28.0.0/16`?)",
        ),
        (
            "listen: [{ mode: proxy, address: 0.0.0.0:3128, from: 172.28.0.0/16 }]",
            "1:54: error: `listen.from` is a list, found the text `172.28.0.0/16` (put its entries in `[` and `]`)",
        ),
        (
            "listen: [{ mode: proxy, address: 0.0.0.0:3128, from: [agents] }]",
            "1:55: error: `listen.from` is an address or a network, found `agents` (write it like `172.28.0.3` or `172.28.0.0/16`)",
        ),
    ] {
        assert_eq!(refused(line), format!("r.yaml:{said}"), "{line}");
    }
}

#[test]
fn a_listener_off_loopback_that_names_nobody_is_refused() {
    assert_eq!(
        refused("listen: [{ mode: gateway, address: 0.0.0.0, ports: [80] }]"),
        "r.yaml:1:10: error: the gateway listener at 0.0.0.0 is off loopback and names nobody who may connect (add `from: [NETWORK]` here, or `agents:`)"
    );
    assert_eq!(
        refused("listen: [{ mode: proxy, address: \"[fd00::1]:3128\" }]"),
        "r.yaml:1:10: error: the proxy listener at [fd00::1]:3128 is off loopback and names nobody who may connect (add `from: [NETWORK]` here, or `agents:`)"
    );
    assert_eq!(
        refused("dns: { address: 0.0.0.0:53 }"),
        "r.yaml:1:17: error: the DNS stub at 0.0.0.0:53 is off loopback and nobody is named who may ask it (add `from: [NETWORK]` to a listener, or `agents:`)"
    );
    let named = "listen: [{ mode: gateway, address: 0.0.0.0, ports: [80] }]\nagents: [{ name: a, source: 10.0.0.1 }]\ndns: { address: 0.0.0.0:53 }\n";
    assert_eq!(settings(&format!("{named}{REST}")).listeners.len(), 1);
}

#[test]
fn a_stub_whose_answers_lead_nowhere_is_refused() {
    let said = "would answer with addresses that lead nowhere (give a gateway listener this address, or put the stub on loopback beside a redirect listener)";
    for text in [
        "listen: [{ mode: proxy, address: 127.0.0.1:3128 }]\ndns: { address: 127.0.0.1:15053 }",
        "listen: [{ mode: redirect, address: 127.0.0.1:15001 }]\nagents: [{ name: a, source: 10.0.0.1 }]\ndns: { address: 10.0.0.2:53 }",
        "listen: [{ mode: gateway, address: 10.0.0.3, ports: [80], from: [10.0.0.0/8] }]\ndns: { address: 10.0.0.2:53 }",
    ] {
        let refusal = refused(text);
        assert!(refusal.ends_with(said), "{refusal}");
    }
}

#[test]
fn addresses_that_collide_are_refused() {
    for (text, said) in [
        (
            "listen:\n- { mode: proxy, address: 127.0.0.1:80 }\n- { mode: gateway, address: 127.0.0.1, ports: [443, 80] }",
            "3:3: error: `127.0.0.1:80` is taken: the proxy listener in line 2 has `127.0.0.1:80` (give each its own address or port)",
        ),
        (
            "listen:\n- { mode: gateway, address: 0.0.0.0, ports: [80], from: [10.0.0.0/8] }\n- { mode: proxy, address: 127.0.0.1:80 }",
            "3:3: error: `127.0.0.1:80` is taken: the gateway listener in line 2 has `0.0.0.0:80` (give each its own address or port)",
        ),
        (
            "listen: [{ mode: gateway, address: 127.0.0.1, ports: [80, 80] }]",
            "1:10: error: `127.0.0.1:80` is taken: the gateway listener in line 1 has `127.0.0.1:80` (give each its own address or port)",
        ),
        (
            "listen: [{ mode: redirect, address: 127.0.0.1:53 }]\ndns: { address: 127.0.0.1:53 }",
            "2:17: error: `127.0.0.1:53` is taken: the redirect listener in line 1 has `127.0.0.1:53` (give each its own address or port)",
        ),
        (
            "listen: [{ mode: redirect, address: 127.0.0.1:15001 }]\ndns: { address: 127.0.0.1:0 }",
            "2:17: error: `dns.address` beside a redirect listener has a fixed port, found `127.0.0.1:0` (write `127.0.0.1:15053`)",
        ),
    ] {
        assert_eq!(refused(text), format!("r.yaml:{said}"), "{text}");
    }
    let free = "listen:\n- { mode: proxy, address: 127.0.0.1:0 }\n- { mode: proxy, address: 127.0.0.1:0 }\n- { mode: proxy, address: \"[::1]:80\" }\n- { mode: proxy, address: 127.0.0.1:80 }\n";
    assert_eq!(settings(&format!("{free}{REST}")).listeners.len(), 4);
}

#[test]
fn sections_that_are_wrong_are_refused() {
    for (line, said) in [
        ("polcy: x", "1:1: error: unknown key `polcy` in a configuration (did you mean `policy`?)"),
        ("dns: 127.0.0.1:53", "1:6: error: `dns` is a map, found the text `127.0.0.1:53`"),
        ("dns: {}", "1:6: error: `dns.address` is missing (write `address: \"127.0.0.1:15053\"`)"),
        (
            "redirect: {}",
            "1:11: error: `redirect.exempt` is missing (write `exempt: { uid: 1337 }`, the user that the proxy runs as)",
        ),
        ("redirect: { exempt: {} }", "1:21: error: `redirect.exempt` is either `uid` or `cgroup` (keep one of them)"),
        (
            "redirect: { exempt: { uid: 1, cgroup: a } }",
            "1:21: error: `redirect.exempt` is either `uid` or `cgroup` (keep one of them)",
        ),
        (
            "redirect: { exempt: { uid: 0 } }",
            "1:28: error: `redirect.exempt.uid` is 0: root in the agent's container would pass ungoverned (run the proxy as a user of its own, such as 1337)",
        ),
        (
            "redirect: { exempt: { uid: 4294967295 } }",
            "1:28: error: `redirect.exempt.uid` is a number from 1 to 4294967294, found the number `4294967295`",
        ),
        (
            "redirect: { exempt: { cgroup: / } }",
            "1:31: error: `redirect.exempt.cgroup` is the path of one control group, found `/` (write it like `system.slice/ringfence.service`)",
        ),
        (
            "redirect: { exempt: { cgroup: a/../b } }",
            "1:31: error: `redirect.exempt.cgroup` is the path of one control group, found `a/../b` (write it like `system.slice/ringfence.service`)",
        ),
        (
            "redirect: { exempt: { cgroup: /sys/fs/cgroup/a } }",
            "1:31: error: `redirect.exempt.cgroup` counts from the root of the hierarchy (write `a`)",
        ),
        ("io: { engine: iouring }", "1:15: error: `io.engine` cannot be `iouring` (did you mean `uring`?)"),
        ("io: { workers: 0 }", "1:16: error: `io.workers` is a number from 1 to 256, found the number `0`"),
        ("io: { workers: all }", "1:16: error: `io.workers` is a number from 1 to 256, found the text `all`"),
        ("io: { spin: 1ms }", "1:13: error: `io.spin` is `auto`, `0` or `50us`, found the text `1ms`"),
        (
            "admin: { metrics: 192.0.2.1:9090 }",
            "1:8: error: `admin.socket` is missing (write `socket: /run/ringfence/admin.sock`)",
        ),
        (
            "admin: { socket: ~/x }",
            "1:18: error: `admin.socket` begins with `~`, which only shells expand (write the path in full)",
        ),
        ("agents: [{ name: a }]", "1:10: error: `agents.source` is missing (write `source: 172.28.0.3`)"),
        ("agents: [{ source: 10.0.0.1 }]", "1:10: error: `agents.name` is missing (write `name: coder`)"),
        (
            "agents: [{ name: 7, source: 10.0.0.1 }]",
            "1:18: error: `agents.name` is a text, found the number `7` (put it in quotes)",
        ),
        (
            "agents: [{ name: a, source: 0.0.0.0/0 }]",
            "1:10: error: `agents.source` of `a` takes everybody for this agent (name its address, such as `172.28.0.3`)",
        ),
        (
            "agents: [{ name: a, source: 10.0.0.1 }, { name: a, source: 10.0.0.2 }]",
            "1:41: error: the agent `a` is already named in line 1 (give each agent a name of its own)",
        ),
        (
            "agents: [{ name: a, source: 10.0.0.0/8 }, { name: b, source: 10.0.0.2 }]",
            "1:43: error: `agents.source` 10.0.0.2 overlaps 10.0.0.0/8 of `a` in line 1 (give each agent a source of its own)",
        ),
        ("limits: { hed: 1 }", "1:11: error: unknown key `hed` in `limits` (did you mean `head`?)"),
        (
            "limits: { head: soon }",
            "1:17: error: `limits.head` is a time, found the text `soon` (write it like `30s`, `500ms`, `10m` or `1h`)",
        ),
        (
            "limits: { head: 1.5 }",
            "1:17: error: `limits.head` is a time, found the number `1.5` (write it like `30s`, `500ms`, `10m` or `1h`)",
        ),
        ("limits: { head: 0 }", "1:17: error: `limits.head` is more than nothing and at most 10m (the default is 10s)"),
        (
            "limits: { response_head: 25h }",
            "1:26: error: `limits.response_head` is more than nothing and at most 24h (the default is 10m)",
        ),
        (
            "limits: { connections: 0 }",
            "1:24: error: `limits.connections` is a number from 1 to 262144, found the number `0`",
        ),
        (
            "limits: { connections_per_agent: 262145 }",
            "1:34: error: `limits.connections_per_agent` is a number from 1 to 262144, found the number `262145`",
        ),
        (
            "limits: { request_body: 25h }",
            "1:25: error: `limits.request_body` is more than nothing and at most 24h (the default is 1m)",
        ),
    ] {
        assert_eq!(refused(line), format!("r.yaml:{said}"), "{line}");
    }
}

#[test]
fn a_socket_path_that_the_kernel_would_cut_is_refused() {
    let said = refused(&format!("admin: {{ socket: /run/{} }}", "x".repeat(103)));
    assert_eq!(
        said,
        "r.yaml:1:18: error: `admin.socket` is 108 octets long in full; a socket's path has at most 107 (put it higher up, such as `/run/ringfence/admin.sock`)"
    );
}

#[test]
fn an_audit_section_that_cannot_be_kept_is_refused() {
    let audit =
        |more: &str| refusal(&format!("audit: {{ dir: log, {more} }}\n{LOOPBACK}policy: p\nca: {{ dir: ca }}\n"));
    assert_eq!(
        audit("anchor: log/head"),
        "r.yaml:1:28: error: `audit.anchor` lies in `audit.dir` (whoever rolls back the log would roll back what shows it: put it elsewhere)"
    );
    assert_eq!(
        audit("anchor: \"http://witness/add\""),
        "r.yaml:1:28: error: `audit.anchor` is a file, `unix:PATH` or `https://HOST/PATH`, found `http://witness/add` (what vouches for the log must not be changed on its way: use `https://`)"
    );
    for url in ["https://", "https://a@b/", "https://host:0/", "https://host:x/", "https://ho st/"] {
        let said = audit(&format!("anchor: \"{url}\""));
        assert!(said.contains("no URL that can be posted to"), "{url}: {said}");
    }
    assert_eq!(
        audit("retention: {}"),
        "r.yaml:1:31: error: `audit.retention` says neither `bytes` nor `age` (write `retention: { bytes: 20GiB, age: 90d }`, or remove it)"
    );
    assert_eq!(
        audit("retention: { bytes: 1MiB }"),
        "r.yaml:1:40: error: `audit.retention.bytes` is a size, found the text `1MiB` (write it like `20GiB`; at least 128 MiB)"
    );
    assert_eq!(
        audit("durability: sync"),
        "r.yaml:1:32: error: `audit.durability` cannot be `sync` (it is one of batched, strict)"
    );
}

#[test]
fn a_bundle_beside_the_key_is_refused() {
    let text = format!("ca: {{ dir: ca, bundle: ca/../ca/bundle.crt }}\n{LOOPBACK}policy: p\naudit: {{ dir: log }}\n");
    assert_eq!(
        refusal(&text),
        "r.yaml:1:24: error: `ca.bundle` lies in `ca.dir` (agents read the bundle and must not see the key: put it into a folder of its own)"
    );
}

#[test]
fn metrics_that_an_agent_could_reach_are_refused() {
    let gateway = "listen: [{ mode: gateway, address: 10.1.0.1, ports: [80], from: [10.2.0.0/16] }]\n";
    let metrics = |listen: &str, at: &str| {
        let text = format!(
            "{listen}agents: [{{ name: a, source: 10.3.0.1 }}]\nadmin: {{ socket: s, metrics: \"{at}\" }}\n{REST}"
        );
        understand(&text, 4).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = |at: &str, why: &str| {
        let remedy = "remove it and ask `admin.socket`, or use an address on a network without agents";
        Err(format!("r.yaml:3:30: error: `admin.metrics` at `{at}` is within reach of an agent: {why} ({remedy})"))
    };
    let everywhere = "it is every address, also those that agents reach";
    let shared = "agents share this network namespace with a listener on loopback, and reach every address in it";
    let redirect = "listen: [{ mode: redirect, address: 127.0.0.1:15001 }]\n";
    assert_eq!(metrics(gateway, "0.0.0.0:9090"), refused("0.0.0.0:9090", everywhere));
    assert_eq!(metrics(gateway, "[::]:9090"), refused("[::]:9090", everywhere));
    assert_eq!(metrics(gateway, "10.2.9.9:9090"), refused("10.2.9.9:9090", "it lies in 10.2.0.0/16, where agents are"));
    assert_eq!(metrics(gateway, "10.3.0.1:9090"), refused("10.3.0.1:9090", "it lies in 10.3.0.1, where agents are"));
    assert_eq!(
        metrics(gateway, "10.1.0.1:9090"),
        refused("10.1.0.1:9090", "agents connect to a listener at the same address")
    );
    assert_eq!(metrics(redirect, "127.0.0.1:9090"), refused("127.0.0.1:9090", shared));
    assert_eq!(metrics(LOOPBACK, "192.0.2.1:9090"), refused("192.0.2.1:9090", shared));
    assert_eq!(metrics(gateway, "127.0.0.1:9090"), Ok(()));
    assert_eq!(metrics(gateway, "192.0.2.1:9090"), Ok(()));
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    assert_eq!(
        refusal("ringfence: v1\nrules: []\n"),
        "r.yaml:1:1: error: this is a policy, not a configuration (write a configuration with `listen:` and name this file in it as `policy:`)"
    );
    assert_eq!(refusal("- a\n"), "r.yaml:1:1: error: a configuration is a map, this is a list (begin with `listen:`)");
    assert!(refusal("listen: [").starts_with("r.yaml:1:"));
    assert!(refusal("dns: { address: a }\ndns: { address: b }\n").contains("duplicate"), "{}", refusal("a: 1\na: 2\n"));
    let long = format!("#{}\n", "x".repeat(1024 * 1024));
    assert_eq!(
        refusal(&long),
        "r.yaml:1:1: error: the file is longer than 1024 KiB (it is no configuration; is it the policy?)"
    );
}

#[test]
fn every_mistake_is_named_at_once() {
    let lines = understand("listen: [{ mode: proxy }]\nio: { spin: 1 }\n", 4).unwrap_err().to_string();
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "r.yaml:1:1: error: `policy` is missing (write `policy: policy.yaml`)",
            "r.yaml:1:1: error: `audit` is missing (write `audit: { dir: DIRECTORY }`)",
            "r.yaml:1:10: error: `listen.address` is missing (write `address: \"127.0.0.1:3128\"`)",
            "r.yaml:2:13: error: `io.spin` is `auto`, `0` or `50us`, found the number `1`",
        ]
    );
}
