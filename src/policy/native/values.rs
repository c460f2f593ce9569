//! Reading single values and lists of values.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::super::path::{PathError, PathPattern};
use super::super::problem::{Problems, did_you_mean};
use super::super::yaml::{Node, Value};
use crate::limits;

/// One of a few words.
pub(crate) fn choice<T: Copy>(node: &Node, key: &str, known: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let words = || known.iter().map(|(word, _)| *word);
    if let Value::Text(text) = &node.value {
        if let Some((_, value)) = known.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let remedy = match did_you_mean(text, words()) {
            near if near.is_empty() => format!("it is one of {}", words().collect::<Vec<_>>().join(", ")),
            near => near,
        };
        problems.error(node.place, format!("`{key}` cannot be `{text}`"), remedy);
        return None;
    }
    let message =
        format!("`{key}` is one of {}, found {}", words().collect::<Vec<_>>().join(", "), node.value.describe());
    problems.error(node.place, message, "");
    None
}

/// A text of bounded length without control characters, which may go into refusals and records.
pub(crate) fn text<'n>(node: &'n Node, key: &str, problems: &mut Problems) -> Option<&'n str> {
    let Value::Text(text) = &node.value else {
        let remedy = match &node.value {
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => "put it in quotes",
            _ => "",
        };
        problems.error(node.place, format!("`{key}` is a text, found {}", node.value.describe()), remedy);
        return None;
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        problems.error(node.place, format!("`{key}` is empty"), "");
        return None;
    }
    if trimmed.len() > limits::POLICY_TEXT_BYTES_MAX {
        let most = limits::POLICY_TEXT_BYTES_MAX;
        problems.error(node.place, format!("`{key}` is longer than {most} octets"), "shorten it");
        return None;
    }
    if trimmed.chars().any(char::is_control) {
        problems.error(node.place, format!("`{key}` holds a control character"), "write it in one line");
        return None;
    }
    Some(trimmed)
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node, key: &str, problems: &mut Problems) -> Option<bool> {
    if let Value::Bool(value) = node.value {
        return Some(value);
    }
    problems.error(node.place, format!("`{key}` is true or false, found {}", node.value.describe()), "");
    None
}

/// A value or a list of values, read one by one. Nothing when none could be read; an empty list is an error, since it never matches.
pub(super) fn list<T>(
    node: &Node,
    key: &str,
    problems: &mut Problems,
    mut read: impl FnMut(&Node, &mut Problems) -> Option<T>,
) -> Option<Box<[T]>> {
    let nodes = match &node.value {
        Value::List(nodes) if nodes.is_empty() => {
            problems.error(
                node.place,
                format!("an empty `{key}` never matches"),
                format!("name a value or remove `{key}`"),
            );
            return None;
        }
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let values: Vec<T> = nodes.iter().filter_map(|node| read(node, problems)).collect();
    (!values.is_empty()).then(|| values.into_boxed_slice())
}

/// A port.
pub(super) fn port(node: &Node, problems: &mut Problems) -> Option<u16> {
    let number = match &node.value {
        Value::Integer(number) => u16::try_from(*number).ok().filter(|port| *port != 0),
        _ => None,
    };
    if number.is_none() {
        let message = format!("a port is a number from 1 to 65535, found {}", node.value.describe());
        problems.error(node.place, message, "");
    }
    number
}

/// An address block or a single address.
pub(super) fn block(node: &Node, problems: &mut Problems) -> Option<IpNet> {
    let text = text(node, "cidr", problems)?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(block) = parsed else {
        let remedy = "write it as `10.0.0.0/8` or `fd00::/8`";
        problems.error(node.place, format!("`{text}` is no address block"), remedy);
        return None;
    };
    if block.addr() != block.network() {
        let remedy = format!("did you mean `{}`?", block.trunc());
        problems.error(node.place, format!("`{text}` has bits beyond its prefix"), remedy);
        return None;
    }
    Some(unmapped(block))
}

/// Addresses are compared in canonical form, so a block of IPv4-mapped addresses is the IPv4 block within.
fn unmapped(block: IpNet) -> IpNet {
    let IpNet::V6(v6) = block else { return block };
    let inner = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    inner.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(block, IpNet::V4)
}

/// A method token (RFC 9110 §9.1), in upper case as every registered one is.
pub(super) fn method(node: &Node, problems: &mut Problems) -> Option<Box<str>> {
    const REGISTERED: [&str; 12] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PROPFIND", "MKCOL", "REPORT"];
    let text = text(node, "method", problems)?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.chars().all(token) || text == "*" || text.len() > limits::METHOD_BYTES_MAX {
        let remedy = if text == "*" { "leave `method` out to mean every method" } else { "write it as `GET`" };
        problems.error(node.place, format!("`{text}` is no method"), remedy);
        return None;
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        let remedy = format!("did you mean `{upper}`?");
        problems.error(node.place, format!("the method `{text}` is not in upper case"), remedy);
        return None;
    }
    if !REGISTERED.contains(&text)
        && let near = did_you_mean(text, REGISTERED)
        && !near.is_empty()
    {
        problems.warning(node.place, format!("`{text}` is not a registered method"), near);
    }
    Some(text.into())
}

/// A path pattern.
pub(super) fn path(node: &Node, problems: &mut Problems) -> Option<PathPattern> {
    let text = text(node, "path", problems)?;
    let (message, remedy) = match PathPattern::read(text) {
        Ok(pattern) => return Some(pattern),
        Err(PathError::NoSlash) => ("does not begin with a slash", format!("write `/{text}`")),
        Err(PathError::Query) => ("holds `?` or `#`, which end a path", "leave the query out".to_owned()),
        Err(PathError::Character(c)) => {
            ("holds a character no path has", format!("percent-encode `{}`", c.escape_debug()))
        }
        Err(PathError::Percent) => {
            ("holds a `%` without two hexadecimal digits", "write `%25` for a percent sign".into())
        }
        Err(PathError::Refused) => ("cannot match: requests with `%00` or `%5C` are refused", String::new()),
        Err(PathError::Star) => ("asks for a literal `*`, which patterns cannot", "write `*` in its place".to_owned()),
        Err(PathError::DotSegment) => {
            ("cannot match: requests with dot segments are refused", "remove `.` and `..`".into())
        }
        Err(PathError::Long) => ("is longer than any request target", "shorten it".into()),
        Err(PathError::Segments) => {
            ("has too many segments", format!("use at most {}", limits::POLICY_PATH_SEGMENTS_MAX))
        }
    };
    problems.error(node.place, format!("the path `{text}` {message}"), remedy);
    None
}
