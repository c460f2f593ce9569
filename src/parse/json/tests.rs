use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use proptest::prelude::*;

use super::properties::{holds, scan};
use super::*;

mod values;

fn fault_in(layout: Layout, text: impl AsRef<[u8]>) -> Option<JsonError> {
    let text = text.as_ref();
    holds(text);
    scan(text, layout, text.len().max(1)).fault.map(|(_, fault)| fault)
}

fn fault(text: impl AsRef<[u8]>) -> Option<JsonError> {
    fault_in(Layout::Free, text)
}

#[test]
fn yields_tokens_as_spans_of_the_text() {
    let text = br#" {"a":[1, "\u0062"],"c":null} "#;
    holds(text);
    let tokens: Vec<_> = scan(text, Layout::Free, 3)
        .tokens
        .iter()
        .map(|token| (token.kind, token.depth, str::from_utf8(token.of(text)).unwrap().to_owned()))
        .collect();
    let expected = [
        (Kind::ObjectStart, 0, "{"),
        (Kind::Key, 1, r#""a""#),
        (Kind::ArrayStart, 1, "["),
        (Kind::Number, 2, "1"),
        (Kind::String, 2, r#""\u0062""#),
        (Kind::ArrayEnd, 1, r#"[1, "\u0062"]"#),
        (Kind::Key, 1, r#""c""#),
        (Kind::Null, 1, "null"),
        (Kind::ObjectEnd, 0, r#"{"a":[1, "\u0062"],"c":null}"#),
    ];
    assert_eq!(tokens, expected.map(|(kind, depth, span)| (kind, depth, span.to_owned())));
}

#[test]
fn rejects_what_rfc_8259_rejects() {
    for text in [
        "nul",
        "True",
        "NaN",
        "Infinity",
        "-Infinity",
        "undefined",
        "'a'",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,,2]",
        "[",
        "{",
        "]",
        "}",
        "[}",
        "{]",
        "{\"a\":1]",
        "[1}",
        ",",
        ":",
        "",
        " ",
        "\"",
        "\"a",
        "/**/1",
        "1//",
        "#",
        "\u{a0}1",
        "\u{2028}",
        "[1]\u{85}",
        "\u{c}1",
        "\u{b}[]",
        "{1:2}",
        "{null:1}",
        "{\"a\" \"b\"}",
    ] {
        assert!(fault(text).is_some(), "{text:?} is accepted");
    }
    for text in ["null", " true ", "\"\"", "0", "[]", "{}", "[[],{}]", "\t[\r\n1 , 2 ]\n", "\"\u{7f}\u{2028}\""] {
        assert_eq!(fault(text), None, "{text:?}");
    }
}

#[test]
fn rejects_numbers_that_are_malformed_or_out_of_range() {
    for text in ["-", "-a", "1.", "1.e1", "1e", "1e+", "1E-", "-.5"] {
        assert_eq!(fault(format!("{text} ")), Some(JsonError::Number), "{text}");
        assert!(fault(text).is_some(), "{text:?} is accepted");
        assert_eq!(fault(format!("[{text}]")), Some(JsonError::Number), "{text}");
    }
    for text in ["01", "-01", "+1", ".5", "0x10", "1_000", "1f", "--1", "00", "1e1.5", "\u{ff11}"] {
        assert!(fault(text).is_some(), "{text:?} is accepted");
        assert!(fault(format!("[{text}]")).is_some(), "[{text:?}] is accepted");
    }
    for text in ["1e400", "-1e309", "1e-400", "-0.1e-999999999999999999999", "1e99999999999999999999"] {
        assert_eq!(fault(text), Some(JsonError::NumberRange), "{text}");
        assert_eq!(fault(format!("[{text}]")), Some(JsonError::NumberRange), "{text}");
    }
    for text in
        ["0", "-0", "0.0e99999999", "1E+2", "123456789012345678901234567890", "5e-324", "1.7976931348623157e308"]
    {
        assert_eq!(fault(text), None, "{text}");
    }
    assert_eq!(fault("1".repeat(JSON_NUMBER_BYTES_MAX)), None);
    assert_eq!(fault("1".repeat(JSON_NUMBER_BYTES_MAX + 1)), Some(JsonError::NumberTooLong));
}

#[test]
fn rejects_names_that_stand_twice_after_decoding() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"name":1,"na\u006de":2}"#,
        r#"[{"x":{"b":1,"c":[{"d":0}],"b":2}}]"#,
        r#"{"":1,"":1}"#,
        r#"{"/":1,"\/":1}"#,
        "{\"\u{e9}\":1,\"\\u00E9\":1}",
        "{\"\u{1f600}\":1,\"\\ud83d\\uDE00\":1}",
    ] {
        assert_eq!(fault(text), Some(JsonError::DuplicateKey), "{text}");
    }
    for text in [r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":1,"A":2}"#] {
        assert_eq!(fault(text), None, "{text}");
    }
    let many = |last: usize| {
        let members: Vec<_> = (0..1000).chain([last]).map(|n| format!("\"k{n}\":{{\"k{n}\":0}}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(fault(many(1000)), None);
    for last in [0, 31, 32, 33, 999] {
        assert_eq!(fault(many(last)), Some(JsonError::DuplicateKey));
    }
    assert_eq!(fault(format!("[{0},{0}]", many(1000))), None, "an object's names end with it");
}

#[test]
fn rejects_text_that_is_not_well_formed() {
    assert_eq!(fault("\u{feff}{}"), Some(JsonError::ByteOrderMark));
    assert_eq!(
        fault("{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        Some(JsonError::Syntax)
    );
    for bytes in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8",
        b"\x80",
        b"\xe2\x82",
        b"\xc3(",
    ] {
        let text = [b"\"", bytes, b"\""].concat();
        assert_eq!(fault(text), Some(JsonError::Encoding), "{bytes:?}");
    }
    for text in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\ud800\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udfff\ud800""#,
    ] {
        assert_eq!(fault(text), Some(JsonError::Surrogate), "{text}");
    }
    for text in [r#""\x41""#, r#""\'""#, r#""\u12""#, r#""\u12g4""#, r#""\U0041""#, "\"\\\n\"", r#""\u+123""#] {
        assert_eq!(fault(text), Some(JsonError::Escape), "{text}");
    }
    for control in 0..0x20_u8 {
        assert_eq!(fault([b'"', control, b'"']), Some(JsonError::Control));
    }
}

#[test]
fn accepts_one_value_and_few_blanks_around_it() {
    for text in ["{}{}", "{} x", "1 2", "{}\0", "[],", "null null", "{}\n{}\n", "\"a\"\"b\""] {
        assert_eq!(fault(text), Some(JsonError::Trailing), "{text:?}");
    }
    let padded =
        |front: usize, back: usize| format!("{}[1,{}2]{}", " ".repeat(front), " ".repeat(5000), "\n".repeat(back));
    assert_eq!(fault(padded(JSON_BLANKS_MAX / 2, JSON_BLANKS_MAX / 2)), None);
    assert_eq!(fault(padded(JSON_BLANKS_MAX / 2, JSON_BLANKS_MAX / 2 + 1)), Some(JsonError::Blanks));
    assert_eq!(fault(padded(JSON_BLANKS_MAX + 1, 0)), Some(JsonError::Blanks));
}

#[test]
fn a_line_has_no_blanks_but_spaces() {
    assert_eq!(fault_in(Layout::Line, r#" { "a" : [ 1 , "\r" ] } "#), None);
    for text in ["{\r}", "{}\r", "\r{}", "[1,\n2]", "[1,\t2]", "{\"a\":1}\r{\"b\":2}", "{\n}"] {
        assert_eq!(fault_in(Layout::Line, text), Some(JsonError::Layout), "{text:?}");
    }
}

#[test]
fn bounds_depth_and_tokens_and_sizes() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(fault(nested(JSON_DEPTH_MAX)), None);
    assert_eq!(fault(nested(JSON_DEPTH_MAX + 1)), Some(JsonError::Depth));
    assert_eq!(
        scan("[".repeat(100_000).as_bytes(), Layout::Free, 100_000).fault,
        Some((JSON_DEPTH_MAX, JsonError::Depth))
    );
    let key = |length: usize| format!("{{\"{}\":1}}", "k".repeat(length));
    assert_eq!(fault(key(JSON_KEY_BYTES_MAX)), None);
    assert_eq!(fault(key(JSON_KEY_BYTES_MAX + 1)), Some(JsonError::KeyTooLong));
    let ends = |text: &str| scan(text.as_bytes(), Layout::Free, text.len()).fault.map(|(_, fault)| fault);
    let wide = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    assert_eq!(ends(&wide(JSON_TOKENS_MAX - 2)), None);
    assert_eq!(ends(&wide(JSON_TOKENS_MAX - 1)), Some(JsonError::Tokens));
    let long = |length: usize| format!("\"{}\"", "s".repeat(length - 2));
    assert_eq!(ends(&long(JSON_BYTES_MAX)), None);
    assert_eq!(ends(&long(JSON_BYTES_MAX + 1)), Some(JsonError::TooLong));
}

/// A quadratic scanner would need minutes for the byte-wise feeding of a long string, of many keys and of deep nesting.
#[test]
fn takes_linear_time_one_byte_at_a_time() {
    let keys: Vec<_> = (0..20_000).map(|n| format!("\"key {n}\":{n}")).collect();
    let text = format!("{{{},\"long\":\"{}\"}}", keys.join(","), "x\\u0041\u{e9}".repeat(50_000));
    let time = |text: &str| {
        let start = cpu_time();
        assert_eq!(scan(text.as_bytes(), Layout::Free, 1).fault, None);
        cpu_time() - start
    };
    assert!(time(&text) < Duration::from_secs(10), "{:?} for {} bytes", time(&text), text.len());
}

/// Processor time of this thread: other work on the machine does not count.
fn cpu_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_THREAD).unwrap().user_time();
    Duration::from_micros(u64::try_from(used.num_microseconds()).unwrap())
}

proptest! {
    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        holds(&bytes);
    }

    #[test]
    fn holds_for_what_is_nearly_json(parts in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\":", "\"a\":", "1", "-0.5e3", "null", "true", "\"\\u00e9\"", "\"\\ud83d\\ude00\"", " ", "\n", "\"", "\\",
        "1e999", "9007199254740993", "\"A\":", "{\"k\":[", "]}", "\u{e9}", "\"\u{1f600}\"",
    ]), 0..14)) {
        holds(parts.concat().as_bytes());
    }

    #[test]
    fn accepts_what_serde_json_writes(tree in tree()) {
        let text = serde_json::to_vec(&tree).unwrap();
        prop_assert_eq!(fault(&text), None);
        prop_assert_eq!(fault(serde_json::to_vec_pretty(&tree).unwrap()), None);
        prop_assert_eq!(canonical(&text), canonical(&serde_json::to_vec_pretty(&tree).unwrap()));
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
