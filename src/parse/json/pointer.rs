//! Values by JSON pointer (RFC 6901), found while the text is scanned.
//!
//! What is asked for is known before: [`Pointers`] is the set of a policy's pointers, [`Watch`] looks on while tokens pass and notes where the
//! values stand. A name that is a twin of one that is asked for makes everything below it unreadable: some recipient would take it for
//! that name.

use std::borrow::Cow;

use super::{JsonError, Kind, Layout, Token, decode, each, fold, is_exact};

/// A set of JSON pointers.
#[derive(Debug, Clone)]
pub struct Pointers {
    names: Vec<Box<str>>,
    /// The root first.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The pointer that ends here.
    pointer: Option<usize>,
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
struct Child {
    name: String,
    folded: String,
    node: usize,
}

impl Pointers {
    /// The set of these pointers. One without a leading slash, unless it is empty, finds nothing.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p str>) -> Self {
        let mut set = Pointers { names: Vec::new(), nodes: vec![Node::default()] };
        for pointer in pointers {
            set.add(pointer);
        }
        set
    }

    fn add(&mut self, pointer: &str) {
        if self.names.iter().any(|name| **name == *pointer) || !pointer.is_empty() && !pointer.starts_with('/') {
            return;
        }
        let mut at = 0;
        for segment in pointer.split('/').skip(1) {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match node.children.iter().find(|child| child.name == name) {
                Some(child) => child.node,
                None => {
                    node.children.push(Child { folded: fold(&name), name, node: fresh });
                    self.nodes.push(Node::default());
                    fresh
                }
            };
        }
        let index = self.names.len();
        if let Some(node) = self.nodes.get_mut(at) {
            node.pointer = Some(index);
            self.names.push(pointer.into());
        }
    }

    /// The pointers, in the order in which they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn children(&self, node: usize) -> &[Child] {
        self.nodes.get(node).map_or(&[], |node| &node.children)
    }
}

/// Looks for a set of pointers while the tokens of one value pass.
#[derive(Debug, Clone)]
pub struct Watch<'p> {
    pointers: &'p Pointers,
    found: Vec<Found>,
    /// The containers around, within the value.
    levels: Vec<Level>,
    /// What the next value is, if anybody asks for it or for something below it.
    next: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    node: Option<usize>,
    is_array: bool,
    /// Elements so far.
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Absent,
    Unreadable,
    At { token: Token, length: usize },
}

impl<'p> Watch<'p> {
    /// In front of the value.
    pub fn new(pointers: &'p Pointers) -> Self {
        Watch { pointers, found: vec![Found::Absent; pointers.names.len()], levels: Vec::new(), next: Some(0) }
    }

    /// Takes the next token of the value, which lies in `bytes`.
    pub fn take(&mut self, bytes: &[u8], token: Token) {
        match token.kind {
            Kind::Key => self.key(&decode(token.of(bytes))),
            Kind::ObjectStart | Kind::ArrayStart => {
                let node = self.enter();
                let is_array = token.kind == Kind::ArrayStart;
                self.levels.push(Level { node, is_array, length: 0 });
            }
            Kind::ObjectEnd | Kind::ArrayEnd => {
                if let Some(level) = self.levels.pop() {
                    self.note(level.node, token, level.length);
                }
            }
            _ => {
                let node = self.enter();
                self.note(node, token, 0);
            }
        }
    }

    /// What was found. `bytes` is the text that the tokens came from.
    pub fn finish<'f>(self, bytes: &'f [u8]) -> Facts<'f>
    where
        'p: 'f,
    {
        Facts { pointers: self.pointers, found: self.found, bytes }
    }

    /// A value begins: the node it is.
    fn enter(&mut self) -> Option<usize> {
        let Some(level) = self.levels.last_mut().filter(|level| level.is_array) else { return self.next.take() };
        let index = level.length;
        level.length += 1;
        let children = self.pointers.children(level.node?);
        if children.is_empty() {
            return None;
        }
        let name = index.to_string();
        children.iter().find(|child| child.name == name).map(|child| child.node)
    }

    fn key(&mut self, name: &str) {
        self.next = None;
        let pointers = self.pointers;
        let Some(node) = self.levels.last().and_then(|level| level.node) else { return };
        let children = pointers.children(node);
        if children.is_empty() {
            return;
        }
        let mut folded = None;
        for child in children {
            if child.name == name {
                self.next = Some(child.node);
            } else if child.folded == *folded.get_or_insert_with(|| fold(name)) {
                self.spoil(child.node);
            }
        }
    }

    fn note(&mut self, node: Option<usize>, token: Token, length: usize) {
        let pointer = node.and_then(|node| self.pointers.nodes.get(node)).and_then(|node| node.pointer);
        if let Some(found) = pointer.and_then(|pointer| self.found.get_mut(pointer))
            && *found == Found::Absent
        {
            *found = Found::At { token, length };
        }
    }

    /// Everything from this node on is unreadable.
    fn spoil(&mut self, node: usize) {
        let mut todo = vec![node];
        while let Some(node) = todo.pop().and_then(|node| self.pointers.nodes.get(node)) {
            if let Some(found) = node.pointer.and_then(|pointer| self.found.get_mut(pointer)) {
                *found = Found::Unreadable;
            }
            todo.extend(node.children.iter().map(|child| child.node));
        }
    }
}

/// The values of a text that were asked for.
#[derive(Debug, Clone)]
pub struct Facts<'b> {
    pointers: &'b Pointers,
    found: Vec<Found>,
    bytes: &'b [u8],
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'b> {
    /// A string, decoded.
    Text(Cow<'b, str>),
    /// A number that every recipient reads alike, as it is written.
    Number(&'b [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An array, by its length.
    List(usize),
    /// An object.
    Object,
    /// Recipients differ on it: a number that only some of them hold, or a name with a twin.
    Unreadable,
}

impl<'b> Facts<'b> {
    /// The value at a pointer; nothing if there is none, or if the pointer is not in the set.
    pub fn value(&self, pointer: &str) -> Option<Value<'b>> {
        let index = self.pointers.names.iter().position(|name| **name == *pointer)?;
        let (token, length) = match *self.found.get(index)? {
            Found::Absent => return None,
            Found::Unreadable => return Some(Value::Unreadable),
            Found::At { token, length } => (token, length),
        };
        let span = token.of(self.bytes);
        Some(match token.kind {
            Kind::Number if is_exact(span) => Value::Number(span),
            Kind::Number => Value::Unreadable,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Null => Value::Null,
            Kind::ArrayStart | Kind::ArrayEnd => Value::List(length),
            Kind::ObjectStart | Kind::ObjectEnd => Value::Object,
            Kind::String | Kind::Key => Value::Text(decode(span)),
        })
    }
}

/// The values of a whole text by pointer.
pub fn facts<'b>(bytes: &'b [u8], layout: Layout, pointers: &'b Pointers) -> Result<Facts<'b>, JsonError> {
    let mut watch = Watch::new(pointers);
    each(bytes, layout, |token| watch.take(bytes, token))?;
    Ok(watch.finish(bytes))
}
