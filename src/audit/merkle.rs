//! Merkle trees as RFC 9162 §2.1 has them: SHA-256, leaves and nodes told apart by a first octet. Sans-I/O.

use std::fmt;

use aws_lc_rs::digest;

pub mod consistency;

/// The hash of a leaf, a node or a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In one go: a digest that is fed in pieces costs an allocation, and there are two for each record.
fn hash(octets: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    Hash(out)
}

/// The hash of an entry, which here is always a link: SHA-256 over 0x00 and its octets.
pub fn leaf(entry: &[u8; 32]) -> Hash {
    let mut octets = [0; 33];
    octets[1..].copy_from_slice(entry);
    hash(&octets)
}

/// SHA-256 over 0x01 and two subtrees.
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut octets = [1; 65];
    octets[1..33].copy_from_slice(&left.0);
    octets[33..].copy_from_slice(&right.0);
    hash(&octets)
}

/// The root of a tree that grows: keeps one hash for each complete subtree, at most 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    leaves: u64,
    /// Complete subtrees, the largest first: one for each bit that is set in `leaves`.
    peaks: Vec<Hash>,
}

impl Tree {
    /// The tree of so many leaves with these peaks, the largest first; `None` when a tree of that size has not so many.
    pub fn of(leaves: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == leaves.count_ones() as usize).then_some(Self { leaves, peaks })
    }

    /// The hashes of its complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Number of leaves.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut carry = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                carry = node(&left, &carry);
            }
        }
        self.peaks.push(carry);
        self.leaves += 1;
    }

    /// The hash of the whole; of nothing, for a tree without leaves.
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().copied().rev().reduce(|right, left| node(&left, &right));
        joined.unwrap_or_else(|| hash(&[]))
    }

    /// Forgets all leaves.
    pub fn clear(&mut self) {
        self.leaves = 0;
        self.peaks.clear();
    }
}

/// The inclusion proof of a leaf (RFC 9162 §2.1.3.1), from the leaf upwards; `None` when there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut level, mut index) = (leaves.to_vec(), index);
    while level.len() > 1 {
        if let Some(sibling) = level.get(index ^ 1) {
            path.push(*sibling);
        }
        // A last one without a sibling moves up as it is, which is what splitting at the largest power of two comes to.
        let join = |pair: &[Hash]| if let [left, right] = pair { node(left, right) } else { pair[0] };
        level = level.chunks(2).map(join).collect();
        index /= 2;
    }
    Some(path)
}

/// The root that a proof leads to (RFC 9162 §2.1.3.2); `None` when its length is not that of any proof for this leaf.
pub fn root_by(path: &[Hash], leaf: Hash, index: u64, leaves: u64) -> Option<Hash> {
    if index >= leaves {
        return None;
    }
    let (mut at, mut last, mut root) = (index, leaves - 1, leaf);
    for step in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node(step, &root);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = node(&root, step);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An empty leaf and seven more: the entries that Google's implementation is tested with.
    pub(crate) const VECTOR: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    /// Of an entry of any length, as the vectors have them.
    pub(crate) fn any_leaf(entry: &[u8]) -> Hash {
        hash(&[&[0], entry].concat())
    }

    /// The definition, word for word (RFC 9162 §2.1.1).
    pub(crate) fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash(&[]),
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&defined(&leaves[..split]), &defined(&leaves[split..]))
            }
        }
    }

    pub(crate) fn some_leaves(number: u8) -> Vec<Hash> {
        (0..number).map(|entry| leaf(&[entry; 32])).collect()
    }

    #[test]
    fn agrees_with_the_vectors_of_certificate_transparency() {
        let mut tree = Tree::default();
        assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut roots = Vec::new();
        for entry in VECTOR {
            tree.push(any_leaf(entry));
            roots.push(tree.root().to_string());
        }
        assert_eq!(roots[0], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(roots[1], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(roots[7], "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn grows_to_the_defined_root() {
        let (leaves, mut tree) = (some_leaves(200), Tree::default());
        for (number, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), defined(&leaves[..number]), "{number}");
            tree.push(*leaf);
        }
    }

    #[test]
    fn proves_every_leaf_of_every_small_tree_and_nothing_else() {
        for size in 1..40_u8 {
            let leaves = some_leaves(size);
            let root = defined(&leaves);
            for index in 0..leaves.len() {
                let proof = path(&leaves, index).unwrap();
                let (at, count) = (index as u64, u64::from(size));
                assert_eq!(root_by(&proof, leaves[index], at, count), Some(root));
                let other = leaf(&[0xee; 32]);
                assert_ne!(root_by(&proof, other, at, count), Some(root));
                for wrong in (0..=count).filter(|wrong| *wrong != at) {
                    assert_ne!(
                        root_by(&proof, leaves[index], wrong, count),
                        Some(root),
                        "{index} at {wrong} of {size}"
                    );
                }
                if let Some((_, shorter)) = proof.split_last() {
                    assert_ne!(root_by(shorter, leaves[index], at, count), Some(root));
                }
                let longer = [&proof[..], &[other]].concat();
                assert_eq!(root_by(&longer, leaves[index], at, count), None);
                for step in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[step].0[7] ^= 4;
                    assert_ne!(root_by(&changed, leaves[index], at, count), Some(root));
                }
            }
            assert_eq!(path(&leaves, leaves.len()), None);
        }
    }
}
