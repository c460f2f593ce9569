//! The words of a rule as the kernel's expressions.
//!
//! Every term is written as `nft` compiles it, register for register, so that `nft list ruleset` shows our rules as we print them.
//! Numbers in the messages are big-endian; values that are compared have the byte order of what they are compared with.

use super::term::{NOBODY, Term, Transport};
use crate::io::netlink::Attributes;

impl Term {
    /// Appends the kernel's expressions.
    pub(super) fn write(&self, rule: &mut Attributes<'_>) {
        match self {
            Term::Protocol(protocol) => protocol_is(rule, *protocol as u8),
            Term::Port(protocol, port) => {
                protocol_is(rule, *protocol as u8);
                load_payload(rule, TRANSPORT, 2, 2);
                equals(rule, &port.to_be_bytes());
            }
            Term::ToV4(net) => {
                load_meta(rule, META_NFPROTO);
                equals(rule, &[IPV4]);
                // nft loads no more bytes than the prefix has, where it is one of whole bytes.
                let length = net.prefix_len() / 8;
                load_payload(rule, NETWORK, 16, u32::from(length));
                equals(rule, &net.addr().octets()[..usize::from(length)]);
            }
            Term::ToV6(address) => {
                load_meta(rule, META_NFPROTO);
                equals(rule, &[IPV6]);
                load_payload(rule, NETWORK, 24, 16);
                equals(rule, &address.octets());
            }
            Term::Cgroup { id, level, .. } => {
                expression(rule, "socket", |socket| {
                    socket.number(1, SOCKET_CGROUP);
                    socket.number(2, REGISTER);
                    socket.number(3, *level);
                });
                equals(rule, &id.to_ne_bytes());
            }
            Term::Spoofed => {
                expression(rule, "fib", |fib| {
                    fib.number(1, REGISTER);
                    fib.number(2, FIB_ADDRESS_TYPE);
                    fib.number(3, FIB_SOURCE);
                });
                compare(rule, NOT_EQUAL, &ADDRESS_LOCAL.to_ne_bytes());
            }
            Term::Icmpv6(kind) => {
                load_meta(rule, META_NFPROTO);
                equals(rule, &[IPV6]);
                protocol_is(rule, ICMPV6);
                load_payload(rule, TRANSPORT, 0, 1);
                equals(rule, &[*kind as u8]);
            }
            Term::Out(_) | Term::NotOut(_) | Term::NotIn(_) | Term::Owner(_) | Term::Owned | Term::Routed => {
                self.write_origin(rule);
            }
            Term::Redirected
            | Term::Reply
            | Term::Established
            | Term::New
            | Term::TcpFromTheMiddle
            | Term::Marked(_)
            | Term::Mark(_) => self.write_connection(rule),
            Term::Accept | Term::Return | Term::Drop | Term::Reject | Term::Redirect(_) => self.write_verdict(rule),
        }
    }

    /// What the kernel keeps beside the packet: interfaces, owner, route.
    fn write_origin(&self, rule: &mut Attributes<'_>) {
        match self {
            Term::Out(name) => {
                load_meta(rule, META_OUT);
                equals(rule, &interface(name));
            }
            Term::NotOut(name) => {
                load_meta(rule, META_OUT);
                compare(rule, NOT_EQUAL, &interface(name));
            }
            Term::NotIn(name) => {
                load_meta(rule, META_IN);
                compare(rule, NOT_EQUAL, &interface(name));
            }
            Term::Owner(user) => {
                load_meta(rule, META_USER);
                equals(rule, &user.to_ne_bytes());
            }
            Term::Owned => {
                load_meta(rule, META_USER);
                compare(rule, NOT_EQUAL, &NOBODY.to_ne_bytes());
            }
            Term::Routed => {
                load_meta(rule, META_ROUTE_CLASS);
                compare(rule, NOT_EQUAL, &NOBODY.to_ne_bytes());
            }
            _ => (),
        }
    }

    /// What connection tracking knows.
    fn write_connection(&self, rule: &mut Attributes<'_>) {
        match self {
            Term::Redirected => has_bit(rule, CT_STATUS, STATUS_DESTINATION_NAT),
            Term::Reply => {
                load_connection(rule, CT_DIRECTION);
                equals(rule, &[DIRECTION_REPLY]);
            }
            Term::Established => has_bit(rule, CT_STATE, STATE_ESTABLISHED),
            Term::New => has_bit(rule, CT_STATE, STATE_NEW),
            Term::TcpFromTheMiddle => {
                has_bit(rule, CT_STATE, STATE_NEW);
                protocol_is(rule, Transport::Tcp as u8);
                load_payload(rule, TRANSPORT, TCP_FLAGS_OFFSET, 1);
                mask(rule, &[FIN_SYN_RST_ACK]);
                compare(rule, NOT_EQUAL, &[SYN]);
            }
            Term::Marked(mark) => {
                load_connection(rule, CT_MARK);
                equals(rule, &mark.to_ne_bytes());
            }
            Term::Mark(mark) => {
                load_value(rule, &mark.to_ne_bytes());
                expression(rule, "ct", |ct| {
                    ct.number(2, CT_MARK);
                    ct.number(4, REGISTER);
                });
            }
            _ => (),
        }
    }

    fn write_verdict(&self, rule: &mut Attributes<'_>) {
        let mut verdict = |code: i32| {
            expression(rule, "immediate", |immediate| {
                immediate.number(1, VERDICT_REGISTER);
                immediate.nest(2, |data| data.nest(2, |verdict| verdict.put(1, &code.to_be_bytes())));
            });
        };
        match self {
            Term::Accept => verdict(1),
            Term::Drop => verdict(0),
            Term::Return => verdict(-5),
            Term::Reject => expression(rule, "reject", |reject| {
                reject.number(1, REJECT_ICMPX);
                reject.put(2, &[ADMIN_PROHIBITED]);
            }),
            Term::Redirect(port) => {
                load_value(rule, &port.to_be_bytes());
                expression(rule, "redir", |redirect| {
                    redirect.number(1, REGISTER);
                    redirect.number(3, PORT_SPECIFIED);
                });
            }
            _ => (),
        }
    }
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

fn load_connection(rule: &mut Attributes<'_>, key: u32) {
    expression(rule, "ct", |ct| {
        ct.number(1, REGISTER);
        ct.number(2, key);
    });
}

fn load_value(rule: &mut Attributes<'_>, value: &[u8]) {
    expression(rule, "immediate", |immediate| {
        immediate.number(1, REGISTER);
        immediate.nest(2, |data| data.put(1, value));
    });
}

fn has_bit(rule: &mut Attributes<'_>, key: u32, bits: u32) {
    load_connection(rule, key);
    mask(rule, &bits.to_ne_bytes());
    compare(rule, NOT_EQUAL, &0u32.to_ne_bytes());
}

fn mask(rule: &mut Attributes<'_>, bits: &[u8]) {
    let none = vec![0; bits.len()];
    expression(rule, "bitwise", |bitwise| {
        bitwise.number(1, REGISTER);
        bitwise.number(2, REGISTER);
        bitwise.number(3, u32::try_from(bits.len()).unwrap_or(u32::MAX));
        bitwise.nest(4, |data| data.put(1, bits));
        bitwise.nest(5, |data| data.put(1, &none));
    });
}

fn equals(rule: &mut Attributes<'_>, value: &[u8]) {
    compare(rule, EQUAL, value);
}

fn compare(rule: &mut Attributes<'_>, how: u32, value: &[u8]) {
    expression(rule, "cmp", |compare| {
        compare.number(1, REGISTER);
        compare.number(2, how);
        compare.nest(3, |data| data.put(1, value));
    });
}

/// A whole name as it is compared: padded, so that a longer name that starts the same is another.
fn interface(name: &str) -> [u8; INTERFACE_NAME_BYTES] {
    let mut padded = [0; INTERFACE_NAME_BYTES];
    padded.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    padded
}

// <linux/netfilter/nf_tables.h>, <linux/netfilter/nf_conntrack_common.h>, <linux/if.h>
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_IN: u32 = 6;
const META_OUT: u32 = 7;
const META_USER: u32 = 10;
const META_ROUTE_CLASS: u32 = 13;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ICMPV6: u8 = 58;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const TCP_FLAGS_OFFSET: u32 = 13;
const SYN: u8 = 0x02;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SOCKET_CGROUP: u32 = 3;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
/// `RTN_LOCAL`.
const ADDRESS_LOCAL: u32 = 2;
const CT_STATE: u32 = 0;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
const CT_MARK: u32 = 3;
const DIRECTION_REPLY: u8 = 1;
const STATE_ESTABLISHED: u32 = 1 << 1;
const STATE_NEW: u32 = 1 << 3;
const STATUS_DESTINATION_NAT: u32 = 1 << 5;
const REJECT_ICMPX: u32 = 2;
const ADMIN_PROHIBITED: u8 = 3;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`, without which the port register is ignored.
const PORT_SPECIFIED: u32 = 2;
const INTERFACE_NAME_BYTES: usize = 16;
