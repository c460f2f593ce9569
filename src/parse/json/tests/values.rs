//! Values by pointer, twins, and the canonical form.

use proptest::prelude::*;

use super::super::properties::holds;
use super::super::*;

#[test]
fn finds_values_by_pointer() {
    let pointers = Pointers::new([
        "/path",
        "/limit",
        "/tags",
        "/tags/1",
        "/deep/a~1b/m~0n",
        "/none",
        "/flag",
        "/nil",
        "/deep",
        "",
    ]);
    let text = br#"{"tags":["x","\u0079",{}],"limit":100.0,"deep":{"a/b":{"m~n":"z"},"path":1},"path":"/w","flag":true,"nil":null}"#;
    holds(text);
    let facts = facts(text, Layout::Free, &pointers).unwrap();
    assert_eq!(facts.value("/path"), Some(Value::Text("/w".into())));
    assert_eq!(facts.value("/limit"), Some(Value::Number(b"100.0")));
    assert_eq!(facts.value("/tags"), Some(Value::List(3)));
    assert_eq!(facts.value("/tags/1"), Some(Value::Text("y".into())));
    assert_eq!(facts.value("/deep/a~1b/m~0n"), Some(Value::Text("z".into())));
    assert_eq!(facts.value("/deep"), Some(Value::Object));
    assert_eq!(facts.value(""), Some(Value::Object));
    assert_eq!(facts.value("/flag"), Some(Value::Bool(true)));
    assert_eq!(facts.value("/nil"), Some(Value::Null));
    assert_eq!(facts.value("/none"), None);
    assert_eq!(facts.value("/unasked"), None);
}

#[test]
fn a_value_that_recipients_read_differently_is_unreadable() {
    let pointers = Pointers::new(["/path", "/path/x", "/n"]);
    for text in [
        r#"{"path":"/w","Path":"/etc"}"#,
        r#"{"Path":"/etc"}"#,
        r#"{"PATH":1,"path":"/w"}"#,
        r#"{"path":"/w","pa\u200bth":"/etc"}"#,
        r#"{"path\u0000":{"x":1}}"#,
        r#"{"p\uff41th":1}"#,
        r#"{"path\u0328":1}"#,
    ] {
        holds(text.as_bytes());
        let facts = facts(text.as_bytes(), Layout::Free, &pointers).unwrap();
        assert_eq!(facts.value("/path"), Some(Value::Unreadable), "{text}");
        assert_eq!(facts.value("/path/x"), Some(Value::Unreadable), "{text}");
    }
    for number in ["9007199254740993", "18446744073709551615", "100.00000000000000001", "0.1000000000000000055"] {
        let text = format!("{{\"n\":{number}}}");
        assert_eq!(
            facts(text.as_bytes(), Layout::Free, &pointers).unwrap().value("/n"),
            Some(Value::Unreadable),
            "{number}"
        );
    }
    for number in ["9007199254740991", "-0", "0.1", "1.0", "1E2", "100", "0.30000000000000004", "1e21", "-12.50"] {
        let text = format!("{{\"n\":{number}}}");
        assert_eq!(
            facts(text.as_bytes(), Layout::Free, &pointers).unwrap().value("/n"),
            Some(Value::Number(number.as_bytes())),
            "{number}"
        );
    }
}

#[test]
fn names_that_some_recipient_confuses_are_twins() {
    for twin in [
        "Method",
        "METHOD",
        "method ",
        " method",
        "method\0",
        "\u{feff}method",
        "me\u{ad}thod",
        "\u{ff4d}ethod",
        "met\u{200d}hod",
        "m\u{301}ethod",
        "me\u{fe0f}thod",
        "metho\u{1d41d}",
        "meth\u{ba}d",
        "me\u{3164}thod",
        "met\u{e0068}hod",
    ] {
        assert!(is_twin(twin, "method"), "{twin:?}");
    }
    assert!(is_twin("param\u{17f}", "params"));
    assert!(is_twin("to\u{212a}en", "token"));
    assert!(is_twin("ur\u{131}", "uri") && is_twin("ur\u{130}", "uri"));
    assert!(is_twin("me\u{df}age", "message"));
    for other in ["method", "methods", "met hod x", "m\u{435}thod", "mehtod", ""] {
        assert!(!is_twin(other, "method"), "{other:?}");
    }
}

#[test]
fn canonical_form_is_that_of_rfc_8785() {
    let form = |text: &str| {
        holds(text.as_bytes());
        String::from_utf8(canonical(text.as_bytes()).unwrap()).unwrap()
    };
    // §3.2.2 and §3.2.4
    let text = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    assert_eq!(
        form(text),
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
         \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
    // §3.2.3: by UTF-16 code units, so that U+1F600 comes before U+FB33.
    let text = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
    assert_eq!(
        form(text),
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\
         \"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
    assert_eq!(
        form(r#" { "b" : { "z" : [ ] , "a" : { } } , "a" : [ { "d" : 1 , "c" : 2 } ] } "#),
        r#"{"a":[{"c":2,"d":1}],"b":{"a":{},"z":[]}}"#
    );
}

/// RFC 8785, appendix B, without the rows that are no JSON.
#[test]
fn canonical_numbers_are_those_of_rfc_8785() {
    for (bits, expected) in [
        (0x0000000000000000_u64, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x8000000000000001, "-5e-324"),
        (0x7fefffffffffffff, "1.7976931348623157e+308"),
        (0xffefffffffffffff, "-1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0xc340000000000000, "-9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44b52d02c7e14af5, "9.999999999999997e+22"),
        (0x44b52d02c7e14af6, "1e+23"),
        (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
        (0x444b1ae4d6e2ef4e, "999999999999999700000"),
        (0x444b1ae4d6e2ef4f, "999999999999999900000"),
        (0x444b1ae4d6e2ef50, "1e+21"),
        (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
        (0x3eb0c6f7a0b5ed8d, "0.000001"),
        (0x41b3de4355555553, "333333333.3333332"),
        (0x41b3de4355555554, "333333333.33333325"),
        (0x41b3de4355555555, "333333333.3333333"),
        (0x41b3de4355555556, "333333333.3333334"),
        (0x41b3de4355555557, "333333333.33333343"),
        (0xbecbf647612f3696, "-0.0000033333333333333333"),
        (0x43143ff3c1cb0959, "1424953923781206.2"),
    ] {
        let value = f64::from_bits(bits);
        for literal in [format!("{value:e}"), format!("{value:?}"), format!("{value:.30e}")] {
            assert_eq!(canonical(literal.as_bytes()).unwrap(), expected.as_bytes(), "{literal}");
        }
    }
}

#[test]
fn integers_that_no_double_holds_keep_their_digits() {
    for literal in ["9007199254740993", "18446744073709551615", "-9223372036854775807"] {
        assert_eq!(canonical(literal.as_bytes()).unwrap(), literal.as_bytes());
    }
    assert_ne!(digest(b"[9007199254740993]"), digest(b"[9007199254740992]"));
    assert_eq!(digest(br#"{"b":1.0,"a":"\u0041"}"#), digest(br#"{ "a": "A", "b": 1 }"#));
}

proptest! {
    #[test]
    fn canonical_numbers_are_their_doubles(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let form = canonical(format!("{value:e}").as_bytes()).unwrap();
        prop_assert_eq!(str::from_utf8(&form).unwrap().parse::<f64>().unwrap(), value);
        prop_assert!(is_exact(&form));
    }
}
