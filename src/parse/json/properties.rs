//! What holds for every JSON text. Unit tests, property tests and the fuzz target call the same functions.

#![allow(clippy::expect_used, clippy::panic, reason = "a property that does not hold panics, as the fuzzer wants it")]

use serde_json::Value as Tree;

use super::*;

/// What a scanner makes of a text: its tokens, and the fault that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In order.
    pub tokens: Vec<Token>,
    /// Where it was refused, and why.
    pub fault: Option<(usize, JsonError)>,
}

/// Everything that holds for any bytes taken as a JSON text.
pub fn holds(bytes: &[u8]) {
    for layout in [Layout::Free, Layout::Line] {
        let whole = scan(bytes, layout, bytes.len().max(1));
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(scan(bytes, layout, piece), whole, "in pieces of {piece}");
        }
        agrees_with_serde(bytes, layout, &whole);
    }
    let whole = scan(bytes, Layout::Free, bytes.len().max(1));
    if whole.fault.is_none() {
        no_beginning_is_whole(bytes, &whole.tokens);
        pointers_lead_to_values(bytes);
        canonical_form_is_one(bytes, &whole.tokens);
    }
}

/// Scans `bytes` as they come in pieces.
pub fn scan(bytes: &[u8], layout: Layout, piece: usize) -> Outcome {
    let mut scanner = Scanner::new(layout);
    let mut tokens: Vec<Token> = Vec::new();
    let mut end = 0;
    loop {
        match scanner.step(&bytes[..end], end == bytes.len()) {
            Ok(Step::Token(token)) => {
                assert!(token.start < token.end && token.end <= end);
                tokens.push(token);
            }
            Ok(Step::More) => {
                assert_eq!(scanner.offset(), end, "more is asked for when all is read");
                end = bytes.len().min(end + piece);
            }
            Ok(Step::End) => return Outcome { tokens, fault: None },
            Err(fault) => return Outcome { tokens, fault: Some((scanner.offset(), fault)) },
        }
    }
}

/// What is accepted here is accepted by `serde_json` and has the same value. What it takes and is refused here, is refused for one of the
/// reasons in this list.
fn agrees_with_serde(bytes: &[u8], layout: Layout, whole: &Outcome) {
    let theirs: Result<Tree, _> = serde_json::from_slice(bytes);
    match whole.fault {
        None => {
            let theirs = theirs.unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(bytes)));
            let mut ours = Build { bytes, tokens: whole.tokens.iter() };
            assert!(equal(&ours.value(), &theirs), "{theirs} is read differently");
            assert!(ours.tokens.next().is_none());
        }
        Some((
            _,
            JsonError::DuplicateKey
            | JsonError::Depth
            | JsonError::Tokens
            | JsonError::Blanks
            | JsonError::TooLong
            | JsonError::KeyTooLong
            | JsonError::NumberTooLong
            | JsonError::NumberRange,
        )) => {}
        Some((_, JsonError::Layout)) => assert_eq!(layout, Layout::Line),
        Some((at, fault)) => assert!(theirs.is_err(), "refused at {at}, {fault}, but {theirs:?}"),
    }
}

/// A number as its text, everything else as it is.
#[derive(Debug)]
enum Ours {
    Number(String),
    Leaf(Tree),
    List(Vec<Ours>),
    Map(Vec<(String, Ours)>),
}

struct Build<'b> {
    bytes: &'b [u8],
    tokens: std::slice::Iter<'b, Token>,
}

impl Build<'_> {
    fn value(&mut self) -> Ours {
        let first = *self.tokens.next().expect("a value");
        self.value_of(first)
    }

    fn value_of(&mut self, token: Token) -> Ours {
        match token.kind {
            Kind::ArrayStart => {
                let mut list = Vec::new();
                loop {
                    let next = *self.tokens.next().expect("an end");
                    if next.kind == Kind::ArrayEnd {
                        assert_eq!((next.start, next.depth), (token.start, token.depth));
                        return Ours::List(list);
                    }
                    assert_eq!(next.depth, token.depth + 1);
                    list.push(self.value_of(next));
                }
            }
            Kind::ObjectStart => {
                let mut map = Vec::new();
                loop {
                    let next = *self.tokens.next().expect("an end");
                    if next.kind == Kind::ObjectEnd {
                        assert_eq!((next.start, next.depth), (token.start, token.depth));
                        return Ours::Map(map);
                    }
                    assert_eq!((next.kind, next.depth), (Kind::Key, token.depth + 1));
                    map.push((decode(next.of(self.bytes)).into_owned(), self.value()));
                }
            }
            Kind::Number => Ours::Number(String::from_utf8(token.of(self.bytes).to_vec()).expect("ASCII")),
            Kind::String => Ours::Leaf(Tree::String(decode(token.of(self.bytes)).into_owned())),
            Kind::True => Ours::Leaf(Tree::Bool(true)),
            Kind::False => Ours::Leaf(Tree::Bool(false)),
            Kind::Null => Ours::Leaf(Tree::Null),
            Kind::Key | Kind::ObjectEnd | Kind::ArrayEnd => panic!("no value begins with {token:?}"),
        }
    }
}

fn equal(ours: &Ours, theirs: &Tree) -> bool {
    match (ours, theirs) {
        (Ours::Number(literal), Tree::Number(number)) => same_number(literal, number),
        (Ours::Leaf(ours), theirs) => ours == theirs,
        (Ours::List(ours), Tree::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| equal(ours, theirs))
        }
        (Ours::Map(ours), Tree::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, value)| theirs.get(name).is_some_and(|theirs| equal(value, theirs)))
        }
        _ => false,
    }
}

/// Integers are the same to the last digit; of others, `serde_json` may miss the nearest double by a little.
fn same_number(literal: &str, number: &serde_json::Number) -> bool {
    if let (Ok(ours), Some(theirs)) = (literal.parse::<i128>(), number.as_i128()) {
        return ours == theirs;
    }
    let (ours, theirs) = (literal.parse::<f64>().expect("a number"), number.as_f64().expect("a double"));
    ours == theirs || (ours - theirs).abs() <= ours.abs() * 1e-15 || (ours - theirs).abs() <= 1e-320
}

/// Of an object or an array no proper beginning is a text, except where only blanks are missing.
fn no_beginning_is_whole(bytes: &[u8], tokens: &[Token]) {
    let Some(last) = tokens.last().filter(|token| matches!(token.kind, Kind::ObjectEnd | Kind::ArrayEnd)) else {
        return;
    };
    for end in (0..last.end).step_by(last.end / 64 + 1) {
        let fault = scan(&bytes[..end], Layout::Free, bytes.len()).fault.map(|(_, fault)| fault);
        assert_eq!(fault, Some(JsonError::Truncated), "{end} of {} bytes", bytes.len());
    }
}

/// Each of the first few values is found under its pointer, as `serde_json` finds it.
fn pointers_lead_to_values(bytes: &[u8]) {
    let tree: Tree = serde_json::from_slice(bytes).expect("checked before");
    let mut pointers = vec![String::new()];
    let mut next = 0;
    while let Some(pointer) = pointers.get(next).cloned().filter(|_| pointers.len() < 24) {
        next += 1;
        match tree.pointer(&pointer) {
            Some(Tree::Array(list)) => {
                pointers.extend((0..list.len()).take(4).map(|index| format!("{pointer}/{index}")))
            }
            Some(Tree::Object(map)) => pointers.extend(
                map.keys().take(4).map(|key| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))),
            ),
            _ => {}
        }
    }
    pointers.push("/no such/value".to_owned());
    let set = Pointers::new(pointers.iter().map(String::as_str));
    let facts = facts(bytes, Layout::Free, &set).expect("checked before");
    for pointer in &pointers {
        let ours = facts.value(pointer);
        let same = match (&ours, tree.pointer(pointer)) {
            (None, None) | (Some(Value::Null), Some(Tree::Null)) | (Some(Value::Object), Some(Tree::Object(_))) => true,
            (Some(Value::Unreadable), None) => {
                tree.as_object().is_some_and(|map| map.keys().any(|key| is_twin(key, "no such")))
            }
            (Some(Value::Unreadable), Some(_)) => true,
            (Some(Value::Bool(ours)), Some(Tree::Bool(theirs))) => ours == theirs,
            (Some(Value::Text(ours)), Some(Tree::String(theirs))) => ours == theirs,
            (Some(Value::List(ours)), Some(Tree::Array(theirs))) => *ours == theirs.len(),
            (Some(Value::Number(ours)), Some(Tree::Number(theirs))) => {
                same_number(str::from_utf8(ours).expect("ASCII"), theirs)
            }
            _ => false,
        };
        assert!(same, "{pointer}: {ours:?}");
    }
}

/// The canonical form is a text of the same value, is its own canonical form, and does not depend on blanks.
fn canonical_form_is_one(bytes: &[u8], tokens: &[Token]) {
    let form = canonical(bytes).expect("a text");
    assert_eq!(canonical(&form).expect("a text"), form);
    let theirs: Tree = serde_json::from_slice(&form).expect("a text");
    let mut ours = Build { bytes, tokens: tokens.iter() };
    assert!(equal(&ours.value(), &theirs), "{theirs} means something else");
    let mut spaced = b" ".to_vec();
    for token in tokens {
        match token.kind {
            Kind::ObjectEnd | Kind::ArrayEnd => {}
            _ => spaced.extend_from_slice(token.of(bytes)),
        }
        let closing = bytes[token.end - 1];
        if matches!(token.kind, Kind::ObjectEnd | Kind::ArrayEnd) {
            spaced.push(closing);
        }
        // The comma or colon behind the token, if there is one.
        let rest = bytes[token.end..].iter().find(|byte| !byte.is_ascii_whitespace());
        spaced.extend(rest.filter(|byte| matches!(byte, b',' | b':')));
        spaced.push(b'\n');
    }
    assert_eq!(canonical(&spaced).ok(), Some(form));
}
