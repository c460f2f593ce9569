//! What is allowed gets through, byte for byte, in order, without delay.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use super::harness::{HOST, Proxy, Recorded, origin, request, response, tls_origin};
use super::on_both;
use crate::io::engine::Choice;

const ALLOW: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n";

on_both! {
    forwards_a_get_and_puts_both_records
    forwards_a_body_with_a_length
    forwards_a_chunked_body_both_ways
    answers_pipelined_requests_in_order
    gives_head_no_body
    passes_no_content_and_not_modified
    answers_an_expectation_by_itself
    delivers_a_body_that_ends_with_the_connection
    asks_again_when_a_kept_connection_is_dead
    never_asks_again_with_a_post
    passes_an_early_response_and_closes
    passes_each_event_before_the_next_is_made
    relays_a_large_body_unchanged
    strips_what_belongs_to_one_hop
    a_client_that_hangs_up_ends_the_wait_for_the_origin
    terminates_tls_and_keeps_the_connection
    a_redirect_is_not_followed_and_where_it_leads_is_on_record
}

fn forwards_a_get_and_puts_both_records(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let answer = proxy.ask(b"GET /a?b=c HTTP/1.1\r\nHost: origin.test\r\nX-Kept: yes\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(seen.recv().unwrap().unwrap(), "GET /a?b=c HTTP/1.1\r\nHost: origin.test\r\nX-Kept: yes\r\n\r\n");
    let records = proxy.stop();
    assert_eq!(
        records,
        [
            Recorded::Decision {
                agent: "tester".to_owned(),
                mode: "redirect".to_owned(),
                port: 80,
                verdict: "allow".into(),
                code: String::new(),
                rule: "all".into(),
                host: HOST.into(),
                path: "/a".into(),
                status: 0
            },
            Recorded::Outcome { status: 200, code: String::new(), up: 0, down: 5, leads: None },
        ]
    );
}

fn forwards_a_body_with_a_length(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    // The body arrives in two parts, so that the second is relayed while the response is awaited.
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 10\r\n\r\nhello").unwrap();
    client.write_all(b"world").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 201 Created\r\n"));
    assert!(seen.recv().unwrap().unwrap().ends_with("Content-Length: 10\r\n\r\nhelloworld"));
    drop(client);
    assert!(proxy.stop().contains(&Recorded::Outcome {
        status: 201,
        code: String::new(),
        up: 10,
        down: 0,
        leads: None
    }));
}

fn forwards_a_chunked_body_both_ways(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
            )
            .unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let answer = proxy.ask(
        b"POST / HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: evil\r\n\r\n",
    );
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let asked = seen.recv().unwrap().unwrap();
    assert_eq!(
        asked,
        "POST / HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    assert!(proxy.stop().contains(&Recorded::Outcome {
        status: 200,
        code: String::new(),
        up: 5,
        down: 5,
        leads: None
    }));
}

fn answers_pipelined_requests_in_order(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        while let Some(asked) = request(&mut stream) {
            let path = asked.split(' ').nth(1).unwrap().to_owned();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).unwrap();
        }
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    client.write_all([one("/1"), one("/2"), one("/3")].concat().as_bytes()).unwrap();
    for path in ["/1", "/2", "/3"] {
        assert!(response(&mut client).unwrap().ends_with(path));
    }
}

fn gives_head_no_body(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        for _ in 0..2 {
            request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
        }
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.write_all(b"HEAD / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        let mut head = vec![0; b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".len()];
        client.read_exact(&mut head).unwrap();
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    }
}

fn passes_no_content_and_not_modified(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    for expected in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"] {
        client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert_eq!(response(&mut client).unwrap(), expected);
    }
}

fn answers_an_expectation_by_itself(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client
        .write_all(b"PUT / HTTP/1.1\r\nHost: origin.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    assert_eq!(response(&mut client).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"data").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    let asked = seen.recv().unwrap().unwrap();
    assert!(asked.ends_with("\r\n\r\ndata") && !asked.contains("Expect"), "{asked}");
}

fn delivers_a_body_that_ends_with_the_connection(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall there is").unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let answer = proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "{answer}");
    assert!(answer.contains("all there is") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
}

fn asks_again_when_a_kept_connection_is_dead(choice: Choice) {
    let (address, seen) = origin(answer_once);
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    }
    seen.recv().unwrap();
}

fn never_asks_again_with_a_post(choice: Choice) {
    let (address, seen) = origin(answer_once);
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 502 "));
    seen.recv().unwrap();
    assert!(seen.try_recv().is_err(), "the origin saw the request twice");
}

fn passes_an_early_response_and_closes(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        // The body is never read, but the connection stays until the proxy ends it.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 100000\r\n\r\nstart").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 413 "));
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0, "the connection carries nothing more");
}

fn passes_each_event_before_the_next_is_made(choice: Choice) {
    let (go, gone) = mpsc::channel::<()>();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
        for n in 0..10 {
            // The next event is made only after the client has the last one.
            gone.recv().unwrap();
            stream.write_all(format!("data: {n}\n\n").as_bytes()).unwrap();
        }
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let mut received = Vec::new();
    for n in 0..10 {
        go.send(()).unwrap();
        let expected = format!("data: {n}\n\n");
        while !received.windows(expected.len()).any(|window| window == expected.as_bytes()) {
            let mut part = [0; 512];
            let length = client.read(&mut part).unwrap();
            assert_ne!(length, 0, "the stream ended early");
            received.extend_from_slice(&part[..length]);
        }
    }
}

fn relays_a_large_body_unchanged(choice: Choice) {
    const LENGTH: usize = 8 * 1024 * 1024;
    let pattern: Vec<u8> = (0..=250).collect::<Vec<u8>>().repeat(LENGTH / 251 + 1)[..LENGTH].to_vec();
    let body = pattern.clone();
    let (address, _seen) = origin(move |mut stream| {
        request_head(&mut stream);
        let mut up = vec![0; LENGTH];
        stream.read_exact(&mut up).unwrap();
        assert!(up == body, "the body changed on its way up");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    write!(client, "POST / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
    client.write_all(&pattern).unwrap();
    request_head(&mut client);
    let mut down = vec![0; LENGTH];
    client.read_exact(&mut down).unwrap();
    assert!(down == pattern, "the body changed on its way down");
}

fn strips_what_belongs_to_one_hop(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"\r\nKeep-Alive: timeout=5\r\nX: y\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let answer = proxy.ask(
        b"GET / HTTP/1.1\r\nHost: ORIGIN.test\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX: y\r\n\r\n",
    );
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(seen.recv().unwrap().unwrap(), "GET / HTTP/1.1\r\nHost: origin.test\r\nX: y\r\n\r\n");
}

fn a_client_that_hangs_up_ends_the_wait_for_the_origin(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        request(&mut stream);
        // Never answers: ends only when the proxy hangs up in turn.
        stream.read(&mut [0; 1]).map_err(|error| error.kind())
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    drop(client);
    assert_eq!(seen.recv().unwrap(), Err(ErrorKind::ConnectionReset));
    assert!(proxy.stop().iter().any(|record| record.code() == "client_gone"));
}

fn terminates_tls_and_keeps_the_connection(choice: Choice) {
    let (address, _seen, trust) = tls_origin(HOST, |mut stream| {
        while request(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let rules = "  - allow: all\n    host: origin.test\n";
    let proxy = Proxy::start_tls(choice, address, &trust, rules);
    let mut client = proxy.tls_client(HOST);
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert!(response(&mut client).unwrap().ends_with("ok"));
    }
    drop(client);
    assert_eq!(proxy.stop().len(), 6);
}

/// Answers one request, sees the next one begin and closes without a word, as servers do whose idle time is up just then.
fn answer_once(mut stream: TcpStream) {
    request(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    let _ = stream.read(&mut [0; 1]);
}

/// Reads up to the end of a head, and no further.
fn request_head(stream: &mut impl Read) {
    let mut head = Vec::new();
    let mut octet = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
}

fn a_redirect_is_not_followed_and_where_it_leads_is_on_record(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let answer = proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert!(answer.contains("Location: http://169.254.169.254/latest\r\n"), "it is the client's to see: {answer}");
    assert!(seen.recv().unwrap().is_some());
    let leads = Some("169.254.169.254".to_owned());
    let outcome = Recorded::Outcome { status: 302, code: String::new(), up: 0, down: 0, leads };
    assert_eq!(proxy.stop()[1..], [outcome]);
}
