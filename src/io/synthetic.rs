//! Synthetic addresses: what the DNS stub answers, and which name an address stood for.
//!
//! The range is 198.18.0.0/15 (RFC 2544), which no network routes: a program that reaches such an address has it from the stub.
//! A name keeps its address while it is among the most recent ones, so that a program which caches answers is understood later.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::limits::SYNTHETIC_NAMES_MAX;

/// The names that have an address, in both directions.
#[derive(Default)]
pub(crate) struct Synthetic {
    by_name: HashMap<Arc<str>, u32>,
    by_slot: HashMap<u32, Arc<str>>,
    order: VecDeque<u32>,
    next: u32,
}

const BASE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const SLOTS: u32 = 1 << 17;

impl Synthetic {
    /// The address that stands for `name`; a new one pushes out the oldest when the table is full.
    pub(crate) fn address(&mut self, name: &str) -> Ipv4Addr {
        if let Some(slot) = self.by_name.get(name) {
            return Ipv4Addr::from(BASE + slot);
        }
        if self.order.len() >= SYNTHETIC_NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(name) = self.by_slot.remove(&oldest)
        {
            self.by_name.remove(&name);
        }
        // The table is smaller than the range, so the next slot that is free is never far.
        while self.by_slot.contains_key(&self.slot()) {
            self.next = self.next.wrapping_add(1);
        }
        let slot = self.slot();
        self.next = self.next.wrapping_add(1);
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), slot);
        self.by_slot.insert(slot, name);
        self.order.push_back(slot);
        Ipv4Addr::from(BASE + slot)
    }

    /// The name that `address` stands for.
    pub(crate) fn name(&self, address: IpAddr) -> Option<&str> {
        let IpAddr::V4(address) = address else { return None };
        self.by_slot.get(&u32::from(address).checked_sub(BASE)?).map(|name| &**name)
    }

    /// Whether `address` lies in the synthetic range, with a name or without.
    pub(crate) fn contains(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if u32::from(v4) & !(SLOTS - 1) == BASE)
    }

    /// Slot 0 is the network's own address and stays unused.
    fn slot(&self) -> u32 {
        1 + self.next % (SLOTS - 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address() {
        let mut table = Synthetic::default();
        let first = table.address("a.example");
        assert_ne!(first, table.address("b.example"));
        assert_eq!(first, table.address("a.example"));
        assert_eq!(table.name(first.into()), Some("a.example"));
        assert!(Synthetic::contains(first.into()));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut table = Synthetic::default();
        let first = table.address("first.example");
        for i in 0..SYNTHETIC_NAMES_MAX {
            table.address(&format!("n{i}.example"));
        }
        assert_eq!(table.by_name.len(), SYNTHETIC_NAMES_MAX);
        assert_eq!(table.by_slot.len(), SYNTHETIC_NAMES_MAX);
        assert_eq!(table.name(first.into()), None);
    }

    #[test]
    fn other_ranges_are_not_ours() {
        assert!(!Synthetic::contains(Ipv4Addr::new(198, 20, 0, 0).into()));
        assert!(!Synthetic::contains(Ipv4Addr::new(198, 17, 255, 255).into()));
        assert!(Synthetic::contains(Ipv4Addr::new(198, 19, 255, 255).into()));
    }
}
