//! The indexes of the other dimensions: what a host, an endpoint, a method and an address say about rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::Refs;
use super::sets::{SetId, SetsBuilder, push};
use super::words::{IntMap, WordLists, Words};
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
        push(self.0.entry(key).or_default(), rule);
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
    names: Words<SetId>,
    /// Rules that name all hosts below a name.
    below: Words<SetId>,
    addresses: IntMap<u128, SetId>,
}

#[derive(Debug)]
pub(super) struct HostsBuilder {
    names: WordLists,
    below: WordLists,
    addresses: Lists<u128>,
}

impl HostsBuilder {
    pub(super) fn new() -> Self {
        Self { names: WordLists::default(), below: WordLists::default(), addresses: Lists::new() }
    }

    pub(super) fn add(&mut self, pattern: &HostPattern, rule: u32) {
        match pattern {
            HostPattern::Any => {}
            HostPattern::Address(address) => self.addresses.add(address_key(*address), rule),
            HostPattern::Name(name) => self.names.add(name.as_bytes(), rule),
            HostPattern::Below(name) => self.below.add(name.as_bytes(), rule),
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Hosts {
        let Self { names, below, addresses } = self;
        Hosts { names: names.finish(sets), below: below.finish(sets), addresses: addresses.finish(sets) }
    }
}

impl Hosts {
    #[inline]
    pub(super) fn resolve(&self, host: Host<'_>, refs: &mut Refs, len_of: impl Fn(SetId) -> u32) {
        let name = match host {
            Host::Name(name) => name.as_bytes(),
            Host::Address(address) => {
                let found = self.addresses.get(&address_key(address.to_canonical()));
                return refs.add(found.copied().unwrap_or_default(), &len_of);
            }
        };
        refs.add(self.names.find(name).copied().unwrap_or_default(), &len_of);
        let lengths = self.below.lengths();
        if lengths.is_empty() {
            return;
        }
        for len in lengths.below(name.len()) {
            let Some((above, suffix)) = name.split_at_checked(name.len() - len) else { continue };
            // A name begins with a label, not with a dot.
            if let [_, .., b'.'] = above {
                refs.add(self.below.find(suffix).copied().unwrap_or_default(), &len_of);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.bytes() + self.below.bytes() + self.addresses.capacity() * 33
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
        push(list, rule);
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
pub(super) struct Methods(Words<SetId>);

#[derive(Debug, Default)]
pub(super) struct MethodsBuilder(WordLists);

impl MethodsBuilder {
    pub(super) fn add(&mut self, method: &str, rule: u32) {
        self.0.add(method.as_bytes(), rule);
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Methods {
        Methods(self.0.finish(sets))
    }
}

impl Methods {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lengths().is_empty()
    }

    /// The method exactly, as an allow reads it, and without regard to case, as a deny does.
    #[inline]
    pub(super) fn find(&self, method: &str) -> (SetId, SetId) {
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
        self.0.find(method).copied().unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
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
