//! Numbers of policies and of JSON values, compared without rounding.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A number: an integer exactly, anything else as the nearest double. Never NaN.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// An integer.
    Integer(i128),
    /// A number with a fraction or an exponent, finite.
    Float(f64),
}

impl Number {
    /// A finite double; an integral one becomes an integer, so that `1e2` equals `100`.
    pub fn from_float(value: f64) -> Option<Number> {
        if !value.is_finite() {
            return None;
        }
        // An integral double below 2^100 is an i128 exactly.
        #[allow(clippy::cast_possible_truncation)]
        let integral = (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i128);
        Some(integral.map_or(Number::Float(value), Number::Integer))
    }

    /// Reads a number as JSON writes it (RFC 8259 §6). Nothing for other texts and for numbers no double comes near.
    pub fn read(text: &[u8]) -> Option<Number> {
        let text = std::str::from_utf8(text).ok()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit())
            || digits.contains(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E')
        {
            return None;
        }
        match text.parse::<i128>() {
            Ok(integer) => Some(Number::Integer(integer)),
            Err(_) => text.parse::<f64>().ok().and_then(Number::from_float),
        }
    }
}

const EXACT: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(b),
            (Number::Float(a), Number::Float(b)) => a.total_cmp(b),
            (Number::Integer(a), Number::Float(b)) => between(*a, *b),
            (Number::Float(a), Number::Integer(b)) => between(*b, *a).reverse(),
        }
    }
}

/// An integer against a double. A double that is kept as one has a fraction or is beyond every exact integer, so they are never equal.
fn between(integer: i128, float: f64) -> Ordering {
    if float.abs() >= EXACT {
        // Beyond what an integral double is kept as; compared as doubles, a tie broken by the sign of the excess.
        #[allow(clippy::cast_precision_loss)]
        let rounded = integer as f64;
        return rounded.total_cmp(&float).then(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    #[allow(clippy::cast_possible_truncation)]
    let floor = float.floor() as i128;
    if integer <= floor { Ordering::Less } else { Ordering::Greater }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Number::Integer(value) => value.hash(state),
            Number::Float(value) => value.to_bits().hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_integers_and_fractions_without_rounding() {
        let n = |text: &str| Number::read(text.as_bytes()).unwrap();
        assert_eq!(n("1e2"), n("100"));
        assert_eq!(n("100.0"), n("100"));
        assert!(n("9007199254740993") > n("9007199254740992"));
        assert!(n("0.5") > n("0") && n("0.5") < n("1") && n("-0.5") < n("0") && n("-0.5") > n("-1"));
        assert!(n("1e300") > n("170141183460469231731687303715884105727"));
        assert!(n("-1e300") < n("-170141183460469231731687303715884105727"));
        assert_eq!(n("-0"), n("0"));
        for text in ["", "-", "inf", "NaN", "1e999", "0x10", "+1", " 1", ".5", "1_0"] {
            assert!(Number::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
