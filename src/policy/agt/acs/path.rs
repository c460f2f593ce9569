//! Paths of a manifest: `$.tool_call.args`, `$snap.list[0]["a.b"]`. Values are read as they are, nothing is converted.

use serde_json::Value as Json;

use super::fault::Fault;

/// A path into the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

impl Path {
    /// Reads a path into the snapshot: `$` and `$.name` are short for `$snap` and `$snap.name`.
    pub(super) fn of_snapshot(text: &str) -> Result<Path, String> {
        let rest = match text {
            "$" => "",
            _ if text.starts_with("$.") => text.strip_prefix('$').unwrap_or_default(),
            _ => after(text, "$snap").ok_or("it begins with `$.` or `$snap`, since only the snapshot is read here")?,
        };
        Ok(Path { text: text.into(), steps: steps(rest)?.into() })
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands there.
    pub(super) fn read<'j>(&self, snapshot: &'j Json) -> Result<&'j Json, Fault> {
        self.steps.iter().try_fold(snapshot, |value, step| match (step, value) {
            (Step::Member(name), Json::Object(members)) => members.get(name).ok_or(Fault::PathMissing),
            (Step::Element(at), Json::Array(elements)) => elements.get(*at).ok_or(Fault::PathMissing),
            _ => Err(Fault::PathTypeMismatch),
        })
    }
}

/// Whether a path is one into the policy target: `$policy_target`, and from 0.4 on `$target`.
pub(super) fn is_of_target(text: &str) -> bool {
    let rest = after(text, "$policy_target").or_else(|| after(text, "$target"));
    rest.is_some_and(|rest| steps(rest).is_ok())
}

/// What follows a root; nothing where the text has another root.
fn after<'t>(text: &'t str, root: &str) -> Option<&'t str> {
    text.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn steps(mut rest: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, tail) = step(rest)?;
        steps.push(step);
        rest = tail;
    }
    Ok(steps)
}

fn step(rest: &str) -> Result<(Step, &str), String> {
    if let Some(rest) = rest.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if name.is_empty() || tail.starts_with(']') {
            return Err("a name is missing after a dot".to_owned());
        }
        return Ok((Step::Member(name.to_owned()), tail));
    }
    let Some(inner) = rest.strip_prefix('[') else {
        return Err("a dot or a bracket is missing between two steps".to_owned());
    };
    if inner.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let Some(Ok(name)) = texts.next() else { return Err("the name in brackets is no JSON text".to_owned()) };
        let tail = inner.get(texts.byte_offset()..).and_then(|tail| tail.strip_prefix(']'));
        return tail.map(|tail| (Step::Member(name), tail)).ok_or_else(|| "a bracket is not closed".to_owned());
    }
    let (digits, tail) = inner.split_once(']').ok_or("a bracket is not closed")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let at = if is_number { digits.parse().ok() } else { None };
    at.map(|at| (Step::Element(at), tail)).ok_or_else(|| "an index is a number from 0 on".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_read_without_converting_anything() {
        let snapshot = json!({"tool_call": {"args": {"a.b": [1, {"x": null}], "n": "7"}}});
        let read = |text: &str| Path::of_snapshot(text).unwrap().read(&snapshot).cloned();
        assert_eq!(read("$"), Ok(snapshot.clone()));
        assert_eq!(read("$snap"), Ok(snapshot.clone()));
        assert_eq!(read(r#"$.tool_call.args["a.b"][1].x"#), Ok(json!(null)));
        assert_eq!(read(r#"$snap.tool_call["args"].n"#), Ok(json!("7")));
        assert_eq!(read("$.tool_call.name"), Err(Fault::PathMissing));
        assert_eq!(read(r#"$.tool_call.args["a.b"][2]"#), Err(Fault::PathMissing));
        assert_eq!(read("$.tool_call[0]"), Err(Fault::PathTypeMismatch));
        assert_eq!(read("$.tool_call.args.n.x"), Err(Fault::PathTypeMismatch));
        assert_eq!(read(r#"$.tool_call.args["a.b"].length"#), Err(Fault::PathTypeMismatch));
    }

    #[test]
    fn a_path_with_another_root_or_a_slip_is_refused() {
        let slips = [
            "",
            "tool_call",
            "$tool",
            "$pi.snapshot",
            "$policy_target",
            "$target.x",
            "$snapshot",
            "$..a",
            "$.",
            "$.a]",
        ];
        let more = ["$.a[", "$.a[-1]", "$.a[x]", "$.a[1", "$.a[\"b\"", "$.a[\"b]", "$.a[+1]", "$.a[]", "$.a[1]b"];
        for text in slips.iter().chain(&more) {
            assert!(Path::of_snapshot(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_target_has_a_name_in_each_version() {
        for yes in ["$policy_target", "$policy_target.a[0]", "$target", "$target[\"x\"]"] {
            assert!(is_of_target(yes), "{yes}");
        }
        for no in ["$targets", "$snap.a", "$policy_target.", "$.a", "$tool"] {
            assert!(!is_of_target(no), "{no}");
        }
    }
}
