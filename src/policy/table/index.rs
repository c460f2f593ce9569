//! The indexes of the other dimensions: what a host, an endpoint, a method and an address say about rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::Refs;
use super::sets::{SetId, SetsBuilder};
use super::words::{IntMap, Lengths, Words};
use crate::limits;
use crate::policy::host::HostPattern;
use crate::policy::subject::{Host, Scheme};

/// Rules by key, while they are collected; they come in ascending order.
#[derive(Debug)]
pub(super) struct Lists<K>(IntMap<K, Vec<u32>>);

impl<K: std::hash::Hash + Eq> Lists<K> {
    pub(super) fn new() -> Self {
        Self(IntMap::default())
    }

    pub(super) fn add(&mut self, key: K, rule: u32) {
        let list = self.0.entry(key).or_default();
        // A rule may name a value twice.
        if list.last() != Some(&rule) {
            list.push(rule);
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> IntMap<K, SetId> {
        let mut map: IntMap<K, SetId> = self.0.into_iter().map(|(key, list)| (key, sets.add(&list))).collect();
        map.shrink_to_fit();
        map
    }
}

/// Host names, suffixes and addresses.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    names: Words,
    /// Lengths of the names below which rules name all hosts.
    below: Lengths,
    /// By symbol: rules that name the host, and rules that name all hosts below it.
    sets: Vec<(SetId, SetId)>,
    addresses: IntMap<u128, SetId>,
}

#[derive(Debug)]
pub(super) struct HostsBuilder {
    names: Words,
    below: Lengths,
    lists: Vec<(Vec<u32>, Vec<u32>)>,
    addresses: Lists<u128>,
}

impl HostsBuilder {
    pub(super) fn new() -> Self {
        Self { names: Words::default(), below: Lengths::default(), lists: Vec::new(), addresses: Lists::new() }
    }

    pub(super) fn add(&mut self, pattern: &HostPattern, rule: u32) {
        let (name, below) = match pattern {
            HostPattern::Any => return,
            HostPattern::Address(address) => return self.addresses.add(address_key(*address), rule),
            HostPattern::Name(name) => (name, false),
            HostPattern::Below(name) => (name, true),
        };
        if below {
            self.below.add(name.len());
        }
        let symbol = self.names.intern(name.as_bytes()) as usize;
        if symbol >= self.lists.len() {
            self.lists.resize_with(symbol + 1, Default::default);
        }
        if let Some((exact, under)) = self.lists.get_mut(symbol) {
            let list = if below { under } else { exact };
            if list.last() != Some(&rule) {
                list.push(rule);
            }
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Hosts {
        let symbols = self.lists.into_iter().map(|(exact, below)| (sets.add(&exact), sets.add(&below))).collect();
        Hosts { names: self.names, below: self.below, sets: symbols, addresses: self.addresses.finish(sets) }
    }
}

impl Hosts {
    #[inline]
    pub(super) fn resolve(&self, host: Host<'_>, refs: &mut Refs, len_of: impl Fn(SetId) -> u32) {
        let name = match host {
            Host::Name(name) => name.as_bytes(),
            Host::Address(address) => {
                let found = self.addresses.get(&address_key(address.to_canonical()));
                return refs.add(found.copied().unwrap_or(SetId::NONE), &len_of);
            }
        };
        refs.add(self.find(name).0, &len_of);
        if self.below.is_empty() {
            return;
        }
        for len in self.below.below(name.len()) {
            let Some((above, suffix)) = name.split_at_checked(name.len() - len) else { continue };
            // A name begins with a label, not with a dot.
            if let [_, .., b'.'] = above {
                refs.add(self.find(suffix).1, &len_of);
            }
        }
    }

    fn find(&self, name: &[u8]) -> (SetId, SetId) {
        let symbol = self.names.find(name);
        symbol.and_then(|symbol| self.sets.get(symbol as usize)).copied().unwrap_or((SetId::NONE, SetId::NONE))
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.bytes() + self.sets.capacity() * 8 + self.addresses.capacity() * 33
    }
}

fn address_key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Scheme and port together, since each means something only with the other.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    /// Rules that name the port, or mean it.
    ports: IntMap<u32, SetId>,
    /// Rules that name a scheme and mean any port.
    schemes: [SetId; 2],
    /// Plain HTTP on 80 and HTTPS on 443, which most requests are for.
    usual: [SetId; 2],
}

#[derive(Debug)]
pub(super) struct EndpointsBuilder {
    ports: Lists<u32>,
    schemes: [Vec<u32>; 2],
}

impl EndpointsBuilder {
    pub(super) fn new() -> Self {
        Self { ports: Lists::new(), schemes: [Vec::new(), Vec::new()] }
    }

    /// Adds a rule under an [`endpoint_key`]; port 0 stands for every port.
    pub(super) fn add(&mut self, key: u32, rule: u32) {
        let [http, https] = &mut self.schemes;
        let list = match key {
            key if key == endpoint_key(Scheme::Http, 0) => http,
            key if key == endpoint_key(Scheme::Https, 0) => https,
            key => return self.ports.add(key, rule),
        };
        if list.last() != Some(&rule) {
            list.push(rule);
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Endpoints {
        let ports = self.ports.finish(sets);
        let usual = [Scheme::Http, Scheme::Https]
            .map(|scheme| ports.get(&endpoint_key(scheme, scheme.default_port())).copied().unwrap_or(SetId::NONE));
        Endpoints { ports, schemes: self.schemes.map(|list| sets.add(&list)), usual }
    }
}

impl Endpoints {
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.schemes.iter().all(|set| set.is_none())
    }

    #[inline]
    pub(super) fn resolve(&self, scheme: Scheme, port: u16, refs: &mut Refs, len: impl Fn(SetId) -> u32) {
        // Without a port there is no connection that could have a scheme.
        if port == 0 {
            return;
        }
        let of = |[http, https]: [SetId; 2]| if scheme == Scheme::Http { http } else { https };
        let named = match port == scheme.default_port() {
            true => of(self.usual),
            false => self.ports.get(&endpoint_key(scheme, port)).copied().unwrap_or(SetId::NONE),
        };
        refs.add(named, &len);
        refs.add(of(self.schemes), &len);
    }

    pub(super) fn bytes(&self) -> usize {
        self.ports.capacity() * 9
    }
}

pub(super) fn endpoint_key(scheme: Scheme, port: u16) -> u32 {
    u32::from(scheme == Scheme::Https) << 16 | u32::from(port)
}

/// Methods, all in upper case.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    names: Words,
    sets: Vec<SetId>,
}

#[derive(Debug)]
pub(super) struct MethodsBuilder {
    names: Words,
    lists: Vec<Vec<u32>>,
}

impl MethodsBuilder {
    pub(super) fn new() -> Self {
        Self { names: Words::default(), lists: Vec::new() }
    }

    pub(super) fn add(&mut self, method: &str, rule: u32) {
        let symbol = self.names.intern(method.as_bytes()) as usize;
        if symbol >= self.lists.len() {
            self.lists.resize_with(symbol + 1, Vec::new);
        }
        if let Some(list) = self.lists.get_mut(symbol)
            && list.last() != Some(&rule)
        {
            list.push(rule);
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Methods {
        Methods { names: self.names, sets: self.lists.iter().map(|list| sets.add(list)).collect() }
    }
}

impl Methods {
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The method exactly, as an allow reads it, and without regard to case, as a deny does.
    #[inline]
    pub(super) fn find(&self, method: &str) -> (SetId, SetId) {
        if self.sets.is_empty() {
            return (SetId::NONE, SetId::NONE);
        }
        let exactly = self.set(method.as_bytes());
        // Rules name methods in upper case, so a method that one names is in upper case.
        let caseless = if exactly.is_none() && method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            self.caseless(method)
        } else {
            exactly
        };
        (exactly, caseless)
    }

    #[cold]
    fn caseless(&self, method: &str) -> SetId {
        let mut upper = [0; limits::METHOD_BYTES_MAX];
        // A longer method is named by no rule.
        let Some(upper) = upper.get_mut(..method.len()) else { return SetId::NONE };
        upper.copy_from_slice(method.as_bytes());
        upper.make_ascii_uppercase();
        self.set(upper)
    }

    fn set(&self, method: &[u8]) -> SetId {
        let symbol = self.names.find(method);
        symbol.and_then(|symbol| self.sets.get(symbol as usize)).copied().unwrap_or(SetId::NONE)
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.bytes() + self.sets.capacity() * 4
    }
}

/// Address blocks: for each prefix length that a rule uses, a hash of its networks.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    lengths_v4: Vec<u16>,
    lengths_v6: Vec<u16>,
    networks: IntMap<(u128, u16), SetId>,
}

#[derive(Debug)]
pub(super) struct BlocksBuilder(Lists<(u128, u16)>);

/// Distinguishes IPv4 prefix lengths from IPv6 ones: addresses are canonical, so the families never mix.
const V4: u16 = 0x100;

impl BlocksBuilder {
    pub(super) fn new() -> Self {
        Self(Lists::new())
    }

    pub(super) fn add(&mut self, block: &IpNet, rule: u32) {
        let key = match block {
            IpNet::V4(v4) => (u128::from(v4.network().to_bits()), u16::from(v4.prefix_len()) | V4),
            IpNet::V6(v6) => (v6.network().to_bits(), u16::from(v6.prefix_len())),
        };
        self.0.add(key, rule);
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Blocks {
        let networks = self.0.finish(sets);
        let of = |v4: bool| {
            let mut lengths: Vec<u16> = networks.keys().map(|key| key.1).filter(|l| (l & V4 != 0) == v4).collect();
            lengths.sort_unstable();
            lengths.dedup();
            lengths
        };
        Blocks { lengths_v4: of(true), lengths_v6: of(false), networks }
    }
}

impl Blocks {
    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    #[inline]
    pub(super) fn resolve(&self, address: IpAddr, refs: &mut Refs, len: impl Fn(SetId) -> u32) {
        let (bits, width, lengths) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, &self.lengths_v4),
            IpAddr::V6(v6) => (v6.to_bits(), 128, &self.lengths_v6),
        };
        for length in lengths {
            let host_bits = width - u32::from(length & !V4);
            let network = bits.checked_shr(host_bits).and_then(|top| top.checked_shl(host_bits)).unwrap_or(0);
            refs.add(self.networks.get(&(network, *length)).copied().unwrap_or(SetId::NONE), &len);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.networks.capacity() * 49
    }
}
