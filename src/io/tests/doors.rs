//! The ways in: a gateway, a proxy that its clients know of, and who may use them; and what happens to open connections when the policy
//! changes or the worker stops.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use super::harness::{HOST, Proxy, Recorded, origin, request, response, tls_origin};
use super::on_both;
use crate::audit::Mode;
use crate::io::door::{Entrance, Kind};
use crate::io::engine::Choice;
use crate::limits::DRAIN_WAIT;

const HERE: &str = "  - allow: here\n    host: origin.test\n    port: $PORT\n";
const ORDINARY: &str = "  - allow: ordinary\n    host: [origin.test, other.test]\n";

on_both! {
    a_gateway_takes_its_port_and_the_hosts_name
    a_gateway_has_no_name_without_sni
    another_port_than_the_gateways_is_misdirected
    a_request_that_comes_back_is_a_loop
    who_is_not_listed_is_turned_away
    a_proxy_takes_whole_urls
    a_proxy_takes_nothing_but_whole_urls
    a_tunnel_carries_tls_to_its_authority
    a_tunnel_to_what_no_rule_could_allow_is_refused
    a_tunnel_is_for_its_authority_alone
    a_tunnel_carries_nothing_but_tls
    a_new_policy_holds_for_the_next_request
    a_canary_is_denied_at_every_door
    a_stopping_worker_sends_idle_clients_away
}

fn gateway(from: Option<&str>) -> Entrance {
    Entrance { mode: Mode::Gateway, kind: Kind::Gateway, from: from.map(|net| vec![net.parse().unwrap()]), agent: None }
}

fn proxy() -> Entrance {
    Entrance { mode: Mode::Proxy, kind: Kind::Proxy, from: None, agent: None }
}

fn a_gateway_takes_its_port_and_the_hosts_name(choice: Choice) {
    let (address, seen) = answering_origin();
    let proxy = Proxy::start_at(choice, gateway(Some("127.0.0.0/8")), address, HERE);
    let port = proxy.listener().port();
    let answer = proxy.ask(format!("GET /a HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(seen.recv().unwrap().contains(&format!("Host: {HOST}:{port}\r\n")));
    let records = proxy.stop();
    let Recorded::Decision { mode, host, port: recorded, agent, .. } = &records[0] else { panic!("{records:?}") };
    assert_eq!((mode.as_str(), host.as_str(), *recorded, agent.as_str()), ("gateway", HOST, port, "tester"));
}

fn a_gateway_has_no_name_without_sni(choice: Choice) {
    let (proxy, listener) = unreached(choice, gateway(None), HERE);
    // rustls sends no SNI for an address.
    let mut client = proxy.tls_client("127.0.0.1");
    let error = client.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| client.flush()).unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(codes(proxy), ["sni_absent"]);
    nobody_came(&listener);
}

fn another_port_than_the_gateways_is_misdirected(choice: Choice) {
    let (proxy, listener) = unreached(choice, gateway(None), HERE);
    let answer = proxy.ask(b"GET /a HTTP/1.1\r\nHost: origin.test:1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert_eq!(codes(proxy), ["mismatch"]);
    nobody_came(&listener);
}

fn a_request_that_comes_back_is_a_loop(choice: Choice) {
    // The origin is a second proxy whose way leads back to the first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(choice, listener.local_addr().unwrap(), 80, ORDINARY);
    let first = proxy.listener();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(first).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut octet = [0; 1];
            near.read_exact(&mut octet).unwrap();
            request.push(octet[0]);
        }
        far.write_all(&request).unwrap();
        let answer = response(&mut far).unwrap();
        near.write_all(answer.as_bytes()).unwrap();
    });
    let answer = proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\nVia: 1.1 other\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 508 ") && answer.contains(r#""code":"loop""#), "{answer}");
    assert_eq!(codes(proxy), ["", "loop", ""]);
}

fn who_is_not_listed_is_turned_away(choice: Choice) {
    // Every source is the one agent's in this harness, so the agents are others here.
    for entrance in [gateway(Some("192.0.2.0/24")), Entrance { from: Some(Vec::new()), ..proxy() }] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agents = crate::io::door::Agents::BySource(vec![("192.0.2.7/32".parse().unwrap(), "other".to_owned())]);
        let proxy = Proxy::start_for(choice, (entrance, agents), listener.local_addr().unwrap(), HERE);
        assert_eq!(proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"), "");
        let records = proxy.stop();
        assert!(
            matches!(&records[..], [Recorded::Decision { code, agent, .. }] if code == "source_not_admitted" && agent == "127.0.0.1"),
            "{records:?}"
        );
        nobody_came(&listener);
    }
}

fn a_proxy_takes_whole_urls(choice: Choice) {
    let (address, seen) = answering_origin();
    let proxy = Proxy::start_at(choice, proxy(), address, ORDINARY);
    let mut client = proxy.client();
    for path in ["/one", "/two?q=1"] {
        let head = format!(
            "GET http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
        let forwarded = seen.recv().unwrap();
        assert!(forwarded.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n")), "{forwarded}");
        assert!(!forwarded.to_ascii_lowercase().contains("proxy-"), "{forwarded}");
    }
    drop(client);
    let records = proxy.stop();
    assert!(matches!(&records[0], Recorded::Decision { mode, port: 80, .. } if mode == "proxy"), "{records:?}");
}

fn a_proxy_takes_nothing_but_whole_urls(choice: Choice) {
    let (proxy, listener) = unreached(choice, proxy(), ORDINARY);
    for head in [
        "GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "GET ftp://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "CONNECT origin.test HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        let answer = proxy.ask(head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
    let answer = proxy.ask(b"GET http://origin.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    // A client that speaks TLS to the proxy itself.
    let mut client = proxy.tls_client(HOST);
    assert!(client.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| client.flush()).is_err());
    assert_eq!(proxy.stop().len(), 7);
    nobody_came(&listener);
}

fn a_tunnel_carries_tls_to_its_authority(choice: Choice) {
    let (address, _seen, trust) = tls_origin(HOST, |mut stream| {
        while request(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let proxy = Proxy::start_tls_at(choice, proxy(), (address, &trust), ORDINARY);
    let mut client = proxy.tls_over(tunnel(&proxy, HOST), HOST);
    for _ in 0..2 {
        client.write_all(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert!(response(&mut client).unwrap().ends_with("ok"));
    }
    drop(client);
    let records = proxy.stop();
    // Two requests, each with its outcome; the CONNECT itself forwards nothing.
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(
        matches!(&records[0], Recorded::Decision { mode, host, port: 443, rule, .. } if mode == "proxy" && host == HOST && rule == "ordinary"),
        "{records:?}"
    );
}

fn a_tunnel_to_what_no_rule_could_allow_is_refused(choice: Choice) {
    let (proxy, listener) = unreached(choice, proxy(), ORDINARY);
    for (authority, code) in [("elsewhere.test:443", "default"), ("169.254.169.254:443", "metadata")] {
        let answer = proxy.ask(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(code), "{answer}");
    }
    assert_eq!(codes(proxy), ["default", "metadata"]);
    nobody_came(&listener);
}

fn a_tunnel_is_for_its_authority_alone(choice: Choice) {
    let (proxy, listener) = unreached(choice, proxy(), ORDINARY);
    for (sni, host) in [(HOST, "other.test"), ("other.test", "other.test"), ("other.test", HOST)] {
        let mut client = proxy.tls_over(tunnel(&proxy, HOST), sni);
        write!(client, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let answer = response(&mut client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 "), "{sni} {host}: {answer}");
    }
    assert_eq!(codes(proxy), ["mismatch"; 3]);
    nobody_came(&listener);
}

fn a_tunnel_carries_nothing_but_tls(choice: Choice) {
    let (proxy, listener) = unreached(choice, proxy(), ORDINARY);
    for first in
        ["GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", "SSH-2.0-x\r\n", "CONNECT origin.test:443 HTTP/1.1\r\n\r\n"]
    {
        let mut client = tunnel(&proxy, HOST);
        client.write_all(first.as_bytes()).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0, "{first}");
    }
    assert_eq!(codes(proxy), ["protocol_unsupported"; 3]);
    nobody_came(&listener);
}

fn a_new_policy_holds_for_the_next_request(choice: Choice) {
    let (address, _seen) = answering_origin();
    let proxy = Proxy::start(choice, address, 80, ORDINARY);
    let mut client = proxy.client();
    let ask = |client: &mut TcpStream| {
        client.write_all(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        response(client).unwrap()
    };
    assert!(ask(&mut client).starts_with("HTTP/1.1 200 "));
    proxy.adopt("  - deny: no more\n    host: origin.test\n");
    assert!(ask(&mut client).contains(r#""rule":"no more""#));
    // Allowed again, but no longer with an upstream of its own: the connection that is still open leads there and is not used.
    proxy.adopt(ORDINARY);
    assert!(!ask(&mut client).starts_with("HTTP/1.1 200 "));
    drop(client);
    proxy.stop();
}

fn a_canary_is_denied_at_every_door(choice: Choice) {
    for entrance in [
        gateway(Some("192.0.2.0/24")),
        proxy(),
        Entrance { mode: Mode::Redirect, kind: Kind::Redirect, from: None, agent: None },
    ] {
        let mode = entrance.mode.word();
        let (proxy, _listener) = unreached(choice, entrance, ORDINARY);
        proxy.canary().unwrap();
        let records = proxy.stop();
        assert!(
            matches!(&records[..], [Recorded::Decision { mode: recorded, code, .. }] if recorded == mode && code == "metadata"),
            "{records:?}"
        );
    }
}

fn a_stopping_worker_sends_idle_clients_away(choice: Choice) {
    let (address, _seen) = answering_origin();
    let proxy = Proxy::start(choice, address, 80, ORDINARY);
    let mut client = proxy.client();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
    let started = Instant::now();
    proxy.stop();
    assert!(started.elapsed() < DRAIN_WAIT, "an idle connection held the worker up");
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

/// Opens a tunnel to port 443 of `host`.
fn tunnel(proxy: &Proxy, host: &str) -> TcpStream {
    let mut client = proxy.client();
    write!(client, "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut octet = [0; 1];
        assert_eq!(client.read(&mut octet).unwrap(), 1);
        answer.push(octet[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    client
}

/// An origin that answers every request of every connection, and tells what it received.
fn answering_origin() -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (told, seen) = std::sync::mpsc::channel();
    let (address, _ended) = origin(move |mut stream| {
        while let Some(received) = request(&mut stream) {
            if told.send(received).is_err()
                || stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err()
            {
                return;
            }
        }
    });
    (address, seen)
}

/// A proxy whose origin must not be reached.
fn unreached(choice: Choice, entrance: Entrance, rules: &str) -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start_at(choice, entrance, listener.local_addr().unwrap(), rules);
    (proxy, listener)
}

fn nobody_came(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "the origin was reached");
}

fn codes(proxy: Proxy) -> Vec<String> {
    proxy.stop().iter().map(|record| record.code().to_owned()).collect()
}
