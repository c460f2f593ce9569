//! That a tree has only grown (RFC 9162 §2.1.4). Sans-I/O.

use super::{Hash, Tree, hash, node};

/// The consistency proof (RFC 9162 §2.1.4.1) between the first `first` leaves and all of them: those that `base` stands for, then `leaves`.
/// `None` when there are not so many, or when it would need leaves that are gone because they came before `base`'s end.
pub fn prove(base: &Tree, leaves: &[Hash], first: u64) -> Option<Vec<Hash>> {
    let known = Known { base, leaves };
    let all = base.leaves + leaves.len() as u64;
    let mut path = Vec::new();
    let (mut from, mut to, mut whole) = (0, all, true);
    if first > all {
        return None;
    }
    // An empty tree is the beginning of every tree.
    if first == 0 {
        return Some(path);
    }
    while first != to {
        let split = from + split(to - from);
        if first <= split {
            path.push(known.root(split, to)?);
            to = split;
        } else {
            path.push(known.root(from, split)?);
            from = split;
            whole = false;
        }
    }
    if !whole {
        path.push(known.root(from, to)?);
    }
    path.reverse();
    Some(path)
}

/// Where a tree of more than one leaf divides: the largest power of two below its size.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Leaves, the first of them only as the peaks of their tree.
struct Known<'a> {
    base: &'a Tree,
    leaves: &'a [Hash],
}

impl Known<'_> {
    /// The root over the leaves from one place to another.
    fn root(&self, from: u64, to: u64) -> Option<Hash> {
        if from < self.base.leaves && self.peak(from, to).is_some() {
            return self.peak(from, to);
        }
        if to - from == 1 {
            return self.leaves.get(usize::try_from(from.checked_sub(self.base.leaves)?).ok()?).copied();
        }
        let split = from + split(to - from);
        Some(node(&self.root(from, split)?, &self.root(split, to)?))
    }

    fn peak(&self, from: u64, to: u64) -> Option<Hash> {
        let (mut at, mut left) = (0, self.base.leaves);
        for peak in &self.base.peaks {
            let size = 1 << left.ilog2();
            if (at, at + size) == (from, to) {
                return Some(*peak);
            }
            at += size;
            left -= size;
        }
        None
    }
}

/// Whether a proof shows that the tree of size and root `second` goes on from `first` (RFC 9162 §2.1.4.2).
pub fn holds(path: &[Hash], first: (u64, Hash), second: (u64, Hash)) -> bool {
    if first.0 == 0 || first.0 >= second.0 {
        let same = if first.0 == 0 { first.1 == hash(&[]) } else { first == second };
        return path.is_empty() && same;
    }
    let (mut at, mut last) = (first.0 - 1, second.0 - 1);
    let shared = at.trailing_ones();
    (at, last) = (at >> shared, last >> shared);
    // The tree that the first one is, when it is complete, is not said again.
    let start = if first.0.is_power_of_two() { Some((&first.1, path)) } else { path.split_first() };
    let Some((start, steps)) = start else { return false };
    let (mut old, mut new) = (*start, *start);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node(step, &old);
            new = node(step, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node(&new, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == first.1 && new == second.1
}

#[cfg(test)]
mod tests {
    use super::super::leaf;
    use super::super::tests::{VECTOR, any_leaf, defined, some_leaves};
    use super::*;

    #[test]
    fn shows_that_every_small_tree_goes_on_from_every_smaller_one_and_from_nothing_else() {
        for size in 0..36_u8 {
            let leaves = some_leaves(size);
            let second = (u64::from(size), defined(&leaves));
            for first in 0..=usize::from(size) {
                let before = (first as u64, defined(&leaves[..first]));
                let proof = prove(&Tree::default(), &leaves, before.0).unwrap();
                assert!(holds(&proof, before, second), "{first} of {size}");
                // The same from what retention leaves, wherever it left off before.
                for gone in 0..=first {
                    let mut base = Tree::default();
                    leaves[..gone].iter().for_each(|leaf| base.push(*leaf));
                    assert_eq!(prove(&base, &leaves[gone..], before.0).as_ref(), Some(&proof), "{gone} gone");
                }
                let other = leaf(&[0xee; 32]);
                assert!(!holds(&proof, (before.0, other), second));
                assert!(!holds(&proof, before, (second.0, other)) || first == 0);
                for wrong in (0..=second.0 + 1).filter(|wrong| *wrong != before.0) {
                    assert!(!holds(&proof, (wrong, before.1), second), "{first} as {wrong} of {size}");
                }
                assert!(!holds(&[&proof[..], &[other]].concat(), before, second));
                for step in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[step].0[3] ^= 8;
                    assert!(!holds(&changed, before, second));
                    changed.remove(step);
                    assert!(!holds(&changed, before, second));
                }
            }
            assert_eq!(prove(&Tree::default(), &leaves, second.0 + 1), None);
        }
    }

    #[test]
    fn makes_no_consistency_proof_from_leaves_that_are_gone() {
        let leaves = some_leaves(12);
        let mut base = Tree::default();
        leaves[..8].iter().for_each(|leaf| base.push(*leaf));
        assert_eq!(prove(&base, &leaves[8..], 5), None);
        assert!(prove(&base, &leaves[8..], 8).is_some());
    }

    #[test]
    fn consistency_agrees_with_the_vectors_of_certificate_transparency() {
        let hex = |hash: &Hash| hash.to_string();
        let leaves: Vec<_> = VECTOR.iter().map(|entry| any_leaf(entry)).collect();
        let none = Tree::default();
        assert_eq!(prove(&none, &leaves, 8), Some(Vec::new()));
        let from_six: Vec<_> = prove(&none, &leaves, 6).unwrap().iter().map(hex).collect();
        assert_eq!(
            from_six,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        let from_two: Vec<_> = prove(&none, &leaves[..5], 2).unwrap().iter().map(hex).collect();
        assert_eq!(
            from_two,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        );
    }
}
