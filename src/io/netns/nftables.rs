//! The redirect rules of a fence, in one nfnetlink batch: applied whole or not at all.
//!
//! ```text
//! table inet ringfence {
//!   chain output { type nat hook output priority -100; policy accept;
//!     meta l4proto tcp th dport 53 redirect to :15053     # any server, 127.0.0.53 too
//!     meta l4proto udp th dport 53 redirect to :15053
//!     ip daddr 127.0.0.0/8 return                         # the agent's own servers
//!     ip6 daddr ::1 return
//!     meta l4proto tcp redirect to :15001
//!   }
//! }
//! ```
//!
//! A redirect in the output hook rewrites the destination to 127.0.0.1 or ::1, where ringfence listens. Nothing is dropped, because
//! nothing needs to be: there is no link but loopback.

use std::net::Ipv6Addr;

use nix::sys::socket::SockProtocol;

use super::{
    error::{At, FenceError, Step},
    netlink::{ACK, APPEND, Attributes, Batch, CREATE, Netlink},
};

/// Where redirected TCP connections arrive, on 127.0.0.1 and ::1 inside the fence.
pub const REDIRECT_PORT: u16 = 15001;
/// Where redirected DNS questions arrive, over UDP and TCP.
pub const DNS_PORT: u16 = 15053;

/// Loads the table into the namespace of the caller.
pub(super) fn load() -> Result<(), FenceError> {
    let netlink = Netlink::open(SockProtocol::NetlinkNetFilter).at(Step::Rules, "netlink")?;
    netlink.apply(&batch()).at(Step::Rules, "nf_tables")
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    // struct nfgenmsg: family, version, resource id in network order (the subsystem, for the batch's own messages).
    batch.message(BATCH_BEGIN, 0, &[0, 0, 0, SUBSYSTEM], |_| ());
    batch.message(kind(NEW_TABLE), ACK | CREATE, &INET, |table| table.text(1, TABLE));
    batch.message(kind(NEW_CHAIN), ACK | CREATE, &INET, |chain| {
        chain.text(CHAIN_TABLE, TABLE);
        chain.text(CHAIN_NAME, CHAIN);
        chain.nest(CHAIN_HOOK, |hook| {
            hook.number(1, HOOK_OUTPUT);
            hook.put(2, &PRIORITY_DESTINATION_NAT.to_be_bytes());
        });
        chain.number(CHAIN_POLICY, ACCEPT);
        chain.text(CHAIN_TYPE, "nat");
    });
    for protocol in [TCP, UDP] {
        rule(&mut batch, |rule| {
            protocol_is(rule, protocol);
            load_payload(rule, TRANSPORT, 2, 2);
            equals(rule, &53u16.to_be_bytes());
            redirect(rule, DNS_PORT);
        });
    }
    rule(&mut batch, |rule| {
        family_is(rule, 2);
        load_payload(rule, NETWORK, 16, 1);
        equals(rule, &[127]);
        stop(rule);
    });
    rule(&mut batch, |rule| {
        family_is(rule, 10);
        load_payload(rule, NETWORK, 24, 16);
        equals(rule, &Ipv6Addr::LOCALHOST.octets());
        stop(rule);
    });
    rule(&mut batch, |rule| {
        protocol_is(rule, TCP);
        redirect(rule, REDIRECT_PORT);
    });
    batch.message(BATCH_END, 0, &[0, 0, 0, SUBSYSTEM], |_| ());
    batch
}

fn rule(batch: &mut Batch, fill: impl FnOnce(&mut Attributes<'_>)) {
    batch.message(kind(NEW_RULE), ACK | CREATE | APPEND, &INET, |rule| {
        rule.text(1, TABLE);
        rule.text(2, CHAIN);
        rule.nest(4, fill);
    });
}

fn expression(rule: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    rule.nest(1, |element| {
        element.text(1, name);
        element.nest(2, fill);
    });
}

fn protocol_is(rule: &mut Attributes<'_>, protocol: u8) {
    load_meta(rule, META_L4PROTO);
    equals(rule, &[protocol]);
}

fn family_is(rule: &mut Attributes<'_>, family: u8) {
    load_meta(rule, META_NFPROTO);
    equals(rule, &[family]);
}

fn load_meta(rule: &mut Attributes<'_>, key: u32) {
    expression(rule, "meta", |meta| {
        meta.number(1, REGISTER);
        meta.number(2, key);
    });
}

fn load_payload(rule: &mut Attributes<'_>, base: u32, offset: u32, length: u32) {
    expression(rule, "payload", |payload| {
        payload.number(1, REGISTER);
        payload.number(2, base);
        payload.number(3, offset);
        payload.number(4, length);
    });
}

fn equals(rule: &mut Attributes<'_>, value: &[u8]) {
    expression(rule, "cmp", |compare| {
        compare.number(1, REGISTER);
        compare.number(2, 0);
        compare.nest(3, |data| data.put(1, value));
    });
}

/// Accepts the packet as it is: `return` from a base chain falls to its policy.
fn stop(rule: &mut Attributes<'_>) {
    expression(rule, "immediate", |immediate| {
        immediate.number(1, 0);
        immediate.nest(2, |data| data.nest(2, |verdict| verdict.put(1, &RETURN.to_be_bytes())));
    });
}

fn redirect(rule: &mut Attributes<'_>, port: u16) {
    expression(rule, "immediate", |immediate| {
        immediate.number(1, REGISTER);
        immediate.nest(2, |data| data.put(1, &port.to_be_bytes()));
    });
    expression(rule, "redir", |redirect| {
        redirect.number(1, REGISTER);
        redirect.number(3, PORT_SPECIFIED);
    });
}

const fn kind(message: u16) -> u16 {
    (SUBSYSTEM as u16) << 8 | message
}

const TABLE: &str = "ringfence";
const CHAIN: &str = "output";

// <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>
const SUBSYSTEM: u8 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const INET: [u8; 4] = [1, 0, 0, 0];
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_OUTPUT: u32 = 3;
const PRIORITY_DESTINATION_NAT: i32 = -100;
const ACCEPT: u32 = 1;
const RETURN: i32 = -5;
const REGISTER: u32 = 1;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`, without which the port register is ignored.
const PORT_SPECIFIED: u32 = 2;
