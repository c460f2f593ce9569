//! What Rego reads of its input, as far as its text shows: what ringfence cannot supply would be undefined, and a rule over it would never hold.
//!
//! The text is read by words, not parsed: `input.a.b` and `input["a"]`. A policy that passes `input.snapshot` on as a whole is warned of, since
//! then the text does not show what becomes of it.

use std::collections::BTreeSet;

use super::input::When;

/// What one module does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Paths from `input` that are never supplied.
    pub(super) missing: BTreeSet<String>,
    /// Whether it passes the snapshot or the annotations on as a whole.
    pub(super) whole: bool,
    /// Whether it reads the arguments of the call.
    pub(super) arguments: bool,
    /// Functions that fail whenever they are called.
    pub(super) functions: BTreeSet<String>,
}

impl Reads {
    /// What stands in the text of a module that is asked at these points.
    pub(super) fn of(module: &str, points: &[When]) -> Reads {
        let mut reads = Reads::default();
        let mut rest = module;
        let mut before = ' ';
        while let Some(character) = rest.chars().next() {
            let tail = rest.get(character.len_utf8()..).unwrap_or_default();
            rest = match character {
                '#' => tail.get(tail.find('\n').unwrap_or(tail.len())..).unwrap_or_default(),
                '`' => tail.split_once('`').map_or("", |(_, tail)| tail),
                '"' => quoted(rest).1,
                letter if is_word(letter) && !is_word(before) && before != '.' => {
                    let (path, tail) = reference(rest);
                    reads.note(&path, tail, points);
                    before = 'x';
                    rest = tail;
                    continue;
                }
                _ => tail,
            };
            before = character;
        }
        reads
    }

    fn note(&mut self, path: &[String], tail: &str, points: &[When]) {
        let name = path.join(".");
        let fails =
            |failing: &&str| name.strip_prefix(failing).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if tail.starts_with('(') && FAILING.iter().any(fails) {
            self.functions.insert(name);
            return;
        }
        let Some(("input", steps)) = path.split_first().map(|(root, steps)| (root.as_str(), steps)) else { return };
        let found = steps.join(".");
        let is_supplied = |supplied: &&str| match supplied.strip_suffix(".*") {
            Some(open) => found.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            None => found == **supplied,
        };
        let is_above = |supplied: &&str| supplied.strip_prefix(&found).is_some_and(|rest| rest.starts_with('.'));
        let supplied = || points.iter().flat_map(|when| when.supplied());
        self.arguments |= found.starts_with("snapshot.tool_call.args");
        if found == "policy_target" || supplied().any(is_supplied) {
            return;
        }
        if found.is_empty() || found == "annotations" || supplied().any(is_above) {
            self.whole = true;
        } else {
            self.missing.insert(found);
        }
    }
}

/// The steps of a reference as far as they are written out, and what follows.
fn reference(text: &str) -> (Vec<String>, &str) {
    let (first, mut rest) = word(text);
    let mut steps = vec![first.to_owned()];
    loop {
        if let Some(tail) = rest.strip_prefix('.') {
            let (step, tail) = word(tail);
            if step.is_empty() {
                return (steps, rest);
            }
            steps.push(step.to_owned());
            rest = tail;
        } else if let Some(inner) = rest.strip_prefix('[') {
            if !inner.starts_with('"') {
                return (steps, rest);
            }
            let (step, tail) = quoted(inner);
            let Some(tail) = tail.strip_prefix(']') else { return (steps, rest) };
            steps.push(step);
            rest = tail;
        } else {
            return (steps, rest);
        }
    }
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character| !is_word(character)).unwrap_or(text.len()))
}

/// A quoted text without its quotes, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (inner, text.get(at + 1..).unwrap_or_default()),
            '\\' => inner.extend(characters.next().map(|(_, escaped)| escaped)),
            other => inner.push(other),
        }
    }
    (inner, "")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Functions of Rego that ringfence does not have: a decision that calls one is a denial.
const FAILING: [&str; 12] = [
    "http.send",
    "opa.runtime",
    "rand.intn",
    "uuid",
    "net.lookup_ip_addr",
    "io.jwt",
    "crypto",
    "yaml",
    "graphql",
    "providers",
    "rego.parse_module",
    "regex.globs_match",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(module: &str) -> Vec<String> {
        Reads::of(module, &[When::Before]).missing.into_iter().collect()
    }

    #[test]
    fn what_ringfence_cannot_supply_is_found() {
        let module = r#"
            package p # input.snapshot.in_a_comment
            a if input.snapshot.envelope.budgets[name] > 3
            b if input.annotations.confidence.score < 1
            c if input.snapshot["api_tier"] == "admin"
            d := "input.snapshot.in_a_text \" input.snapshot.x"
            e := `input.snapshot.raw`
            f if myinput.snapshot.y; data.input.z
            g if input.snapshot.tool_call.id
            h if input.request
        "#;
        let found = ["annotations.confidence.score", "request", "snapshot.api_tier", "snapshot.envelope.budgets"];
        assert_eq!(missing(module), [&found[..], &["snapshot.tool_call.id"]].concat());
    }

    #[test]
    fn what_ringfence_supplies_is_not_reported() {
        let module = r#"
            a if input.snapshot.tool_call.args.url[0].x; input.policy_target.value["path"]
            b if input.tool.security_labels[_]; input.tool.clearance; input["intervention_point"]
            c if input.snapshot.envelope.agent.id; input.policy_target.kind; input.policy_target.path
            d if startswith(input.snapshot.tool_call.name, "x"); input.snapshot.tool_call["args"][key]
            e := input.policy_target
            f := object.get(input.tool, "x", 1)
        "#;
        assert_eq!(Reads::of(module, &[When::Before]), Reads { arguments: true, ..Reads::default() });
    }

    #[test]
    fn what_an_answer_has_is_supplied_after_the_call_alone() {
        let module = "a if input.snapshot.tool_result.value.content[_].text == input.snapshot.tool_call.args.x";
        let missing = |points: &[When]| Reads::of(module, points).missing.into_iter().collect::<Vec<_>>();
        assert_eq!(missing(&[When::Before]), ["snapshot.tool_result.value.content"]);
        assert_eq!(missing(&[When::After]), ["snapshot.tool_call.args.x"]);
        assert!(missing(&[When::Before, When::After]).is_empty());
    }

    #[test]
    fn a_snapshot_passed_on_as_a_whole_is_told() {
        for module in [
            "s := input.snapshot",
            "x := object.get(input, \"a\", 1)",
            "e := input.snapshot.envelope[k]",
            "a := input.annotations[x]",
        ] {
            assert!(Reads::of(module, &[When::Before]).whole, "{module}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_over(module in r#"(input|[.\["\]`#\\\n (]|[a-zäß_]{1,3}){0,40}"#) {
            let _ = Reads::of(&module, &[When::Before, When::After]);
        }
    }

    #[test]
    fn functions_that_would_fail_are_found() {
        let reads = Reads::of(
            "a if http.send({}).x; crypto.sha256(x); not_http.send(1); uuid.rfc4122(\"x\"); time.now_ns()",
            &[],
        );
        let functions: Vec<_> = reads.functions.iter().map(String::as_str).collect();
        assert_eq!(functions, ["crypto.sha256", "http.send", "uuid.rfc4122"]);
    }
}
