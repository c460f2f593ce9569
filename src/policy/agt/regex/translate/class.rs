//! Character classes.

use super::{Flavour, Translator, Untranslated};

/// One end of a range, or a set.
enum Member {
    Character(char),
    Set(String),
}

impl Translator {
    /// A class: every member is said anew, because brackets, ampersands, hyphens and tildes mean more to our engines than to Python and JavaScript.
    pub(super) fn class(&mut self) -> Result<(), Untranslated> {
        let start = self.at;
        self.at += 1;
        let mut said = String::from(if self.eat("^") { "[^" } else { "[" });
        let first = self.at;
        let mut is_dotted = false;
        loop {
            let Some(character) = self.peek() else {
                self.at = start;
                return Err(self.error("this class does not end"));
            };
            if character == ']' && (self.at > first || self.flavour == Flavour::JavaScript) {
                if self.at == first {
                    return Err(self.error("an empty class is not taken"));
                }
                self.at += 1;
                break;
            }
            let (least, most) = match self.member()? {
                Member::Set(set) => {
                    if self.peek() == Some('-') && self.peek_at(1) != Some(']') {
                        return Err(self.error("a range cannot begin with a set"));
                    }
                    said.push_str(&format!("[{set}]"));
                    continue;
                }
                Member::Character(character) => (character, self.range_end(character)?),
            };
            let folds_to_i = |character| (least..=most).contains(&character);
            is_dotted |= ['i', 'I', '\u{130}', '\u{131}'].into_iter().any(folds_to_i);
            let (from, to) = (self.said(least), self.said(most));
            said.push_str(&if least == most { from } else { format!("{from}-{to}") });
        }
        if is_dotted && self.flags.ignore_case {
            said.push_str("iI\\x{130}\\x{131}");
        }
        said.push(']');
        self.say(&said);
        Ok(())
    }

    fn member(&mut self) -> Result<Member, Untranslated> {
        let Some(character) = self.peek() else { return Err(self.error("this class does not end")) };
        if character != '\\' {
            self.at += 1;
            return Ok(Member::Character(character));
        }
        let Some(escaped) = self.peek_at(1) else { return Err(self.error("a lone backslash ends the pattern")) };
        if escaped == 'b' {
            self.at += 2;
            return Ok(Member::Character('\u{8}'));
        }
        if let Some(set) = self.set(escaped) {
            self.at += 2;
            return Ok(Member::Set(set));
        }
        if escaped.is_ascii_digit() && escaped != '0' {
            return Err(self.error("a number in a class is not taken; write the character as `\\xhh`"));
        }
        self.escaped().map(Member::Character)
    }

    /// The other end of a range that begins with `least`, or `least` itself.
    fn range_end(&mut self, least: char) -> Result<char, Untranslated> {
        if self.peek() != Some('-') || matches!(self.peek_at(1), None | Some(']')) {
            return Ok(least);
        }
        self.at += 1;
        match self.member()? {
            Member::Character(most) if least <= most => Ok(most),
            Member::Character(_) => Err(self.error("this range runs backwards")),
            Member::Set(_) => Err(self.error("a range cannot end with a set")),
        }
    }
}

/// How many characters of `rest` belong to a class that has just been opened.
pub(super) fn length(rest: &[char]) -> usize {
    let mut at = usize::from(rest.first() == Some(&'^'));
    at += usize::from(rest.get(at) == Some(&']'));
    while let Some(character) = rest.get(at) {
        at += 1;
        match character {
            '\\' => at += 1,
            ']' => break,
            _ => {}
        }
    }
    at
}
