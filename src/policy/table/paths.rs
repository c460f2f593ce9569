//! The path index: all path patterns in one tree of segments, walked once per path.
//!
//! Literal segments, whole-segment `*` and a closing `**` are decided by the walk. A pattern with another `*` or `**` hangs at the end
//! of its plain beginning, and its rules are candidates: they are matched one by one if nothing else rules them out.

use super::sets::{SetId, SetsBuilder};
use super::words::{IntMap, Words, u32_of};
use super::{Refs, Tentative};
use crate::limits;

/// The compiled index.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    segments: Words,
    /// Literal edges, keyed by node and segment.
    edges: IntMap<u64, u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The node behind `*`; 0 for none, since nothing leads to the root.
    star: u32,
    /// Rules whose pattern ends here.
    here: SetId,
    /// Rules whose pattern ends in `/**` here.
    below: SetId,
    /// Rules with a pattern that goes on here in a way that the tree does not hold.
    candidates: SetId,
}

/// Collects patterns.
#[derive(Debug)]
pub(super) struct PathsBuilder {
    segments: Words,
    edges: IntMap<u64, u32>,
    stars: Vec<u32>,
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
        Self { segments: Words::default(), edges: IntMap::default(), stars: vec![0], ends: vec![Ends::default()] }
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
        let node = |(star, ends): (u32, Ends)| Node {
            star,
            here: sets.add(&ends.here),
            below: sets.add(&ends.below),
            candidates: sets.add(&ends.candidates),
        };
        let nodes = self.stars.into_iter().zip(self.ends).map(node).collect();
        Paths { segments: self.segments, edges: self.edges, nodes }
    }

    fn star(&mut self, node: u32) -> u32 {
        let next = u32_of(self.ends.len());
        match self.stars.get_mut(node as usize) {
            Some(star) if *star != 0 => *star,
            Some(star) => {
                *star = next;
                self.node(next)
            }
            None => 0,
        }
    }

    fn literal(&mut self, node: u32, segment: &str) -> u32 {
        let key = edge(node, self.segments.intern(segment.as_bytes()));
        if let Some(next) = self.edges.get(&key) {
            return *next;
        }
        let next = u32_of(self.ends.len());
        self.edges.insert(key, next);
        self.node(next)
    }

    fn node(&mut self, next: u32) -> u32 {
        self.stars.push(0);
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

fn edge(node: u32, segment: u32) -> u64 {
    u64::from(node) << 32 | u64::from(segment)
}

impl Paths {
    /// Adds to `refs` the sets of all rules whose patterns match one reading of a path; those in `tentative` hold candidates.
    ///
    /// Each node is reached in one way only, so the walk is a walk down a tree: its stack is as deep as patterns are long, and its
    /// steps are bounded by [`limits::POLICY_PATH_VISITS_MAX`].
    #[inline]
    pub(super) fn resolve(&self, path: &str, refs: &mut Refs, tentative: &mut Tentative, len: impl Fn(SetId) -> u32) {
        let path = path.as_bytes();
        if !matches!(path.first(), None | Some(b'/')) {
            return;
        }
        // A step takes one entry off and puts at most two on, one level deeper.
        let mut stack = [(0u32, 0usize); limits::POLICY_PATH_SEGMENTS_MAX + 2];
        let mut depth = 1;
        let mut visits = 0;
        while let Some((node, at)) = pop(&stack, &mut depth) {
            visits += 1;
            if visits > limits::POLICY_PATH_VISITS_MAX {
                refs.overflow();
                return;
            }
            let Some(known) = self.nodes.get(node as usize) else { return };
            refs.add(known.below, &len);
            if !known.candidates.is_none() {
                tentative.mark(refs.count());
                refs.add(known.candidates, &len);
            }
            let Some(rest) = path.get(at + 1..) else {
                refs.add(known.here, &len);
                continue;
            };
            let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            let segment = rest.get(..end).unwrap_or_default();
            let literal = self.segments.find(segment).and_then(|segment| self.edges.get(&edge(node, segment)));
            for next in literal.into_iter().copied().chain((known.star != 0).then_some(known.star)) {
                if let Some(entry) = stack.get_mut(depth) {
                    *entry = (next, at + 1 + end);
                    depth += 1;
                }
            }
        }
    }

    /// Heap bytes, the hash map estimated.
    pub(super) fn bytes(&self) -> usize {
        self.segments.bytes() + self.edges.capacity() * (8 + 4 + 4 + 1) + self.nodes.capacity() * size_of::<Node>()
    }
}

#[inline]
fn pop(stack: &[(u32, usize)], depth: &mut usize) -> Option<(u32, usize)> {
    *depth = depth.checked_sub(1)?;
    stack.get(*depth).copied()
}
