//! MCP over two connections at a time: the older HTTP+SSE transport, what servers are told, and what a new policy ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::harness::{PATIENCE, Proxy, Recorded, origin_of_many, request, response};
use super::on_both;
use crate::io::engine::Choice;

const SERVERS: &str = "mcp_servers:\n  files: { url: \"http://origin.test/sse\" }\n";
const READS: &str = "  - allow: reads\n    mcp: { server: files, tool: \"read_*\" }\n    cidr: 127.0.0.0/8\n";
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file"}}"#;
const HERE: &str = "event: endpoint\r\ndata: http://origin.test/messages?session_id=1\r\n\r\n";

on_both! {
    messages_are_posted_in_one_place_and_answered_in_another
    a_refusal_comes_on_the_stream_and_the_post_is_accepted
    an_id_is_taken_until_it_is_answered
    only_the_agents_open_streams_are_posted_to
    a_stream_that_sends_its_client_elsewhere_is_ended
    another_stream_of_the_same_session_takes_its_place
    where_to_post_is_said_first_or_not_at_all
    a_server_is_told_that_what_it_asks_is_refused
    the_error_for_a_server_goes_with_the_clients_credentials_and_session
    a_new_policy_ends_a_stream_that_it_denies
    a_new_policy_ends_a_call_that_it_denies
    a_new_policy_leaves_what_it_allows
}

fn messages_are_posted_in_one_place_and_answered_in_another(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    assert!(talk.hears("\n\n").contains("event: endpoint\ndata: /messages?session_id=1\n\n"), "as it was taken");
    assert!(talk.posts(CALL).starts_with("HTTP/1.1 202"));
    let asked = talk.asked.recv_timeout(PATIENCE).unwrap();
    assert!(asked.starts_with("POST /messages?session_id=1 HTTP/1.1\r\n") && asked.ends_with(CALL), "{asked}");
    talk.says(r#"{"jsonrpc":"2.0","id":9,"result":{"nobody":"asked"}}"#);
    talk.says(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
    let told = talk.hears("\"content\"");
    assert!(!told.contains("nobody"), "{told}");
    talk.says(r#"{"jsonrpc":"2.0","id":1,"result":{"twice":1}}"#);
    assert!(talk.posts(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).starts_with("HTTP/1.1 202"));
    talk.says(r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"write_file"},{"name":"read_file"}]}}"#);
    let told = talk.hears("tools");
    assert!(told.contains(r#""tools":[{"name":"read_file"}]"#) && !told.contains("twice"), "{told}");
    let records = talk.ends();
    assert_eq!(records.iter().filter(|record| record.code() == "unsolicited").count(), 2, "{records:?}");
    assert!(records.iter().any(|record| matches!(record, Recorded::Outcome { status: 202, .. })), "{records:?}");
}

fn a_refusal_comes_on_the_stream_and_the_post_is_accepted(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    let told = talk.posts(&CALL.replace("read_file", "write_file"));
    assert!(
        told.starts_with("HTTP/1.1 202") && told.contains("content-length: 0") | told.contains("Content-Length: 0")
    );
    let told = talk.hears("-31403");
    assert!(told.contains("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\""), "{told}");
    // Nobody waits for these.
    for quiet in [
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"write_file"}}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    ] {
        assert!(talk.posts(quiet).starts_with("HTTP/1.1 202"), "{quiet}");
    }
    // No batches there, and the id is not taken by what was refused.
    assert!(talk.posts(&format!("[{CALL}]")).starts_with("HTTP/1.1 202"));
    assert!(talk.hears("no batches").contains("-32600"));
    assert!(talk.posts("not json").starts_with("HTTP/1.1 400"));
    assert!(talk.posts(CALL).starts_with("HTTP/1.1 202"));
    assert!(talk.asked.recv_timeout(PATIENCE).unwrap().ends_with(CALL), "the first that arrives");
}

fn an_id_is_taken_until_it_is_answered(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    assert!(talk.posts(CALL).starts_with("HTTP/1.1 202"));
    assert!(talk.posts(CALL).starts_with("HTTP/1.1 202"));
    assert!(talk.hears("duplicate_id").contains("-32600"));
    talk.says(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    talk.hears("\"result\"");
    talk.posts(CALL);
    talk.posts(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    talk.says(r#"{"jsonrpc":"2.0","id":1,"result":{"too":"late"}}"#);
    talk.says(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    assert!(!talk.hears("notifications/message").contains("late"));
    talk.posts(CALL);
    talk.says(r#"{"jsonrpc":"2.0","id":1,"result":{"third":1}}"#);
    talk.hears("third");
}

fn only_the_agents_open_streams_are_posted_to(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    for (target, status) in [("/messages?session_id=2", 404), ("/messages", 404), ("/other?session_id=1", 403)] {
        let told = talk.proxy.ask(&post(target, CALL, ""));
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {told}");
    }
    assert!(talk.proxy.ask(b"GET /messages?session_id=1 HTTP/1.1\r\nHost: origin.test\r\n\r\n").contains(" 405 "));
    drop(std::mem::replace(&mut talk.says, channel().0));
    let mut rest = Vec::new();
    while !rest.ends_with(b"0\r\n\r\n") {
        let mut octet = [0];
        assert_eq!(talk.stream.read(&mut octet).unwrap(), 1);
        rest.extend(octet);
    }
    assert!(talk.posts(CALL).starts_with("HTTP/1.1 403"), "nothing is known of that place any more");
    assert!(talk.asked.try_recv().is_err());
}

fn a_stream_that_sends_its_client_elsewhere_is_ended(choice: Choice) {
    for evil in ["http://evil.test/messages", "//evil.test/messages", "http://origin.test:8080/messages", "/a/../b"] {
        let mut talk = Talk::start(choice, &format!("event: endpoint\ndata: {evil}\n\n"));
        let mut told = String::new();
        let _ = talk.stream.read_to_string(&mut told);
        assert!(!told.contains("endpoint") && !told.contains("evil"), "{told}");
        let records = talk.ends();
        assert_eq!(records.iter().filter(|record| record.code() == "endpoint_foreign").count(), 2, "{records:?}");
    }
}

fn another_stream_of_the_same_session_takes_its_place(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    let mut second = talk.proxy.client();
    second.write_all(GET).unwrap();
    let told = until(&mut second, "session_id=1\n\n");
    assert!(told.contains("endpoint"), "{told}");
    let _ = talk.stream.read_to_end(&mut Vec::new());
    talk.posts(&CALL.replace("read_file", "write_file"));
    until(&mut second, "-31403");
}

fn where_to_post_is_said_first_or_not_at_all(choice: Choice) {
    let late = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\nevent: endpoint\ndata: /messages\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
    let mut talk = Talk::start(choice, late);
    assert!(!talk.hears("params").contains("endpoint"));
    assert!(talk.proxy.ask(&post("/messages", CALL, "")).starts_with("HTTP/1.1 403"));
}

fn a_server_is_told_that_what_it_asks_is_refused(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    talk.says(r#"{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}"#);
    let told = talk.asked.recv_timeout(PATIENCE).unwrap();
    assert!(told.starts_with("POST /messages?session_id=1 HTTP/1.1\r\nHost: origin.test\r\n"), "{told}");
    assert!(told.contains(r#"{"jsonrpc":"2.0","id":"s","error":{"code":-31403"#), "{told}");
    talk.says(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    assert!(!talk.hears("notifications/message").contains("sampling"));
}

fn the_error_for_a_server_goes_with_the_clients_credentials_and_session(choice: Choice) {
    let begins = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nMcp-Session-Id: s-7\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"elicitation/create\",\"params\":{}}\n\n";
    let (noted, asked) = channel();
    let address = origin_of_many(move |mut stream| {
        let Some(request) = request(&mut stream) else { return };
        let is_first = request.contains("tools/call");
        noted.send(request).unwrap();
        let answer = if is_first { begins } else { "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n" };
        stream.write_all(answer.as_bytes()).unwrap();
        if is_first {
            let _ = stream.read(&mut [0]);
        }
    });
    let proxy = Proxy::start(choice, address, 80, &format!("{READS}{SERVERS}"));
    let mut client = proxy.client();
    let fields = "Authorization: Bearer secret\r\nMCP-Protocol-Version: 2025-11-25\r\nMcp-Method: tools/call\r\n";
    client.write_all(&post("/sse", CALL, fields)).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    let told = asked.recv_timeout(PATIENCE).unwrap();
    assert!(told.starts_with("POST /sse HTTP/1.1\r\nHost: origin.test\r\n"), "{told}");
    for field in ["Authorization: Bearer secret", "MCP-Protocol-Version: 2025-11-25", "Mcp-Session-Id: s-7"] {
        assert_eq!(told.matches(field).count(), 1, "{field}: {told}");
    }
    assert!(
        !told.contains("Mcp-Method") && told.contains(r#"{"jsonrpc":"2.0","id":3,"error":{"code":-31403"#),
        "{told}"
    );
}

fn a_new_policy_ends_a_stream_that_it_denies(choice: Choice) {
    let mut talk = Talk::start(choice, HERE);
    talk.hears("\n\n");
    talk.proxy.adopt(&format!("  - allow: mail\n    mcp: {{ server: mail }}\n{SERVERS}"));
    // With a reset, as everything that is cut.
    let _ = talk.stream.read_to_end(&mut Vec::new());
    let records = talk.ends();
    assert!(records.iter().any(|record| record.code() == "policy_replaced"), "{records:?}");
}

fn a_new_policy_ends_a_call_that_it_denies(choice: Choice) {
    let (proxy, mut client) = calling(choice);
    proxy.adopt(&format!("{READS}  - deny: no more\n    mcp: {{ tool: read_file }}\n{SERVERS}"));
    let told = response(&mut client).unwrap();
    assert!(told.starts_with("HTTP/1.1 403") && told.contains("policy_replaced"), "{told}");
}

fn a_new_policy_leaves_what_it_allows(choice: Choice) {
    let (proxy, mut client) = calling(choice);
    proxy.adopt(&format!("{READS}  - deny: no more\n    mcp: {{ tool: write_file }}\n{SERVERS}"));
    client.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(client.read(&mut [0]).is_err(), "it is waited for as before");
    drop(client);
    assert!(proxy.stop().iter().all(|record| record.code() != "policy_replaced"));
}

/// A client that waits for the answer to a call.
fn calling(choice: Choice) -> (Proxy, TcpStream) {
    let (noted, asked) = channel();
    let address = origin_of_many(move |mut stream| {
        request(&mut stream);
        noted.send(()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let proxy = Proxy::start(choice, address, 80, &format!("{READS}{SERVERS}"));
    let mut client = proxy.client();
    client.write_all(&post("/sse", CALL, "")).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    (proxy, client)
}

/// An open stream of the older transport.
struct Talk {
    proxy: Proxy,
    stream: TcpStream,
    client: TcpStream,
    /// What the server was posted.
    asked: Receiver<String>,
    /// What it is to say.
    says: Sender<String>,
}

const GET: &[u8] = b"GET /sse HTTP/1.1\r\nHost: origin.test\r\nAccept: text/event-stream\r\n\r\n";

impl Talk {
    fn start(choice: Choice, first: &str) -> Talk {
        let (says, said) = channel::<String>();
        let (noted, asked) = channel();
        let (said, first) = (Mutex::new(said), first.to_owned());
        let address = origin_of_many(move |stream| serve(stream, &first, &said, &noted));
        let proxy = Proxy::start(choice, address, 80, &format!("{READS}{SERVERS}"));
        let (mut stream, client) = (proxy.client(), proxy.client());
        stream.write_all(GET).unwrap();
        Talk { proxy, stream, client, asked, says }
    }

    fn posts(&mut self, text: &str) -> String {
        self.client.write_all(&post("/messages?session_id=1", text, "")).unwrap();
        let told = response(&mut self.client).unwrap();
        if told.contains("onnection: close") {
            self.client = self.proxy.client();
        }
        told
    }

    fn says(&self, text: &str) {
        self.says.send(format!("event: message\r\ndata: {text}\r\n\r\n")).unwrap();
    }

    fn hears(&mut self, word: &str) -> String {
        until(&mut self.stream, word)
    }

    fn ends(self) -> Vec<Recorded> {
        drop((self.stream, self.client));
        self.proxy.stop()
    }
}

/// One connection of a server of the older transport.
fn serve(mut stream: TcpStream, first: &str, said: &Mutex<Receiver<String>>, noted: &Sender<String>) {
    while let Some(request) = request(&mut stream) {
        if request.starts_with("GET ") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let _ = stream.write_all(format!("{head}{first}").as_bytes());
            // A second stream says no more than where to post.
            let Ok(said) = said.try_lock() else { return drop(stream.read(&mut [0])) };
            said.iter().take_while(|text| stream.write_all(text.as_bytes()).is_ok()).for_each(drop);
            return;
        }
        let _ = noted.send(request);
        let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted");
    }
}

fn post(target: &str, text: &str, fields: &str) -> Vec<u8> {
    let length = text.len();
    format!("POST {target} HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{text}")
        .into_bytes()
}

/// Reads until the end of the event or head that has `word` in it.
fn until(stream: &mut TcpStream, word: &str) -> String {
    let mut told = String::new();
    let mut octets = [0; 4096];
    while !told.find(word).is_some_and(|at| told[at..].contains("\n\n")) {
        let n = stream.read(&mut octets).unwrap();
        assert!(n > 0, "no `{word}` in {told}");
        told.push_str(str::from_utf8(&octets[..n]).unwrap());
    }
    told
}
