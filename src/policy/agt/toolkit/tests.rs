use super::super::super::subject::{Direction, Host, Look, Mcp, Subject};
use super::super::super::{Files, Policy, Source, Terms, load_with};

/// Files by their paths.
#[derive(Debug)]
struct Folder(&'static [(&'static str, &'static str)]);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let found = self.0.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    }

    fn list(&self, _folder: &str) -> Result<Vec<String>, String> {
        Err("not asked here".to_owned())
    }
}

fn loaded(text: &str, files: &'static [(&'static str, &'static str)]) -> (Option<Policy>, String) {
    let terms = Terms { unsupplied: &[], files: &Folder(files) };
    let loaded = load_with(Source { name: "p.yaml", text }, &terms);
    (loaded.policy, loaded.problems.iter().map(|problem| format!("{problem}\n")).collect())
}

fn policy(text: &str) -> Policy {
    let (policy, problems) = loaded(text, &[]);
    policy.unwrap_or_else(|| panic!("{problems}"))
}

fn call<'a>(agent: &'a str, tool: &'a str) -> Subject<'a> {
    let mcp = Mcp {
        server: "files",
        declared: true,
        direction: Direction::ToServer,
        method: "tools/call",
        tool: Some(tool),
        resource: None,
        prompt: None,
        arguments: Look::Absent,
    };
    Subject { agent, host: Host::Name(""), mcp: Some(mcp), ..Subject::EMPTY }
}

fn ask(policy: &Policy, subject: &Subject<'_>) -> String {
    let decision = policy.decide(subject);
    let by = decision.rule.map(|rule| rule.name).or(decision.code.map(|code| code.as_str())).unwrap_or_default();
    format!("{} {by}", decision.verdict.as_str())
}

const HEAD: &str = "apiVersion: governance.toolkit/v1\nname: n\nagents: [\"*\"]\n";

#[test]
fn the_highest_priority_wins_and_ties_go_by_their_order() {
    let rules = "rules:\n\
        - {name: low, condition: \"tool_name == 'a'\", action: allow}\n\
        - {name: high, condition: \"tool_name in ['a', 'b']\", action: deny, priority: 9}\n\
        - {name: also high, condition: \"tool_name == 'b'\", action: allow, priority: 9}\n\
        - {name: off, condition: \"tool_name == 'c'\", action: allow, enabled: no}\n\
        - {name: unnamed action, condition: \"tool_name == 'd'\"}\n";
    let policy = policy(&format!("{HEAD}{rules}"));
    for (tool, expected) in [
        ("a", "deny high"),
        ("b", "deny high"),
        ("c", "deny default"),
        ("d", "deny unnamed action"),
        ("e", "deny default"),
    ] {
        assert_eq!(ask(&policy, &call("x", tool)), expected, "{tool}");
    }
}

#[test]
fn warn_log_and_approval_block_and_say_so() {
    for action in ["warn", "log", "require_approval"] {
        let text = format!(
            "{HEAD}default_action: allow\nrules:\n- {{name: r, condition: \"tool_name == 'a'\", action: {action}}}\n"
        );
        let (policy, problems) = loaded(&text, &[]);
        assert!(problems.contains("`r` blocks"), "{problems}");
        let policy = policy.unwrap();
        assert_eq!(ask(&policy, &call("x", "a")), "deny r", "{action}");
        assert_eq!(ask(&policy, &call("x", "b")), "allow default", "{action}");
    }
}

#[test]
fn a_policy_without_agents_denies_everything_and_says_so() {
    let rules = "default_action: allow\nrules:\n- {name: r, condition: \"tool_name == 'a'\", action: allow}\n";
    let (nobody, problems) = loaded(&format!("name: n\n{rules}"), &[]);
    assert!(problems.contains("applies to nobody"), "{problems}");
    assert_eq!(ask(&nobody.unwrap(), &call("x", "a")), "deny default");
    let some = policy(&format!("name: n\nagent: coder\nagents: [other]\n{rules}"));
    assert_eq!(ask(&some, &call("coder", "a")), "allow r");
    assert_eq!(ask(&some, &call("other", "b")), "allow default");
    assert_eq!(ask(&some, &call("third", "a")), "deny default");
}

#[test]
fn the_first_call_of_a_window_passes_and_further_ones_up_to_the_limit() {
    let rules = "rules:\n\
        - {name: two, condition: \"tool_name == 'two'\", action: allow, limit: 2/minute}\n\
        - {name: none, condition: \"tool_name == 'none'\", action: allow, limit: 0/hour}\n";
    let policy = policy(&format!("{HEAD}{rules}"));
    let start = 1_800_000_000_000_000_000;
    let at = |seconds: u64, subject: Subject<'static>| Subject { time_ns: start + seconds * 1_000_000_000, ..subject };
    let pass = |subject: &Subject<'_>| match policy.decide(subject).admit() {
        Ok(permit) => permit.take(&policy, subject),
        Err(denial) => {
            assert_eq!(denial.rule.unwrap().reason.unwrap().split(':').next(), Some("Rate limited"));
            false
        }
    };
    assert!(pass(&at(0, call("x", "two"))) && pass(&at(59, call("x", "two"))) && !pass(&at(60, call("x", "two"))));
    assert!(pass(&at(60, call("y", "two"))), "another agent has its own window");
    assert!(pass(&at(62, call("x", "two"))), "a new window begins with the first call after the old one");
    assert!(
        pass(&at(0, call("x", "none"))) && !pass(&at(3_599, call("x", "none"))) && pass(&at(3_602, call("x", "none")))
    );
    let limited = policy.decide(&at(3_603, call("x", "none")));
    assert!(limited.admit().is_err());
    assert!(
        policy.admits_still(&at(3_603, call("x", "none"))).unwrap().admit().is_ok(),
        "what is under way has been counted"
    );
}

#[test]
fn parents_come_first_and_a_child_cannot_weaken_them() {
    let files: &[(&str, &str)] = &[
        (
            "base.yaml",
            "name: base\nextends: more/deep.yaml\nrules:\n- {name: no drop, condition: \"tool_name == 'drop'\", action: deny}\n",
        ),
        (
            "more/deep.yaml",
            "name: deep\ndefault_action: allow\nrules:\n- {name: read, condition: \"tool_name == 'read'\", action: allow}\n",
        ),
    ];
    let child = format!(
        "{HEAD}extends: [base.yaml]\nrules:\n\
         - {{name: no drop, condition: \"tool_name == 'drop'\", action: allow, priority: 99}}\n\
         - {{name: read, condition: \"tool_name == 'read'\", action: deny}}\n"
    );
    let (policy, problems) = loaded(&child, files);
    assert!(problems.contains("cannot weaken it") && problems.contains("AGT's sidecar"), "{problems}");
    let policy = policy.unwrap();
    assert_eq!(ask(&policy, &call("x", "drop")), "deny no drop");
    assert_eq!(ask(&policy, &call("x", "read")), "allow read");
    assert_eq!(ask(&policy, &call("x", "other")), "deny default", "the default is the child's");
    assert_eq!(policy.files(), [Box::from("base.yaml"), Box::from("more/deep.yaml")]);
    let other = loaded(&child, &[("base.yaml", "name: base\nrules: []\n")]).0.unwrap();
    assert_ne!(policy.digest(), other.digest(), "the digest is over every file");
}

#[test]
fn what_cannot_be_read_does_not_load() {
    let rule = |rest: &str| format!("{HEAD}rules:\n- {{name: r, condition: \"tool_name == 'a'\", {rest}}}\n");
    for (text, word) in [
        ("apiVersion: governance.toolkit/v2\nname: n\nrules: []\n".to_owned(), "the version is"),
        ("apiVersion: governance.toolkit/v1\nrules: []\n".to_owned(), "needs `name`"),
        (format!("{HEAD}extends: gone.yaml\nrules: []\n"), "`gone.yaml` cannot be read: no such file"),
        (format!("{HEAD}extends: ../up.yaml\nrules: []\n"), "leads out"),
        (format!("{HEAD}extends: self.yaml\nrules: []\n"), "extends itself"),
        (format!("{HEAD}extends: bad.yaml\nrules: []\n"), "bad.yaml:2:9: error: `permit` is no action"),
        (rule("action: rate_limit"), "is no action"),
        (rule("limit: \"5\""), "is no limit"),
        (rule("limit: -1/hour"), "is no limit"),
        (rule("stage: pre_input"), "cannot supply `pre_input`"),
        (rule("stage: later"), "is no stage"),
        (
            format!("{HEAD}rules:\n- {{name: r, condition: \"sql.verb == 'DROP'\", action: deny}}\n"),
            "cannot supply `sql.verb`",
        ),
        (format!("{HEAD}default_action: maybe\nrules: []\n"), "`default_action` is"),
    ] {
        let (policy, problems) = loaded(
            &text,
            &[
                ("self.yaml", "name: s\nextends: self.yaml\nrules: []\n"),
                ("bad.yaml", "name: s\nrules: [{name: r, condition: \"tool_name\", action: permit}]\n"),
            ],
        );
        assert!(policy.is_none() && problems.contains(word), "{text}: {problems}");
    }
}

#[test]
fn stages_other_than_the_call_are_asked_of_what_is_there_then() {
    use super::super::super::subject::{Reply, Stage};
    let rules = "default_action: allow\nrules:\n- {name: leak, condition: \"tool_response == 'secret'\", action: deny, stage: post_tool}\n";
    let policy = policy(&format!("{HEAD}{rules}"));
    let subject = call("x", "a");
    assert_eq!(ask(&policy, &subject), "allow default");
    assert!(policy.reads(Stage::Response(Reply::default())) && !policy.reads(Stage::Description("")));
    let answered = |texts| Stage::Response(Reply { texts, ..Reply::default() });
    assert_eq!(ask(&policy, &Subject { stage: answered("secret"), ..subject }), "deny leak");
    assert_eq!(ask(&policy, &Subject { stage: answered("fine"), ..subject }), "allow default");
    assert_eq!(policy.unsupplied(false), Some("tool_response"));
    assert_eq!(policy.unsupplied(true), None);
}
