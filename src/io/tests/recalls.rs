//! A new policy also holds for what is under way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::harness::{Proxy, Recorded, origin, request};
use super::on_both;
use crate::io::engine::Choice;

const ALLOW: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n";
/// The harness's new policies have no upstreams, so that only a block admits the origin on loopback.
const STILL: &str = "  - allow: still\n    host: origin.test\n    path: /events\n    cidr: 127.0.0.0/8\n";

on_both! {
    a_silent_stream_that_is_now_denied_is_ended
    a_busy_stream_that_is_now_denied_is_ended
    a_stream_that_is_still_allowed_goes_on
    a_request_that_waits_for_its_response_is_told_so
    a_stream_to_an_address_that_is_no_longer_admitted_is_ended
}

fn a_silent_stream_that_is_now_denied_is_ended(choice: Choice) {
    let (proxy, mut client, _events) = streaming(choice, ALLOW);
    proxy.adopt(&format!("{STILL}  - deny: no more\n    header: {{ x-key: secret }}\n"));
    ended(&mut client);
    assert_eq!(outcomes(proxy, client), ["policy_replaced"]);
}

fn a_busy_stream_that_is_now_denied_is_ended(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"5\r\ndata\n\r\n").is_ok() {}
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = asking(&proxy);
    until(&mut client, "data");
    proxy.adopt("  - deny: no more\n    path: /events\n");
    ended(&mut client);
    assert_eq!(outcomes(proxy, client), ["policy_replaced"]);
}

fn a_stream_that_is_still_allowed_goes_on(choice: Choice) {
    let (proxy, mut client, events) = streaming(choice, ALLOW);
    for _ in 0..3 {
        proxy.adopt(STILL);
        events.send("5\r\nlater\r\n").unwrap();
        until(&mut client, "later");
    }
    events.send("0\r\n\r\n").unwrap();
    until(&mut client, "0\r\n\r\n");
    assert_eq!(outcomes(proxy, client), [""]);
}

fn a_request_that_waits_for_its_response_is_told_so(choice: Choice) {
    let (asked, waits) = channel();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        asked.send(()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = asking(&proxy);
    waits.recv().unwrap();
    proxy.adopt("  - deny: no more\n    path: /events\n");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(r#""code":"policy_replaced""#), "{answer}");
    assert_eq!(outcomes(proxy, client), ["policy_replaced"]);
}

fn a_stream_to_an_address_that_is_no_longer_admitted_is_ended(choice: Choice) {
    let (proxy, mut client, _events) = streaming(choice, ALLOW);
    // The same rule, but neither an upstream nor a block admits loopback any more.
    proxy.adopt(ALLOW);
    ended(&mut client);
    assert_eq!(outcomes(proxy, client), ["policy_replaced"]);
}

/// A client that has received the first event of a stream whose origin sends what the sender is given.
fn streaming(choice: Choice, rules: &str) -> (Proxy, TcpStream, Sender<&'static str>) {
    let (events, due): (Sender<&'static str>, Receiver<&'static str>) = channel();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
        while let Ok(event) = due.recv()
            && stream.write_all(event.as_bytes()).is_ok()
        {}
    });
    let proxy = Proxy::start(choice, address, 80, rules);
    let mut client = asking(&proxy);
    until(&mut client, "first");
    (proxy, client, events)
}

fn asking(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.client();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: origin.test\r\nX-Key: secret\r\n\r\n").unwrap();
    client
}

/// Reads until the text has come.
fn until(client: &mut TcpStream, text: &str) {
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains(text) {
        let read = client.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

/// Reads to the end, which must not look like the end of the stream.
fn ended(client: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the stream was ended as if it were whole");
}

fn outcomes(proxy: Proxy, client: TcpStream) -> Vec<String> {
    drop(client);
    let records = proxy.stop();
    records
        .iter()
        .filter(|record| matches!(record, Recorded::Outcome { .. }))
        .map(|record| record.code().to_owned())
        .collect()
}
