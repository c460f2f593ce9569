//! Where a response's `Location` leads, for the record: nothing is dialled and nothing is decided by it.

use super::host::authority;

/// The host that a `Location` (RFC 9110 §10.2.2) names, with its port where one stands there. Nothing for a reference that stays with the
/// host it came from; [`UNREADABLE`] where an authority stands that is not exactly a host and a port.
pub fn host(reference: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(reference) else { return Some(UNREADABLE.to_owned()) };
    // Clients that read as browsers do (WHATWG URL) take a backslash for a slash, and drop what is blank in front.
    let sound = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let (scheme, rest) = match text.find([':', '/', '?', '#']) {
        Some(at) if text[at..].starts_with(':') => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    };
    let named = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (scheme, named) {
        _ if !sound => Some(UNREADABLE.to_owned()),
        (None, None) => None,
        (_, Some(named)) => Some(match authority(named) {
            Ok((host, Some(port))) => format!("{host}:{port}"),
            Ok((host, None)) => host.to_string(),
            Err(_) => UNREADABLE.to_owned(),
        }),
        // `file:`, `data:` and the like, and what no two clients read alike (`https:evil.example`).
        (Some(_), None) => Some(UNREADABLE.to_owned()),
    }
}

/// No host is written so.
pub const UNREADABLE: &str = "?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_host_of_an_absolute_reference() {
        for (reference, expected) in [
            ("https://Other.Example/path?x=1", "other.example"),
            ("http://other.example:8080", "other.example:8080"),
            ("//other.example/", "other.example"),
            ("https://[2001:db8::1]:443#top", "[2001:db8::1]:443"),
            ("ftp://files.example/", "files.example"),
        ] {
            assert_eq!(host(reference.as_bytes()).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn a_reference_within_the_same_host_names_none() {
        for reference in ["", "/login", "login?next=https://other.example/", "?a:b", "#x", "./a:b"] {
            assert_eq!(host(reference.as_bytes()), None, "{reference}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_called_unreadable() {
        for reference in [
            &b"https://user@other.example/"[..],
            b"https://other.example\\@evil.example/",
            b"\\\\evil.example/",
            b"https:evil.example",
            b"javascript:alert(1)",
            b"file:///etc/passwd",
            b" https://evil.example/",
            b"https://evil.ex\xc3\xa4mple/",
            b"https://\xff/",
            b"https://0x7f.1/",
        ] {
            assert_eq!(host(reference).as_deref(), Some(UNREADABLE), "{reference:?}");
        }
    }
}
