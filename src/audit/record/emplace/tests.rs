use std::net::SocketAddr;

use proptest::prelude::*;
use rkyv::api::low;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::util::AlignedVec;

use super::*;
use crate::audit::facts::{DecisionFacts, DecisionId, Inspected, McpFacts, OutcomeFacts, Query, Transport, Verdict};

/// More than any of these archives takes.
const ROOM: usize = 128 * 1024;

/// Texts of every length around those at which they are written otherwise, and too long ones.
fn text() -> impl Strategy<Value = String> {
    let lengths = prop_oneof![0..=40_usize, 60..=70_usize, 120..=132_usize, 250..=260_usize, Just(9_000)];
    let character = || prop_oneof![Just('a'), Just('é'), any::<char>()];
    lengths.prop_flat_map(move |length| {
        proptest::collection::vec(character(), length).prop_map(|text| text.into_iter().collect())
    })
}

fn texts<const N: usize>() -> impl Strategy<Value = [String; N]> {
    proptest::collection::vec(text(), N).prop_map(|texts| texts.try_into().unwrap())
}

fn address() -> impl Strategy<Value = Option<SocketAddr>> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    proptest::option::of(prop_oneof![v4, v6])
}

/// Memory that was written before, as a ring's is.
fn used() -> AlignedVec<16> {
    let mut room = AlignedVec::new();
    room.resize(ROOM, 0xaa);
    room
}

macro_rules! same_octets {
    ($record:expr) => {
        let record = $record;
        let (mut ours, mut theirs) = (used(), used());
        let written = low::to_bytes_in_with_alloc::<_, _, Failure>(
            &record,
            Buffer::from(&mut *theirs),
            SubAllocator::new(&mut []),
        );
        let written = written.unwrap().to_vec();
        let length = record.write(&mut ours).unwrap();
        prop_assert_eq!(length, record.bytes());
        prop_assert_eq!(&ours[..length], &written[..], "{:?}", record);
        prop_assert!(ours[length..].iter().all(|octet| *octet == 0xaa));
        for short in [0, length / 2, length - 1] {
            prop_assert_eq!(record.write(&mut ours[..short]), None);
        }
    };
}

proptest! {
    #[test]
    fn decisions_and_messages_are_written_as_rkyv_writes_them(
        (texts, more) in (texts::<9>(), texts::<6>()),
        addresses in [address(), address(), address()],
        (port, status, connection, decide_ns, id) in any::<(Option<u16>, Option<u16>, u64, u64, u128)>(),
        (policy, digest, denied, enforced, kept) in any::<(Option<[u8; 32]>, Option<[u8; 32]>, bool, bool, bool)>(),
        inspected in any::<u8>(),
    ) {
        let [agent, sni, host, method, path, query, rule, reason, code] = texts.each_ref().map(String::as_str);
        let facts = DecisionFacts {
            agent,
            connection,
            source: addresses[0],
            destination: addresses[1],
            upstream: addresses[2],
            sni: Some(sni),
            host: Some(host),
            port,
            method: Some(method),
            path: Some(path),
            query: Some(if kept { Query::Kept(query) } else { Query::Redacted }),
            verdict: if denied { Verdict::Deny } else { Verdict::Allow },
            enforced,
            rule: Some(rule),
            reason: Some(reason),
            code: Some(code),
            policy,
            inspected: Inspected(inspected),
            status,
            decide_ns,
            ..DecisionFacts::default()
        };
        same_octets!(Decision::new(DecisionId(id), &facts));
        let [server, version, method, tool, resource, prompt] = more.each_ref().map(String::as_str);
        let transport = if denied { Transport::Http } else { Transport::Stdio };
        let mcp = McpFacts { server, transport, version, method, tool, resource, prompt, arguments_digest: digest };
        same_octets!(Message::new(Decision::new(DecisionId(id), &facts), &mcp));
    }

    #[test]
    fn outcomes_are_written_as_rkyv_writes_them(
        [code, error] in texts::<2>(),
        upstream in address(),
        (status, bytes_up, bytes_down, upstream_ns, total_ns, id) in any::<(Option<u16>, u64, u64, u64, u64, u128)>(),
    ) {
        let facts = OutcomeFacts {
            status,
            upstream,
            bytes_up,
            bytes_down,
            upstream_ns,
            total_ns,
            code: Some(&code),
            error: Some(&error),
            location: None,
        };
        same_octets!(Outcome::new(DecisionId(id), &facts));
        same_octets!(Outcome::aborted(DecisionId(id)));
    }
}
