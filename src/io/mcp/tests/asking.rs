//! Claims about messages that take somebody's leave.

use super::*;
use crate::io::approval::Answer;
use crate::parse::json;

const APPROVALS: &str = "ringfence: v1\nmcp_servers: { files: { stdio: files } }\napprovals: { ann: { command: [/bin/true] }, bob: { command: [/bin/true] } }\nrules:\n";
const PUSH: &str = "- allow: all\n  mcp: { server: files }\n- allow: push\n  mcp: { server: files, tool: push }\n  ask: ann\n  reason: Pushing needs a person.\n  remedy: Open a pull request.\n";

impl Talk {
    fn held(&mut self, text: &str) -> Box<Held> {
        match self.with(|session, carrier| session.client_sent(carrier, text.as_bytes())) {
            FromClient::Ask(held) => held,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self, text: &str, held: &Held, answer: Answer) -> Result<(), String> {
        self.leave(text, held, Leave::of(answer, &held.question))
    }

    fn leave(&mut self, text: &str, held: &Held, leave: Leave) -> Result<(), String> {
        match self.with(|session, carrier| session.client_asked(carrier, text.as_bytes(), &held.id, leave)) {
            FromClient::Forward { .. } => Ok(()),
            FromClient::Refused(refusal) => Err(String::from_utf8(refusal.answer).unwrap()),
            FromClient::Ask(_) => panic!("asked twice"),
        }
    }

    fn put_in_force(&mut self, text: &str) {
        let loaded = policy::load(Source { name: "p", text });
        self.policy = loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    }
}

#[test]
fn a_call_that_is_approved_passes_once_and_is_on_record_as_approved() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    let text = call("1", "push", r#"{"to":"main"}"#);
    let held = talk.held(&text);
    assert_eq!(*held.question.approver, *"ann");
    assert_eq!(
        held.question.action,
        br#"{"arguments":{"to":"main"},"method":"tools/call","server":"files","tool":"push"}"#
    );
    assert_eq!(held.question.digest, json::digest(&held.question.action).unwrap());
    assert_eq!(talk.asked(&text, &held, Answer::Approved), Ok(()));
    assert_eq!(talk.server(&answer("1")).0, answer("1"));
    // The next one is another question.
    talk.held(&call("2", "push", r#"{"to":"main"}"#));
    assert_eq!(talk.records(), ["tools/call push allow push", "outcome "]);
}

#[test]
fn what_was_not_approved_does_not_pass_and_its_record_names_rule_and_reason() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    for (id, answer, code) in [
        ("1", Answer::Denied, "approval_denied"),
        ("2", Answer::TimedOut, "approval_timeout"),
        ("3", Answer::Unavailable, "approval_unavailable"),
    ] {
        let text = call(id, "push", "{}");
        let held = talk.held(&text);
        let told: serde_json::Value = serde_json::from_str(&talk.asked(&text, &held, answer).unwrap_err()).unwrap();
        let data = &told["error"]["data"];
        assert_eq!((&told["id"].to_string()[..], &told["error"]["code"]), (id, &(-31403).into()));
        assert_eq!((&data["code"], &data["rule"]), (&code.into(), &"push".into()));
        assert_eq!(data["remedy"], "Open a pull request.");
    }
    let records = talk.records();
    assert_eq!(records, ["tools/call push deny push"; 3]);
}

#[test]
fn an_approval_is_for_the_bytes_that_were_asked_about_and_for_no_others() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    let (text, other) = (call("1", "push", r#"{"to":"main","n":1}"#), call("1", "push", r#"{"to":"prod","n":1}"#));
    let held = talk.held(&text);
    let told = talk.asked(&other, &held, Answer::Approved).unwrap_err();
    assert!(told.contains("approval_unavailable"), "{told}");
    // The same in other words is the same.
    let again = talk.held(&text);
    let same = call("1", "push", r#"{ "n": 1.0, "to": "m\u0061in" }"#);
    assert_eq!(talk.asked(&same, &again, Answer::Approved), Ok(()));
}

#[test]
fn a_policy_that_comes_into_force_meanwhile_decides_anew() {
    let rest = "- deny: stop\n  mcp: { tool: push }\n";
    let other = PUSH.replace("ask: ann", "ask: bob");
    let unasked = PUSH.replace("  ask: ann\n", "");
    let (text, yes) = (call("1", "push", "{}"), Answer::Approved);
    let under = |new: &str, answer: Answer| {
        let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
        let held = talk.held(&text);
        talk.put_in_force(&format!("{APPROVALS}{new}"));
        talk.asked(&text, &held, answer)
    };
    assert!(under(&format!("{PUSH}{rest}"), yes).unwrap_err().contains(r#""rule":"stop""#));
    assert!(under(&other, yes).unwrap_err().contains("approval_unavailable"), "another approver has not been asked");
    assert_eq!(under(&unasked, yes), Ok(()));
    // Somebody has said no, whether or not it would be asked now.
    assert!(under(&unasked, Answer::Denied).unwrap_err().contains("approval_denied"));
}

#[test]
fn while_a_request_waits_its_id_is_taken_and_its_sender_can_cancel_it() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    let text = call("1", "push", "{}");
    let held = talk.held(&text);
    assert!(talk.client(&text).unwrap_err().contains("duplicate_id"));
    assert_eq!(talk.client(&call("2", "read", "{}")), Ok(()), "others pass");
    assert!(talk.session.is_held(&held.id));
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(talk.client(cancel), Ok(()));
    assert!(!talk.session.is_held(&held.id));
    assert!(talk.leave(&text, &held, Leave::Refused("approval_withdrawn")).unwrap_err().contains("approval_withdrawn"));
}

#[test]
fn what_is_no_single_request_is_never_held_and_does_not_pass() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    talk.shake_hands("2025-03-26");
    let told = talk.client(&format!("[{},{}]", call("1", "read", "{}"), call("2", "push", "{}"))).unwrap_err();
    assert!(told.contains("approval_unavailable") && told.contains(r#""code":"batch""#), "{told}");
    let bare = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"push","arguments":{}}}"#;
    assert!(talk.client(bare).unwrap_err().starts_with("unsaid "));
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(crate::limits::APPROVAL_MESSAGE_BYTES_MAX));
    assert!(talk.client(&call("3", "push", &long)).unwrap_err().contains("approval_unavailable"));
}

/// A message about several things, or about one that can be read in several ways, asks for the strictest of them.
#[test]
fn of_several_resources_one_that_takes_leave_holds_the_message_and_two_approvers_are_one_too_many() {
    let rules = "- allow: all\n  mcp: { server: files }\n- allow: a\n  mcp: { server: files, resource: \"x://a\" }\n  ask: ann\n- allow: b\n  mcp: { server: files, resource: \"x://b\" }\n  ask: bob\n";
    let mut talk = talk(&format!("{APPROVALS}{rules}"));
    let listen = |uris: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"resourceSubscriptions":[{uris}]}}}}}}"#
        )
    };
    let held = talk.held(&listen(r#""x://c","x://a""#));
    assert_eq!(*held.question.approver, *"ann");
    assert!(talk.asked(&listen(r#""x://c","x://a""#), &held, Answer::Denied).is_err());
    assert!(talk.client(&listen(r#""x://a","x://b""#)).unwrap_err().contains("approval_unavailable"));
}

#[test]
fn a_tool_that_takes_leave_is_listed() {
    let mut talk = talk(&format!("{APPROVALS}- allow: push\n  mcp: {{ server: files, tool: push }}\n  ask: ann\n"));
    assert_eq!(talk.client(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#), Ok(()));
    let (shown, _) = talk.server(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"push"},{"name":"other"}]}}"#);
    assert!(shown.contains("push") && !shown.contains("other"), "{shown}");
}

#[test]
fn a_client_that_waits_hears_so_where_it_wants_to_and_learns_nothing() {
    let mut talk = talk(&format!("{APPROVALS}{PUSH}"));
    for (token, told) in [("\"a\\\"b\"", Some("\"a\\\"b\"")), ("7", Some("7")), ("[1]", None)] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{told:?},"method":"tools/call","params":{{"name":"push","_meta":{{"progressToken":{token}}}}}}}"#,
            told = token.len()
        );
        let held = talk.held(&text);
        let beat = held.heartbeat(2).map(|beat| String::from_utf8(beat).unwrap());
        let expected = told.map(|token| {
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":0.000000002}}}}"#)
        });
        assert_eq!(beat, expected);
    }
}
