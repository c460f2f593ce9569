use proptest::prelude::*;

use super::properties::holds;
use super::*;

/// A query for `labels`, of type `kind`, with an OPT record where `edns` has its version.
fn question(labels: &[&[u8]], kind: u16, edns: Option<u8>) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in labels {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    if let Some(version) = edns {
        bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, version, 0, 0, 0, 0]);
    }
    bytes
}

fn code(bytes: &[u8]) -> Option<u8> {
    holds(bytes);
    query(bytes).expect_err("a fault").response().map(|response| response[3] & 0x0f)
}

#[test]
fn reads_a_question() {
    let bytes = question(&[b"API", b"Example", b"com"], 1, Some(0));
    holds(&bytes);
    let asked = query(&bytes).unwrap();
    assert_eq!((asked.id, &*asked.name, asked.kind), (0xabcd, "api.example.com", Kind::A));
    assert_eq!(query(&question(&[b"a"], 28, None)).unwrap().kind, Kind::Aaaa);
    assert_eq!(query(&question(&[b"a"], 65, None)).unwrap().kind, Kind::Other(65));
    assert_eq!(query(&question(&[], 2, None)).unwrap().name, "");
}

#[test]
fn writes_odd_octets_so_that_they_look_like_no_host() {
    for (label, name) in [
        (&b"a b"[..], "a\\032b.x"),
        (b"a.b", "a\\046b.x"),
        (b"*", "\\042.x"),
        (b"\xff\0", "\\255\\000.x"),
        (b"_dns", "_dns.x"),
    ] {
        let bytes = question(&[label, b"x"], 16, None);
        holds(&bytes);
        assert_eq!(query(&bytes).unwrap().name, name);
    }
}

#[test]
fn says_that_a_name_is_blocked_to_those_who_can_read_it() {
    for edns in [None, Some(0)] {
        let bytes = question(&[b"denied", b"example"], 1, edns);
        holds(&bytes);
        let answer = answer_nxdomain(&query(&bytes).unwrap());
        assert_eq!(answer[3] & 0x0f, 3);
        assert_eq!(answer.windows(6).any(|window| window == [0, 15, 0, 2, 0, 15]), edns.is_some());
    }
}

#[test]
fn answers_with_the_address_given() {
    let bytes = question(&[b"a", b"example"], 1, None);
    let answer = answer_address(&query(&bytes).unwrap(), IpAddr::from([10, 0, 0, 1]), 1);
    assert_eq!(answer[answer.len() - 4..], [10, 0, 0, 1]);
    assert_eq!(answer_empty(&query(&bytes).unwrap())[6..8], [0, 0]);
}

#[test]
fn answers_neither_fragments_nor_responses() {
    for length in 0..HEADER_BYTES {
        assert_eq!(code(&vec![0; length]), None);
    }
    let mut response = question(&[b"a"], 1, None);
    response[2] |= 0x80;
    assert_eq!(code(&response), None);
}

#[test]
fn refuses_what_is_not_exactly_one_question() {
    let one = question(&[b"a", b"example"], 1, None);
    let mut none = one.clone();
    none[5] = 0;
    let mut two = one.clone();
    two[5] = 2;
    two.extend_from_slice(&one[HEADER_BYTES..]);
    let trailing = [&*one, b"x"].concat();
    let mut with_answer = one.clone();
    with_answer[7] = 1;
    with_answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
    let mut to_itself = one[..HEADER_BYTES].to_vec();
    to_itself.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    let long_name = question(&[&[b'a'; 63][..]; 4], 1, None);
    let long = [one.clone(), vec![0; DNS_QUERY_BYTES_MAX]].concat();
    for bytes in [none, two, trailing, with_answer, to_itself, long_name, long, one[..one.len() - 1].to_vec()] {
        assert_eq!(code(&bytes), Some(FORMAT_ERROR), "{bytes:?}");
    }
}

#[test]
fn refuses_other_operations_classes_and_versions() {
    for opcode in 1..16 {
        let mut bytes = question(&[b"a"], 1, None);
        bytes[2] |= opcode << 3;
        assert_eq!(code(&bytes), Some(NOT_IMPLEMENTED));
    }
    let mut chaos = question(&[b"version", b"bind"], 16, None);
    *chaos.last_mut().expect("not empty") = 3;
    assert_eq!(code(&chaos), Some(REFUSED));
    assert_eq!(code(&question(&[b"a"], 1, Some(1))), Some(REFUSED));
}

proptest! {
    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        holds(&bytes);
        holds(&[&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &*bytes].concat());
    }

    #[test]
    fn holds_for_any_name(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 0..5), kind in any::<u16>(), edns in any::<bool>()) {
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        holds(&question(&labels, kind, edns.then_some(0)));
    }
}
