//! JSON numbers: their grammar, their range, and whether every recipient reads the same value.

/// Where in a number the scanner stands (RFC 8259 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    /// Behind a zero in front, which no digit may follow.
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    pub(super) fn first(byte: u8) -> Option<Number> {
        match byte {
            b'-' => Some(Number::Minus),
            b'0' => Some(Number::Zero),
            b'1'..=b'9' => Some(Number::Integer),
            _ => None,
        }
    }

    pub(super) fn next(self, byte: u8) -> Option<Number> {
        match (self, byte) {
            (Number::Minus, b'0') => Some(Number::Zero),
            (Number::Minus, b'1'..=b'9') | (Number::Integer, b'0'..=b'9') => Some(Number::Integer),
            (Number::Zero | Number::Integer, b'.') => Some(Number::Point),
            (Number::Point | Number::Fraction, b'0'..=b'9') => Some(Number::Fraction),
            (Number::Zero | Number::Integer | Number::Fraction, b'e' | b'E') => Some(Number::Exponent),
            (Number::Exponent, b'+' | b'-') => Some(Number::ExponentSign),
            (Number::Exponent | Number::ExponentSign | Number::ExponentDigits, b'0'..=b'9') => {
                Some(Number::ExponentDigits)
            }
            _ => None,
        }
    }

    pub(super) fn may_end(self) -> bool {
        matches!(self, Number::Zero | Number::Integer | Number::Fraction | Number::ExponentDigits)
    }
}

/// A value as `0.DIGITS × 10^point`, without zeros at either end. Zero has no digits and no sign.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// Whether a double holds the number: not as infinity, and not as zero unless it is zero.
pub(super) fn is_in_range(literal: &[u8]) -> bool {
    let value = double(literal);
    value.is_finite() && (value != 0.0 || decimal(literal).digits.is_empty())
}

/// Whether recipients with doubles and recipients with decimals or large integers read the same value: the literal is what the shortest
/// literal of its double is. `9007199254740993` and `0.1000000000000000055` are not.
pub fn is_exact(literal: &[u8]) -> bool {
    decimal(literal) == shortest(double(literal))
}

/// Writes the number as RFC 8785 §3.2.2.3 has it, which is what ECMAScript makes of its double. An integer that no double holds keeps its
/// digits: RFC 8785 leaves it out (RFC 7493 §2.2), and to write its neighbour would give two values one form.
pub(super) fn write_canonical(literal: &[u8], out: &mut Vec<u8>) {
    let is_integer = !literal.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let exact = decimal(literal);
    let value = shortest(double(literal));
    if is_integer && value != exact {
        out.extend_from_slice(literal);
    } else {
        write_ecmascript(&value, out);
    }
}

fn double(literal: &[u8]) -> f64 {
    str::from_utf8(literal).ok().and_then(|literal| literal.parse().ok()).unwrap_or(f64::NAN)
}

/// Not through the standard library: of two shortest literals equally near it takes the larger, ECMAScript the even one.
fn shortest(value: f64) -> Decimal {
    decimal(zmij::Buffer::new().format(value).as_bytes())
}

fn decimal(literal: &[u8]) -> Decimal {
    let negative = literal.first() == Some(&b'-');
    let unsigned = literal.get(usize::from(negative)..).unwrap_or_default();
    let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at_checked(exponent_at).unwrap_or((unsigned, &[]));
    let whole = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let mut digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.drain(..zeros);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.is_empty() {
        return Decimal { negative: false, digits, point: 0 };
    }
    // At most JSON_NUMBER_BYTES_MAX characters; an exponent beyond 64 bits is out of range long before.
    let exponent: i64 = exponent.get(1..).and_then(|text| str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    let point = i64::try_from(whole).unwrap_or(0) - i64::try_from(zeros).unwrap_or(0);
    Decimal { negative, digits, point: point.saturating_add(exponent) }
}

/// ECMA-262 §6.1.6.1.20, Number::toString.
fn write_ecmascript(value: &Decimal, out: &mut Vec<u8>) {
    let Decimal { negative, digits, point } = value;
    let Some((&first, others)) = digits.split_first() else { return out.push(b'0') };
    if *negative {
        out.push(b'-');
    }
    let zeros = |count: i64| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or(0));
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    match *point {
        point if length <= point && point <= 21 => {
            out.extend_from_slice(digits);
            out.extend(zeros(point - length));
        }
        point @ 1..=21 => {
            let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
        point @ -5..=0 => {
            out.extend_from_slice(b"0.");
            out.extend(zeros(-point));
            out.extend_from_slice(digits);
        }
        point => {
            out.push(first);
            if !others.is_empty() {
                out.push(b'.');
                out.extend_from_slice(others);
            }
            out.extend_from_slice(format!("e{:+}", point - 1).as_bytes());
        }
    }
}
