//! The path index: all path patterns in one tree of segments, walked once per path.
//!
//! Literal segments, whole-segment `*` and a closing `**` are decided by the walk. A pattern with another `*` or `**` hangs at the end
//! of its plain beginning, and its rules are candidates: they are matched one by one if nothing else rules them out.

use super::facts::{Refs, Tentative};
use super::sets::{SetId, SetsBuilder};
use super::words::{Lengths, Words, u32_of};
use crate::limits;

/// The compiled index.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    /// Literal edges: segments in the realm of the node they leave; the edge numbered `n` leads to the node `targets[n]`.
    edges: Words,
    targets: Vec<u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Lengths of the segments that lead on from here.
    lengths: Lengths,
    /// The node behind `*`; 0 for none, since nothing leads to the root.
    star: u32,
    /// Rules whose pattern ends here.
    here: SetId,
    /// Rules whose pattern ends in `/**` here.
    below: SetId,
    /// Rules with a pattern that goes on here in a way that the tree does not hold.
    candidates: SetId,
}

/// A node, and how far into the path it stands.
type Entry = (u32, u32);

/// How far the next segment reaches, and the nodes it leads to: by its name and by `*`.
type Next = (u32, (u32, u32));

/// Collects patterns.
#[derive(Debug)]
pub(super) struct PathsBuilder {
    edges: Words,
    targets: Vec<u32>,
    stars: Vec<(u32, Lengths)>,
    ends: Vec<Ends>,
}

#[derive(Debug, Clone, Default)]
struct Ends {
    here: Vec<u32>,
    below: Vec<u32>,
    candidates: Vec<u32>,
}

impl PathsBuilder {
    pub(super) fn new() -> Self {
        let stars = vec![(0, Lengths::default())];
        Self { edges: Words::default(), targets: Vec::new(), stars, ends: vec![Ends::default()] }
    }

    /// Adds a canonical pattern of a rule. Rules come in ascending order.
    pub(super) fn add(&mut self, pattern: &str, rule: u32) {
        let mut node = 0;
        let mut segments = pattern.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let deep = segment == "**";
            if deep && segments.peek().is_none() {
                return push(self.ends.get_mut(node as usize).map(|ends| &mut ends.below), rule);
            }
            if deep || segment.contains('*') && segment != "*" {
                return push(self.ends.get_mut(node as usize).map(|ends| &mut ends.candidates), rule);
            }
            node = if segment == "*" { self.star(node) } else { self.literal(node, segment) };
        }
        push(self.ends.get_mut(node as usize).map(|ends| &mut ends.here), rule);
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Paths {
        let node = |((star, lengths), ends): ((u32, Lengths), Ends)| Node {
            lengths,
            star,
            here: sets.add(&ends.here),
            below: sets.add(&ends.below),
            candidates: sets.add(&ends.candidates),
        };
        let nodes = self.stars.into_iter().zip(self.ends).map(node).collect();
        Paths { edges: self.edges, targets: self.targets, nodes }
    }

    fn star(&mut self, node: u32) -> u32 {
        let next = u32_of(self.ends.len());
        match self.stars.get_mut(node as usize) {
            Some((star, _)) if *star != 0 => *star,
            Some((star, _)) => {
                *star = next;
                self.node(next)
            }
            None => 0,
        }
    }

    fn literal(&mut self, node: u32, segment: &str) -> u32 {
        let symbol = self.edges.intern_in(node, segment.as_bytes());
        if let Some(next) = self.targets.get(symbol as usize) {
            return *next;
        }
        if let Some((_, lengths)) = self.stars.get_mut(node as usize) {
            lengths.add(segment.len());
        }
        let next = u32_of(self.ends.len());
        self.targets.push(next);
        self.node(next)
    }

    fn node(&mut self, next: u32) -> u32 {
        self.stars.push((0, Lengths::default()));
        self.ends.push(Ends::default());
        next
    }
}

fn push(list: Option<&mut Vec<u32>>, rule: u32) {
    // A rule may name a pattern twice.
    if let Some(list) = list
        && list.last() != Some(&rule)
    {
        list.push(rule);
    }
}

impl Paths {
    /// Adds to `refs` the sets of all rules whose patterns match one reading of a path; those in `tentative` hold candidates.
    #[inline]
    pub(super) fn resolve(&self, path: &str, refs: &mut Refs, tentative: &mut Tentative, len: impl Fn(SetId) -> u32) {
        let path = path.as_bytes();
        if !matches!(path.first(), None | Some(b'/')) {
            return;
        }
        let mut entry = (0, 0);
        loop {
            let (at, next) = self.visit(entry, path, refs, tentative, &len);
            entry = match next {
                (0, 0) => return,
                (0, only) | (only, 0) => (only, at),
                (literal, star) => return self.branch([(star, at), (literal, at)], path, refs, tentative, &len),
            };
        }
    }

    /// Goes on where a segment leads to two nodes. Each node is reached in one way only, so this is a walk down a tree: its stack is
    /// as deep as patterns are long, and its steps are bounded by [`limits::POLICY_PATH_VISITS_MAX`].
    #[inline(never)]
    fn branch(
        &self,
        [first, second]: [Entry; 2],
        path: &[u8],
        refs: &mut Refs,
        tentative: &mut Tentative,
        len: &impl Fn(SetId) -> u32,
    ) {
        // A step takes one entry off and puts at most two on, one level deeper.
        let mut stack = [(0, 0); limits::POLICY_PATH_SEGMENTS_MAX + 2];
        let mut depth = 2;
        let mut visits = 0;
        [stack[0], stack[1]] = [first, second];
        while let Some(entry) = pop(&stack, &mut depth) {
            visits += 1;
            if visits > limits::POLICY_PATH_VISITS_MAX {
                return refs.overflow();
            }
            let (at, (literal, star)) = self.visit(entry, path, refs, tentative, len);
            for next in [star, literal].into_iter().filter(|next| *next != 0) {
                match stack.get_mut(depth) {
                    Some(slot) => *slot = (next, at),
                    None => return refs.overflow(),
                }
                depth += 1;
            }
        }
    }

    /// Takes what hangs at a node and looks where the next segment of the path leads: by its name and by `*`, 0 for nowhere.
    #[inline]
    fn visit(
        &self,
        (node, at): Entry,
        path: &[u8],
        refs: &mut Refs,
        tentative: &mut Tentative,
        len: &impl Fn(SetId) -> u32,
    ) -> Next {
        let nowhere = (at, (0, 0));
        let Some(known) = self.nodes.get(node as usize) else { return nowhere };
        refs.add(known.below, len);
        if !known.candidates.is_none() {
            tentative.mark(refs.count());
            refs.add(known.candidates, len);
        }
        let Some(rest) = path.get(at as usize + 1..) else {
            refs.add(known.here, len);
            return nowhere;
        };
        if known.star == 0 && known.lengths.is_empty() {
            return nowhere;
        }
        let end = segment_len(rest);
        let segment = rest.get(..end).unwrap_or_default();
        let known_length = known.lengths.may_have(segment.len());
        let edge = if known_length { self.edges.find_in(node, segment) } else { None };
        let literal = edge.and_then(|edge| self.targets.get(edge as usize)).copied().unwrap_or_default();
        (at + 1 + u32_of(end), (literal, known.star))
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.edges.bytes() + self.targets.capacity() * 4 + self.nodes.capacity() * size_of::<Node>()
    }
}

/// How far the segment reaches. Segments are short, and eight bytes at a time beat a call.
#[inline]
fn segment_len(path: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = path.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        // A byte that is a slash becomes zero, and the lowest zero byte is the first to borrow.
        let zeroed = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'/'));
        let slashes = zeroed.wrapping_sub(ONES) & !zeroed & (ONES << 7);
        if slashes != 0 {
            return place * 8 + slashes.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len())
}

#[inline]
fn pop(stack: &[Entry], depth: &mut usize) -> Option<Entry> {
    *depth = depth.checked_sub(1)?;
    stack.get(*depth).copied()
}
