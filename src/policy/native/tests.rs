use super::super::{Hidden, Pin, Problem, Severity, Source, load};

fn problems(text: &str) -> Vec<Problem> {
    load(Source { name: "p.yaml", text }).problems
}

/// The problems as a user reads them.
fn lines(text: &str) -> Vec<String> {
    problems(text).iter().map(ToString::to_string).collect()
}

/// A policy whose only rule allows and has the given further lines.
fn rule(lines: &str) -> String {
    format!("ringfence: v1\nrules:\n  - allow: a\n    {lines}\n")
}

#[test]
fn loads_the_language_of_this_version_without_a_problem() {
    let text = r#"
ringfence: v1
mode: enforce
default: deny
hosts:
  llm: [api.openai.com, api.anthropic.com]
upstreams:
  intranet.example.com: { address: "10.1.2.3:8443", trust: ./intranet-ca.pem, client_cert: ./me.pem }
  "[fd00::1]:80": { address: "[::1]:8080" }
rules:
  - allow: model calls
    host: $llm
    method: POST
    path: /v1/**
  - allow: read our repositories
    host: api.github.com
    access: read-only
    path: [/repos/acme/**, /user]
  - deny: delete anything
    method: DELETE
    reason: Deletion needs a person.
    remedy: Open a pull request instead.
  - allow: inner service
    host: "*.internal.example"
    scheme: [http, https]
    port: [80, 8080]
    cidr: [10.0.0.0/8, "fd00::/8", 192.0.2.1]
  - deny: watched
    host: watched.example
    monitor: true
"#;
    assert_eq!(lines(text), Vec::<String>::new());
}

#[test]
fn names_every_mistake_of_a_file_with_its_place_and_remedy() {
    let text = "ringfence: v1\nmod: enforce\nrules:\n  - allow: a\n    hots: x.example\n    access: readonly\n  - deny: b\n    port: 0\n";
    assert_eq!(
        lines(text),
        [
            "p.yaml:2:1: error: unknown key `mod` in a policy (did you mean `mode`?)",
            "p.yaml:5:5: error: unknown key `hots` in a rule (did you mean `host`?)",
            "p.yaml:6:13: error: `access` cannot be `readonly` (did you mean `read-only`?)",
            "p.yaml:8:11: error: a port is a number from 1 to 65535, found the number `0`",
        ]
    );
}

#[test]
fn refuses_text_that_is_no_policy_with_its_place() {
    let cases = [
        ("ringfence: v1\nrules: [\n", "p.yaml:2:8: error: unclosed bracket"),
        ("ringfence: v1\nringfence: v1\n", "p.yaml:2:1: error: duplicate mapping key `ringfence`"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "p.yaml:2:5: error: merge key"),
        ("", "p.yaml:1:1: error: a policy is a map, this is nothing"),
        ("- a\n", "p.yaml:1:1: error: a policy is a map, this is a list"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2:1: error: YAML document too large or too complex"),
        ("rules: []\n", "p.yaml:1:1: error: the version is missing (begin with `ringfence: v1`)"),
        ("ringfence: 1\nrules: []\n", "p.yaml:1:12: error: the version is `v1`, found the number `1`"),
        ("ringfence: v1\nrules: {}\n", "p.yaml:2:8: error: `rules` is a list, found a map"),
        ("ringfence: v1\nrules:\n", "p.yaml:2:6: error: `rules` is a list, found nothing"),
        ("ringfence: v1\nrules: [a]\n", "p.yaml:2:9: error: a rule is a map, found the text `a`"),
    ];
    for (text, start) in cases {
        let found = lines(text);
        assert!(found.iter().any(|line| line.starts_with(start)), "{text:?}: {found:?}");
    }
}

#[test]
fn refuses_hosts_that_no_request_can_have_and_says_what_to_write() {
    let cases = [
        ("https://api.example/x", "(write `host: api.example`, and the rest as `scheme`, `port` and `path`)"),
        ("api.example:8443", "(write `host: api.example` and `port: 8443`)"),
        ("10.0.0.0/8", "(write `cidr: 10.0.0.0/8`)"),
        ("api*.example", "(write `*.example.com` for all names below `example.com`)"),
        ("a.*.example", "(write `*.example.com` for all names below `example.com`)"),
        ("bücher.example", "(write the name as it stands on the wire, with `xn--` labels)"),
        ("a..example", "has an empty or too long label"),
        ("-a.example", "begins or ends with a hyphen"),
        ("127.1", "(write an IPv4 address as four decimal numbers)"),
        ("0x7f000001", "(write an IPv4 address as four decimal numbers)"),
        ("$none", "there is no group `$none` (define it under `hosts:`)"),
    ];
    for (host, part) in cases {
        let found = lines(&rule(&format!("host: \"{host}\"")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("p.yaml:4:11: error: ") && found[0].contains(part), "{found:?}");
    }
}

#[test]
fn refuses_values_that_cannot_match() {
    let cases = [
        ("host: []", "an empty `host` never matches"),
        ("path: api", "(write `/api`)"),
        ("path: /a?b=c", "(leave the query out)"),
        ("method: get", "(did you mean `GET`?)"),
        ("method: \"*\"", "(leave `method` out to mean every method)"),
        ("cidr: 10.1.0.0/8", "(did you mean `10.0.0.0/8`?)"),
        ("cidr: x", "`x` is no address block"),
        ("port: 65536", "a port is a number from 1 to 65535"),
        ("port: \"443\"", "a port is a number from 1 to 65535, found the text `443`"),
        ("scheme: htps", "(did you mean `https`?)"),
        ("monitor: true", "`monitor` belongs to a deny"),
        ("deny: b", "the rule both allows and denies"),
        ("reason: 404", "`reason` is a text, found the number `404` (put it in quotes)"),
        ("reason: \"a\\nb\"", "`reason` holds a control character"),
        ("access: read-only\n    method: DELETE", "no method satisfies both"),
    ];
    for (line, part) in cases {
        let found = lines(&rule(line));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(": error: ") && found[0].contains(part), "{found:?}");
    }
    assert!(
        lines("ringfence: v1\nrules:\n  - allow: a\n    host: a.example\n  - deny: a\n")[0]
            .contains("p.yaml:5:5: error: the name `a` is taken by the rule in line 3")
    );
    assert!(lines("ringfence: v1\nrules:\n  - host: a.example\n")[0].contains("neither allows nor denies"));
    assert!(
        lines("ringfence: v1\nhosts: { g: [] }\nrules: []\n")[0].contains("p.yaml:2:13: error: the group `g` is empty")
    );
}

#[test]
fn refuses_upstreams_that_cannot_be_dialled() {
    let cases = [
        ("a.example: 10.0.0.1:80", "an upstream is a map"),
        ("a.example: {}", "the upstream has no address"),
        ("a.example: { address: 10.0.0.1 }", "`10.0.0.1` has no port"),
        ("a.example: { address: \"169.254.169.254:80\" }", "instance metadata is never dialled"),
        ("a.example: { address: \"0.0.0.0:80\" }", "the unspecified address cannot be dialled"),
        ("metadata.google.internal: { address: \"10.0.0.1:80\" }", "serves instance metadata"),
        ("a.example: { address: \"10.0.0.1:80\", trsut: x }", "(did you mean `trust`?)"),
        ("\"*.example\": { address: \"10.0.0.1:80\" }", "has a `*`"),
    ];
    for (line, part) in cases {
        let found = lines(&format!("ringfence: v1\nrules: []\nupstreams:\n  {line}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("p.yaml:4:") && found[0].contains(part), "{found:?}");
    }
}

#[test]
fn an_approver_is_declared_and_asked_in_one_way() {
    let text = |approvals: &str, rest: &str| {
        format!(
            "ringfence: v1\nmcp_servers: {{ s: {{ stdio: s }} }}\napprovals: {{ {approvals} }}\nrules:\n- allow: a\n  {rest}\n"
        )
    };
    let asks = "ask: ann\n  mcp: { server: s }";
    for approver in [
        "ann: { command: [/bin/true, a, b] }",
        "ann: { command: /bin/true, timeout: 90s }",
        "ann: { webhook: \"https://a.example/x?y=z\", timeout: 3600, trust: ./ca.pem }",
        "ann: { webhook: \"http://127.0.0.1:8080/\", timeout: 1h }",
        "ann: { webhook: \"http://[::1]:8080\" }",
    ] {
        assert_eq!(lines(&text(approver, asks)), Vec::<String>::new(), "{approver}");
    }
    for (approver, part) in [
        ("ann: {}", "the approver asks nobody"),
        ("ann: { comand: [/bin/true] }", "(did you mean `command`?)"),
        ("ann: { command: [/bin/true], webhook: \"https://a.example\" }", "a `command` or a `webhook`"),
        ("ann: { command: [] }", "an empty `command` never matches"),
        ("ann: { command: [approve] }", "`approve` is no absolute path of a program"),
        ("ann: { command: [/bin/true], trust: x }", "`trust` is for a `webhook`"),
        ("ann: { webhook: \"http://a.example/\" }", "could be answered by anyone on the way (write `https://`;"),
        ("ann: { webhook: \"http://10.0.0.1/\" }", "could be answered by anyone on the way"),
        ("ann: { webhook: \"http://localhost/\", trust: x }", "`trust` is for a `webhook` with `https://`"),
        ("ann: { webhook: \"https://u@a.example/\" }", "is no URL of a webhook"),
        ("ann: { webhook: a.example }", "is no URL of a webhook"),
        (
            "ann: { command: [/bin/true], timeout: 2h }",
            "`timeout` is a time to wait, found the text `2h` (write it as `5m`, up to 60m)",
        ),
        ("ann: { command: [/bin/true], timeout: 0 }", "`timeout` is a time to wait, found the number `0`"),
        ("\"a b\": { command: [/bin/true] }, ann: { command: [/bin/true] }", "`a b` is no name for an approver"),
    ] {
        let found = lines(&text(approver, asks));
        assert_eq!(found.len(), 1, "{approver}: {found:?}");
        assert!(
            found[0].contains("p.yaml:3:") && found[0].contains(": error: ") && found[0].contains(part),
            "{found:?}"
        );
    }
}

#[test]
fn a_rule_asks_somebody_who_is_declared_about_messages_to_the_server() {
    let approvals = "approvals: { ann: { command: [/bin/true] } }\n";
    let text = |rest: &str| {
        format!("ringfence: v1\nmcp_servers: {{ s: {{ stdio: s }} }}\n{approvals}rules:\n- allow: a\n  {rest}\n")
    };
    for (rest, part) in [
        (
            "ask: anne\n  mcp: { server: s }",
            "p.yaml:5:3: error: `a` asks `anne`, whom `approvals` does not declare (did you mean `ann`?)",
        ),
        ("ask: somebody\n  mcp: { server: s }", "does not declare (declare it under `approvals:`)"),
        ("ask: ann\n  host: a.example", "p.yaml:6:3: error: `ask` is about an MCP message (add `mcp:"),
        ("ask: ann\n  mcp: { server: s }\n  rate: 1/hour", "p.yaml:8:3: error: `rate` and `ask` do not go together"),
        (
            "ask: ann\n  mcp: { server: s, method: \"*/*\" }",
            "`a` asks about messages to the client, which are not held",
        ),
        ("ask: [ann]\n  mcp: { server: s }", "`ask` is a text, found a list"),
    ] {
        let found = lines(&text(rest));
        assert!(found.iter().any(|line| line.contains(": error: ") && line.contains(part)), "{rest}: {found:?}");
    }
    let found = lines(&text("mcp: { server: s }"));
    assert_eq!(found, ["p.yaml:3:14: warning: no rule asks `ann` (remove it, or name it in a rule: `ask: NAME`)"]);
}

#[test]
fn a_server_says_what_becomes_of_changed_tools_and_hidden_characters() {
    let text = "ringfence: v1\nrules: []\nmcp_servers:\n  a: { stdio: a, pin: off }\n  b: { stdio: b, pin: warn, hidden: strip }\n  c: { stdio: c }\n";
    let policy = load(Source { name: "p.yaml", text }).policy.unwrap();
    assert_eq!((policy.pin("a"), policy.hidden("a")), (Pin::Off, Hidden::Refuse));
    assert_eq!((policy.pin("b"), policy.hidden("b")), (Pin::Warn, Hidden::Strip));
    assert_eq!((policy.pin("c"), policy.hidden("c")), (Pin::Enforce, Hidden::Refuse));
    // Of a server that nobody has declared a change is recorded only.
    assert_eq!((policy.pin("d"), policy.hidden("d")), (Pin::Warn, Hidden::Strip));
    for (pin, part) in [("of", "`pin` cannot be `of`"), ("[off]", "`pin` is one of enforce, warn, off")] {
        let found = lines(&format!("ringfence: v1\nrules: []\nmcp_servers: {{ a: {{ stdio: a, pin: {pin} }} }}\n"));
        assert!(found[0].contains(part), "{found:?}");
    }
}

#[test]
fn a_policy_exists_if_and_only_if_there_is_no_error() {
    let warned = load(Source { name: "p", text: "ringfence: v1\nhosts: { g: [a.example] }\nrules: []\n" });
    assert!(warned.policy.is_some() && warned.problems.iter().all(|p| p.severity == Severity::Warning));
    let refused = load(Source { name: "p", text: "ringfence: v2\nrules: []\n" });
    assert!(refused.policy.is_none() && refused.problems.iter().any(|p| p.severity == Severity::Error));
}

#[test]
fn suggests_the_group_that_was_meant() {
    let found = lines("ringfence: v1\nhosts: { llm: [a.example] }\nrules:\n  - allow: a\n    host: $lmm\n");
    assert_eq!(found[0], "p.yaml:2:10: warning: no rule uses the group `$llm` (remove it, or name it in a rule)");
    assert_eq!(found[1], "p.yaml:5:11: error: there is no group `$lmm` (did you mean `$llm`?)");
}

#[test]
fn names_a_bounded_number_of_problems_on_one_line_each() {
    let found = lines(&format!("ringfence: v1\nrules:\n{}", "  - \"\\e[31m\\n\": 1\n".repeat(3_000)));
    assert!(found.len() <= crate::limits::POLICY_PROBLEMS_MAX + 1, "{}", found.len());
    assert!(found.iter().all(|line| !line.chars().any(char::is_control)), "{}", found[0]);
}

#[test]
fn loads_conditions_on_values_messages_and_moments_without_a_problem() {
    let text = r#"
ringfence: v1
mcp_servers:
  files: { url: "https://mcp.example.com/mcp" }
  local: { stdio: local }
rules:
  - allow: file tools
    mcp: { server: files, tool: [search, "read_*"] }
    args: { path: { glob: "/workspace/**" }, limit: { max: 100 }, /deep/0/name: x }
  - allow: ask the person
    mcp: { server: [files, "loc*"], method: elicitation/create }
  - allow: resources
    mcp: { server: local, resource: "file:///workspace/**", method: "resources/*" }
  - allow: nightly export
    host: export.example.com
    when: { agent: reporter, days: [mon, fri], hours: "22:00-04:00", zone: UTC }
    rate: 10/minute
  - deny: uploads, first only watched
    header: { content-type: { prefix: multipart/ } }
    monitor: true
  - deny: bulk
    query: { q: [{ length: { min: 100 } }, { regex: "(?i)drop table" }], page: { min: 10 } }
  - deny: secrets in bodies
    body: { /message/content: { regex: "sk-[a-z0-9]{8}" }, /stream: true, /n: { in: [1, 2.5, x] } }
"#;
    assert_eq!(lines(text), Vec::<String>::new());
    let text = "ringfence: v1\nrules:\n- allow: pinned\n  host: www.pinned.example\ntls: { passthrough: [\"*.pinned.example\"], crl: ./ca.crl }\n";
    assert_eq!(lines(text), Vec::<String>::new());
}

#[test]
fn refuses_matchers_that_ask_nothing_or_cannot_hold_and_says_what_to_write() {
    let cases = [
        ("header: {}", "4:13", "an empty `header` asks nothing"),
        ("header: { content type: x }", "4:15", "no name of a header field (write it as `content-type`)"),
        ("header: { x_y: x }", "4:15", "cannot match: requests with `_` in a field name are refused (write `x-y`)"),
        ("header: { a: x, A: y }", "4:21", "`A` stands here twice"),
        ("query: { a: { perfix: x } }", "4:19", "unknown key `perfix` in a matcher (did you mean `prefix`?)"),
        ("query: { a: {} }", "4:17", "an empty matcher asks nothing"),
        ("query: { a: [] }", "4:17", "an empty list never matches"),
        ("query: { a: ~ }", "4:17", "(write `present: false` for an absent value, `\"\"` for an empty one)"),
        ("query: { a: { min: x } }", "4:24", "expected a number, found the text `x`"),
        ("query: { a: { min: 2, max: 1 } }", "4:17", "no number is both"),
        ("query: { a: { length: -1 } }", "4:27", "a length is a whole number"),
        ("query: { a: { length: { min: 2, max: 1 } } }", "4:27", "no length is both"),
        ("query: { a: { present: false, prefix: x } }", "4:17", "an absent value satisfies nothing else"),
        ("query: { a: { regex: \"(\" } }", "4:26", "the regex `(` is not well-formed: unclosed group"),
        ("query: { a: { regex: \"(?=a)\" } }", "4:26", "(look-around and back-references are not linear)"),
        ("query: { a: { regex: '\\bx' } }", "4:26", "(write `(?-u:\\b)`)"),
        ("query: { a: { regex: '(\\w{50}){50}' } }", "3:5", "is too large (repeat less"),
        ("query: { a: { glob: /a/../b } }", "4:25", "matches nothing for certain"),
        ("body: { a: x }", "4:13", "`a` is no JSON pointer (write `/a`, with `/` between the levels)"),
        ("body: { /a~b: x }", "4:13", "(write `~0` for `~` and `~1` for `/`)"),
        ("args: { a: x }", "4:5", "(add `mcp: { server: NAME, tool: NAME }`)"),
        ("query: { a: { not: { not: { not: { not: { not: x } } } } } }", "4:47", "nested too deeply"),
    ];
    for (line, place, part) in cases {
        let found = lines(&rule(line));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(
            found[0].starts_with(&format!("p.yaml:{place}: error: ")) && found[0].contains(part),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn refuses_messages_that_cannot_be_and_servers_that_are_nowhere() {
    for (line, part) in [
        ("mcp: {}", "an empty `mcp` names nothing"),
        ("mcp: { sever: a }", "(did you mean `server`?)"),
        ("mcp: { server: [] }", "an empty `server` never matches"),
        ("mcp: { tool: a, prompt: b }", "no message names both a tool and a prompt"),
        ("mcp: { tool: a, method: resources/read }", "(leave `method` out, or write `tools/call`)"),
    ] {
        let found = lines(&rule(line));
        assert!(found.iter().any(|line| line.contains(": error: ") && line.contains(part)), "{found:?}");
    }
    for (server, part) in [
        ("a: {}", "the server is nowhere"),
        ("a: { url: mcp.example.com }", "is no URL of an MCP server (write it as `https://mcp.example.com/mcp`"),
        ("a: { url: \"https://u@mcp.example.com/\" }", "is no URL of an MCP server"),
        ("a: { url: \"https://mcp.example.com/a/*\" }", "is no URL of an MCP server"),
        ("a: { url: \"http://metadata/\" }", "instance metadata is never reached"),
        ("a: { url: \"https://a.example\", stdio: a }", "a server has a `url` or speaks `stdio`"),
        ("\"a b\": { stdio: a }", "is no name for a server"),
        ("a: { stdio: x }, b: { stdio: x }", "`b` is the same endpoint as `a`"),
    ] {
        let found = lines(&format!("ringfence: v1\nrules: []\nmcp_servers: {{ {server} }}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("p.yaml:3:") && found[0].contains(part), "{found:?}");
    }
    let found =
        lines("ringfence: v1\nmcp_servers: { files: { stdio: f } }\nrules:\n- allow: a\n  mcp: { server: flies }\n");
    assert_eq!(
        found,
        [
            "p.yaml:4:3: warning: `a` names the server `flies`, which `mcp_servers` does not declare (did you mean `files`?)"
        ]
    );
}

#[test]
fn refuses_moments_and_rates_that_never_come() {
    for (line, part) in [
        ("when: {}", "an empty `when` asks nothing"),
        ("when: { days: [monday] }", "`days` cannot be `monday`"),
        ("when: { hours: \"9-17\" }", "`9-17` is no window of hours (write it as `22:00-04:00`)"),
        (
            "when: { hours: \"09:00-09:00\" }",
            "the window `09:00-09:00` is empty (write `00:00-24:00` for the whole day)",
        ),
        ("when: { hours: \"25:00-26:00\" }", "is no window of hours"),
        ("when: { zone: UTC, agent: a }", "`zone` says nothing without `days` or `hours`"),
        ("when: { days: mon, zone: Europe/Berlim }", "`Europe/Berlim` is no time zone (did you mean `Europe/Berlin`?)"),
        ("rate: 10/min", "`10/min` is no rate"),
        ("rate: 10/minut", "(did you mean `minute`?)"),
        ("rate: 0/hour", "`0/hour` is no rate (write it as `10/minute`"),
        ("rate: 5", "`rate` is a text, found the number `5`"),
    ] {
        let found = lines(&rule(line));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(": error: ") && found[0].contains(part), "{found:?}");
    }
    for key in ["rate: 1/minute", "ask: me"] {
        let found = lines(&format!("ringfence: v1\nrules:\n  - deny: a\n    {key}\n"));
        assert!(found.iter().any(|line| line.contains("belongs to an allow")), "{found:?}");
    }
}
