//! One name: what the hello, the head and the policy speak of is the same, or nothing is forwarded.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::harness::{HOST, Proxy, response, tls_origin};
use super::on_both;
use crate::io::engine::Choice;

const RULES: &str = "  - allow: all\n    host: [origin.test, other.test]\n";

on_both! {
    a_host_that_differs_from_the_sni_is_misdirected
    a_port_that_differs_from_the_destinations_is_misdirected
    a_name_that_no_rule_could_allow_gets_no_certificate
    a_client_that_speaks_only_http2_is_told_so
    an_origin_with_another_name_is_refused
    an_origin_that_nobody_vouches_for_is_refused
}

fn a_host_that_differs_from_the_sni_is_misdirected(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let mut client = proxy.tls_client(HOST);
    client.write_all(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").unwrap();
    let answer = response(&mut client).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    nobody_came(&listener);
}

fn a_port_that_differs_from_the_destinations_is_misdirected(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let mut client = proxy.tls_client(HOST);
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test:8443\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 421 "));
    nobody_came(&listener);
}

fn a_name_that_no_rule_could_allow_gets_no_certificate(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let mut client = proxy.tls_client("elsewhere.test");
    let error =
        client.write_all(b"GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").and_then(|()| client.flush()).unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    let records = proxy.stop();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].code(), "not_admitted");
    nobody_came(&listener);
}

fn a_client_that_speaks_only_http2_is_told_so(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let mut client = proxy.tls_client(HOST);
    client.conn.set_buffer_limit(None);
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = rustls::pki_types::ServerName::try_from(HOST).unwrap();
    client.conn = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let error = client.write_all(b"PRI").and_then(|()| client.flush()).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(proxy.stop()[0].code(), "alpn_unsupported");
    nobody_came(&listener);
}

fn an_origin_with_another_name_is_refused(choice: Choice) {
    let (address, seen, trust) = tls_origin("impostor.test", |mut stream| stream.read(&mut [0; 1]).unwrap_or(0));
    let proxy = Proxy::start_tls(choice, address, &trust, RULES);
    assert_eq!(refused_origin(&proxy), "tls_wrong_host");
    assert_eq!(seen.recv().unwrap(), 0, "a byte of the request reached the impostor");
    assert!(proxy.stop().iter().any(|record| record.code() == "tls_wrong_host"));
}

fn an_origin_that_nobody_vouches_for_is_refused(choice: Choice) {
    let (address, seen, _) = tls_origin(HOST, |mut stream| stream.read(&mut [0; 1]).unwrap_or(0));
    let (_, _, other) = tls_origin(HOST, |_| ());
    let proxy = Proxy::start_tls(choice, address, &other, RULES);
    // Two authorities of the same name: the signature does not fit, which is the same to the caller as an unknown issuer.
    assert!(["tls_untrusted", "tls_certificate"].contains(&refused_origin(&proxy).as_str()));
    assert_eq!(seen.recv().unwrap(), 0, "a byte of the request reached the impostor");
}

/// Asks once and returns the code of the 502.
fn refused_origin(proxy: &Proxy) -> String {
    let mut client = proxy.tls_client(HOST);
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let answer = response(&mut client).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

fn unreached(choice: Choice) -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(choice, listener.local_addr().unwrap(), 443, RULES);
    (proxy, listener)
}

fn nobody_came(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "something was forwarded");
}
