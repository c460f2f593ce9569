//! Shell patterns as Python's `fnmatch` has them: `*`, `?`, `[seq]` and `[!seq]`, over whole texts; `*` stands for any characters.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Part]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Star,
    Any,
    Is(char),
    In { negated: bool, ranges: Box<[(char, char)]> },
}

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        let characters: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(character) = characters.get(at) {
            at += 1;
            match character {
                '*' if parts.last() == Some(&Part::Star) => {}
                '*' => parts.push(Part::Star),
                '?' => parts.push(Part::Any),
                '[' => match sequence(characters.get(at..).unwrap_or_default()) {
                    Some((part, length)) => {
                        parts.push(part);
                        at += length;
                    }
                    None => parts.push(Part::Is('[')),
                },
                other => parts.push(Part::Is(*other)),
            }
        }
        Pattern(parts.into())
    }

    /// Whether the whole text matches. Where a star has taken too little it takes one more: the work is bounded by both lengths multiplied.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut part, mut rest) = (0, text.chars());
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let next = self.0.get(part);
            if next == Some(&Part::Star) {
                again = Some((part, rest.clone()));
                part += 1;
                continue;
            }
            let Some(character) = rest.next() else {
                return next.is_none();
            };
            if next.is_some_and(|part| part.takes(character)) {
                part += 1;
                continue;
            }
            let Some((star, from)) = &mut again else { return false };
            if from.next().is_none() {
                return false;
            }
            (part, rest) = (*star + 1, from.clone());
        }
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Part::Star => false,
            Part::Any => true,
            Part::Is(wanted) => *wanted == character,
            Part::In { negated, ranges } => {
                ranges.iter().any(|(least, most)| (*least..=*most).contains(&character)) != *negated
            }
        }
    }
}

/// The set after a `[`, and how many characters it takes; nothing where it does not end, and the bracket stands for itself.
fn sequence(rest: &[char]) -> Option<(Part, usize)> {
    let negated = rest.first() == Some(&'!');
    let start = usize::from(negated);
    // A bracket at the beginning is one of the set.
    let inner = rest.get(start..)?;
    let end = inner.iter().skip(1).position(|character| *character == ']')? + 1;
    let inner = inner.get(..end)?;
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(first) = inner.get(at) {
        match (inner.get(at + 1), inner.get(at + 2)) {
            (Some('-'), Some(last)) => {
                // A range that runs backwards has nothing in it.
                if first <= last {
                    ranges.push((*first, *last));
                }
                at += 3;
            }
            _ => {
                ranges.push((*first, *first));
                at += 1;
            }
        }
    }
    Some((Part::In { negated, ranges: ranges.into() }, start + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_fnmatch_means() {
        for (pattern, yes, no) in [
            ("*.openai.com", "a.b.openai.com", "openai.com"),
            ("*openai.com", "evilopenai.com", "openai.com.evil.example"),
            ("a?c", "abc", "ac"),
            ("[!a]b", "cb", "ab"),
            ("[]]x", "]x", "[x"),
            ("[a-c]*d*e", "cxdyde", "dxde"),
            ("[z", "[z", "z"),
            ("*", "", "\u{0}never"),
        ] {
            assert!(Pattern::new(pattern).matches(yes), "{pattern} {yes}");
            assert!(pattern == "*" || !Pattern::new(pattern).matches(no), "{pattern} {no}");
        }
    }
}
