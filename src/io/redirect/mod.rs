//! The rules of a network namespace that the proxy shares with the programs it governs: the sidecar form.
//!
//! [`apply`] replaces our two tables in one nfnetlink batch, so that there is no moment without them and a second time changes nothing;
//! [`print()`] shows the same tables in nft's syntax; [`remove`] takes them away; [`in_force`] compares the kernel's with them. All four work on
//! the namespace of the caller and need CAP_NET_ADMIN in it, but for [`print()`].
//!
//! Knows nothing of listeners, policy or records. What the rules do, and what they cannot, is in `tables` and in `docs/REDIRECT.md`.

mod cgroup;
mod error;
mod tables;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::net::if_::if_nameindex;
use nix::sys::socket::SockProtocol;

use crate::config::{Exempt, Listen, Settings};
use crate::io::netlink::{Batch, Netlink, Refused};
use crate::io::nftables::{self, Family, Table, Term};
pub use error::RedirectError;

/// What the rules are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where TCP connections are sent, on 127.0.0.1 and ::1.
    listener: u16,
    /// Where DNS questions are sent.
    dns: u16,
    exempt: Exempt,
}

/// What [`apply`] came to.
#[derive(Debug)]
pub enum Applied {
    /// Everything is in force; frames of packet sockets are dropped on these interfaces.
    Whole(Vec<String>),
    /// The rules for packets are in force. Those for frames are not, and this is why.
    WithoutFrames(RedirectError),
}

impl Default for Redirect {
    /// The addresses and the user of the documented configuration.
    fn default() -> Redirect {
        Redirect { listener: 15001, dns: 15053, exempt: Exempt::Uid(1337) }
    }
}

impl Redirect {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// If it lacks a part or has one that rules cannot be made from; the error names the key and the remedy.
    pub fn from_settings(settings: &Settings) -> Result<Redirect, RedirectError> {
        let listener = settings.listeners.iter().find_map(|listen| match listen {
            Listen::Redirect { address } => Some(*address),
            _ => None,
        });
        let listener = listener.ok_or_else(|| {
            error::setting("listen", "has no redirect listener: add { mode: redirect, address: \"127.0.0.1:15001\" }")
        })?;
        let dns = settings
            .dns
            .ok_or_else(|| error::setting("dns", "is missing: add dns: { address: \"127.0.0.1:15053\" }"))?;
        let exempt = settings.exempt.clone().ok_or_else(|| {
            error::setting(
                "redirect.exempt",
                "is missing: add { uid: 1337 }, the user that the proxy runs as, or { cgroup: PATH }",
            )
        })?;
        if exempt == Exempt::Uid(0) {
            return Err(error::setting(
                "redirect.exempt.uid",
                "is root, as whom the agent may run too: run the proxy as a user of its own",
            ));
        }
        Ok(Redirect { listener: redirected("listen", listener)?, dns: redirected("dns.address", dns)?, exempt })
    }

    /// How the proxy's own connections are told.
    #[must_use]
    pub fn exempt(&self) -> &Exempt {
        &self.exempt
    }

    /// The tables for the interfaces that there are now.
    fn tables(&self) -> Result<[Table; 2], RedirectError> {
        let devices = devices()?;
        let exempt = match &self.exempt {
            Exempt::Uid(user) => Term::Owner(*user),
            Exempt::Cgroup(path) => cgroup::find(path)?,
        };
        Ok([tables::packets(self.listener, self.dns, &exempt), tables::frames(devices)])
    }
}

/// The port, if a redirected connection would arrive there: the kernel sends all of them to 127.0.0.1 or ::1.
fn redirected(key: &'static str, address: SocketAddr) -> Result<u16, RedirectError> {
    let reached = match address {
        SocketAddr::V4(address) => [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].contains(address.ip()),
        SocketAddr::V6(address) => [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED].contains(address.ip()),
    };
    if reached {
        Ok(address.port())
    } else {
        Err(error::setting(key, "is an address to which no rule can redirect: use 127.0.0.1"))
    }
}

/// Puts the rules in force, in place of those that an earlier call left.
///
/// # Errors
/// If the kernel refuses any of them: then all is as it was. An exception are the rules for frames, which need Linux 5.16.
pub fn apply(redirect: &Redirect) -> Result<Applied, RedirectError> {
    let netlink = open()?;
    let mut tables = redirect.tables()?;
    let mut outcome = replace(&netlink, &tables);
    if outcome.as_ref().is_err_and(|refused| refused.family == Some(Family::Netdev) && refused.is_gone()) {
        // An interface went away since we looked.
        tables = redirect.tables()?;
        outcome = replace(&netlink, &tables);
    }
    match outcome {
        Ok(()) => {
            let [_, frames] = tables;
            Ok(Applied::Whole(frames.chains.into_iter().flat_map(|chain| chain.devices).collect()))
        }
        Err(refused) if refused.family == Some(Family::Netdev) && refused.is_unsupported() => {
            replace(&netlink, &tables[..1])?;
            Ok(Applied::WithoutFrames(refused.into()))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Takes the rules away. Where there are none, there is nothing to do.
///
/// # Errors
/// If the kernel refuses.
pub fn remove() -> Result<(), RedirectError> {
    let netlink = open()?;
    let unload = |family| {
        let mut batch = Batch::default();
        nftables::begin(&mut batch);
        nftables::unload(&mut batch, family, tables::NAME);
        nftables::end(&mut batch);
        netlink.apply(&batch).map_err(|Refused { error, .. }| error::Rejected::new(family, None, &[], error))
    };
    match unload(Family::Netdev) {
        // A kernel that has no such tables has none of ours.
        Err(refused) if !refused.is_unsupported() => return Err(refused.into()),
        _ => unload(Family::Inet)?,
    }
    Ok(())
}

/// The rules in nft's syntax, as [`apply`] would make them now.
///
/// # Errors
/// If the interfaces or the exempt control group cannot be found.
pub fn print(redirect: &Redirect) -> Result<String, RedirectError> {
    Ok(redirect.tables()?.map(|table| table.to_string()).concat())
}

/// What about the rules in force is another than [`apply`] would make it; `None` when nothing is.
///
/// # Errors
/// If they cannot be read.
pub fn in_force(redirect: &Redirect) -> Result<Option<String>, RedirectError> {
    let netlink = open()?;
    for table in redirect.tables()? {
        if let Some(why) = nftables::differs(&netlink, &table).map_err(error::read)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn open() -> Result<Netlink, RedirectError> {
    Netlink::open(SockProtocol::NetlinkNetFilter).map_err(error::open)
}

/// Replaces these tables, all at once.
fn replace(netlink: &Netlink, tables: &[Table]) -> Result<(), error::Rejected> {
    let mut batch = Batch::default();
    nftables::begin(&mut batch);
    let mut spans = Vec::new();
    for table in tables {
        nftables::unload(&mut batch, table.family, table.name);
        spans.push((batch.len(), table));
        nftables::load(&mut batch, table);
    }
    nftables::end(&mut batch);
    netlink.apply(&batch).map_err(|Refused { sequence, error }| {
        // The last table that starts before the message that was refused; its removal comes two messages before its start.
        let Some((start, table)) = spans.iter().rev().find(|(start, _)| sequence + 2 > *start && sequence > 1) else {
            return error::Rejected::batch(error);
        };
        let position = sequence.checked_sub(start + 1).and_then(|position| usize::try_from(position).ok());
        let subject = position.and_then(|position| nftables::subjects(table).nth(position));
        let (chain, rule) = subject.unwrap_or((None, &[]));
        error::Rejected::new(table.family, chain, rule, error)
    })
}

fn devices() -> Result<Vec<String>, RedirectError> {
    let found = if_nameindex().map_err(|errno| error::interfaces(errno.into()))?;
    let names = found.iter().map(|interface| interface.name().to_string_lossy().into_owned());
    Ok(names.collect())
}
