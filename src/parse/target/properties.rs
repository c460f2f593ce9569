//! What holds for every host, path and target. Unit tests, property tests and the fuzz target call the same functions.

#![allow(clippy::expect_used, reason = "a property that does not hold panics, as the fuzzer wants it")]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::limits::{HOST_BYTES_MAX, PATH_READINGS_MAX};
use crate::parse::{head, path};

/// Everything that holds for any two texts taken as request target and `Host`, on every kind of connection.
pub fn target_properties(target: &str, host_text: &str) {
    host_properties(host_text);
    // Only what a request target can hold comes to the path parser.
    if target.bytes().all(|byte| byte.is_ascii_graphic()) {
        path_properties(target);
    }
    for method in ["GET", "OPTIONS", "CONNECT"] {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host_text}\r\n\r\n");
        let Ok(head) = head::request(text.as_bytes()) else { continue };
        for form in [Form::Origin, Form::Proxy] {
            for scheme in [Scheme::Http, Scheme::Https] {
                identity_properties(&head, form, scheme);
            }
        }
    }
}

/// Whatever is accepted names one host in every place, and cannot be told apart by its spelling.
fn identity_properties(head: &RequestHead<'_>, form: Form, scheme: Scheme) {
    let host_field = head.headers.host().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let named = authority(host_field);
    let sni = match &named {
        Ok((Host::Name(name), _)) if scheme == Scheme::Https && form == Form::Origin => Some(name.clone()),
        _ => None,
    };
    let default_port = named.as_ref().ok().and_then(|(_, port)| *port).unwrap_or(scheme.default_port());
    let asked = Asked { scheme, head, sni: sni.as_deref(), default_port, form, connect_authority: None };
    let Ok(found) = canonical(&asked) else { return };
    let (host, port) = named.expect("an accepted request has a sound Host");
    assert_eq!(found.host, host);
    assert!(found.port > 0 && port.is_none_or(|port| port == found.port));
    assert!(found.wire.is_empty() == (head.method == "CONNECT"));
    assert!(head.target.ends_with(&*found.wire) || matches!(&*found.wire, "/" | "*") || found.wire.starts_with("/?"));
    if let Some(query) = found.query {
        assert!(found.wire.ends_with(query) && !found.path.contains('?'));
    }
    // Another name in any one place is never accepted.
    let other = Host::Name(Cow::Borrowed("other.invalid"));
    if found.host == other || form == Form::Proxy {
        return;
    }
    let elsewhere = [
        Asked { sni: Some("other.invalid"), ..asked },
        Asked { connect_authority: Some((&other, found.port)), ..asked },
        Asked { connect_authority: Some((&found.host, found.port ^ 1)), ..asked },
    ];
    for asked in elsewhere {
        assert_eq!(canonical(&asked).map_err(|fault| fault.status()), Err(421));
    }
}

/// Everything that holds for any text taken as an authority.
pub fn host_properties(text: &str) {
    let found = host(text);
    assert_eq!(found.as_ref().ok().map(ToString::to_string), naive_host(text));
    let Ok(found) = found else { return };
    let written = found.to_string();
    assert_eq!(host(&written).as_ref(), Ok(&found));
    assert_eq!(host(&text.to_ascii_uppercase().replace("0X", "0x")).as_ref(), Ok(&found));
    for port in [1, 80, 65535] {
        assert_eq!(authority(&format!("{written}:{port}")), Ok((found.clone(), Some(port))));
    }
    assert_eq!(authority(text), Ok((found.clone(), None)));
    for odd in [":", ":0", ":00443", ":65536", ":+1", ":-1", ":8a", ":443 ", ":\u{661}"] {
        assert_eq!(authority(&format!("{written}{odd}")), Err(HostError::Port));
    }
    for odd in [
        format!("user@{written}"),
        format!("{written}@evil"),
        format!("{written}\\x"),
        format!(" {written}"),
        format!("{written},b"),
    ] {
        assert!(host(&odd).is_err() && authority(&odd).is_err(), "{odd}");
    }
    if let Host::Name(name) = &found
        && name.len() < HOST_BYTES_MAX
    {
        assert_eq!(host(&format!("{name}.")).as_ref(), Ok(&found));
        assert!(host(&format!("{name}..")).is_err() && host(&format!(".{name}")).is_err());
    }
}

/// The rules for a host, one after the other, on strings. Gives its canonical text.
fn naive_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        return Some(format!("[{}]", inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let sound = labels.iter().all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
            && (!label.starts_with("xn--")
                || hickory_proto::rr::Name::from_utf8(label).is_ok_and(|name| name.to_ascii() == *label))
    });
    let last = labels.last()?;
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (sound && !number && name.len() <= HOST_BYTES_MAX).then_some(name)
}

/// Everything that holds for any text of visible ASCII taken as a path.
pub fn path_properties(text: &str) {
    let found = path::read(text);
    assert_eq!(found.as_ref().ok().map(|path| path.canonical.to_string()), naive_path(text, found.as_ref().err()));
    let Ok(found) = found else { return };
    let all: Vec<&str> = std::iter::once(&*found.canonical).chain(found.readings.iter()).collect();
    assert!(all.len() <= PATH_READINGS_MAX + 1);
    for (index, reading) in all.iter().enumerate() {
        assert!(!all[..index].contains(reading), "each reading stands there once");
        assert!(reading.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(!reading.contains("%00") && !reading.contains("%5C"));
        // Whatever an origin does to a path, in whatever order, leads to another reading.
        for rewritten in [naive_decode(reading), naive_cut(reading), naive_merge(reading)] {
            assert!(all.contains(&&*rewritten), "{rewritten} of {reading} is missing in {all:?}");
        }
    }
    // The canonical form is a fixed point, and what is plain is borrowed.
    assert_eq!(path::read(&found.canonical).map(|again| again.canonical.into_owned()), Ok(found.canonical.to_string()));
    assert_eq!(matches!(found.canonical, Cow::Borrowed(_)), found.canonical == text);
    assert!(!found.readings.is_empty() || naive_decode(text) == found.canonical);
}

/// The canonical form, from the octets. Whether some other reading is refused, or there are too many, is for the parser to say.
fn naive_path(text: &str, fault: Option<&PathError>) -> Option<String> {
    let mut octets = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let escaped = text.as_bytes()[at] == b'%';
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (escaped, digits) {
            (false, _) => octets.push((false, text.as_bytes()[at])),
            (true, Some(digits)) => octets.push((true, u8::from_str_radix(digits, 16).ok()?)),
            (true, None) => return None,
        }
        at += if escaped { 3 } else { 1 };
    }
    let overlong = octets
        .windows(2)
        .any(|pair| matches!(pair, [(true, 0xe0), (true, 0x80..=0x9f)] | [(true, 0xf0), (true, 0x80..=0x8f)]));
    if overlong || octets.iter().any(|octet| matches!(octet, (true, 0 | b'\\' | 0xc0 | 0xc1))) {
        return None;
    }
    let written = octets.iter().map(|&(escaped, octet)| match (escaped, octet) {
        (true, b'/' | b';' | b'%' | b'?' | b'#') => format!("%{octet:02X}"),
        (_, b'!'..=b'~') => char::from(octet).to_string(),
        (_, octet) => format!("%{octet:02X}"),
    });
    let canonical: String = written.collect();
    if canonical.split('/').any(|segment| segment == "." || segment == "..") {
        return None;
    }
    let refused_elsewhere = matches!(
        fault,
        Some(PathError::Readings | PathError::DotSegment | PathError::Nul | PathError::Backslash | PathError::Overlong)
    );
    (!refused_elsewhere).then_some(canonical)
}

/// One more decoding, on a path whose escapes are sound and upper-case.
fn naive_decode(path: &str) -> String {
    let mut out = String::new();
    let mut parts = path.split('%');
    out.push_str(parts.next().unwrap_or_default());
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        // `%25` begins an escape where two digits follow it, and no other percent sign lies between.
        let begins_escape = rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
        match digits {
            "2F" => out.push('/'),
            "3B" => out.push(';'),
            "25" if begins_escape => out.push('%'),
            _ => {
                out.push('%');
                out.push_str(digits);
            }
        }
        out.push_str(rest);
        assert!(index < parts.len());
    }
    naive_path(&out, None).unwrap_or(out)
}

fn naive_cut(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

fn naive_merge(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}
