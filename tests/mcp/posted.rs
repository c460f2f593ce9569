//! Variants of a call to a denied tool over HTTP: of the body as on standard streams, and of everything around it (path, header fields, coding).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Place;
use crate::sdks;
use crate::util::{PATIENCE, Program, until};
use crate::variants::{Draw, HELLO, PLAIN, variant, wanted};

/// How many clients send them side by side.
const CLIENTS: usize = 4;

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn variants_of_a_denied_call_over_http_are_executed_0_times() {
    for sdk in sdks::ALL {
        let place = Place::new();
        let (_server, at) = sdk.serve(&place, "http");
        let (_gateway, port) = gateway(&place, at);
        let count = wanted(1500);
        let session = send_all(port, count);
        let told = post(port, Some(&session), PLAIN);
        assert!(told.contains("/workspace/last"), "{sdk:?}: the call that is allowed is answered: {told}");
        let executed = place.executed();
        let denied = executed.iter().filter(|line| !line.starts_with("read_file /workspace/")).count();
        println!(
            "{sdk:?}: {count} variants over HTTP, {} executed calls that are allowed, {denied} denied",
            executed.len()
        );
        assert_eq!(denied, 0, "{sdk:?}: {executed:?}");
    }
}

/// The control: without ringfence some of the same variants do execute.
#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn variants_over_http_without_ringfence_are_executed() {
    for sdk in sdks::ALL {
        let place = Place::new();
        let (_server, at) = sdk.serve(&place, "http");
        send_all(at, 400);
        let executed = place.executed();
        assert!(executed.iter().filter(|line| line.starts_with("delete_file")).count() >= 5, "{sdk:?}: {executed:?}");
    }
}

/// A gateway in front of the server that listens at that port, and the port of its own.
fn gateway(place: &Place, server: u16) -> (Program, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let upstream = format!("upstreams:\n  \"localhost:{port}\": {{ address: \"127.0.0.1:{server}\" }}\nmcp_servers:");
    let policy = include_str!("policy.yaml")
        .replace("mcp_servers:", &upstream)
        .replace("{ stdio: files }", &format!("{{ url: \"http://localhost:{port}/mcp\", pin: off }}"));
    std::fs::write(place.path("policy.yaml"), policy).expect("the policy is written");
    let config = format!(
        "listen: [{{ mode: gateway, address: \"127.0.0.1\", ports: [{port}] }}]\npolicy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\n"
    );
    std::fs::write(place.path("ringfence.yaml"), config).expect("the configuration is written");
    let gateway = Program::start(place.ringfence().arg("proxy").arg("--config").arg(place.path("ringfence.yaml")));
    until("the gateway listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    (gateway, port)
}

/// Sends that many variants in a session; its id.
fn send_all(port: u16, count: usize) -> String {
    let hello = post(port, None, &HELLO[0].replace("VERSION", "2025-11-25"));
    let session = hello.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
    });
    let session = session.unwrap_or_else(|| panic!("no session: {hello}"));
    post(port, Some(&session), HELLO[1]);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let session = &session;
            scope.spawn(move || {
                let mut draw = Draw(0x9e37_79b9_7f4a_7c15 + client as u64);
                let mut connection = None;
                for id in (client..count).step_by(CLIENTS) {
                    let request = request(&mut draw, port, session, id);
                    let stream = connection.take().unwrap_or_else(|| connect(port));
                    connection = exchange(stream, &request).1;
                }
            });
        }
    });
    session
}

/// One variant, and one of the ways in which what reads a request may differ.
fn request(draw: &mut Draw, port: u16, session: &str, id: usize) -> Vec<u8> {
    let mut body = variant(draw, id);
    let path = match draw.below(12) {
        0 => draw.of(&[
            "/mcp/",
            "/mcp?x=1",
            "//mcp",
            "/%6dcp",
            "/mcp;x",
            "/MCP",
            "/x/..;/mcp",
            "/mcp%00",
            "/mcp#",
            "/mcp%2F",
        ]),
        _ => "/mcp",
    };
    let kind = match draw.below(10) {
        0 => draw.of(&[
            "text/plain",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;",
            "text/plain, application/json",
            "application/json-rpc",
            "multipart/mixed",
        ]),
        1 if body.is_ascii() => {
            // Some readers guess the coding, others go by the field.
            body = body.iter().flat_map(|byte| [*byte, 0]).collect();
            draw.of(&["application/json", "application/json; charset=utf-16le"])
        }
        _ => "application/json",
    };
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: {kind}\r\n");
    head.push_str("Accept: application/json, text/event-stream\r\n");
    if draw.below(8) > 0 {
        head.push_str(&format!("Mcp-Session-Id: {session}\r\n"));
    }
    head.push_str(match draw.below(8) {
        0 => "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: delete_file\r\n",
        1 => "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n",
        2 => "Mcp-Method: tools/call\r\nMcp-Name: read_file\r\n",
        3 => "MCP-Protocol-Version: 2025-03-26\r\n",
        4 => "MCP-Protocol-Version: 2025-11-25\r\nMCP-Protocol-Version: 2025-03-26\r\n",
        5 => "",
        _ => "MCP-Protocol-Version: 2025-11-25\r\n",
    });
    if draw.below(24) == 0 {
        head.push_str(draw.of(&[
            "Content-Encoding: gzip\r\n",
            "Content-Encoding: identity\r\n",
            "Content-Type: application/json\r\n",
        ]));
    }
    let mut bytes = head.into_bytes();
    if draw.below(4) > 0 {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
        return bytes;
    }
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    while !body.is_empty() {
        let rest = body.split_off(draw.below(body.len()) + 1);
        bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"\r\n");
        body = rest;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// A message that is well-formed, and the whole of its answer.
fn post(port: u16, session: Option<&str>, text: &str) -> String {
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n{session}");
    let fields = format!("Accept: application/json, text/event-stream\r\nContent-Length: {}", text.len());
    let stream = connect(port);
    stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a socket");
    exchange(stream, format!("{head}{fields}\r\n\r\n{text}").as_bytes()).0
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    // Some variants are calls without an id, which some servers begin a stream for that says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    BufReader::new(stream)
}

/// What came back, and the connection where it lives on.
fn exchange(mut stream: BufReader<TcpStream>, request: &[u8]) -> (String, Option<BufReader<TcpStream>>) {
    let mut told = String::new();
    // Whoever refuses a head may close before the body is written.
    let lives = stream.get_mut().write_all(request).is_ok() && read(&mut stream, &mut told).unwrap_or(false);
    (told, lives.then_some(stream))
}

fn read(stream: &mut BufReader<TcpStream>, told: &mut String) -> std::io::Result<bool> {
    let (mut length, mut is_chunked, mut closes) = (0, false, false);
    loop {
        let at = told.len();
        if stream.read_line(told)? == 0 {
            return Ok(false);
        }
        let line = told[at..].trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        is_chunked |= line == "transfer-encoding: chunked";
        closes |= line == "connection: close";
        length = line.strip_prefix("content-length: ").and_then(|digits| digits.parse().ok()).unwrap_or(length);
    }
    while is_chunked {
        let mut size = String::new();
        stream.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_default();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        told.push_str(&String::from_utf8_lossy(&chunk[..size]));
        is_chunked = size > 0;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    told.push_str(&String::from_utf8_lossy(&body));
    Ok(!closes)
}
