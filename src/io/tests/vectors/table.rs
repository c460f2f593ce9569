//! Reads the tables of `tests/vectors`, whose format stands in the README there.

use super::super::harness::HOST;

/// One vector.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    /// File and line.
    pub(super) source: String,
    pub(super) place: char,
    /// Not to be cut.
    pub(super) whole: bool,
    pub(super) expected: Vec<Expected>,
    pub(super) sent: Vec<u8>,
    /// The client closes its side after it.
    pub(super) ends: bool,
    pub(super) received: Vec<Vec<u8>>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// `None`: the connection ends without one.
    pub(super) status: Option<u16>,
    /// `None` for the origin's own answer.
    pub(super) code: Option<String>,
}

const TABLES: [(&str, &str); 7] = [
    ("request_line", include_str!("../../../../tests/vectors/request_line.txt")),
    ("fields", include_str!("../../../../tests/vectors/fields.txt")),
    ("framing", include_str!("../../../../tests/vectors/framing.txt")),
    ("chunked", include_str!("../../../../tests/vectors/chunked.txt")),
    ("target", include_str!("../../../../tests/vectors/target.txt")),
    ("host", include_str!("../../../../tests/vectors/host.txt")),
    ("proxy", include_str!("../../../../tests/vectors/proxy.txt")),
];

/// All vectors of all tables.
pub(super) fn vectors() -> Vec<Vector> {
    let mut all = Vec::new();
    for (name, table) in TABLES {
        for (number, line) in table.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let alternatives = alternatives(line);
            for (n, line) in alternatives.iter().enumerate() {
                all.push(vector(line, format!("{name}.txt:{} ({n})", number + 1)));
            }
        }
    }
    all
}

fn vector(line: &str, source: String) -> Vector {
    let mut rest = line;
    let mut column = || {
        let text = rest.trim_start_matches(' ');
        let (column, behind) = text.split_once(' ').unwrap_or_else(|| panic!("{source}: {line}"));
        rest = behind;
        column
    };
    let (_row, place, expected) = (column(), column(), column());
    let mut parts = rest.trim_start_matches(' ').split("  => ");
    let sent = parts.next().unwrap();
    let (sent, ends) = sent.strip_suffix("{fin}").map_or((sent, false), |sent| (sent, true));
    Vector {
        place: place.chars().next().unwrap(),
        whole: place.ends_with('!'),
        expected: expected.split(',').map(one_answer).collect(),
        sent: octets(sent),
        ends,
        received: parts.map(octets).collect(),
        source,
    }
}

fn one_answer(text: &str) -> Expected {
    let (status, code) = text.split_once('/').map_or((text, None), |(status, code)| (status, Some(code.to_owned())));
    Expected { status: status.parse().ok(), code }
}

/// The line once for each alternative of its first group, and so on.
fn alternatives(line: &str) -> Vec<String> {
    let group = |open: &str, close: &str| {
        let start = line.find(open)?;
        let end = start + line[start..].find(close)?;
        Some((&line[start..end + close.len()], &line[start + open.len()..end]))
    };
    let (text, values) = if let Some((text, inner)) = group("[[", "]]") {
        (text, inner.split('|').map(str::to_owned).collect::<Vec<_>>())
    } else if let Some((text, inner)) = group("<", ">") {
        (text, range(inner))
    } else {
        return vec![line.to_owned()];
    };
    values.into_iter().flat_map(|value| alternatives(&line.replace(text, &value))).collect()
}

fn range(list: &str) -> Vec<String> {
    let number = |text: &str| u8::from_str_radix(text, 16).unwrap();
    list.split(',')
        .flat_map(|part| {
            part.split_once('-').map_or_else(|| number(part)..=number(part), |(a, b)| number(a)..=number(b))
        })
        .map(|octet| format!("\\x{octet:02x}"))
        .collect()
}

fn octets(text: &str) -> Vec<u8> {
    let mut text =
        text.replace("{H}", &format!("Host: {HOST}\\r\\n")).replace("{T}", "Transfer-Encoding: chunked\\r\\n\\r\\n");
    // Innermost first.
    while let Some(end) = text.find('}') {
        let start = text[..end].rfind('{').unwrap_or_else(|| panic!("{text}"));
        let (count, repeated) = text[start + 1..end].split_once('*').unwrap_or_else(|| panic!("{text}"));
        let repeated = repeated.repeat(count.parse().unwrap());
        text.replace_range(start..=end, &repeated);
    }
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [octet, behind @ ..] = rest {
        rest = behind;
        if *octet != b'\\' {
            octets.push(*octet);
            continue;
        }
        let (escape, behind) = behind.split_first().unwrap();
        rest = behind;
        octets.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).unwrap()
            }
            other => *other,
        });
    }
    octets
}
