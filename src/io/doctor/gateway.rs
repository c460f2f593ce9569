//! The gateway form: which interfaces share a network with the agents, and does the host answer there?
//!
//! An agent on an `internal` network reaches whoever is on it. That is ringfence, and the host too where its bridge has an address: commonly
//! the first of the network, or a default gateway.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net};
use nix::ifaddrs::getifaddrs;

use super::Finding;
use crate::config::{Listen, Settings};
use crate::limits::DOCTOR_NETWORK_WAIT;

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut sources = Vec::new();
    for listen in &settings.listeners {
        if let Listen::Gateway { from, .. } = listen {
            sources.extend(from.iter().copied());
            sources.extend(settings.agents.iter().map(|agent| agent.source));
        }
    }
    if sources.is_empty() {
        return Vec::new();
    }
    let networks = match networks() {
        Ok(networks) => networks,
        Err(error) => return vec![Finding::note("gateway networks", format!("cannot be listed: {error}"))],
    };
    let shared: Vec<&Network> =
        networks.iter().filter(|network| sources.iter().any(|source| overlaps(source, network.net))).collect();
    if shared.is_empty() {
        let text = "no interface here has an address in `from`: agents would arrive by a router, which has to keep them from going elsewhere";
        return vec![Finding::miss("gateway networks", text)];
    }
    shared.into_iter().flat_map(of_network).collect()
}

/// One interface's network.
#[derive(Clone, Debug)]
struct Network {
    interface: String,
    own: Ipv4Addr,
    net: Ipv4Net,
}

fn networks() -> io::Result<Vec<Network>> {
    let of = |address: nix::ifaddrs::InterfaceAddress| {
        let own = address.address?.as_sockaddr_in()?.ip();
        let mask = address.netmask?.as_sockaddr_in()?.ip();
        let net = Ipv4Net::with_netmask(own, mask).ok()?.trunc();
        (!own.is_loopback()).then_some(Network { interface: address.interface_name, own, net })
    };
    Ok(getifaddrs()?.filter_map(of).collect())
}

fn overlaps(source: &IpNet, net: Ipv4Net) -> bool {
    matches!(source, IpNet::V4(source) if source.contains(&net) || net.contains(source))
}

fn of_network(network: &Network) -> Vec<Finding> {
    let subject = "gateway networks";
    let mut suspects: Vec<Ipv4Addr> =
        network.net.hosts().next().into_iter().chain(default_gateways(&network.interface)).collect();
    suspects.retain(|suspect| *suspect != network.own && network.net.contains(suspect));
    suspects.dedup();
    let answering: Vec<String> =
        suspects.into_iter().filter(|suspect| answers(*suspect)).map(|suspect| suspect.to_string()).collect();
    let shown = format!("{} on {}", network.net, network.interface);
    if answering.is_empty() {
        return vec![Finding::ok(subject, format!("{shown}: neither its first address nor a default gateway answers"))];
    }
    let text = format!(
        "{shown}: {} answers, which is the host if it is no container, and agents reach it past ringfence: create the network with `internal: true` and \
         com.docker.network.bridge.gateway_mode_ipv4: isolated (Docker 28), or com.docker.network.bridge.inhibit_ipv4: \"true\" below",
        answering.join(", ")
    );
    vec![Finding::miss(subject, text)]
}

/// The default gateways by this interface: `/proc/net/route` has addresses as the machine keeps them, in hexadecimal.
fn default_gateways(interface: &str) -> Vec<Ipv4Addr> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let routes = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let by_us = routes.filter(|fields| fields.first() == Some(&interface) && fields.get(1) == Some(&"00000000"));
    let gateways = by_us.filter_map(|fields| u32::from_str_radix(fields.get(2)?, 16).ok());
    gateways.map(|gateway| Ipv4Addr::from(gateway.to_ne_bytes())).filter(|gateway| !gateway.is_unspecified()).collect()
}

/// Whether somebody has this address: a datagram makes the kernel ask for its owner on the link.
fn answers(address: Ipv4Addr) -> bool {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(DOCTOR_NETWORK_WAIT / 10))?;
        socket.connect((address, DISCARD))?;
        let end = Instant::now() + DOCTOR_NETWORK_WAIT;
        while Instant::now() < end {
            let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            let sent = socket.send(&[]);
            if sent.as_ref().is_err_and(refused)
                || socket.recv(&mut [0; 1]).as_ref().is_err_and(refused)
                || is_neighbour(address)
            {
                return Ok(true);
            }
            sent?;
        }
        io::Result::Ok(false)
    };
    ask().unwrap_or(false)
}

/// Whether the link's table has a hardware address for it (ATF_COM).
fn is_neighbour(address: Ipv4Addr) -> bool {
    let table = fs::read_to_string("/proc/net/arp").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        let this = fields.next().and_then(|field| field.parse::<IpAddr>().ok()) == Some(IpAddr::V4(address));
        let flags = fields.nth(1).and_then(|flags| u8::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
        this && flags.is_some_and(|flags| flags & 2 != 0)
    })
}

const DISCARD: u16 = 9;
