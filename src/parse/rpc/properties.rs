//! What holds for every JSON-RPC text. Unit tests, property tests and the fuzz target call the same functions.

#![allow(clippy::expect_used, clippy::panic, reason = "a property that does not hold panics, as the fuzzer wants it")]

use serde_json::Value as Tree;

use super::list::{Fate, Of};
use super::*;
use crate::parse::json::Value;

/// What policy might ask of arguments.
const POINTERS: [&str; 4] = ["/path", "/limit", "/tags/0", "/a/b"];

/// Everything that holds for any bytes taken as a JSON-RPC text.
pub fn holds(bytes: &[u8]) {
    is_an_envelope_however_it_is_cut(bytes);
    let pointers = Pointers::new(POINTERS);
    let whole = read(bytes, Layout::Free, &pointers);
    for piece in [1, 2, 3, 7, 64] {
        let pieced = in_pieces(bytes, piece, &pointers);
        assert_eq!(format!("{pieced:?}"), format!("{whole:?}"), "in pieces of {piece}");
    }
    let Ok(body) = whole else { return };
    let tree: Tree = serde_json::from_slice(bytes).expect("what is accepted is JSON");
    let trees = match (body.is_batch, &tree) {
        (false, Tree::Object(_)) => std::slice::from_ref(&tree),
        (true, Tree::Array(list)) => list,
        _ => panic!("{tree} is read as {body:?}"),
    };
    assert_eq!(body.messages.len(), trees.len());
    for (message, tree) in body.messages.iter().zip(trees) {
        let raw: Tree = serde_json::from_slice(message.raw).expect("a message is JSON");
        assert_eq!(raw, *tree, "the span of a message is the message");
        let alone = read(message.raw, Layout::Free, &pointers);
        assert!(alone.is_ok_and(|alone| !alone.is_batch && alone.messages.len() == 1));
        agrees(message, tree);
        if matches!(&message.shape, Shape::Response(_, Outcome::Result { has_list: true, .. })) {
            lists_agree(message.raw, tree);
        }
    }
    nothing_hidden_is_left(bytes);
}

/// What can be JSON-RPC is JSON with the names of an envelope alone, and is told alike in any pieces.
fn is_an_envelope_however_it_is_cut(bytes: &[u8]) {
    let whole = Envelope::default().step(bytes, true);
    for piece in [1, 7] {
        let (mut envelope, mut end) = (Envelope::default(), 0);
        let pieced = loop {
            match envelope.step(&bytes[..end], end == bytes.len()) {
                Progress::More => end = bytes.len().min(end + piece),
                told => break told,
            }
        };
        assert_eq!(pieced, whole, "in pieces of {piece}");
    }
    if whole == Progress::Done(true) {
        let tree: Tree = serde_json::from_slice(bytes).expect("what is accepted is JSON");
        let messages = tree.as_array().map_or(std::slice::from_ref(&tree), Vec::as_slice);
        let names = messages.iter().flat_map(|message| message.as_object().expect("a message is an object").keys());
        let known = ["jsonrpc", "id", "method", "params", "result", "error"];
        assert!(names.into_iter().all(|name| known.contains(&name.as_str())), "{tree}");
    }
}

fn in_pieces<'b>(bytes: &'b [u8], piece: usize, pointers: &'b Pointers) -> Result<Body<'b>, RpcError> {
    let mut reader = Reader::new(Layout::Free, pointers);
    let mut end = 0;
    while reader.step(&bytes[..end], end == bytes.len())? == Progress::More {
        end = bytes.len().min(end + piece);
    }
    reader.finish(bytes)
}

/// The tree's own words on what the message is.
fn agrees(message: &Message<'_>, tree: &Tree) {
    assert_eq!(tree["jsonrpc"], "2.0");
    let has = |name: &str| tree.get(name).is_some();
    let shape = (has("method"), has("id"), has("result"), has("error"));
    match &message.shape {
        Shape::Request(id, call) => {
            assert_eq!(shape, (true, true, false, false));
            same_id(id, &tree["id"]);
            call_agrees(call, tree);
        }
        Shape::Notification(call) => {
            assert_eq!(shape, (true, false, false, false));
            call_agrees(call, tree);
        }
        Shape::Response(id, Outcome::Result { raw, input_requests, has_list, .. }) => {
            assert_eq!(shape, (false, true, true, false));
            same_id(id.as_ref().expect("an id"), &tree["id"]);
            let result = &tree["result"];
            assert_eq!(serde_json::from_slice::<Tree>(raw).ok().as_ref(), Some(result));
            let listed = ["tools", "resources", "resourceTemplates", "prompts"];
            assert_eq!(*has_list, listed.iter().any(|list| result.get(list).is_some()));
            assert_eq!(input_requests.len(), result["inputRequests"].as_object().map_or(0, serde_json::Map::len));
            for input in input_requests {
                let theirs = &result["inputRequests"][&*input.key];
                assert_eq!(theirs["method"], *input.method);
                assert_eq!(
                    theirs.get("params").cloned(),
                    input.params.and_then(|raw| serde_json::from_slice(raw).ok())
                );
            }
        }
        Shape::Response(id, Outcome::Error { raw }) => {
            assert!(!shape.0 && !shape.2 && shape.3);
            assert_eq!(serde_json::from_slice::<Tree>(raw).ok().as_ref(), Some(&tree["error"]));
            match id {
                Some(id) => same_id(id, &tree["id"]),
                None => assert!(tree["id"].is_null()),
            }
        }
    }
}

fn same_id(id: &Id<'_>, tree: &Tree) {
    let mut written = Vec::new();
    id.write(&mut written);
    assert_eq!(serde_json::from_slice::<Tree>(&written).ok().as_ref(), Some(tree));
    assert!(tree.is_string() || tree.is_i64());
}

fn call_agrees(call: &Call<'_>, tree: &Tree) {
    assert_eq!(tree["method"], *call.method);
    let params = &tree["params"];
    assert!(params.is_object() || tree.get("params").is_none());
    let text = |value: &Tree| value.as_str().map(str::to_owned);
    let owned = |value: &Option<Cow<'_, str>>| value.as_deref().map(str::to_owned);
    let named = |method: &str, value: &Tree| text(value).filter(|_| *call.method == *method);
    assert_eq!(owned(&call.tool), named("tools/call", &params["name"]));
    let completed = text(&params["ref"]["name"])
        .filter(|_| *call.method == *"completion/complete" && params["ref"]["type"] == "ref/prompt");
    assert_eq!(owned(&call.prompt), named("prompts/get", &params["name"]).or(completed));
    if matches!(&*call.method, "resources/read" | "resources/subscribe") {
        assert_eq!(call.resources.first().map(|uri| uri.received.as_ref()), params["uri"].as_str());
    }
    for uri in &call.resources {
        let again = uri::read(Cow::Borrowed(&uri.canonical)).expect("a canonical URI is one");
        assert_eq!(again.canonical, uri.canonical);
    }
    if *call.method == *"tasks/get" {
        assert_eq!(call.tasks.first().map(|task| &**task), params["taskId"].as_str());
    }
    if *call.method == *"subscriptions/listen" {
        let listed = params["notifications"]["taskIds"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(call.tasks.iter().map(|task| &**task).eq(listed.iter().filter_map(Tree::as_str)));
    }
    assert_eq!(owned(&call.meta_version), text(&params["_meta"]["io.modelcontextprotocol/protocolVersion"]));
    if call.arguments.is_some() {
        for pointer in POINTERS {
            match (call.facts.value(pointer), params["arguments"].pointer(pointer)) {
                (None, None) | (Some(Value::Unreadable), _) => {}
                (Some(Value::Text(ours)), Some(Tree::String(theirs))) => assert_eq!(ours, *theirs),
                (Some(Value::Text(_)), theirs) => panic!("{pointer}: {theirs:?}"),
                (ours, theirs) => assert!(ours.is_some() && theirs.is_some(), "{pointer}: {ours:?}, {theirs:?}"),
            }
        }
    }
}

/// Entries are those of the tree; what is dropped is gone, and nothing else.
fn lists_agree(raw: &[u8], tree: &Tree) {
    let Ok(entries) = list::read(raw) else { return };
    assert!(matches!(list::retain(raw, &entries, |_| Fate::Keep), Cow::Borrowed(same) if same == raw));
    for (of, list, name) in [
        (Of::Tools, "tools", "name"),
        (Of::Resources, "resources", "uri"),
        (Of::ResourceTemplates, "resourceTemplates", "uriTemplate"),
        (Of::Prompts, "prompts", "name"),
        (Of::Tasks, "tasks", "taskId"),
    ] {
        let ours: Vec<_> = entries.iter().filter(|entry| entry.of == of).map(|entry| entry.name.as_deref()).collect();
        let theirs: Vec<_> =
            tree["result"][list].as_array().into_iter().flatten().map(|entry| entry[name].as_str()).collect();
        assert_eq!(ours, theirs);
    }
    for kept in [0b0101_0101_u32, 0b0011_0110, 0, 0b1000_0001] {
        let mut index = 0;
        let fewer = list::retain(raw, &entries, |_| {
            index += 1;
            if kept >> (index % 8) & 1 == 1 { Fate::Keep } else { Fate::Drop }
        });
        let ours: Tree = serde_json::from_slice(&fewer).expect("what is left is JSON");
        let mut theirs = tree.clone();
        let mut lists: Vec<(usize, Of)> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if lists.last().is_none_or(|(_, of)| *of != entry.of) {
                lists.push((at, entry.of));
            }
        }
        for (start, of) in lists {
            let name = ["tools", "resources", "resourceTemplates", "prompts"][of as usize];
            let mut index = start;
            theirs["result"][name].as_array_mut().expect("a list").retain(|_| {
                index += 1;
                kept >> (index % 8) & 1 == 1
            });
        }
        assert_eq!(ours, theirs);
    }
}

fn nothing_hidden_is_left(bytes: &[u8]) {
    let found = hidden::find_in_json(bytes).expect("accepted before");
    match hidden::strip_json(bytes).expect("accepted before") {
        None => assert!(found.is_some()),
        Some(stripped) => {
            assert_eq!(found.is_none(), matches!(stripped, Cow::Borrowed(_)));
            assert_eq!(hidden::find_in_json(&stripped), Ok(None));
        }
    }
}
