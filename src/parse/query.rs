//! Query parameters: names and values as the origin will read them.
//!
//! What a query means is the origin's business (RFC 3986 §3.4); nearly all read `name=value` pairs between `&`, percent-decoded, and most
//! read `+` as a blank. A value with `+` is given in both readings. A query that is not surely read like that (a raw `;`, which some
//! take for `&`, or a `%` without two digits) is told to be ambiguous instead.

use crate::limits;

/// One value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'v> {
    /// Percent-decoded.
    Plain(&'v [u8]),
    /// Nobody knows how the origin reads it.
    Ambiguous,
}

/// Calls `found` with every value of the parameters of this name, in order.
pub fn values(query: &str, name: &str, found: &mut dyn FnMut(Value<'_>)) {
    if query.len() > limits::TARGET_BYTES_MAX || memchr::memchr(b';', query.as_bytes()).is_some() {
        return found(Value::Ambiguous);
    }
    let mut buffer = [0; limits::TARGET_BYTES_MAX];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match [false, true].map(|plus| decode(key, plus, &mut buffer).map(|key| key == name.as_bytes())) {
            [Some(false), Some(false)] => continue,
            [None, _] | [_, None] => {
                found(Value::Ambiguous);
                continue;
            }
            _ => {}
        }
        let readings = if value.contains('+') { &[true, false][..] } else { &[true][..] };
        for plus in readings {
            found(decode(value, *plus, &mut buffer).map_or(Value::Ambiguous, Value::Plain));
        }
    }
}

/// Percent-decodes into `to`, `+` to a blank if `plus`. Nothing for a malformed escape.
fn decode<'b>(text: &str, plus: bool, to: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut bytes = text.bytes();
    let mut len = 0;
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        };
        *to.get_mut(len)? = byte;
        len += 1;
    }
    to.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(query: &str, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        values(query, name, &mut |value| {
            found.push(match value {
                Value::Plain(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Value::Ambiguous => "?".to_owned(),
            });
        });
        found
    }

    #[test]
    fn decodes_names_and_values() {
        assert_eq!(all("a=1&b=2&%61=%33&a", "a"), ["1", "3", ""]);
        assert_eq!(all("a=1", "b"), Vec::<String>::new());
        assert_eq!(all("", "a"), Vec::<String>::new());
        assert_eq!(all("a=b=c", "a"), ["b=c"]);
    }

    #[test]
    fn gives_a_plus_in_both_readings() {
        assert_eq!(all("q=a+b", "q"), ["a b", "a+b"]);
        assert_eq!(all("q+r=1", "q r"), ["1"]);
        assert_eq!(all("q+r=1", "q+r"), ["1"]);
    }

    #[test]
    fn tells_what_it_cannot_read() {
        assert_eq!(all("a=1;b=2", "b"), ["?"]);
        assert_eq!(all("a=%4", "a"), ["?"]);
        assert_eq!(all("%zz=1&a=1", "a"), ["?", "1"]);
        assert_eq!(all("b=%zz&a=1", "a"), ["1"]);
    }
}
