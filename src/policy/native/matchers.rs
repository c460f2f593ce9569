//! `header`, `query`, `body` and `args`: names, and what is asked of their values.

use super::super::glob::Glob;
use super::super::matcher::{Matcher, Scalar, Test};
use super::super::model::Named;
use super::super::number::Number;
use super::super::problem::{Place, Problems};
use super::super::regexes::{Regex, RegexError};
use super::super::yaml::{Entry, Node, Value};
use super::{map, refuse_unknown, values};
use crate::limits;

pub(super) const TESTS: [&str; 9] = ["in", "not", "glob", "regex", "prefix", "min", "max", "length", "present"];

/// What the names of a condition are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Header fields.
    Fields,
    /// Query parameters.
    Parameters,
    /// JSON pointers.
    Pointers,
    /// JSON pointers, or the names of arguments.
    Arguments,
}

/// A map of names and matchers, by name.
pub(super) fn named(key: &str, names: Names, node: &Node, problems: &mut Problems) -> Option<Box<[Named]>> {
    let entries = map(node, &format!("`{key}`"), problems);
    if entries.is_empty() && matches!(node.value, Value::Map(_)) {
        problems.error(node.place, format!("an empty `{key}` asks nothing"), format!("name a value or remove `{key}`"));
    }
    let mut list: Vec<Named> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some((name, matcher)) = name(names, entry, problems).zip(matcher(&entry.node, 0, problems)) else {
            continue;
        };
        if list.iter().any(|known| *known.name == *name) {
            problems.error(entry.place, format!("`{}` stands here twice", entry.key), "join the two with a list");
        }
        list.push(Named { name, matcher });
    }
    (!list.is_empty()).then(|| list.into_boxed_slice())
}

fn name(names: Names, entry: &Entry, problems: &mut Problems) -> Option<Box<str>> {
    let key = entry.key.as_str();
    let wrong = match names {
        _ if key.len() > limits::POLICY_TEXT_BYTES_MAX => Some(("is too long", String::new())),
        Names::Fields if key.is_empty() || !key.bytes().all(is_token) => {
            Some(("is no name of a header field", "write it as `content-type`".to_owned()))
        }
        Names::Fields if key.contains('_') => Some((
            "cannot match: requests with `_` in a field name are refused",
            format!("write `{}`", key.replace('_', "-")),
        )),
        Names::Parameters if key.is_empty() => Some(("is no name of a parameter", String::new())),
        Names::Pointers if !key.starts_with('/') => {
            Some(("is no JSON pointer", format!("write `/{key}`, with `/` between the levels")))
        }
        Names::Arguments if key.is_empty() => Some(("is no name of an argument", String::new())),
        Names::Pointers | Names::Arguments if key.starts_with('/') && !is_pointer(key) => {
            Some(("is no JSON pointer", "write `~0` for `~` and `~1` for `/`".to_owned()))
        }
        _ => None,
    };
    if let Some((message, remedy)) = wrong {
        problems.error(entry.place, format!("`{key}` {message}"), remedy);
        return None;
    }
    Some(match names {
        Names::Fields => key.to_ascii_lowercase().into(),
        Names::Arguments if !key.starts_with('/') => format!("/{}", key.replace('~', "~0").replace('/', "~1")).into(),
        Names::Parameters | Names::Pointers | Names::Arguments => key.into(),
    })
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 6901 §3: a `~` is followed by `0` or `1`.
fn is_pointer(text: &str) -> bool {
    text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// A scalar, a list of alternatives, or a map of tests.
fn matcher(node: &Node, depth: u32, problems: &mut Problems) -> Option<Matcher> {
    match &node.value {
        Value::List(nodes) if nodes.is_empty() => {
            problems.error(node.place, "an empty list never matches", "name a value");
            None
        }
        Value::List(nodes) => {
            let (mut scalars, mut alternatives) = (Vec::new(), Vec::new());
            for node in nodes {
                match &node.value {
                    Value::Map(entries) => alternatives.extend(tests(node.place, entries, depth, problems)?.0),
                    _ => scalars.push(scalar(node, problems)?),
                }
            }
            if !scalars.is_empty() {
                alternatives.insert(0, [Test::In(scalars.into())].into());
            }
            Some(Matcher(alternatives.into()))
        }
        Value::Map(entries) => tests(node.place, entries, depth, problems),
        _ => Some(one(Test::In([scalar(node, problems)?].into()))),
    }
}

fn one(test: Test) -> Matcher {
    Matcher([[test].into()].into())
}

fn scalar(node: &Node, problems: &mut Problems) -> Option<Scalar> {
    match &node.value {
        Value::Text(text) => pattern_text(node, "a value", problems).map(|_| Scalar::Text(text.as_str().into())),
        Value::Bool(flag) => Some(Scalar::Bool(*flag)),
        Value::Integer(_) | Value::Float(_) => number(node, problems).map(Scalar::Number),
        Value::Null => {
            problems.error(
                node.place,
                "nothing is no value",
                "write `present: false` for an absent value, `\"\"` for an empty one",
            );
            None
        }
        Value::List(_) | Value::Map(_) => {
            problems.error(
                node.place,
                format!("a value is a text, a number or a boolean, found {}", node.value.describe()),
                "",
            );
            None
        }
    }
}

fn number(node: &Node, problems: &mut Problems) -> Option<Number> {
    let number = match &node.value {
        Value::Integer(value) => Some(Number::Integer(*value)),
        Value::Float(value) => Number::from_float(*value),
        _ => None,
    };
    if number.is_none() {
        problems.error(node.place, format!("expected a number, found {}", node.value.describe()), "");
    }
    number
}

fn pattern_text<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> Option<&'n str> {
    let Value::Text(text) = &node.value else {
        problems.error(node.place, format!("{what} is a text, found {}", node.value.describe()), "put it in quotes");
        return None;
    };
    if text.len() > limits::POLICY_PATTERN_BYTES_MAX {
        let most = limits::POLICY_PATTERN_BYTES_MAX;
        problems.error(node.place, format!("{what} is longer than {most} octets"), "shorten it");
        return None;
    }
    Some(text)
}

/// A map of tests that must all hold.
fn tests(place: Place, entries: &[Entry], depth: u32, problems: &mut Problems) -> Option<Matcher> {
    if entries.is_empty() {
        problems.error(place, "an empty matcher asks nothing", format!("use one of {}", TESTS.join(", ")));
        return None;
    }
    let mut all = Vec::with_capacity(entries.len());
    let before = problems.errors();
    for entry in entries {
        refuse_unknown(entry, &TESTS, &[], "a matcher", problems);
        all.extend(test(entry, depth, problems));
    }
    if problems.errors() > before {
        return None;
    }
    refuse_impossible(place, &all, problems);
    if let [Test::Any(_)] = all.as_slice()
        && let Some(Test::Any(matcher)) = all.pop()
    {
        return Some(matcher);
    }
    Some(Matcher([all.into_boxed_slice()].into()))
}

fn test(entry: &Entry, depth: u32, problems: &mut Problems) -> Option<Test> {
    let node = &entry.node;
    match entry.key.as_str() {
        "in" => values::list(node, "in", problems, scalar).map(Test::In),
        "not" if depth >= limits::POLICY_MATCHER_DEPTH_MAX => {
            problems.error(entry.place, "`not` is nested too deeply", "two `not` are none");
            None
        }
        "not" => matcher(node, depth + 1, problems).map(Test::Not),
        "glob" => any(node, "glob", problems, |node, problems| glob(node, problems).map(Test::Glob)),
        "regex" => any(node, "regex", problems, |node, problems| regex(node, problems).map(Test::Regex)),
        "prefix" => any(node, "prefix", problems, |node, problems| {
            pattern_text(node, "a prefix", problems).map(|text| Test::Prefix(text.into()))
        }),
        "min" => number(node, problems).map(Test::Min),
        "max" => number(node, problems).map(Test::Max),
        "length" => length(node, problems),
        "present" => values::boolean(node, "present", problems).map(Test::Present),
        _ => None,
    }
}

/// One test, or a list of alternatives.
fn any(
    node: &Node,
    key: &str,
    problems: &mut Problems,
    read: impl FnMut(&Node, &mut Problems) -> Option<Test>,
) -> Option<Test> {
    let tests = values::list(node, key, problems, read)?.into_vec();
    match <[Test; 1]>::try_from(tests) {
        Ok([only]) => Some(only),
        Err(tests) => Some(Test::Any(Matcher(tests.into_iter().map(|test| Box::from([test])).collect()))),
    }
}

/// A glob, for a value or a name.
pub(super) fn glob(node: &Node, problems: &mut Problems) -> Option<Glob> {
    let text = pattern_text(node, "a glob", problems)?;
    let dots = text.contains('/') && text.split('/').any(|segment| matches!(segment, "." | ".."));
    if text.is_empty() || dots || text.contains('\\') && text.contains('/') {
        let message = format!("the glob `{text}` matches nothing for certain");
        problems.error(node.place, message, "write it without `.` and `..` segments and backslashes");
        return None;
    }
    Some(Glob::new(text))
}

fn regex(node: &Node, problems: &mut Problems) -> Option<Regex> {
    let text = pattern_text(node, "a regex", problems)?;
    let (message, remedy) = match Regex::read(text) {
        Ok(regex) => return Some(regex),
        Err(RegexError::Syntax(why)) => {
            (format!("the regex `{text}` is not well-formed: {why}"), "look-around and back-references are not linear")
        }
        Err(RegexError::WordBoundary) => {
            (format!("the regex `{text}` has a Unicode word boundary"), "write `(?-u:\\b)`")
        }
    };
    problems.error(node.place, message, remedy);
    None
}

/// How to mend a regex that is too large.
pub(super) const LARGE: &str = "repeat less, or write `(?-u)` where ASCII classes are enough";

fn length(node: &Node, problems: &mut Problems) -> Option<Test> {
    let Value::Map(entries) = &node.value else {
        return count(node, problems).map(|exactly| Test::Length(exactly, exactly));
    };
    let (mut least, mut most) = (0, u64::MAX);
    for entry in entries {
        match entry.key.as_str() {
            "min" => least = count(&entry.node, problems)?,
            "max" => most = count(&entry.node, problems)?,
            _ => refuse_unknown(entry, &["min", "max"], &[], "a length", problems),
        }
    }
    if least > most {
        problems.error(node.place, "no length is both", "swap `min` and `max`");
    }
    Some(Test::Length(least, most))
}

fn count(node: &Node, problems: &mut Problems) -> Option<u64> {
    let count = if let Value::Integer(value) = &node.value { u64::try_from(*value).ok() } else { None };
    if count.is_none() {
        problems.error(node.place, format!("a length is a whole number, found {}", node.value.describe()), "");
    }
    count
}

/// Tests that no value satisfies together.
fn refuse_impossible(place: Place, tests: &[Test], problems: &mut Problems) {
    let least = tests.iter().find_map(|test| if let Test::Min(least) = test { Some(least) } else { None });
    let most = tests.iter().find_map(|test| if let Test::Max(most) = test { Some(most) } else { None });
    if least.zip(most).is_some_and(|(least, most)| least > most) {
        problems.error(place, "no number is both", "swap `min` and `max`");
    }
    if tests.contains(&Test::Present(false)) && tests.len() > 1 {
        problems.error(place, "an absent value satisfies nothing else", "make two alternatives of it: a list");
    }
}
