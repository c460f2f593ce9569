use super::super::model::{Condition, Effect};
use super::super::{Look, Lookup, Policy, Source, Subject, Value, load};
use super::*;

/// Values under one name.
#[derive(Debug)]
struct Values<'v>(&'v [Value<'v>]);

impl Lookup for Values<'_> {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        if name == "/v" || name == "v" {
            self.0.iter().for_each(|value| found(*value));
        }
    }
}

fn policy(rule: &str) -> Policy {
    let loaded = load(Source { name: "p", text: &format!("ringfence: v1\nrules:\n  - {rule}\n") });
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// Whether a body condition holds in an allow and in a deny.
fn body(matcher: &str, values: &[Value<'_>]) -> (bool, bool) {
    let values = Values(values);
    let subject = Subject { body: Look::At(&values), ..Subject::EMPTY };
    let holds = |effect: Effect| {
        let word = if effect == Effect::Allow { "allow" } else { "deny" };
        let policy = policy(&format!("{{ {word}: a, body: {{ /v: {matcher} }} }}"));
        policy.rules()[0].holds(Condition::Body, &subject)
    };
    (holds(Effect::Allow), holds(Effect::Deny))
}

/// Likewise of a header field.
fn header(matcher: &str, values: &[&str]) -> (bool, bool) {
    let values: Vec<Value<'_>> = values.iter().map(|value| Value::Text(value.as_bytes())).collect();
    let values = Values(&values);
    let subject = Subject { headers: Look::At(&values), ..Subject::EMPTY };
    let holds = |word: &str| {
        let policy = policy(&format!("{{ {word}: a, header: {{ v: {matcher} }} }}"));
        policy.rules()[0].holds(Condition::Header, &subject)
    };
    (holds("allow"), holds("deny"))
}

const YES: (bool, bool) = (true, true);
const NO: (bool, bool) = (false, false);
/// Satisfies the matchers of a deny and none of an allow.
const UNREADABLE: (bool, bool) = (false, true);

fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

fn number(text: &str) -> Value<'_> {
    Value::Number(Number::read(text.as_bytes()).unwrap())
}

#[test]
fn each_matcher_holds_for_what_it_names() {
    for (matcher, holds, fails) in [
        ("x", text("x"), text("X")),
        ("5", number("5.0"), number("6")),
        ("true", Value::Bool(true), Value::Bool(false)),
        ("[x, y]", text("y"), text("z")),
        ("{ in: [x, 5] }", number("5"), text("5")),
        ("{ not: x }", text("y"), text("x")),
        ("{ not: [x, y] }", text("z"), text("y")),
        ("{ glob: \"read_*\" }", text("read_file"), text("write_file")),
        ("{ glob: /workspace/** }", text("/workspace"), text("/workspaces/a")),
        ("{ prefix: multipart/ }", text("multipart/form-data"), text("text/plain")),
        ("{ regex: \"^a+$\" }", text("aaa"), text("ab")),
        ("{ regex: [b, c] }", text("abd"), text("aad")),
        ("{ min: 2, max: 3 }", number("2.5"), number("3.5")),
        ("{ length: 2 }", text("éé"), text("é")),
        ("{ length: { max: 2 } }", Value::List(2), Value::List(3)),
        ("[{ prefix: a }, { max: 1 }]", number("1"), number("2")),
    ] {
        assert_eq!(body(matcher, &[holds]), YES, "{matcher} {holds:?}");
        let expected = if matcher.contains("prefix: a") { UNREADABLE } else { NO };
        assert_eq!(body(matcher, &[fails]), expected, "{matcher} {fails:?}");
    }
    assert_eq!(body("{ present: true }", &[Value::Null]), YES);
    assert_eq!(body("{ present: false }", &[Value::Null]), NO);
}

#[test]
fn an_absent_value_satisfies_only_not_and_present_false() {
    for matcher in [
        "x",
        "{ glob: \"**\" }",
        "{ regex: \"\" }",
        "{ prefix: \"\" }",
        "{ min: 0 }",
        "{ length: 0 }",
        "{ present: true }",
    ] {
        assert_eq!(body(matcher, &[]), NO, "{matcher}");
        assert_eq!(header(matcher, &[]), NO, "{matcher}");
    }
    for matcher in ["{ not: x }", "{ present: false }", "{ not: { present: true } }"] {
        assert_eq!(body(matcher, &[]), YES, "{matcher}");
    }
    assert_eq!(body("{ not: x, prefix: y }", &[]), NO);
}

#[test]
fn an_unreadable_value_satisfies_every_matcher_of_a_deny_and_none_of_an_allow() {
    for matcher in [
        "x",
        "5",
        "{ not: x }",
        "{ glob: \"**\" }",
        "{ regex: \"\" }",
        "{ min: 0 }",
        "{ present: true }",
        "{ present: false }",
    ] {
        assert_eq!(body(matcher, &[Value::Unreadable]), UNREADABLE, "{matcher}");
        let subject = Subject { body: Look::Unreadable, ..Subject::EMPTY };
        for (word, holds) in [("allow", false), ("deny", true)] {
            let policy = policy(&format!("{{ {word}: a, body: {{ /v: {matcher} }} }}"));
            assert_eq!(policy.rules()[0].holds(Condition::Body, &subject), holds);
        }
    }
}

#[test]
fn a_value_of_the_wrong_type_is_unreadable() {
    for (matcher, value) in [
        ("x", number("5")),
        ("5", text("5")),
        ("true", text("true")),
        ("x", Value::Null),
        ("x", Value::List(1)),
        ("{ not: 5 }", text("x")),
        ("{ glob: \"*\" }", number("5")),
        ("{ prefix: a }", Value::Bool(true)),
        ("{ regex: a }", Value::Object),
        ("{ min: 5 }", text("6")),
        ("{ length: 1 }", number("5")),
    ] {
        assert_eq!(body(matcher, &[value]), UNREADABLE, "{matcher} {value:?}");
    }
    // Header fields and parameters are texts, which may read as numbers.
    assert_eq!(header("{ min: 5 }", &["6"]), YES);
    assert_eq!(header("5", &["05"]), YES);
    assert_eq!(header("true", &["true"]), YES);
    assert_eq!(header("{ min: 5 }", &["6x"]), UNREADABLE);
}

#[test]
fn of_repeated_values_a_deny_needs_one_and_an_allow_all() {
    assert_eq!(header("x", &["x", "y"]), (false, true));
    assert_eq!(header("x", &["x", "x"]), YES);
    assert_eq!(header("{ not: x }", &["x", "y"]), (false, true));
    assert_eq!(header("{ prefix: z }", &["x", "y"]), NO);
}

#[test]
fn a_path_in_a_value_that_winds_is_neither_inside_nor_outside() {
    for value in
        ["/workspace/../etc/passwd", "/workspace/./a", "/workspace\\..\\etc", "/workspace//etc", "/workspace/.."]
    {
        assert_eq!(body("{ glob: /workspace/** }", &[text(value)]), UNREADABLE, "{value}");
        assert_eq!(body("{ prefix: /workspace/ }", &[text(value)]), UNREADABLE, "{value}");
    }
    assert_eq!(body("{ glob: \"https://a.example/**\" }", &[text("https://a.example/b")]), YES);
    assert_eq!(body("{ glob: \"a*\" }", &[text("a..b")]), YES);
}
