//! The conditions of `governance.toolkit/v1`, taken apart exactly as AGT's Python takes them apart.
//!
//! That is not as a language: a text is cut at ` or `, then at ` and `, inside of quotes too; each piece is tried against five patterns from its
//! beginning, and what follows a pattern is ignored. What fits none is false. Parentheses and `not` do not exist.

use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::super::number::Number;
use super::super::problem::Place;
use super::course::{Flaw, Truth};
use super::facts::{Fact, Facts, Field};
use super::reading::Reading;

/// Alternatives of conditions that must all hold.
#[derive(Debug)]
pub(super) struct Expression(Vec<Vec<Atom>>);

#[derive(Debug)]
enum Atom {
    Equals(Field, Box<str>),
    /// Holds where the field is missing, too.
    Differs(Field, Box<str>),
    /// Numbers are in no list: its items are texts.
    In(Field, Box<[Box<str>]>),
    /// A field that is missing counts as 0, a text by the number it says.
    Compares(Field, Comparison, f64),
    /// Neither missing, nor empty, zero or false.
    Is(Field),
    False,
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    More,
    Less,
    AtLeast,
    AtMost,
}

/// Longer texts are false.
const LENGTH_MAX: usize = 2_000;

/// The patterns in the order in which they are tried, each from the beginning of a piece.
static PATTERNS: LazyLock<Option<[Regex; 5]>> = LazyLock::new(|| {
    let path = "([\\p{L}\\p{N}_]+(?:\\.[\\p{L}\\p{N}_]+)*)";
    let blank = "[\\s\\x1c-\\x1f]";
    let of = |rest: String| Regex::new(&format!("\\A{path}{rest}")).ok();
    Some([
        of(format!("{blank}*=={blank}*['\"]([^'\"]+)['\"]"))?,
        of(format!("{blank}*!={blank}*['\"]([^'\"]+)['\"]"))?,
        of(format!("{blank}+in{blank}+\\[([^\\]]*)\\]"))?,
        of(format!("{blank}*(>=|<=|>|<){blank}*([0-9]+(?:\\.[0-9]+)?)"))?,
        of("\\n?\\z".to_owned())?,
    ])
});

/// Takes a condition apart; nothing after an error. What AGT does with it against all appearance is warned of.
pub(super) fn read(text: &str, place: Place, reading: &mut Reading<'_>) -> Option<Expression> {
    if text.chars().count() > LENGTH_MAX {
        let message = format!("AGT takes a condition of more than {LENGTH_MAX} characters for false");
        reading.problems.warning(place, message, "make several rules of it");
        return Some(Expression(Vec::new()));
    }
    if cuts_quotes(text) {
        let message = "AGT cuts a condition at ` or ` and ` and ` inside of quotes too";
        reading.problems.warning(place, message, "make the text one without these words, or several rules");
    }
    let mut alternatives = Vec::new();
    for alternative in cut(text, " or ") {
        let pieces = cut(alternative, " and ");
        alternatives.push(pieces.map(|piece| atom(piece, place, reading)).collect::<Option<Vec<_>>>()?);
    }
    Some(Expression(alternatives))
}

/// The pieces of a text, without surrounding blanks; of a text that is whole the blanks are left, as AGT leaves them.
fn cut<'t>(text: &'t str, at: &'static str) -> impl Iterator<Item = &'t str> {
    let is_whole = !text.contains(at);
    text.split(at).map(move |piece| if is_whole { piece } else { trimmed(piece) })
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character))
}

/// Whether a cut falls into quotes.
fn cuts_quotes(text: &str) -> bool {
    let inside = |at: usize| {
        let before = text.get(..at).unwrap_or_default();
        let mut open = None;
        for character in before.chars().filter(|character| matches!(character, '\'' | '"')) {
            open = match open {
                None => Some(character),
                Some(quote) if quote == character => None,
                other => other,
            };
        }
        open.is_some()
    };
    [" or ", " and "].into_iter().any(|word| text.match_indices(word).any(|(at, _)| inside(at)))
}

fn atom(piece: &str, place: Place, reading: &mut Reading<'_>) -> Option<Atom> {
    // The patterns are constants that the tests compile.
    let Some(patterns) = &*PATTERNS else { return Some(Atom::False) };
    for (which, pattern) in patterns.iter().enumerate() {
        let mut captures = pattern.create_captures();
        pattern.captures(piece, &mut captures);
        let group =
            |number: usize| captures.get_group(number).and_then(|span| piece.get(span.range())).unwrap_or_default();
        let Some(found) = captures.get_match() else { continue };
        let rest = piece.get(found.end()..).unwrap_or_default();
        if !trimmed(rest).is_empty() {
            let message = format!("AGT ignores `{}` behind `{}`", trimmed(rest), group(0));
            reading.problems.warning(place, message, "remove it, or join conditions with ` and ` and ` or `");
        }
        let name = group(1);
        let field = reading.field(name, place);
        let missing = |what: &str, reading: &mut Reading<'_>| {
            let message = format!("`{piece}` {what} where `{name}` is missing");
            reading.problems.warning(place, message, "");
        };
        return Some(match which {
            0 => Atom::Equals(field, group(2).into()),
            1 => {
                if !matches!(field, Field::Agent | Field::Tool) {
                    missing("also holds", reading);
                }
                Atom::Differs(field, group(2).into())
            }
            2 => Atom::In(field, items(group(2))),
            3 => {
                missing("is decided with 0", reading);
                let comparison = match group(2) {
                    ">" => Comparison::More,
                    "<" => Comparison::Less,
                    ">=" => Comparison::AtLeast,
                    _ => Comparison::AtMost,
                };
                Atom::Compares(field, comparison, group(3).parse().ok()?)
            }
            _ => Atom::Is(field),
        });
    }
    let message = format!("AGT takes `{piece}` for false");
    let remedy =
        "conditions are `a.b == 'text'`, `!=`, `in ['x', 'y']`, `> 5` and a bare `a.b`, without `not` and parentheses";
    reading.problems.warning(place, message, remedy);
    Some(Atom::False)
}

/// The items of a list. Blanks and quotes go from both ends; an item of quotes only is the empty text.
fn items(text: &str) -> Box<[Box<str>]> {
    let items = text.split(',').map(trimmed).filter(|item| !item.is_empty());
    items.map(|item| item.trim_matches(['\'', '"']).into()).collect()
}

impl Expression {
    /// Whether the condition holds.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        let mut greatest = Truth::No;
        for alternative in &self.0 {
            let mut least = Truth::Yes;
            for atom in alternative {
                least = least.min(atom.holds(facts)?);
                if least == Truth::No {
                    break;
                }
            }
            greatest = greatest.max(least);
            if greatest == Truth::Yes {
                break;
            }
        }
        Ok(greatest)
    }
}

impl Atom {
    fn holds(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        let (Atom::Equals(field, _) | Atom::Differs(field, _) | Atom::In(field, _)) = self else {
            return self.weighs(facts);
        };
        let fact = facts.get(field);
        if let Fact::Open = fact {
            return Ok(Truth::Maybe);
        }
        let is = |wanted: &str| matches!(&fact, Fact::Text(text) if **text == *wanted);
        match (self, &fact) {
            (_, Fact::Unreadable) => Err(Flaw),
            (Atom::Equals(_, value), _) => Ok(Truth::from(is(value))),
            (Atom::Differs(_, value), _) => Ok(Truth::from(!is(value))),
            (Atom::In(_, items), _) => Ok(Truth::from(items.iter().any(|item| is(item)))),
            _ => Err(Flaw),
        }
    }

    /// Comparisons with numbers, and truth.
    fn weighs(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        let field = match self {
            Atom::Compares(field, ..) | Atom::Is(field) => field,
            _ => return Ok(Truth::No),
        };
        let fact = facts.get(field);
        match (&fact, self) {
            (Fact::Open, _) => Ok(Truth::Maybe),
            (Fact::Unreadable, _) => Err(Flaw),
            (_, Atom::Compares(_, comparison, than)) => {
                Ok(Truth::from(number(&fact).is_some_and(|number| comparison.holds(number, *than))))
            }
            (Fact::Text(text), _) => Ok(Truth::from(!text.is_empty())),
            (Fact::Number(number), _) => Ok(Truth::from(*number != Number::Integer(0))),
            (Fact::Bool(flag), _) => Ok(Truth::from(*flag)),
            (Fact::List(length), _) => Ok(Truth::from(*length > 0)),
            (Fact::Missing | Fact::Null, _) => Ok(Truth::No),
            // Whether it is empty is not known.
            (Fact::Object, _) => Err(Flaw),
        }
    }
}

/// Python's `float`, with 0 for what is missing; nothing where it raises and the comparison is false.
fn number(fact: &Fact<'_>) -> Option<f64> {
    match fact {
        Fact::Missing | Fact::Null => Some(0.0),
        Fact::Bool(flag) => Some(f64::from(u8::from(*flag))),
        // As Python does, to the nearest.
        #[allow(clippy::cast_precision_loss)]
        Fact::Number(Number::Integer(integer)) => Some(*integer as f64),
        Fact::Number(Number::Float(float)) => Some(*float),
        Fact::Text(text) => {
            let text = trimmed(text);
            let digit = |character: Option<char>| character.is_some_and(|character| character.is_ascii_digit());
            let joins = |at: usize| {
                let (before, behind) = (text.get(..at), text.get(at + 1..));
                digit(before.and_then(|text| text.chars().next_back()))
                    && digit(behind.and_then(|text| text.chars().next()))
            };
            let joined = text.match_indices('_').all(|(at, _)| joins(at));
            joined.then(|| text.replace('_', "").parse().ok()).flatten()
        }
        Fact::Open | Fact::Unreadable | Fact::List(_) | Fact::Object => None,
    }
}

impl Comparison {
    fn holds(self, number: f64, than: f64) -> bool {
        match self {
            Comparison::More => number > than,
            Comparison::Less => number < than,
            Comparison::AtLeast => number >= than,
            Comparison::AtMost => number <= than,
        }
    }
}

#[cfg(test)]
mod tests;
