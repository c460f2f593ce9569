//! TLS that is passed through: unread, decided by its address, on record as a tunnel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::harness::{Proxy, Recorded, request, response, tls_origin};
use super::on_both;
use crate::audit::Mode;
use crate::io::door::{Entrance, Kind};
use crate::io::engine::Choice;

const PASSES: &str = "  - allow: pinned\n    host: [origin.test, other.test]\ntls:\n  passthrough: [origin.test]\n";

on_both! {
    tls_is_passed_through_unopened_and_recorded_as_a_tunnel
    a_rule_about_requests_admits_no_tunnel
    a_tunnel_goes_where_the_connect_said
    a_tunnel_whose_origin_is_not_there_ends_on_record
}

fn tls_is_passed_through_unopened_and_recorded_as_a_tunnel(choice: Choice) {
    let (address, _seen, trust) = tls_origin("origin.test", answer);
    let proxy = Proxy::start(choice, address, 443, PASSES);
    let mut client = over(proxy.client(), &trust, "origin.test");
    // The handshake is with the origin: the client trusts its certificate and no other.
    client.write_all(b"DELETE /whatever HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().ends_with("unread"));
    client.conn.send_close_notify();
    client.flush().unwrap();
    // Each side's end reaches the other.
    assert_eq!(client.sock.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    let records = proxy.stop();
    let [Recorded::Decision { verdict, rule, host, port: 443, path, .. }, Recorded::Outcome { code, up, down, .. }] =
        &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!([&**verdict, rule, host, path, code], ["allow", "pinned", "origin.test", "", ""]);
    assert!(*up > 200 && *down > 500, "a handshake and a message each way: {up} {down}");
}

fn a_rule_about_requests_admits_no_tunnel(choice: Choice) {
    let (address, _seen, trust) = tls_origin("origin.test", answer);
    let rules = "  - allow: reads\n    host: origin.test\n    path: /a\ntls:\n  passthrough: [origin.test]\n";
    let proxy = Proxy::start(choice, address, 443, rules);
    let mut client = over(proxy.client(), &trust, "origin.test");
    let error = client.write_all(b"GET /a HTTP/1.1\r\n\r\n").unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    let records = proxy.stop();
    assert!(
        matches!(&records[..], [Recorded::Decision { verdict, code, .. }] if verdict == "deny" && code == "default")
    );
}

fn a_tunnel_goes_where_the_connect_said(choice: Choice) {
    let (address, _seen, trust) = tls_origin("origin.test", answer);
    let entrance = Entrance { mode: Mode::Proxy, kind: Kind::Proxy, from: None, agent: None };
    let proxy = Proxy::start_at(choice, entrance, address, PASSES);
    for (authority, passes) in [("origin.test", true), ("other.test", false)] {
        let mut client = proxy.client();
        client
            .write_all(format!("CONNECT {authority}:443 HTTP/1.1\r\nHost: {authority}:443\r\n\r\n").as_bytes())
            .unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
        let mut client = over(client, &trust, "origin.test");
        let sent = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(sent.is_ok(), passes, "{authority}: {sent:?}");
        if passes {
            assert!(response(&mut client).unwrap().ends_with("unread"));
        }
    }
    let records = proxy.stop();
    // The first tunnel may end on record only after the second was refused.
    assert!(records.iter().any(|record| record.code() == "authority_mismatch"), "{records:?}");
}

fn a_tunnel_whose_origin_is_not_there_ends_on_record(choice: Choice) {
    let (_, _seen, trust) = tls_origin("closed.test", answer);
    let rules = "  - allow: pinned\n    host: closed.test\ntls:\n  passthrough: [closed.test]\n";
    let proxy = Proxy::start(choice, ([127, 0, 0, 1], 1).into(), 443, rules);
    let mut client = over(proxy.client(), &trust, "closed.test");
    assert!(client.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err());
    let records = proxy.stop();
    assert_eq!(records.iter().map(Recorded::code).collect::<Vec<_>>(), ["", "upstream_refused"]);
}

fn answer(mut stream: impl Read + Write) {
    let _ = request(&mut stream);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nunread");
    let _ = stream.read(&mut [0; 1]);
}

/// A client that trusts the origin alone.
fn over(stream: TcpStream, trust: &str, sni: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trust.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}
