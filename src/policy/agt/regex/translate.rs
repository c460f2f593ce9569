//! Regular expressions of Python's `re` and of JavaScript, said in the syntax of our engines.
//!
//! Every construct is either said so that it means the same, or refused with the place where it stands: nothing is passed on as it is. Each pattern
//! is also said a second time and loosely: without what only a backtracking engine knows, so that whatever the pattern matches the loose one does.

use crate::limits;

mod class;
mod group;

/// Whose expressions they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Flavour {
    /// Python's `re` over texts.
    Python,
    /// JavaScript's `RegExp` without flags.
    JavaScript,
}

/// A pattern in our syntax.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) exact: String,
    /// Matches wherever `exact` does.
    pub(super) loose: String,
    /// Whether only a backtracking engine knows `exact`.
    pub(super) stepped: bool,
    /// Whether word characters are asked for by class or boundary.
    pub(super) words: bool,
    /// Whether a character beyond ASCII is named.
    pub(super) foreign: bool,
    /// Whether there is a `\B`, about which versions of Python disagree where the text is empty.
    pub(super) disputed: bool,
}

/// Why a pattern cannot be taken, and at which of its characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Untranslated {
    pub(super) at: usize,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
}

struct Translator {
    characters: Vec<char>,
    at: usize,
    flavour: Flavour,
    /// Whether Python's own notion of a word character is spelt out. It costs look-around for every boundary.
    spelt: bool,
    flags: Flags,
    groups: usize,
    open: Vec<usize>,
    names: Vec<(String, usize)>,
    out: Translated,
}

/// What a Python `\w` takes: letters, whatever has a numeric value, and the underscore.
pub(super) const PYTHON_WORD: &str = "\\p{L}\\p{N}_";
/// What `\s` takes beyond Unicode's blanks: the separators of ASCII.
const PYTHON_SPACE: &str = "\\s\\x1c-\\x1f";
const JAVASCRIPT_SPACE: &str =
    "\\t\\n\\x0b\\x0c\\r\\x20\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}";

/// Translates a pattern. `spelt` says Python's word characters by their properties, for patterns that name characters beyond ASCII.
pub(super) fn translate(pattern: &str, flavour: Flavour, spelt: bool) -> Result<Translated, Untranslated> {
    let out = Translated {
        exact: String::new(),
        loose: String::new(),
        stepped: false,
        words: false,
        foreign: false,
        disputed: false,
    };
    let mut translator = Translator {
        characters: pattern.chars().collect(),
        at: 0,
        flavour,
        spelt,
        flags: Flags::default(),
        groups: 0,
        open: Vec::new(),
        names: Vec::new(),
        out,
    };
    translator.global_flags()?;
    translator.alternation()?;
    match translator.peek() {
        None => Ok(translator.out),
        Some(_) => Err(translator.error("this parenthesis closes nothing")),
    }
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, character)| self.peek_at(ahead) == Some(character))
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn error(&self, message: impl Into<String>) -> Untranslated {
        Untranslated { at: self.at + 1, message: message.into() }
    }

    /// Says something to both.
    fn say(&mut self, text: &str) {
        self.out.exact.push_str(text);
        self.out.loose.push_str(text);
    }

    /// Says what only a backtracking engine knows, and what is loosely true instead.
    fn say_stepped(&mut self, exact: &str, loose: &str) {
        self.out.exact.push_str(exact);
        self.out.loose.push_str(loose);
        self.out.stepped = true;
    }

    fn alternation(&mut self) -> Result<(), Untranslated> {
        loop {
            while !matches!(self.peek(), None | Some('|' | ')')) {
                self.item()?;
            }
            if !self.eat("|") {
                return Ok(());
            }
            self.say("|");
        }
    }

    /// An atom and what repeats it.
    fn item(&mut self) -> Result<(), Untranslated> {
        let (exact, loose) = (self.out.exact.len(), self.out.loose.len());
        let can_repeat = self.atom()?;
        let Some(times) = self.quantifier()? else { return Ok(()) };
        if !can_repeat {
            return Err(self.error("there is nothing here that could be repeated"));
        }
        // What stands alone is repeated alone: an atom may be several constructs of ours.
        self.out.exact.insert_str(exact, "(?:");
        self.out.loose.insert_str(loose, "(?:");
        let lazy = self.eat("?");
        self.say(")");
        let times = if lazy { format!("{times}?") } else { times };
        if !lazy && self.flavour == Flavour::Python && self.eat("+") {
            self.say_stepped(&times, &times);
            self.out.exact.insert_str(exact, "(?>");
            self.out.exact.push(')');
        } else {
            self.say(&times);
        }
        if self.is_repeated() {
            return Err(self.error("what is repeated already cannot be repeated again"));
        }
        Ok(())
    }

    /// Whether a quantifier stands here.
    fn is_repeated(&self) -> bool {
        matches!(self.peek(), Some('*' | '+' | '?')) || self.bounds().is_some()
    }

    /// What `{…}` here says, and where it ends; nothing where it is no quantifier but text.
    fn bounds(&self) -> Option<(String, usize)> {
        if self.peek() != Some('{') {
            return None;
        }
        let length = self.characters.get(self.at..)?.iter().position(|character| *character == '}')?;
        let inner: String = self.characters.get(self.at + 1..self.at + length)?.iter().collect();
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let end = self.at + length + 1;
        let times = match inner.split_once(',') {
            None if !inner.is_empty() && digits(&inner) => format!("{{{inner}}}"),
            Some((least, most)) if digits(least) && digits(most) => match (least, self.flavour) {
                ("", Flavour::JavaScript) => return None,
                ("", Flavour::Python) => format!("{{0,{most}}}"),
                _ => format!("{{{least},{most}}}"),
            },
            _ => return None,
        };
        Some((times, end))
    }

    fn quantifier(&mut self) -> Result<Option<String>, Untranslated> {
        let Some(character @ ('*' | '+' | '?')) = self.peek() else {
            let Some((times, end)) = self.bounds() else { return Ok(None) };
            self.at = end;
            return Ok(Some(times));
        };
        self.at += 1;
        Ok(Some(character.to_string()))
    }

    /// One atom; whether it can be repeated.
    fn atom(&mut self) -> Result<bool, Untranslated> {
        let Some(character) = self.peek() else { return Ok(false) };
        match character {
            '(' => return self.group().map(|()| true),
            '[' => return self.class().map(|()| true),
            '\\' => return self.escape(),
            '*' | '+' | '?' => return Err(self.error("there is nothing here that could be repeated")),
            '{' if self.is_repeated() => {
                return Err(self.error("there is nothing here that could be repeated"));
            }
            _ => {}
        }
        self.at += 1;
        match (character, self.flavour) {
            ('.', _) if self.flags.dot_all => self.say("(?s:.)"),
            ('.', Flavour::Python) => self.say("[^\\n]"),
            ('.', Flavour::JavaScript) => self.say("[^\\n\\r\\x{2028}\\x{2029}]"),
            ('^', _) if self.flags.multi_line => {
                self.say("(?m:^)");
                return Ok(false);
            }
            ('^', _) => {
                self.say("\\A");
                return Ok(false);
            }
            ('$', _) => {
                self.end();
                return Ok(false);
            }
            _ => self.literal(character),
        }
        Ok(true)
    }

    /// `$`. Python's also holds before a last line feed, which is easily said where nothing follows.
    fn end(&mut self) {
        match self.flavour {
            Flavour::JavaScript => self.say("\\z"),
            Flavour::Python if self.flags.multi_line => self.say("(?m:$)"),
            Flavour::Python if self.nothing_follows() => self.say("\\n?\\z"),
            Flavour::Python => self.say_stepped("(?=\\n?\\z)", ""),
        }
    }

    /// Whether, whichever branches are taken, the pattern ends here: only closing parentheses and other branches follow.
    fn nothing_follows(&self) -> bool {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let (mut depth, mut skipping, mut at) = (0_usize, false, 0);
        while let Some(character) = rest.get(at) {
            at += 1;
            match character {
                '\\' if skipping => at += 1,
                '[' if skipping => at += class::length(rest.get(at..).unwrap_or_default()),
                '(' if skipping => depth += 1,
                ')' if depth > 0 => depth -= 1,
                // The group ends; what repeats it, or comes behind it, follows.
                ')' => skipping = false,
                '|' if depth == 0 => skipping = true,
                _ if skipping => {}
                _ => return false,
            }
        }
        true
    }

    /// A character that stands for itself.
    fn literal(&mut self, character: char) {
        // What Python takes for the same letter as `i` without regard to case, and Unicode's folding does not.
        if self.flags.ignore_case && matches!(character, 'i' | 'I' | '\u{130}' | '\u{131}') {
            self.say("[iI\\x{130}\\x{131}]");
            self.out.foreign |= !character.is_ascii();
            return;
        }
        let said = self.said(character);
        self.say(&said);
    }

    /// A character so that it stands for itself, outside of classes and within.
    fn said(&mut self, character: char) -> String {
        self.out.foreign |= !character.is_ascii();
        if character.is_ascii_alphanumeric() || character == '_' {
            return character.to_string();
        }
        format!("\\x{{{:x}}}", u32::from(character))
    }

    /// A backslash and what it makes special; whether that can be repeated.
    fn escape(&mut self) -> Result<bool, Untranslated> {
        let Some(character) = self.peek_at(1) else { return Err(self.error("a lone backslash ends the pattern")) };
        match character {
            'b' | 'B' => {
                self.boundary(character == 'B')?;
                self.at += 2;
                return Ok(false);
            }
            'A' | 'Z' if self.flavour == Flavour::Python => {
                self.say(if character == 'A' { "\\A" } else { "\\z" });
                self.at += 2;
                return Ok(false);
            }
            '1'..='9' => return self.digits().map(|()| true),
            'k' if self.flavour == Flavour::JavaScript && self.peek_at(2) == Some('<') => {
                return Err(self.error("references by name are not taken"));
            }
            _ => {}
        }
        if let Some(set) = self.set(character) {
            self.say(&format!("[{set}]"));
            self.at += 2;
            return Ok(true);
        }
        let character = self.escaped()?;
        self.literal(character);
        Ok(true)
    }

    /// `\b` and `\B`.
    fn boundary(&mut self, negated: bool) -> Result<(), Untranslated> {
        self.out.words = true;
        self.out.disputed |= negated;
        match (self.flavour, negated, self.spelt) {
            (Flavour::JavaScript, true, _) => return Err(self.error("`\\B` is not taken")),
            (Flavour::JavaScript, false, _) => self.say("(?-u:\\b)"),
            (Flavour::Python, _, true) => {
                let (same, other) = if negated { ("?=", "?!") } else { ("?!", "?=") };
                let word = PYTHON_WORD;
                let exact = format!("(?:(?<=[{word}])({same}[{word}])|(?<![{word}])({other}[{word}]))");
                self.say_stepped(&exact, "");
            }
            (Flavour::Python, true, false) => self.say("\\B"),
            (Flavour::Python, false, false) => self.say("\\b"),
        }
        Ok(())
    }

    /// The inside of a class for `\d`, `\s`, `\w` and their opposites.
    fn set(&mut self, character: char) -> Option<String> {
        self.out.words |= matches!(character, 'w' | 'W');
        let word = match (self.flavour, self.spelt) {
            (Flavour::Python, true) => PYTHON_WORD,
            (Flavour::Python, false) => "\\w",
            (Flavour::JavaScript, _) => "0-9A-Za-z_",
        };
        let (digit, space) = match self.flavour {
            Flavour::Python => ("\\d", PYTHON_SPACE),
            Flavour::JavaScript => ("0-9", JAVASCRIPT_SPACE),
        };
        let inside = match character.to_ascii_lowercase() {
            'd' => digit,
            's' => space,
            'w' => word,
            _ => return None,
        };
        Some(if character.is_ascii_uppercase() { format!("^{inside}") } else { inside.to_owned() })
    }

    /// `\1` and the like: a reference to a group, or a character by its octal number.
    fn digits(&mut self) -> Result<(), Untranslated> {
        let octal = |character: Option<char>| character.is_some_and(|character| ('0'..='7').contains(&character));
        let second = self.peek_at(2).filter(char::is_ascii_digit);
        if self.flavour == Flavour::JavaScript {
            return Err(self.error("references to groups are not taken"));
        }
        if octal(self.peek_at(1)) && octal(second) && octal(self.peek_at(3)) {
            let character = self.number(1, 3, 8)?;
            self.literal(character);
            return Ok(());
        }
        let text: String = self.peek_at(1).into_iter().chain(second).collect();
        let number = text.parse::<usize>().unwrap_or(usize::MAX);
        self.refer(number)?;
        self.at += 1 + text.len();
        Ok(())
    }

    fn refer(&mut self, number: usize) -> Result<(), Untranslated> {
        if number > self.groups || self.open.contains(&number) {
            return Err(self.error(format!("there is no closed group {number} here")));
        }
        if self.flags.ignore_case {
            // What Python takes for the same letter there, the engine does not.
            return Err(self.error("references to groups without regard to case are not taken"));
        }
        self.say_stepped(&format!("(?:\\{number})"), "(?s:.*)");
        Ok(())
    }

    /// The character that an escape stands for; moves behind it.
    fn escaped(&mut self) -> Result<char, Untranslated> {
        let Some(character) = self.peek_at(1) else { return Err(self.error("a lone backslash ends the pattern")) };
        let simple = match character {
            'a' if self.flavour == Flavour::Python => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            _ => None,
        };
        if let Some(simple) = simple {
            self.at += 2;
            return Ok(simple);
        }
        match (character, self.flavour) {
            ('x', _) => self.number(2, 2, 16),
            ('u', _) => self.number(2, 4, 16),
            ('U', Flavour::Python) => self.number(2, 8, 16),
            ('0', _) => {
                let octal = |ahead| self.peek_at(ahead).is_some_and(|digit| ('0'..='7').contains(&digit));
                let more = if !octal(2) {
                    0
                } else if octal(3) {
                    2
                } else {
                    1
                };
                self.number(1, 1 + more, 8)
            }
            (other, _) if other.is_ascii_alphanumeric() => {
                Err(self.error(format!("`\\{other}` is no escape that is taken")))
            }
            (other, _) => {
                self.at += 2;
                Ok(other)
            }
        }
    }

    /// A character by `digits` digits that begin `skip` characters from here.
    fn number(&mut self, skip: usize, digits: usize, radix: u32) -> Result<char, Untranslated> {
        let start = self.at + skip;
        let text: String = self.characters.get(start..start + digits).unwrap_or_default().iter().collect();
        let whole = text.chars().count() == digits && text.chars().all(|digit| digit.is_digit(radix));
        let character = u32::from_str_radix(&text, radix).ok().filter(|_| whole).and_then(char::from_u32);
        let Some(character) = character else { return Err(self.error("this escape names no character")) };
        self.at = start + digits;
        Ok(character)
    }

    fn nest(&mut self, group: usize) -> Result<(), Untranslated> {
        self.open.push(group);
        if self.open.len() > limits::AGT_REGEX_DEPTH_MAX {
            return Err(self.error("groups are nested too deep"));
        }
        Ok(())
    }
}
