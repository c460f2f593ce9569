//! nftables without the `nft` program: tables as values, from which both the kernel's messages and nft's syntax are written.
//!
//! A [`Table`] is what one means; [`load`] appends it to a batch, [`Table`]'s `Display` prints it as `nft list table` does, and
//! [`differs`] tells whether the kernel has it. All three read the same value, so what is printed is what is applied. Knows nothing of
//! who wants which rules.

mod compare;
mod encode;
mod term;
mod text;

pub(in crate::io) use compare::differs;
pub(in crate::io) use term::{Icmpv6, Term, Transport};

use crate::io::netlink::{ACK, APPEND, Attributes, Batch, CREATE};

/// One table: applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::io) struct Table {
    pub(in crate::io) family: Family,
    pub(in crate::io) name: &'static str,
    pub(in crate::io) chains: Vec<Chain>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// Frames of named devices.
    Netdev,
}

/// A base chain: rules that a hook runs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::io) struct Chain {
    pub(in crate::io) name: &'static str,
    pub(in crate::io) kind: Kind,
    pub(in crate::io) hook: Hook,
    /// Lower comes first; 0 is where filters usually stand, −100 destination NAT.
    pub(in crate::io) priority: i32,
    /// What happens to a packet that no rule decides.
    pub(in crate::io) policy: Policy,
    /// For [`Hook::Egress`] alone: at least one.
    pub(in crate::io) devices: Vec<String>,
    pub(in crate::io) rules: Vec<Vec<Term>>,
}

/// What a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Kind {
    Nat,
    Filter,
}

/// Where in a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Hook {
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Policy {
    Accept,
    Drop,
}

/// Opens a batch. Nothing of it takes effect before [`end`] has been read, and nothing at all if any message is refused.
pub(in crate::io) fn begin(batch: &mut Batch) {
    batch.message(BATCH_BEGIN, 0, &BATCH_FAMILY, |_| ());
}

/// Closes a batch.
pub(in crate::io) fn end(batch: &mut Batch) {
    batch.message(BATCH_END, 0, &BATCH_FAMILY, |_| ());
}

/// Appends what makes a table. It must not exist.
pub(in crate::io) fn load(batch: &mut Batch, table: &Table) {
    batch.message(kind(NEW_TABLE), ACK | CREATE, &table.family.header(), |new| new.text(1, table.name));
    for chain in &table.chains {
        batch.message(kind(NEW_CHAIN), ACK | CREATE, &table.family.header(), |new| chain.write(table, new));
        for rule in &chain.rules {
            batch.message(kind(NEW_RULE), ACK | CREATE | APPEND, &table.family.header(), |new| {
                new.text(RULE_TABLE, table.name);
                new.text(RULE_CHAIN, chain.name);
                new.nest(RULE_EXPRESSIONS, |expressions| rule.iter().for_each(|term| term.write(expressions)));
            });
        }
    }
}

/// Appends what removes a table, whether or not it exists: it is made first, which is nothing where it is there already.
pub(in crate::io) fn unload(batch: &mut Batch, family: Family, name: &str) {
    batch.message(kind(NEW_TABLE), ACK | CREATE, &family.header(), |new| new.text(1, name));
    batch.message(kind(DELETE_TABLE), ACK, &family.header(), |old| old.text(1, name));
}

/// What the messages of [`load`] are about, in their order: the table, each chain, and under each chain its rules.
pub(in crate::io) fn subjects(table: &Table) -> impl Iterator<Item = (Option<&Chain>, &[Term])> {
    let parts = table.chains.iter().flat_map(|chain| {
        let rules = chain.rules.iter().map(move |rule| (Some(chain), rule.as_slice()));
        std::iter::once((Some(chain), [].as_slice())).chain(rules)
    });
    std::iter::once((None, [].as_slice())).chain(parts)
}

impl Chain {
    fn write(&self, table: &Table, new: &mut Attributes<'_>) {
        new.text(CHAIN_TABLE, table.name);
        new.text(CHAIN_NAME, self.name);
        new.nest(CHAIN_HOOK, |hook| {
            hook.number(1, self.hook.number());
            hook.put(2, &self.priority.to_be_bytes());
            if !self.devices.is_empty() {
                hook.nest(HOOK_DEVICES, |devices| self.devices.iter().for_each(|name| devices.text(1, name)));
            }
        });
        new.number(
            CHAIN_POLICY,
            match self.policy {
                Policy::Drop => 0,
                Policy::Accept => 1,
            },
        );
        new.text(CHAIN_TYPE, self.kind.name());
    }
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Netdev => "netdev",
        }
    }

    /// `struct nfgenmsg`: family, version, resource id in network order.
    fn header(self) -> [u8; 4] {
        match self {
            Family::Inet => [1, 0, 0, 0],
            Family::Netdev => [5, 0, 0, 0],
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Nat => "nat",
            Kind::Filter => "filter",
        }
    }
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
            Hook::Egress => "egress",
        }
    }

    fn number(self) -> u32 {
        match self {
            Hook::Input | Hook::Egress => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        }
    }
}

const fn kind(message: u16) -> u16 {
    (SUBSYSTEM as u16) << 8 | message
}

// <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>
const SUBSYSTEM: u8 = 10;
/// The batch's own messages name the subsystem where others have the resource id.
const BATCH_FAMILY: [u8; 4] = [0, 0, 0, SUBSYSTEM];
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const LIST_CHAINS: u16 = 4;
const NEW_RULE: u16 = 6;
const LIST_RULES: u16 = 7;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_DEVICES: u16 = 4;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
