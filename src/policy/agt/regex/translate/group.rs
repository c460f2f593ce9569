//! Groups and what can stand behind `(?`.

use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, HirKind};

use super::{Flavour, Translator, Untranslated};

impl Translator {
    /// Flags at the very beginning, which hold for all of the pattern.
    pub(super) fn global_flags(&mut self) -> Result<(), Untranslated> {
        while self.flavour == Flavour::Python && self.looking_at("(?") {
            let mut end = 2;
            while self.peek_at(end).is_some_and(|character| character.is_ascii_alphabetic()) {
                end += 1;
            }
            if end == 2 || self.peek_at(end) != Some(')') {
                break;
            }
            for ahead in 2..end {
                self.flag(ahead, true)?;
            }
            self.at += end + 1;
        }
        if self.flags.ignore_case {
            self.say("(?i)");
        }
        Ok(())
    }

    /// Sets or clears the flag `ahead` characters from here.
    fn flag(&mut self, ahead: usize, on: bool) -> Result<(), Untranslated> {
        match self.peek_at(ahead) {
            Some('i') => self.flags.ignore_case = on,
            Some('m') => self.flags.multi_line = on,
            Some('s') => self.flags.dot_all = on,
            Some('u') if on => {}
            Some(other) => return Err(self.error(format!("the flag `{other}` is not taken"))),
            None => return Err(self.error("this group does not end")),
        }
        Ok(())
    }

    pub(super) fn group(&mut self) -> Result<(), Untranslated> {
        if !self.looking_at("(?") {
            self.at += 1;
            self.groups += 1;
            self.say("(");
            return self.inside(self.groups);
        }
        let python = self.flavour == Flavour::Python;
        if self.eat("(?:") {
            self.say("(?:");
            return self.inside(0);
        }
        for look in ["(?=", "(?!", "(?<=", "(?<!"] {
            if self.eat(look) {
                return self.look(look);
            }
        }
        if python && self.eat("(?#") {
            while !self.eat(")") {
                if self.peek().is_none() {
                    return Err(self.error("this comment does not end"));
                }
                self.at += 1;
            }
            if self.is_repeated() {
                return Err(self.error("what repeats something stands right behind it"));
            }
            self.say("(?:)");
            return Ok(());
        }
        if python && self.eat("(?>") {
            self.say_stepped("(?>", "(?:");
            return self.inside(0);
        }
        if python && self.eat("(?P=") {
            let name = self.name(')')?;
            let number = self.names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
            let Some(number) = number else { return Err(self.error(format!("there is no group `{name}` here"))) };
            return self.refer(number);
        }
        if self.eat(if python { "(?P<" } else { "(?<" }) {
            let name = self.name('>')?;
            self.groups += 1;
            self.names.push((name, self.groups));
            self.say("(");
            return self.inside(self.groups);
        }
        if python { self.flagged() } else { Err(self.error("this kind of group is not taken")) }
    }

    fn name(&mut self, end: char) -> Result<String, Untranslated> {
        let mut name = String::new();
        loop {
            match self.peek() {
                Some(character) if character == end => break,
                Some(character) if character.is_alphanumeric() || character == '_' => name.push(character),
                _ => return Err(self.error("this is no name of a group")),
            }
            self.at += 1;
        }
        self.at += 1;
        let known = self.names.iter().any(|(known, _)| *known == name) && end == '>';
        let starts_well = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
        if known || !starts_well { Err(self.error("this is no new name of a group")) } else { Ok(name) }
    }

    /// Look-around. Loosely it asks for nothing; what stands in it is translated all the same, so that nothing in it goes unseen.
    fn look(&mut self, look: &str) -> Result<(), Untranslated> {
        let loose = self.out.loose.len();
        self.say_stepped(look, "(?:");
        let inner = self.out.exact.len();
        self.inside(0)?;
        let inner = self.out.exact.get(inner..self.out.exact.len() - 1).unwrap_or_default();
        if look.starts_with("(?<") && !syntax::parse(inner).is_ok_and(|hir| width(&hir).is_some()) {
            return Err(self.error("to look behind asks for a fixed width"));
        }
        self.out.loose.truncate(loose);
        self.out.loose.push_str("(?:)");
        Ok(())
    }

    /// `(?i:…)` and its like.
    fn flagged(&mut self) -> Result<(), Untranslated> {
        let outer = self.flags;
        let mut ahead = 2;
        let mut on = true;
        loop {
            match self.peek_at(ahead) {
                Some(':') => break,
                Some('-') if on => on = false,
                Some(')') => return Err(self.error("flags for all of the pattern stand at its beginning")),
                Some('(') => return Err(self.error("conditional groups are not taken")),
                _ => self.flag(ahead, on)?,
            }
            ahead += 1;
        }
        self.at += ahead + 1;
        self.say(if self.flags.ignore_case { "(?i:" } else { "(?-i:" });
        self.inside(0)?;
        self.flags = outer;
        Ok(())
    }

    /// The inside of a group that has been opened, and its end. `group` is its number, 0 where it has none.
    fn inside(&mut self, group: usize) -> Result<(), Untranslated> {
        self.nest(group)?;
        self.alternation()?;
        if !self.eat(")") {
            return Err(self.error("this group does not end"));
        }
        self.open.pop();
        self.say(")");
        Ok(())
    }
}

/// How many characters whatever matches has, where that is one number.
fn width(hir: &Hir) -> Option<usize> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(0),
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|text| text.chars().count()),
        HirKind::Class(_) => Some(1),
        HirKind::Capture(capture) => width(&capture.sub),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.filter(|most| *most == repetition.min)?;
            width(&repetition.sub)?.checked_mul(times as usize)
        }
        HirKind::Concat(parts) => parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(width(part)?)),
        HirKind::Alternation(parts) => {
            let first = width(parts.first()?)?;
            parts.iter().all(|part| width(part) == Some(first)).then_some(first)
        }
    }
}
