//! One test for each sentence of the contract about `ask`.

use super::super::{Answer, Direction, Look, Lookup, Mcp, Value};
use super::tests::{get, policy};
use super::*;

const HEAD: &str = "ringfence: v1\nmcp_servers: { s: { stdio: s } }\napprovals: { ann: { command: [/bin/true] }, bob: { command: [/bin/true] } }\n";

#[derive(Debug)]
struct Path(&'static str);

impl Lookup for Path {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        if name == "/path" {
            found(Value::Text(self.0.as_bytes()));
        }
    }
}

fn call<'a>(tool: &'a str, arguments: Look<'a>) -> Subject<'a> {
    let mcp = Mcp {
        server: "s",
        declared: true,
        direction: Direction::ToServer,
        method: "tools/call",
        tool: Some(tool),
        resource: None,
        prompt: None,
        arguments,
    };
    Subject { mcp: Some(mcp), ..Subject::EMPTY }
}

/// The verdict, the rule, and who is asked.
fn decided(policy: &Policy, subject: &Subject<'_>) -> String {
    let decision = policy.decide(subject);
    let by = decision.rule.map(|rule| rule.name).or(decision.code.map(Code::as_str)).unwrap_or_default();
    let asks = decision.ask.map(|approver| format!(", asks {approver}")).unwrap_or_default();
    let stays = decision.verdict == Verdict::Deny && decision.enforced;
    assert_eq!(decision.admit().is_err(), stays || decision.ask.is_some(), "nothing goes unasked");
    format!("{}{} {by}{asks}", if decision.enforced { "" } else { "watched " }, decision.verdict.as_str())
}

#[test]
fn deny_beats_ask_beats_allow_wherever_they_stand() {
    let allow = "- allow: all\n  mcp: { server: s }\n";
    let ask = "- allow: push\n  mcp: { server: s, tool: \"push*\" }\n  ask: ann\n";
    let deny = "- deny: force\n  mcp: { tool: push_force }\n";
    for rules in [[allow, ask, deny], [deny, ask, allow], [ask, deny, allow], [ask, allow, deny]] {
        let policy = policy(&format!("{HEAD}rules:\n{}", rules.concat()));
        assert_eq!(decided(&policy, &call("push_force", Look::Absent)), "deny force");
        assert_eq!(decided(&policy, &call("push", Look::Absent)), "allow push, asks ann");
        assert_eq!(decided(&policy, &call("read", Look::Absent)), "allow all");
    }
}

#[test]
fn the_first_rule_that_asks_says_whom() {
    let rules = "- allow: a\n  mcp: { server: s, tool: x }\n  ask: bob\n- allow: b\n  mcp: { server: s }\n  ask: ann\n";
    let policy = policy(&format!("{HEAD}rules:\n{rules}"));
    assert_eq!(decided(&policy, &call("x", Look::Absent)), "allow a, asks bob");
    assert_eq!(decided(&policy, &call("y", Look::Absent)), "allow b, asks ann");
}

/// A path that winds is one that an allow does not match. It must not be the way around a question.
#[test]
fn what_can_be_read_in_several_ways_is_asked_about() {
    let rules = "- allow: read\n  mcp: { server: s, tool: read }\n- allow: secrets\n  mcp: { server: s, tool: read }\n  args: { path: { glob: /etc/** } }\n  ask: ann\n";
    let policy = policy(&format!("{HEAD}rules:\n{rules}"));
    let decided = |path| decided(&policy, &call("read", path));
    assert_eq!(decided(Look::At(&Path("/tmp/a"))), "allow read");
    assert_eq!(decided(Look::At(&Path("/etc/shadow"))), "allow secrets, asks ann");
    assert_eq!(decided(Look::At(&Path("/tmp/../etc/shadow"))), "allow secrets, asks ann");
    assert_eq!(decided(Look::Unreadable), "allow secrets, asks ann");
    // Whether somebody is asked depends on what nobody has looked at.
    assert!(matches!(policy.ask(&call("read", Look::NotLooked)), Answer::Needs(Need::Arguments)));
}

#[test]
fn a_question_alone_admits_only_what_it_matches_for_certain() {
    let rules = "- allow: secrets\n  mcp: { server: s, tool: read }\n  args: { path: { glob: /etc/** } }\n  ask: ann\n";
    let policy = policy(&format!("{HEAD}rules:\n{rules}"));
    assert_eq!(decided(&policy, &call("read", Look::At(&Path("/etc/x")))), "allow secrets, asks ann");
    assert_eq!(decided(&policy, &call("read", Look::At(&Path("/tmp/../etc/x")))), "deny default");
}

#[test]
fn handshakes_and_lists_pass_without_a_question_and_so_do_other_requests() {
    let policy = policy(&format!(
        "{HEAD}rules:\n- allow: a\n  mcp: {{ server: s }}\n  ask: ann\n- allow: b\n  host: x.example\n"
    ));
    for method in ["initialize", "tools/list", "ping", "notifications/initialized"] {
        let mcp = call("x", Look::Absent).mcp.map(|mcp| Mcp { method, tool: None, ..mcp });
        assert_eq!(decided(&policy, &Subject { mcp, ..Subject::EMPTY }), "allow a", "{method}");
    }
    assert_eq!(decided(&policy, &get("x.example", &["/"])), "allow b");
}

#[test]
fn nobody_is_asked_where_nothing_is_enforced_and_a_watched_deny_asks_on() {
    let rules = "rules:\n- allow: a\n  mcp: { server: s }\n  ask: ann\n";
    assert_eq!(decided(&policy(&format!("{HEAD}mode: monitor\n{rules}")), &call("x", Look::Absent)), "allow a");
    let watched = policy(&format!("{HEAD}{rules}- deny: w\n  mcp: {{ tool: x }}\n  monitor: true\n"));
    assert_eq!(decided(&watched, &call("x", Look::Absent)), "watched deny w, asks ann");
}

#[test]
fn an_approval_is_for_one_approver_and_one_action() {
    let policy = policy(&format!("{HEAD}rules:\n- allow: a\n  mcp: {{ server: s }}\n  ask: ann\n"));
    let action = [7; 32];
    let admitted = |approval| policy.decide(&call("x", Look::Absent)).admit_approved(approval, &action);
    assert!(admitted(Approval::given("ann", action)).is_ok());
    for wrong in [Approval::given("bob", action), Approval::given("ann", [8; 32])] {
        assert_eq!(admitted(wrong).err().and_then(|denial| denial.code), Some(Code::Unasked));
    }
}
