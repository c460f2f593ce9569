//! What a head says about the form of its body, read so strictly that nobody can read it otherwise.

use crate::parse::header::Headers;

/// Whether a `Content-Type` is JSON in UTF-8: `application/json`, or a type with the suffix `+json` (RFC 6839 §3.1).
pub(crate) fn is_json(value: &[u8]) -> bool {
    media(value).is_some_and(|kind| {
        kind.eq_ignore_ascii_case("application/json")
            || kind.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
    })
}

/// Whether a `Content-Type` is this one, in UTF-8.
pub(crate) fn is(value: &[u8], kind: &str) -> bool {
    media(value).is_some_and(|found| found.eq_ignore_ascii_case(kind))
}

/// Whether a body is as it is: no `Content-Encoding`, or the one that says so.
pub(crate) fn is_identity(headers: &Headers<'_>) -> bool {
    match headers.one("content-encoding") {
        Ok(coding) => coding.is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity")),
        Err(_) => false,
    }
}

/// The media type of a value whose only parameter, if it has one, says UTF-8 (RFC 9110 §8.3.1). Recipients are known to take other charsets at their word.
fn media(value: &[u8]) -> Option<&str> {
    let text = str::from_utf8(value).ok()?;
    let (kind, parameter) = match text.split_once(';') {
        Some((kind, parameter)) => (kind, Some(parameter)),
        None => (text, None),
    };
    if let Some(parameter) = parameter {
        let (name, charset) = parameter.trim_matches([' ', '\t']).split_once('=')?;
        let charset = charset.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(charset);
        let is_utf8 = name.eq_ignore_ascii_case("charset") && charset.eq_ignore_ascii_case("utf-8");
        is_utf8.then_some(())?;
    }
    let kind = kind.trim_end_matches([' ', '\t']);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'-' | b'.' | b'_');
    kind.bytes().all(is_plain).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_everybody_takes_for_json() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/vnd.api+json",
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json;",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; a=b",
            "application/json, text/plain",
            "text/plain, application/json",
            "x application/json",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }
}
