//! Certificates that a configured list has taken back: refused with their word, as leaves and as authorities, through the whole proxy.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::{ServerConnection, StreamOwned};

use super::harness::{Proxy, Recorded, fixed, origin, request};
use super::on_both;
use super::zoo::{Chain, Signer, ask, chain_with, showing};
use crate::io::engine::Choice;

const RULES: &str = "  - allow: all\n    host: origin.test\n";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Of the leaf, and of the intermediate.
const LEAF: u64 = 4711;
const MIDDLE: u64 = 4712;

on_both! {
    what_a_configured_list_has_taken_back_is_refused_with_its_word
}

/// A list of `signer`'s with these serial numbers, valid until `until`.
fn list(signer: &Signer, serials: &[u64], until: SystemTime) -> rcgen::CertificateRevocationList {
    let taken_back = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: (SystemTime::now() - 2 * DAY).into(),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: (SystemTime::now() - 2 * DAY).into(),
        next_update: until.into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(taken_back).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&signer.issuer)
    .unwrap()
}

fn what_a_configured_list_has_taken_back_is_refused_with_its_word(choice: Choice) {
    let root = Signer::root();
    let middle = root.intermediate(|params| params.serial_number = Some(SerialNumber::from(MIDDLE)));
    let chain = || chain_with(&middle, |leaf| leaf.serial_number = Some(SerialNumber::from(LEAF)));
    let (tomorrow, yesterday) = (SystemTime::now() + DAY, SystemTime::now() - DAY);
    let pem = |lists: &[rcgen::CertificateRevocationList]| {
        lists.iter().map(|list| list.pem().unwrap()).collect::<String>().into_bytes()
    };
    // Under the intermediate's name, by another key.
    let forged = Signer::root().intermediate(|_| {});
    let cases: [(&str, Vec<u8>, Option<&str>); 8] = [
        ("names the leaf", pem(&[list(&middle, &[LEAF], tomorrow)]), Some("tls_revoked")),
        ("names the leaf, in DER", list(&middle, &[1, LEAF], tomorrow).der().to_vec(), Some("tls_revoked")),
        ("names the intermediate", pem(&[list(&root, &[MIDDLE], tomorrow)]), Some("tls_revoked")),
        (
            "names the leaf, second of two",
            pem(&[list(&root, &[], tomorrow), list(&middle, &[LEAF], tomorrow)]),
            Some("tls_revoked"),
        ),
        ("names others", pem(&[list(&middle, &[1, 2], tomorrow), list(&root, &[3], tomorrow)]), None),
        ("has the leaf's number under another authority", pem(&[list(&root, &[LEAF], tomorrow)]), None),
        ("is past its time", pem(&[list(&middle, &[], yesterday)]), Some("tls_revocation_stale")),
        ("is not the authority's own", pem(&[list(&forged, &[], tomorrow)]), Some("tls_revocation_list")),
    ];
    for (what, lists, code) in cases {
        let answer = exchange(choice, chain(), (&root.pem, &lists), code);
        match code {
            None => assert!(answer.ends_with("ok"), "a list that {what}: {answer}"),
            Some(code) => assert!(
                answer.starts_with("HTTP/1.1 502 ") && answer.contains(&format!(r#""code":"{code}""#)),
                "a list that {what}: {answer}"
            ),
        }
    }
}

/// What the client gets of an origin with this chain, which must not see a request where a `code` is expected; it is on record.
fn exchange(choice: Choice, chain: Chain, (trust, lists): (&str, &[u8]), code: Option<&str>) -> String {
    let config = showing(chain);
    let (address, seen) = origin(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let asked = request(&mut stream).is_some();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        asked
    });
    let proxy = Proxy::start_tls_with_lists(choice, fixed(443), (address, trust), Some(lists), RULES);
    let answer = ask(&proxy);
    let records = proxy.stop();
    assert_eq!(seen.recv().unwrap(), code.is_none(), "{answer}");
    assert!(
        matches!(&records[..], [Recorded::Decision { .. }, Recorded::Outcome { code: said, .. }] if said == code.unwrap_or_default()),
        "{records:?}"
    );
    answer
}
