//! The path index: all path patterns in one tree of segments, walked once per path.
//!
//! Literal segments, whole-segment `*` and a closing `**` are decided by the walk. A pattern with another `*` or `**` hangs at the end
//! of its plain beginning, and its rules are candidates: they are matched one by one if nothing else rules them out.

use super::facts::{Refs, Tentative};
use super::sets::{SetId, SetsBuilder, push};
use super::words::{Lengths, Words, u32_of};
use crate::limits;

/// The compiled index.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    root: Node,
    /// Where segments lead, in the realm of the node they leave.
    edges: Edges<Node>,
    /// The nodes behind `*`, numbered from 1.
    stars: Vec<Node>,
}

/// With a [`Node`], a slot is a cache line.
type Edges<V> = Words<V, 16>;

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// The realm of the segments that lead on from here.
    realm: u32,
    /// Their lengths.
    lengths: Lengths,
    /// Which of the nodes behind `*` follows; 0 for none.
    star: u32,
    /// Rules whose pattern ends here.
    here: SetId,
    /// Rules whose pattern ends in `/**` here.
    below: SetId,
    /// Rules with a pattern that goes on here in a way that the tree does not hold.
    candidates: SetId,
}

/// A node, and what of the path lies beyond it; nothing at the end of the path.
type Entry<'p> = (&'p Node, Option<&'p [u8]>);

/// Collects patterns.
#[derive(Debug)]
pub(super) struct PathsBuilder {
    nodes: Vec<Ends>,
    /// The number of the node that a segment leads to.
    edges: Edges<u32>,
    /// The numbers of the nodes behind `*`.
    stars: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
struct Ends {
    lengths: Lengths,
    star: u32,
    here: Vec<u32>,
    below: Vec<u32>,
    candidates: Vec<u32>,
}

impl PathsBuilder {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Ends::default()], edges: Edges::default(), stars: Vec::new() }
    }

    /// Adds a canonical pattern of a rule. Rules come in ascending order.
    pub(super) fn add(&mut self, pattern: &str, rule: u32) {
        let mut node = 0;
        let mut segments = pattern.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let deep = segment == "**";
            if deep && segments.peek().is_none() {
                return self.end(node, |ends| &mut ends.below, rule);
            }
            if deep || segment.contains('*') && segment != "*" {
                return self.end(node, |ends| &mut ends.candidates, rule);
            }
            node = if segment == "*" { self.star(node) } else { self.literal(node, segment) };
        }
        self.end(node, |ends| &mut ends.here, rule);
    }

    /// Adds a rule to one of a node's lists.
    fn end(&mut self, node: u32, list: fn(&mut Ends) -> &mut Vec<u32>, rule: u32) {
        if let Some(ends) = self.nodes.get_mut(node as usize) {
            push(list(ends), rule);
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Paths {
        let node = |(ends, realm): (Ends, u32)| Node {
            realm,
            lengths: ends.lengths,
            star: ends.star,
            here: sets.add(&ends.here),
            below: sets.add(&ends.below),
            candidates: sets.add(&ends.candidates),
        };
        let nodes: Vec<Node> = self.nodes.into_iter().zip(0..).map(node).collect();
        let at = |number: u32| nodes.get(number as usize).copied().unwrap_or_default();
        Paths { root: at(0), edges: self.edges.map(at), stars: self.stars.into_iter().map(at).collect() }
    }

    fn star(&mut self, node: u32) -> u32 {
        let next = u32_of(self.nodes.len());
        let Some(ends) = self.nodes.get_mut(node as usize) else { return 0 };
        let behind = (ends.star as usize).checked_sub(1).and_then(|star| self.stars.get(star));
        if let Some(number) = behind {
            return *number;
        }
        self.stars.push(next);
        ends.star = u32_of(self.stars.len());
        self.nodes.push(Ends::default());
        next
    }

    fn literal(&mut self, node: u32, segment: &str) -> u32 {
        let next = u32_of(self.nodes.len());
        let number = self.edges.intern_in(node, segment.as_bytes(), next);
        if number == next {
            self.nodes.push(Ends::default());
            if let Some(ends) = self.nodes.get_mut(node as usize) {
                ends.lengths.add(segment.len());
            }
        }
        number
    }
}

impl Paths {
    /// Adds to `refs` the sets of all rules whose patterns match one reading of a path; those in `tentative` hold candidates.
    #[inline]
    pub(super) fn resolve(&self, path: &str, refs: &mut Refs, tentative: &mut Tentative, len: impl Fn(SetId) -> u32) {
        let (mut node, mut rest) = match path.as_bytes() {
            [] => (&self.root, None),
            [b'/', rest @ ..] => (&self.root, Some(rest)),
            _ => return,
        };
        loop {
            take(node, rest.is_none(), refs, tentative, &len);
            let Some(left) = rest.filter(|_| node.goes_on()) else { return };
            let (literal, star, beyond) = self.step(node, left);
            node = match (literal, star) {
                (None, None) => return,
                (Some(only), None) | (None, Some(only)) => only,
                (Some(literal), Some(star)) => {
                    return self.branch([(star, beyond), (literal, beyond)], refs, tentative, &len);
                }
            };
            rest = beyond;
        }
    }

    /// Goes on where a segment leads to two nodes. Each node is reached in one way only, so this is a walk down a tree: its stack is
    /// as deep as patterns are long, and its steps are bounded by [`limits::POLICY_PATH_VISITS_MAX`].
    #[inline(never)]
    fn branch<'p>(
        &'p self,
        [first, second]: [Entry<'p>; 2],
        refs: &mut Refs,
        tentative: &mut Tentative,
        len: &impl Fn(SetId) -> u32,
    ) {
        // A step takes one entry off and puts at most two on, one level deeper.
        let mut stack = [(&self.root, None); limits::POLICY_PATH_SEGMENTS_MAX + 2];
        let mut depth = 2;
        let mut visits = 0;
        [stack[0], stack[1]] = [first, second];
        while let Some((node, rest)) = pop(&stack, &mut depth) {
            visits += 1;
            if visits > limits::POLICY_PATH_VISITS_MAX {
                return refs.overflow();
            }
            take(node, rest.is_none(), refs, tentative, len);
            let Some(left) = rest.filter(|_| node.goes_on()) else { continue };
            let (literal, star, beyond) = self.step(node, left);
            for next in [star, literal].into_iter().flatten() {
                match stack.get_mut(depth) {
                    Some(slot) => *slot = (next, beyond),
                    None => return refs.overflow(),
                }
                depth += 1;
            }
        }
    }

    /// Where the next segment leads: by its name, and by `*`; and what lies beyond it.
    #[inline]
    fn step<'p>(&'p self, node: &Node, left: &'p [u8]) -> (Option<&'p Node>, Option<&'p Node>, Option<&'p [u8]>) {
        let end = segment_len(left);
        let segment = left.get(..end).unwrap_or_default();
        let known = node.lengths.may_have(end);
        let literal = if known { self.edges.find_in(node.realm, segment) } else { None };
        (literal, self.star(node), left.get(end + 1..))
    }

    #[inline]
    fn star(&self, node: &Node) -> Option<&Node> {
        (node.star as usize).checked_sub(1).and_then(|star| self.stars.get(star))
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.edges.bytes() + self.stars.capacity() * size_of::<Node>()
    }
}

impl Node {
    /// Whether any segment leads on from here.
    #[inline]
    fn goes_on(&self) -> bool {
        self.star != 0 || !self.lengths.is_empty()
    }
}

/// Takes what hangs at a node.
#[inline]
fn take(node: &Node, is_end: bool, refs: &mut Refs, tentative: &mut Tentative, len: &impl Fn(SetId) -> u32) {
    refs.add(node.below, len);
    if !node.candidates.is_none() {
        tentative.mark(refs.count());
        refs.add(node.candidates, len);
    }
    if is_end {
        refs.add(node.here, len);
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
fn pop<'p>(stack: &[Entry<'p>], depth: &mut usize) -> Option<Entry<'p>> {
    *depth = depth.checked_sub(1)?;
    stack.get(*depth).copied()
}
