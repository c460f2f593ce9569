use proptest::prelude::*;

use super::properties::holds;
use super::*;
use crate::limits::{RPC_BATCH_MAX, RPC_INPUTS_MAX};
use crate::parse::json::{JsonError, Value};

mod headers;
mod lists;
mod opaque;

fn none() -> &'static Pointers {
    Box::leak(Box::new(Pointers::new([])))
}

fn body(text: &str) -> Result<Body<'_>, RpcError> {
    holds(text.as_bytes());
    read(text.as_bytes(), Layout::Free, none())
}

fn one(text: &str) -> Message<'_> {
    match body(text) {
        Ok(Body { mut messages, is_batch: false }) => messages.remove(0),
        other => panic!("{text}: {other:?}"),
    }
}

fn call(text: &str) -> Call<'_> {
    one(text).call().cloned().unwrap_or_else(|| panic!("{text} is no call"))
}

fn fault(text: &str) -> RpcError {
    match body(text) {
        Err(fault) => fault,
        Ok(body) => panic!("{text} is accepted: {body:?}"),
    }
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

#[test]
fn knows_the_three_shapes() {
    let message = one(r#" {"jsonrpc":"2.0","id":"a\u0062","method":"tools/list"} "#);
    assert!(matches!(&message.shape, Shape::Request(Id::Text(id), call) if id == "ab" && call.method == "tools/list"));
    assert_eq!(message.raw, br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/list"}"#);
    let message = one(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    assert!(matches!(&message.shape, Shape::Notification(call) if call.cancels == Some(Id::Number("7".into()))));
    let message = one(r#"{"result":{},"id":-3,"jsonrpc":"2.0"}"#);
    assert!(
        matches!(&message.shape, Shape::Response(Some(Id::Number(id)), Outcome::Result { raw: b"{}", .. }) if id == "-3")
    );
    for id in ["\"id\":null,", ""] {
        let text = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32700,"message":"m"}}}}"#);
        assert!(matches!(one(&text).shape, Shape::Response(None, Outcome::Error { .. })));
    }
}

#[test]
fn refuses_what_has_no_shape_or_two() {
    for text in [
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"ping","error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
    ] {
        assert_eq!(fault(text), RpcError::Shape, "{text}");
    }
    for version in ["2.0", "\"2.0 \"", "\"1.0\"", "null", "[\"2.0\"]", "{}"] {
        assert_eq!(
            fault(&format!(r#"{{"jsonrpc":{version},"id":1,"method":"ping"}}"#)),
            RpcError::Version,
            "{version}"
        );
    }
    assert_eq!(fault(r#"{"id":1,"method":"ping"}"#), RpcError::Version);
    for text in ["1", "\"tools/call\"", "null", "true"] {
        assert_eq!(fault(text), RpcError::Message, "{text}");
    }
    assert_eq!(fault(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), RpcError::Json(JsonError::DuplicateKey));
}

#[test]
fn refuses_ids_that_recipients_read_differently() {
    for id in [
        "null",
        "1.0",
        "1e0",
        "1.5",
        "-0",
        "9007199254740992",
        "-9007199254740993",
        "18446744073709551615",
        "true",
        "[1]",
        "{}",
    ] {
        assert_eq!(fault(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)), RpcError::Id, "{id}");
    }
    for id in ["0", "-1", "9007199254740991", "-9007199254740991", "\"\"", "\"1\"", "\"null\""] {
        one(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    }
    assert_ne!(Id::Number("1".into()), Id::Text("1".into()));
}

#[test]
fn knows_what_a_call_is_about() {
    assert_eq!(
        call(&request("tools/call", r#"{"name":"re\u0061d","arguments":{"a":1}}"#)).tool.as_deref(),
        Some("read")
    );
    let text = request("prompts/get", r#"{"name":"p"}"#);
    assert_eq!((call(&text).prompt.as_deref(), call(&text).tool), (Some("p"), None));
    for method in ["resources/read", "resources/subscribe", "resources/unsubscribe"] {
        let text = request(method, r#"{"uri":"FILE:///a/%62?q"}"#);
        assert_eq!(call(&text).resources[0].canonical, "file:///a/b?q");
        assert_eq!(call(&text).resources[0].received, "FILE:///a/%62?q");
    }
    let text = request(
        "completion/complete",
        r#"{"argument":{"name":"x","value":"y"},"ref":{"type":"ref/prompt","name":"p"}}"#,
    );
    assert_eq!(call(&text).prompt.as_deref(), Some("p"));
    let text = request("completion/complete", r#"{"ref":{"uri":"file:///{path}","type":"ref/resource"}}"#);
    assert_eq!(call(&text).resources[0].canonical, "file:///{path}");
    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
        assert_eq!(call(&request(method, r#"{"taskId":"t"}"#)).tasks, ["t"]);
    }
    let text = request("subscriptions/listen", r#"{"notifications":{"taskIds":["t","u\u0031"]}}"#);
    assert_eq!(call(&text).tasks, ["t", "u1"]);
    for ids in ["1", "{}", "[1]", "[[\"t\"]]", "[\"\"]", "[null]"] {
        let text = request("subscriptions/listen", &format!(r#"{{"notifications":{{"taskIds":{ids}}}}}"#));
        assert_eq!(fault(&text), RpcError::Params, "{ids}");
    }
    let text = request(
        "subscriptions/listen",
        r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b","c:d"]}}"#,
    );
    assert_eq!(call(&text).resources.iter().map(|uri| &*uri.canonical).collect::<Vec<_>>(), ["a:b", "c:d"]);
    let text = request("tools/list", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
    assert_eq!(call(&text).meta_version.as_deref(), Some("2026-07-28"));
    let text = request("initialize", r#"{"protocolVersion":"2025-06-18"}"#);
    assert_eq!((call(&text).version.as_deref(), call(&text).meta_version), (Some("2025-06-18"), None));
    let text = request("tools/call", r#"{"name":"a","inputResponses":{"k":{}},"requestState":"s"}"#);
    assert_eq!(call(&text).input_responses, Some(&br#"{"k":{}}"#[..]));
}

/// Whether it knows the method is the server's to say, as 2026-07-28 wants it: there, nothing is known to be demanded.
#[test]
fn a_version_without_subscriptions_of_resources_demands_no_uri_of_them() {
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let of = |version: &str, more: &str| {
            let meta = format!(r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}{more}}}"#);
            request(method, &meta)
        };
        assert!(call(&of("2026-07-28", "")).resources.is_empty());
        assert_eq!(call(&of("2026-07-28", r#","uri":"a:b""#)).resources.len(), 1, "what is named is decided");
        assert_eq!(fault(&of("2026-07-28", r#","uri":1"#)), RpcError::Params);
        assert_eq!(fault(&of("2025-11-25", "")), RpcError::Params);
        assert_eq!(fault(&request(method, "{}")), RpcError::Params);
    }
}

#[test]
fn refuses_parameters_that_do_not_fit_the_method() {
    for (method, params) in [
        ("tools/call", r#"{}"#),
        ("tools/call", r#"{"name":{}}"#),
        ("tools/call", r#"{"name":["a"]}"#),
        ("tools/call", r#"{"name":""}"#),
        ("tools/call", r#"{"name":"a","arguments":null}"#),
        ("tools/call", r#"{"name":"a","arguments":"{}"}"#),
        ("tools/call", r#"{"name":"a","arguments":[{}]}"#),
        ("prompts/get", r#"{"name":"a","arguments":[]}"#),
        ("tools/call", r#"["a"]"#),
        ("tools/list", "null"),
        ("tools/list", r#"{"_meta":[]}"#),
        ("tools/list", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#),
        ("resources/read", r#"{"uri":null}"#),
        ("resources/read", r#"{"name":"a"}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"a"}}"#),
        ("completion/complete", r#"{"ref":"a"}"#),
        ("tasks/get", r#"{"taskId":1}"#),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":"a:b"}}"#),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":[1]}}"#),
        ("tools/call", r#"{"name":"a","inputResponses":[]}"#),
    ] {
        assert_eq!(fault(&request(method, params)), RpcError::Params, "{method} {params}");
    }
    for method in [r#"["tools/call"]"#, "{}", "null", "\"\"", r#""tools/call\u0000""#, r#""tools\ncall""#] {
        assert_eq!(fault(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method}}}"#)), RpcError::Method, "{method}");
    }
    assert_eq!(fault(&request("tools/call", r#"{"name":"a\u0000b"}"#)), RpcError::Character);
}

#[test]
fn refuses_names_that_look_like_the_protocols() {
    let envelope = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    for twin in [
        "Method",
        "METHOD",
        "method ",
        "method\\u0000",
        "\\ufeffmethod",
        "me\\u00adthod",
        "Id",
        "param\\u017f",
        "Result",
        "__proto__",
        "constructor",
    ] {
        let text = envelope.replacen('{', &format!("{{\"{twin}\":\"x\","), 1);
        assert_eq!(fault(&text), RpcError::LookAlike, "{text}");
    }
    for twin in ["Name", "na\\u200bme", "Arguments", "URI", "_META", "taskid", "toString"] {
        let text = envelope.replace("\"name\"", &format!("\"{twin}\":{{}},\"name\""));
        assert_eq!(fault(&text), RpcError::LookAlike, "{text}");
    }
    let text = request("tools/list", r#"{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}"#);
    assert_eq!(fault(&text), RpcError::LookAlike);
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"InputRequests":{}}}"#;
    assert_eq!(fault(text), RpcError::LookAlike);
    one(&request("tools/call", r#"{"name":"a","arguments":{"Name":1,"__proto__":2,"METHOD":3},"extra":{"Name":1}}"#));
}

#[test]
fn finds_the_arguments_that_policy_asks_for() {
    let pointers = Pointers::new(["/path", "/options/limit", "/tags/1"]);
    let text = r#"{"jsonrpc":"2.0","id":1,"params":{"arguments":{"options":{"limit":5},"tags":["a",{"path":"no"}],"path":"/w"},"path":"no","name":"t"},"method":"tools/call"}"#;
    let line = read(text.as_bytes(), Layout::Line, &pointers).unwrap();
    let facts = &line.messages[0].call().unwrap().facts;
    assert_eq!(facts.value("/path"), Some(Value::Text("/w".into())));
    assert_eq!(facts.value("/options/limit"), Some(Value::Number(b"5")));
    assert_eq!(facts.value("/tags/1"), Some(Value::Object));
    let batch = format!("[{text},{}]", text.replace("/w", "/v"));
    let messages = read(batch.as_bytes(), Layout::Free, &pointers).unwrap().messages;
    let paths = messages.iter().map(|message| message.call().unwrap().facts.value("/path"));
    assert!(paths.eq([Some(Value::Text("/w".into())), Some(Value::Text("/v".into()))]));
}

#[test]
fn reads_batches_of_a_few_messages() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let batch = |count: usize| format!("[{}]", vec![ping; count].join(","));
    assert_eq!(body(&batch(RPC_BATCH_MAX)).unwrap().messages.len(), RPC_BATCH_MAX);
    assert!(body(&batch(1)).unwrap().is_batch);
    assert_eq!(fault(&batch(RPC_BATCH_MAX + 1)), RpcError::Batch);
    assert_eq!(fault("[]"), RpcError::Batch);
    for text in [format!("[[{ping}]]"), format!("[{ping},1]"), format!("[null,{ping}]")] {
        assert_eq!(fault(&text), RpcError::Message, "{text}");
    }
}

#[test]
fn an_answer_names_the_task_that_was_made_of_its_request() {
    for (result, task) in [
        (r#"{"task":{"taskId":"t","status":"working"}}"#, Some("t")),
        (r#"{"resultType":"task","taskId":"t\u0031","status":"working"}"#, Some("t1")),
        (r#"{"task":{"other":{"taskId":"t"}},"content":{"taskId":"t"}}"#, None),
        (r#"{"task":["taskId"],"taskId":7}"#, None),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let Shape::Response(_, Outcome::Result { task: found, .. }) = one(&text).shape else { panic!("{text}") };
        assert_eq!(found.as_deref(), task, "{text}");
    }
}

#[test]
fn finds_what_a_server_asks_inside_of_a_result() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{
        "a":{"method":"elicitation/create","params":{"method":"x"}},"b":{"params":{},"method":"roots/list"}},"requestState":"s"}}"#;
    let Shape::Response(_, Outcome::Result { input_requests, .. }) = one(text).shape else { panic!("{text}") };
    let found: Vec<_> = input_requests.iter().map(|input| (&*input.key, &*input.method)).collect();
    assert_eq!(found, [("a", "elicitation/create"), ("b", "roots/list")]);
    for requests in
        ["[]", "null", r#"{"a":1}"#, r#"{"a":[]}"#, r#"{"a":{}}"#, r#"{"a":{"method":"roots/list","params":1}}"#]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"inputRequests":{requests}}}}}"#);
        assert_eq!(fault(&text), RpcError::Outcome, "{text}");
    }
    assert_eq!(fault(r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":1}}}}"#), RpcError::Method);
    let many: Vec<_> = (0..=RPC_INPUTS_MAX).map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#)).collect();
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"inputRequests":{{{}}}}}}}"#, many.join(","));
    assert_eq!(fault(&text), RpcError::TooMany);
}

#[test]
fn a_uri_has_one_canonical_form() {
    let canonical = |text: &str| uri::read(Cow::Owned(text.to_owned())).map(|uri| uri.canonical);
    for (text, expected) in [
        ("file:/etc/x", "file:///etc/x"),
        ("file://LOCALHOST/etc/x", "file:///etc/x"),
        ("HTTP://Example.COM", "http://example.com/"),
        ("note://Team/%7Ea", "note://team/~a"),
        ("urn:ISBN:1", "urn:ISBN:1"),
        ("file:///\u{fc}", "file:///%C3%BC"),
        ("file:///%c3%bc", "file:///%C3%BC"),
        ("screen://main?w=1#A", "screen://main?w=1#A"),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
    }
    for text in [
        "",
        "/etc/passwd",
        "etc",
        ":x",
        "1a:b",
        "a b:c",
        "file:///a/../b",
        "file:///a/%2e%2e/b",
        "file:///a%00",
        "file:///a\\b",
        "file:///a%5Cb",
        "http://user@host/",
        "file:///a b",
        "file:///a\nb",
        "file:///a/..%2fb",
        "file:///..",
    ] {
        assert!(canonical(text).is_err(), "{text:?} is accepted");
    }
    assert_eq!(uri::read("file:///a%2Fb".into()).unwrap().readings, ["file:///a/b"]);
}

#[test]
fn recognises_mcp_by_its_methods() {
    assert!(METHODS.is_sorted());
    for method in METHODS.iter().chain(&["notifications/initialized", "notifications/x"]) {
        assert!(is_mcp_method(method));
    }
    for (text, is) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_call"}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, false),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"eth_call"},{"jsonrpc":"2.0","id":1,"method":"roots/list"}]"#, true),
    ] {
        assert_eq!(body(text).unwrap().is_mcp(), is, "{text}");
    }
    assert!(may_begin(b"") && may_begin(b" \n") && may_begin(b"\r\n\t {") && may_begin(b"["));
    assert!(!may_begin(b"<html>") && !may_begin(b" \"") && !may_begin(b"\xef\xbb\xbf{") && !may_begin(b"a={}"));
}

const PARTS: [&str; 34] = [
    "{\"jsonrpc\":\"2.0\"",
    ",\"id\":1",
    ",\"id\":\"a\"",
    ",\"id\":null",
    ",\"method\":\"tools/call\"",
    ",\"method\":\"resources/read\"",
    ",\"method\":\"notifications/x\"",
    ",\"params\":{",
    "\"name\":\"a\"",
    "\"uri\":\"file:///%61\"",
    ",\"arguments\":{",
    "\"path\":\"/w\"",
    "\"Path\":1",
    ",\"result\":{",
    "\"tools\":[",
    "{\"name\":\"a\"}",
    "{\"name\":\"b\",\"x\":[]}",
    "{}",
    ",",
    "\"prompts\":[",
    "\"resources\":[ ",
    "{\"uri\":\"a:b\"}",
    "]",
    "}",
    "}",
    "}}",
    ",\"error\":{\"code\":1,\"message\":\"\"}",
    "[",
    "\"inputRequests\":{\"k\":{\"method\":\"roots/list\"}}",
    " ",
    "\"_meta\":{}",
    "\"d\":\"\u{200b}\"",
    ",\"cursor\":\"\u{202e}x\"",
    "\"limit\":1e2",
];

proptest! {
    #[test]
    fn holds_for_what_is_nearly_a_message(parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..12)) {
        holds(parts.concat().as_bytes());
    }

    #[test]
    fn holds_for_messages(head in 0..4_usize, inner in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..6)) {
        let (open, close) = [
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[", "]}}"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{", "}}"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\",\"arguments\":{", "}}}"),
            ("[{\"jsonrpc\":\"2.0\",\"method\":\"resources/read\",\"params\":{", "}}]"),
        ][head];
        holds(format!("{open}{}{close}", inner.join(",")).as_bytes());
        holds(format!("{open}{}{close}", inner.concat()).as_bytes());
    }
}
