//! Is a table in the kernel what we would load? Read back over netlink, chain by chain and rule by rule.
//!
//! A kernel may say more about an expression than was asked for, and newer ones do. So each attribute that we would write must be there
//! with our value, and there must be as many chains, rules and expressions as ours; what else the kernel says is ignored.

use std::io;

use super::{LIST_CHAINS, LIST_RULES, NEW_CHAIN, NEW_RULE, Table, kind, load};
use crate::io::netlink::{Attribute, Batch, Message, Netlink, attributes};

/// How the kernel's table differs from this one; `None` when it does not.
pub(in crate::io) fn differs(netlink: &Netlink, table: &Table) -> io::Result<Option<String>> {
    let mut batch = Batch::default();
    load(&mut batch, table);
    let wanted = batch.messages()?;
    let header = table.family.header();
    let have = [netlink.dump(kind(LIST_CHAINS), &header)?, netlink.dump(kind(LIST_RULES), &header)?].concat();
    for (what, number) in [("chain", NEW_CHAIN), ("rule", NEW_RULE)] {
        let wanted = wanted.iter().filter(|message| message.kind == kind(number));
        let mut have: Vec<&Message> =
            have.iter().filter(|message| message.kind == kind(number) && is_of(message, table)).collect();
        // Chains come in the order of their making, rules chain by chain: the order in which they are loaded.
        for wanted in wanted {
            let Some(found) = have.first() else {
                return Ok(Some(format!("a {what} is missing")));
            };
            if !holds(body(found)?, body(wanted)?)? {
                return Ok(Some(format!("a {what} is another than it should be")));
            }
            have.remove(0);
        }
        if !have.is_empty() {
            return Ok(Some(format!("there is a {what} too many")));
        }
    }
    Ok(None)
}

fn is_of(message: &Message, table: &Table) -> bool {
    let same_family = message.body.first() == table.family.header().first();
    let named = body(message).ok().and_then(|body| attributes(body).ok()).is_some_and(|attributes| {
        // CHAIN_TABLE and RULE_TABLE are the same number.
        attributes.iter().any(|attribute| {
            attribute.kind == super::RULE_TABLE && attribute.value.strip_suffix(&[0]) == Some(table.name.as_bytes())
        })
    });
    same_family && named
}

/// The attributes behind `struct nfgenmsg`.
fn body(message: &Message) -> io::Result<&[u8]> {
    message.body.get(4..).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
}

/// Whether `have` says all that `wanted` says: of each kind as many, in the same order, with the same values.
fn holds(have: &[u8], wanted: &[u8]) -> io::Result<bool> {
    let (have, wanted) = (attributes(have)?, attributes(wanted)?);
    let of = |attributes: &[Attribute<'_>], kind: u16| attributes.iter().filter(|each| each.kind == kind).count();
    for (position, want) in wanted.iter().enumerate() {
        if of(&have, want.kind) != of(&wanted, want.kind) {
            return Ok(false);
        }
        let before = of(&wanted[..position], want.kind);
        let Some(found) = have.iter().filter(|each| each.kind == want.kind).nth(before) else {
            return Ok(false);
        };
        let same = if want.nested { holds(found.value, want.value)? } else { found.value == want.value };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::netlink::Attributes;

    fn bytes(fill: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.message(0, 0, &[0; 4], fill);
        batch.messages().unwrap().remove(0).body[4..].to_vec()
    }

    #[test]
    fn what_the_kernel_adds_is_ignored_and_what_it_lacks_is_not() {
        let wanted = bytes(|list| list.nest(1, |element| element.number(2, 7)));
        let more = bytes(|list| {
            list.number(9, 1);
            list.nest(1, |element| {
                element.number(2, 7);
                element.number(3, 8);
            });
        });
        let other = bytes(|list| list.nest(1, |element| element.number(2, 6)));
        let twice = [wanted.clone(), wanted.clone()].concat();
        assert!(holds(&wanted, &wanted).unwrap());
        assert!(holds(&more, &wanted).unwrap());
        assert!(!holds(&wanted, &more).unwrap());
        assert!(!holds(&other, &wanted).unwrap());
        assert!(!holds(&twice, &wanted).unwrap());
        assert!(!holds(&[], &wanted).unwrap());
        assert!(holds(&[9, 0], &wanted).is_err());
    }
}
