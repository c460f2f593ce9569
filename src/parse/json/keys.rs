//! Whether a name has stood in the same object before.
//!
//! Names are kept as keyed hashes of 64 bits, eight bytes each whatever they are. Two names with one hash would be taken for one and
//! refused; without the key, which is new for every text, nobody can look for such a pair.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// So many names are compared one by one; more go into a table.
const FEW: usize = 32;

/// The names of all objects that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    hasher: RandomState,
    /// Innermost object last.
    hashes: Vec<u64>,
    /// Those of objects with many names, with the object's beginning.
    many: HashSet<(usize, u64)>,
}

impl Keys {
    /// Where the names of an object that begins now will stand.
    pub(super) fn mark(&self) -> usize {
        self.hashes.len()
    }

    /// Adds a name to the innermost object; false if it has the name already.
    pub(super) fn add(&mut self, mark: usize, object: usize, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        let own = self.hashes.get(mark..).unwrap_or_default();
        let fresh = if own.len() < FEW {
            !own.contains(&hash)
        } else {
            if own.len() == FEW {
                self.many.extend(own.iter().map(|&hash| (object, hash)));
            }
            self.many.insert((object, hash))
        };
        self.hashes.push(hash);
        fresh
    }

    /// The innermost object ends.
    pub(super) fn close(&mut self, mark: usize, object: usize) {
        let own = self.hashes.get(mark..).unwrap_or_default();
        if own.len() > FEW {
            for &hash in own {
                self.many.remove(&(object, hash));
            }
        }
        self.hashes.truncate(mark);
    }
}
