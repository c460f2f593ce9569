use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;

use super::properties::{holds, message, records};
use super::*;

/// The first flight of a real client.
fn flight(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("writing to memory");
    bytes
}

/// A hello with these extensions and nothing else of interest.
fn with_extensions(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (kind, body) in extensions {
        block.extend_from_slice(&kind.to_be_bytes());
        block.extend_from_slice(&long(body));
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&long(&block));
    let [.., high, middle, low] = body.len().to_be_bytes();
    let mut message = vec![CLIENT_HELLO, high, middle, low];
    message.extend_from_slice(&body);
    records(&message, 16 * 1024)
}

fn long(body: &[u8]) -> Vec<u8> {
    let [.., high, low] = body.len().to_be_bytes();
    [&[high, low], body].concat()
}

fn named(name: &[u8]) -> (u16, Vec<u8>) {
    (SERVER_NAME, long(&[&[HOST_NAME], &*long(name)].concat()))
}

fn found(bytes: &[u8]) -> Result<ClientHello, HelloError> {
    holds(bytes);
    match read(bytes)? {
        Progress::Done(hello) => Ok(hello),
        Progress::More => panic!("the hello is whole"),
    }
}

#[test]
fn reads_the_hello_of_a_real_client() {
    let hello = found(&flight("Api.Example.com", &[b"h2", b"http/1.1"])).unwrap();
    assert_eq!(hello.sni.name(), Some("api.example.com"));
    assert!(hello.alpn.offers(b"http/1.1") && hello.alpn.offers(b"h2") && !hello.alpn.offers(b"h3") && hello.tls13);
    let hello = found(&flight("127.0.0.1", &[])).unwrap();
    assert!(hello.sni == Sni::Absent && hello.alpn.is_absent());
}

#[test]
fn accepts_a_hello_split_anywhere() {
    let whole = flight("a.example", &[b"http/1.1"]);
    let expected = read(&whole);
    let message = message(&whole);
    for at in 1..message.len() {
        let split = [records(&message[..at], at), records(&message[at..], message.len())].concat();
        assert_eq!(read(&split), expected);
    }
    assert_eq!(read(&[whole, b"what follows".to_vec()].concat()), expected);
}

#[test]
fn reads_a_hello_without_extensions() {
    let mut body = vec![CLIENT_HELLO, 0, 0, 41, 3, 1];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    let hello = found(&records(&body, 100)).unwrap();
    assert!(hello.sni == Sni::Absent && hello.alpn.is_absent() && !hello.tls13);
}

#[test]
fn rejects_server_names_that_are_not_one_dns_name() {
    for name in [
        &b""[..],
        b".",
        b"a.example.",
        b"127.0.0.1",
        b"::1",
        b"[::1]",
        b"a\0.evil",
        b"a..b",
        b"a b",
        b"*.example",
        b"a@b",
        b"a:443",
        b"\xff",
        b"0x7f.1",
        &[b'a'; 300],
        b"xn--example-.org",
        "b\u{fc}cher.example".as_bytes(),
    ] {
        assert_eq!(found(&with_extensions(&[named(name)])), Err(HelloError::Sni), "{name:?}");
    }
    let two = [&[HOST_NAME], &*long(b"a.example"), &[HOST_NAME], &*long(b"b.example")].concat();
    assert_eq!(found(&with_extensions(&[(SERVER_NAME, long(&two))])), Err(HelloError::Sni));
    let other_type = [&[1], &*long(b"a.example")].concat();
    assert_eq!(found(&with_extensions(&[(SERVER_NAME, long(&other_type))])), Err(HelloError::Sni));
    assert_eq!(HelloError::Sni.alert(), Some(112));
}

#[test]
fn rejects_repeated_and_malformed_extensions() {
    let alpn = |list: &[u8]| (ALPN, long(list));
    let versions = (SUPPORTED_VERSIONS, vec![2, 3, 4]);
    for extensions in [
        vec![named(b"a.example"), named(b"a.example")],
        vec![alpn(b"\x02h2"), alpn(b"\x02h2")],
        vec![versions.clone(), versions],
        vec![alpn(b"")],
        vec![alpn(b"\0")],
        vec![alpn(b"\x03h2")],
        vec![(ALPN, b"\0\x03\x02h2x".to_vec())],
        vec![(SERVER_NAME, vec![])],
        vec![(SERVER_NAME, [long(&[&[HOST_NAME], &*long(b"a.example")].concat()), vec![0]].concat())],
        vec![(SUPPORTED_VERSIONS, vec![3, 3, 4, 3])],
        vec![(SUPPORTED_VERSIONS, vec![0])],
    ] {
        assert_eq!(found(&with_extensions(&extensions)), Err(HelloError::Malformed), "{extensions:?}");
    }
}

#[test]
fn passes_over_extensions_it_does_not_read() {
    // GREASE, and Encrypted ClientHello, real or not.
    let hello =
        found(&with_extensions(&[(0x0a0a, vec![0]), (0xfe0d, vec![0; 200]), named(b"public.example")])).unwrap();
    assert_eq!(hello.sni.name(), Some("public.example"));
}

#[test]
fn tells_what_is_not_tls_at_once() {
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1",
        b"SSH-2.0",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x02",
        b"\x16\x01\0",
        b"\x15\x03\x01\0\x02",
        b"\x17\x03\x03",
    ] {
        holds(bytes);
        assert_eq!(read(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    for bytes in [&b""[..], b"\x16", b"\x16\x03", b"\x16\x03\x01\0"] {
        assert_eq!(read(bytes), Ok(Progress::More), "{bytes:?}");
    }
}

#[test]
fn rejects_records_and_messages_against_the_grammar() {
    let whole = flight("a.example", &[]);
    let message = message(&whole);
    for bytes in [
        b"\x16\x03\x01\0\0".to_vec(),
        b"\x16\x03\x01\x40\x01".to_vec(),
        b"\x16\x03\x01\0\x04\x02".to_vec(),
        [records(&message[..9], 9), b"\x15\x03\x01\0\x02".to_vec()].concat(),
        records(&[&*message, b"x"].concat(), 16 * 1024),
        records(&[CLIENT_HELLO, 0, 0, 0], 4),
    ] {
        holds(&bytes);
        assert_eq!(read(&bytes), Err(HelloError::Malformed), "{bytes:?}");
    }
    // Each length field of the message set wrong by one.
    for at in [38, 38 + 33, 38 + 33 + 1] {
        let mut broken = message.clone();
        broken[at] = broken[at].wrapping_add(1);
        let bytes = records(&broken, 16 * 1024);
        holds(&bytes);
        assert!(read(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn bounds_the_hello() {
    let fits = with_extensions(&[named(b"a.example"), (0x0a0a, vec![0; 15 * 1024])]);
    assert!(found(&fits).is_ok());
    assert_eq!(read(b"\x16\x03\x01\x40\0"), Err(HelloError::TooLarge));
    assert_eq!(read(b"\x16\x03\x01\0\x04\x01\0\x40\0"), Err(HelloError::TooLarge));
    assert_eq!(read(&records(&message(&fits), 1)), Err(HelloError::TooLarge));
}

#[test]
fn walks_over_each_record_once() {
    // Of a hello in records of one byte, everything before the record under way is behind the scan.
    let bytes = records(&message(&flight("a.example", &[])), 1);
    let mut scan = Scan::default();
    for end in 0..bytes.len() {
        assert_eq!(scan.read(&bytes[..end]), Ok(Progress::More));
        assert!(scan.record + RECORD_HEADER >= end);
    }
}

proptest! {
    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        holds(&bytes);
        holds(&[b"\x16\x03\x01\0\x40\x01\0\0\x3c\x03\x03".as_slice(), &bytes].concat());
    }

    #[test]
    fn holds_for_a_hello_with_one_octet_changed(at in 0_usize..200, value in any::<u8>()) {
        let mut bytes = with_extensions(&[named(b"a.example"), (ALPN, long(b"\x08http/1.1")), (SUPPORTED_VERSIONS, vec![2, 3, 4])]);
        let at = at % bytes.len();
        bytes[at] = value;
        holds(&bytes);
    }
}
