//! Origins whose certificates are not to be trusted: each refused with its word, and never asked in the clear; and clients whose names must
//! not cost more than their share.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints,
};
use rustls::client::{EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
use rustls::crypto::hpke::{Hpke, HpkePublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::harness::{HOST, Proxy, Recorded, origin, response, tls_origin};
use super::on_both;
use crate::io::engine::Choice;

const RULES: &str = "  - allow: all\n    host: origin.test\n";
const DAY: Duration = Duration::from_secs(24 * 3600);

on_both! {
    every_certificate_that_is_not_good_is_refused_with_its_word
    an_origin_in_the_clear_is_not_taken_for_one_under_tls
    an_origin_of_another_tls_is_refused
    a_body_that_ends_without_a_close_notify_is_cut
    a_client_with_a_grease_ech_is_served
}

/// An authority, and what it vouches for.
pub(super) struct Signer {
    pub(super) issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn root() -> Signer {
        Signer::root_with(|_| {})
    }

    fn root_with(change: impl FnOnce(&mut CertificateParams)) -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = authority("root");
        change(&mut params);
        let made = params.self_signed(&key).unwrap();
        Signer { certificate: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
    }

    pub(super) fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = authority("intermediate");
        change(&mut params);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Signer { certificate: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
    }

    /// A leaf for the origin, changed, with its key.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let made = changed(change).signed_by(&key, &self.issuer).unwrap();
        (made.der().clone(), key)
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

pub(super) type Chain = (Vec<CertificateDer<'static>>, KeyPair);

/// What an origin shows, the roots it is verified with, and the word for it; `None` for a good one.
fn zoo() -> Vec<(&'static str, Chain, String, Option<&'static str>)> {
    let root = Signer::root();
    let alone = |(leaf, key): (CertificateDer<'static>, KeyPair)| (vec![leaf], key);
    let here = |chain: Chain| (chain, root.pem.clone());
    let mut all = Vec::new();
    let mut add = |name, (chain, trust): (Chain, String), code| all.push((name, chain, trust, code));
    let (then, now) = (SystemTime::now() - 3 * DAY, SystemTime::now());
    add("good", here(alone(root.leaf(|_| {}))), None);
    add(
        "expired",
        here(alone(root.leaf(|leaf| (leaf.not_before, leaf.not_after) = (then.into(), (then + DAY).into())))),
        Some("tls_expired"),
    );
    add(
        "not yet valid",
        here(alone(root.leaf(|leaf| leaf.not_before = (now + DAY).into()))),
        Some("tls_not_yet_valid"),
    );
    add(
        "of an unknown root",
        here(alone(Signer::root_with(|root| root.distinguished_name.push(DnType::CommonName, "other")).leaf(|_| {}))),
        Some("tls_untrusted"),
    );
    add("self-signed", here(self_signed()), Some("tls_untrusted"));
    add(
        "for another host",
        here(alone(root.leaf(|leaf| leaf.subject_alt_names = names("other.test")))),
        Some("tls_wrong_host"),
    );
    add(
        "for names below",
        here(alone(root.leaf(|leaf| leaf.subject_alt_names = names("*.origin.test")))),
        Some("tls_wrong_host"),
    );
    add(
        "for all of a top-level name",
        here(alone(root.leaf(|leaf| leaf.subject_alt_names = names("*.test")))),
        Some("tls_wrong_host"),
    );
    add(
        "with a common name only",
        here(alone(root.leaf(|leaf| {
            leaf.subject_alt_names.clear();
            leaf.distinguished_name.push(DnType::CommonName, HOST);
        }))),
        Some("tls_wrong_host"),
    );
    add(
        "for clients",
        here(alone(root.leaf(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]))),
        Some("tls_certificate"),
    );
    let middle = root.intermediate(|_| {});
    add("with an incomplete chain", here(alone(middle.leaf(|_| {}))), Some("tls_untrusted"));
    add("with a whole chain", here(chain(&middle)), None);
    let narrow = root.intermediate(|middle| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("elsewhere.test".to_owned())];
        middle.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    add("against a name constraint", here(chain(&narrow)), Some("tls_certificate"));
    let leaf_that_signs = root.intermediate(|middle| middle.is_ca = IsCa::ExplicitNoCa);
    add("signed by a leaf", here(chain(&leaf_that_signs)), Some("tls_certificate"));
    let end = root.intermediate(|middle| middle.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let beyond = end.intermediate(|_| {});
    let (leaf, key) = beyond.leaf(|_| {});
    let long = (vec![leaf, beyond.certificate.clone(), end.certificate.clone()], key);
    add("of a root with a weak key", weak(), Some("tls_certificate"));
    add("beyond its path length", here(long), Some("tls_certificate"));
    all
}

/// A root with an RSA key of 1024 bits, which rcgen does not make, and the leaf that it has signed, both for a century.
fn weak() -> (Chain, String) {
    let file = include_str!("weak.pem");
    let mut certificates = CertificateDer::pem_slice_iter(file.as_bytes()).map(Result::unwrap);
    let root = certificates.next().unwrap();
    let key = PrivateKeyDer::from_pem_slice(file.as_bytes()).unwrap();
    ((vec![certificates.next().unwrap()], KeyPair::try_from(key.secret_der()).unwrap()), crate::io::tls::pem(&root))
}

fn names(name: &str) -> Vec<rcgen::SanType> {
    vec![rcgen::SanType::DnsName(name.try_into().unwrap())]
}

fn self_signed() -> Chain {
    let key = KeyPair::generate().unwrap();
    (vec![changed(|_| {}).self_signed(&key).unwrap().der().clone()], key)
}

fn chain(signer: &Signer) -> Chain {
    chain_with(signer, |_| {})
}

/// A leaf, changed, with its signer's certificate.
pub(super) fn chain_with(signer: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Chain {
    let (leaf, key) = signer.leaf(change);
    (vec![leaf, signer.certificate.clone()], key)
}

/// What an origin with this chain is configured with.
pub(super) fn showing((chain, key): Chain) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn every_certificate_that_is_not_good_is_refused_with_its_word(choice: Choice) {
    for (name, (chain, key), trust, code) in zoo() {
        let config = showing((chain, key));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (address, _seen) = origin(move |stream| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let asked = super::harness::request(&mut stream);
            assert!(asked.is_none() || code.is_none(), "an origin whose certificate is {name} was asked");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        let proxy = Proxy::start_tls(choice, address, &trust, RULES);
        let answer = ask(&proxy);
        match code {
            None => assert!(answer.ends_with("ok"), "{name}: {answer}"),
            Some(code) => {
                assert!(
                    answer.starts_with("HTTP/1.1 502 ") && answer.contains(&format!(r#""code":"{code}""#)),
                    "{name}: {answer}"
                );
                let records = proxy.stop();
                assert!(
                    matches!(&records[..], [Recorded::Decision { .. }, Recorded::Outcome { status: 502, code: recorded, .. }] if recorded == code),
                    "{name}: {records:?}"
                );
            }
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{name}: one attempt, and none without TLS");
    }
}

fn an_origin_in_the_clear_is_not_taken_for_one_under_tls(choice: Choice) {
    let (trust, _) = crate::io::demo_certificate(HOST).unwrap();
    let (address, seen) = origin(|mut stream| {
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        first[0]
    });
    let proxy = Proxy::start_tls(choice, address, &trust, RULES);
    let answer = ask(&proxy);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("tls_"), "{answer}");
    assert_eq!(seen.recv().unwrap(), 0x16, "something else than a ClientHello was sent");
    drop(proxy.stop());
    assert!(seen.try_recv().is_err(), "a second attempt was made");
}

fn an_origin_of_another_tls_is_refused(choice: Choice) {
    let (trust, _) = crate::io::demo_certificate(HOST).unwrap();
    // A ServerHello for TLS 1.1, to whatever the client offers.
    let (address, _seen) = origin(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0xc0, 0x13, 0]);
        let _ = stream.write_all(&hello);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start_tls(choice, address, &trust, RULES);
    let answer = ask(&proxy);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(r#""code":"tls_"#), "{answer}");
}

fn a_body_that_ends_without_a_close_notify_is_cut(choice: Choice) {
    let (address, _seen, trust) = tls_origin(HOST, |mut stream| {
        super::harness::request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall there i").unwrap();
        // The connection closes, and TLS does not say so.
    });
    let proxy = Proxy::start_tls(choice, address, &trust, RULES);
    let mut client = proxy.tls_client(HOST);
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", answer.escape_ascii());
    drop(client);
    assert!(proxy.stop().iter().any(|record| record.code() == "body_truncated"));
}

fn a_client_with_a_grease_ech_is_served(choice: Choice) {
    let (address, _seen, trust) = tls_origin(HOST, |mut stream| {
        super::harness::request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let proxy = Proxy::start_tls(choice, address, &trust, RULES);
    let suite: &'static dyn Hpke = ALL_SUPPORTED_SUITES[0];
    let (HpkePublicKey(placeholder), _) = suite.generate_key_pair().unwrap();
    let grease = EchGreaseConfig::new(suite, HpkePublicKey(placeholder));
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_ech(EchMode::Grease(grease))
        .unwrap()
        .with_root_certificates(proxy.roots())
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = StreamOwned::new(session, proxy.client());
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().ends_with("ok"));
}

pub(super) fn ask(proxy: &Proxy) -> String {
    let mut client = proxy.tls_client(HOST);
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    response(&mut client).unwrap()
}
