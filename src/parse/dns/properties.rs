//! What holds for every input of the DNS stub. Unit tests, property tests and the fuzz target call the same functions.

#![allow(clippy::expect_used, clippy::panic, reason = "a property that does not hold panics, as the fuzzer wants it")]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

/// Everything that holds for any bytes taken as a query.
pub fn holds(bytes: &[u8]) {
    let asked = match query(bytes) {
        Ok(asked) => asked,
        Err(fault) => return refusal_holds(bytes, &fault),
    };
    assert_eq!(asked.id.to_be_bytes(), bytes[..2]);
    assert_eq!(Some(asked.name.clone()), naive_name(bytes), "oracle and parser disagree");
    if let Ok(host) = crate::parse::host::host(&asked.name) {
        assert!(host.name().is_none_or(|name| name == asked.name));
    }
    for end in 0..bytes.len().min(64) {
        assert!(query(&bytes[..end]).is_err(), "{end} bytes of {} are no query", bytes.len());
    }
    let (v4, v6) = (Ipv4Addr::new(127, 1, 2, 3), Ipv6Addr::LOCALHOST);
    for (address, data) in [(IpAddr::V4(v4), RData::A(A(v4))), (IpAddr::V6(v6), RData::AAAA(AAAA(v6)))] {
        let answered = read_back(bytes, &asked, &answer_address(&asked, address, 7));
        let [record] = &answered.answers[..] else { panic!("one address was given: {answered:?}") };
        assert_eq!((&record.name, record.ttl, &record.data), (asked.question.name(), 7, &data));
        assert_eq!(answered.metadata.response_code, ResponseCode::NoError);
    }
    let empty = read_back(bytes, &asked, &answer_empty(&asked));
    assert!(empty.answers.is_empty() && empty.metadata.response_code == ResponseCode::NoError);
    let missing = read_back(bytes, &asked, &answer_nxdomain(&asked));
    assert!(missing.answers.is_empty() && missing.metadata.response_code == ResponseCode::NXDomain);
    let reason = missing.edns.as_ref().and_then(|edns| edns.option(EXTENDED_ERROR.into()));
    let blocked = EdnsOption::Unknown(EXTENDED_ERROR, vec![0, 15]);
    assert_eq!(reason, asked.edns.then_some(&blocked));
}

fn refusal_holds(bytes: &[u8], fault: &DnsError) {
    match fault.response() {
        None => assert!(bytes.len() < HEADER_BYTES || bytes[2] & 0x80 != 0),
        Some(response) => {
            assert_eq!(response.len(), HEADER_BYTES);
            assert_eq!(response[..2], bytes[..2]);
            assert!(response[2] & 0x80 != 0 && response[3] & 0x0f != 0);
            assert_eq!(query(&response).map(|_| ()), Err(DnsError::NotAQuery), "a refusal is never answered");
        }
    }
}

/// An answer as a client reads it: to this question, and never larger than the client can take.
fn read_back(bytes: &[u8], asked: &Query, answer: &[u8]) -> Message {
    let message = Message::from_vec(answer).expect("the answer is sound");
    assert_eq!(message.metadata.id, asked.id);
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(message.queries, std::slice::from_ref(&asked.question));
    assert_eq!(message.edns.is_some(), asked.edns);
    assert!(answer.len() <= 512, "RFC 1035 §4.2.1");
    assert_eq!(query(answer).map(|_| ()), Err(DnsError::NotAQuery));
    // The question comes back as it was spelled: clients check the case of their letters (draft-vixie-dnsext-dns0x20).
    let question = HEADER_BYTES..HEADER_BYTES + asked.question.name().len() + 4;
    assert_eq!(answer.get(question.clone()), bytes.get(question));
    message
}

/// The name of the first question, from the octets.
fn naive_name(bytes: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some(labels.join("."));
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        labels.push(label.iter().map(|&byte| naive_octet(byte)).collect::<String>());
        at += 1 + length;
    }
}

fn naive_octet(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
        char::from(byte).to_ascii_lowercase().to_string()
    } else {
        format!("\\{byte:03}")
    }
}
