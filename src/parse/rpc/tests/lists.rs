//! Lists and what is hidden in them.

use super::super::hidden::{self, Hidden};
use super::super::list::{self, Fate, Of};
use super::super::*;
use super::holds;

const LIST: &str = r#"{"jsonrpc":"2.0","id":1, "result":{"tools":[ {"name":"a","x":1.0} , {"na\u006de":"b"},{"name":"c"} ],
  "prompts":[{"name":"p"}],"resources":[],"nextCursor":"\u0041"}}"#;

fn without(dropped: &[&str]) -> String {
    holds(LIST.as_bytes());
    let entries = list::read(LIST.as_bytes()).unwrap();
    let fate = |entry: &list::Entry<'_>| {
        if entry.name.as_deref().is_some_and(|name| dropped.contains(&name)) { Fate::Drop } else { Fate::Keep }
    };
    String::from_utf8(list::retain(LIST.as_bytes(), &entries, fate).into_owned()).unwrap()
}

#[test]
fn drops_entries_and_keeps_all_other_bytes() {
    assert_eq!(without(&[]), LIST);
    assert_eq!(without(&["a"]), LIST.replace(r#"{"name":"a","x":1.0} , "#, ""));
    assert_eq!(without(&["b"]), LIST.replace(r#"} , {"na\u006de":"b"},"#, "},"));
    assert_eq!(without(&["c"]), LIST.replace(r#"} , {"na"#, r#"},{"na"#).replace(r#",{"name":"c"}"#, ""));
    assert_eq!(without(&["p", "a", "b", "c"]).matches("name").count(), 0);
    let entries = list::read(LIST.as_bytes()).unwrap();
    let swapped = list::retain(LIST.as_bytes(), &entries, |entry| match entry.of {
        Of::Prompts => Fate::Replace(b"{\"name\":\"q\"}".to_vec()),
        _ => Fate::Keep,
    });
    assert!(String::from_utf8_lossy(&swapped).contains(r#""prompts":[{"name":"q"}]"#));
}

#[test]
fn an_entry_that_is_no_object_or_has_two_names_is_refused() {
    let list = |tools: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools}}}}}"#);
    for tools in ["{}", "null", "1", "[1]", "[[]]", "[null]", r#"["a"]"#] {
        assert_eq!(list::read(list(tools).as_bytes()), Err(RpcError::Outcome), "{tools}");
    }
    assert_eq!(list::read(list(r#"[{"name":"a","Name":"b"}]"#).as_bytes()), Err(RpcError::LookAlike));
    let twin = r#"{"jsonrpc":"2.0","id":1,"result":{"Tools":[]}}"#;
    assert_eq!(list::read(twin.as_bytes()), Err(RpcError::LookAlike));
    for tools in [r#"[{"name":1}]"#, r#"[{"title":"a"}]"#, r#"[{"name":{"name":"a"}}]"#, r#"[{"x":["name"]}]"#] {
        let text = list(tools);
        let entries = list::read(text.as_bytes()).unwrap();
        assert_eq!((entries.len(), entries[0].name.as_deref()), (1, None), "{tools}");
    }
    let elsewhere = r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{"tools":{}},"content":[{"name":"a"}]},"params":{"tools":1}}"#;
    assert_eq!(list::read(elsewhere.as_bytes()), Ok(Vec::new()));
    let many = format!("[{}{{}}]", "{},".repeat(crate::limits::RPC_LIST_ENTRIES_MAX));
    assert_eq!(list::read(list(&many).as_bytes()), Err(RpcError::TooMany));
}

#[test]
fn finds_characters_that_nobody_sees() {
    for (text, hidden) in [
        ("a\u{200b}b", Hidden::ZeroWidth),
        ("a\u{200d}b", Hidden::ZeroWidth),
        ("a\u{feff}", Hidden::ZeroWidth),
        ("a\u{ad}b", Hidden::ZeroWidth),
        ("a\u{2062}", Hidden::ZeroWidth),
        ("\u{3164}", Hidden::ZeroWidth),
        ("a\u{fe0f}", Hidden::ZeroWidth),
        ("\u{2600}\u{fe0f}\u{fe0e}", Hidden::ZeroWidth),
        ("a\u{e0101}", Hidden::ZeroWidth),
        ("a\u{202e}b", Hidden::Bidi),
        ("a\u{2066}b", Hidden::Bidi),
        ("a\u{200f}", Hidden::Bidi),
        ("a\u{e0041}", Hidden::Tag),
        ("\u{1f3f4}\u{e0067}\u{e007f}", Hidden::Tag),
        ("\u{1b}[2J", Hidden::Control),
        ("a\0", Hidden::Control),
        ("a\u{9b}", Hidden::Control),
        ("a\u{7f}", Hidden::Control),
    ] {
        assert_eq!(hidden::find(text).map(|(_, hidden)| hidden), Some(hidden), "{text:?}");
        assert_eq!(hidden::find(&hidden::strip(text)), None, "{text:?}");
    }
    for text in [
        "plain\ttext\r\n",
        "\u{e9}\u{4e16}\u{754c} \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        "\u{2764}\u{fe0f} 1\u{fe0f}\u{20e3}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{1f9d1}\u{1f3fd}\u{200d}\u{1f4bb}",
        "\u{645}\u{6cc}\u{200c}\u{62e}",
        "\u{915}\u{94d}\u{200d}\u{937}",
        "e\u{301}",
    ] {
        assert_eq!(hidden::find(text), None, "{text:?}");
        assert!(matches!(hidden::strip(text), Cow::Borrowed(_)));
    }
}

#[test]
fn strips_hidden_characters_from_strings_and_never_from_names() {
    let text = r#"{"description":"re\u200bad \udb40\udc41\u00e9", "a": ["x","\u202Ey"]}"#;
    let stripped = hidden::strip_json(text.as_bytes()).unwrap().unwrap();
    assert_eq!(str::from_utf8(&stripped).unwrap(), "{\"description\":\"read \u{e9}\", \"a\": [\"x\",\"y\"]}");
    assert_eq!(hidden::find_in_json(text.as_bytes()), Ok(Some((15, Hidden::ZeroWidth))));
    assert_eq!(hidden::strip_json(r#"{"a\u200b":1}"#.as_bytes()), Ok(None));
    assert_eq!(hidden::strip_json(br#"{"a":1}"#), Ok(Some(Cow::Borrowed(&br#"{"a":1}"#[..]))));
}
