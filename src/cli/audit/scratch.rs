//! Texts made for one field and forgotten: times, digests, addresses. Of what printing a record costs, formatting these was the most.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::audit::Nanos;

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// Room for one text, and the date of the last time, which is mostly that of the next.
pub(super) struct Scratch {
    text: String,
    digits: [u8; DIGEST.len() + 64],
    day: u64,
    /// As in `2026-11-23T12:00:00.000000000Z`.
    time: [u8; 30],
}

const DIGEST: &[u8; 7] = b"sha256:";
const HEX: &[u8; 16] = b"0123456789abcdef";

impl Default for Scratch {
    fn default() -> Self {
        let mut digits = [0; DIGEST.len() + 64];
        digits[..DIGEST.len()].copy_from_slice(DIGEST);
        Self { text: String::with_capacity(64), digits, day: 0, time: *b"1970-01-01T00:00:00.000000000Z" }
    }
}

impl Scratch {
    /// RFC 3339 with nanoseconds, UTC. 64 bits of nanoseconds end in the year 2554, so a year has four digits.
    pub(super) fn time(&mut self, time: Nanos) -> &str {
        let day = time.0 / DAY_NS;
        if day != self.day {
            let midnight = jiff::Timestamp::from_nanosecond((day * DAY_NS).into()).unwrap_or_default().to_string();
            if let Some(date) = midnight.as_bytes().first_chunk::<10>() {
                self.time[..10].copy_from_slice(date);
            }
            self.day = day;
        }
        let within = time.0 % DAY_NS;
        let seconds = within / 1_000_000_000;
        decimal(seconds / 3600, &mut self.time[11..13]);
        decimal(seconds / 60 % 60, &mut self.time[14..16]);
        decimal(seconds % 60, &mut self.time[17..19]);
        decimal(within % 1_000_000_000, &mut self.time[20..29]);
        str::from_utf8(&self.time).unwrap_or_default()
    }

    /// Lower-case hexadecimal digits of at most 32 octets.
    pub(super) fn hex(&mut self, octets: &[u8]) -> &str {
        let end = self.write_hex(octets);
        str::from_utf8(&self.digits[DIGEST.len()..end]).unwrap_or_default()
    }

    /// A SHA-256 with its name in front.
    pub(super) fn digest(&mut self, octets: &[u8; 32]) -> &str {
        let end = self.write_hex(octets);
        str::from_utf8(&self.digits[..end]).unwrap_or_default()
    }

    /// An HMAC-SHA-256 with its name in front.
    pub(super) fn keyed_digest(&mut self, octets: &[u8; 32]) -> &str {
        let end = self.write_hex(octets);
        self.text.clear();
        self.text.push_str("hmac-sha256:");
        self.text.push_str(str::from_utf8(&self.digits[DIGEST.len()..end]).unwrap_or_default());
        &self.text
    }

    fn write_hex(&mut self, octets: &[u8]) -> usize {
        let room = self.digits[DIGEST.len()..].chunks_exact_mut(2);
        for (pair, octet) in room.zip(octets) {
            pair[0] = HEX[usize::from(octet >> 4)];
            pair[1] = HEX[usize::from(octet & 15)];
        }
        DIGEST.len() + 2 * octets.len().min(32)
    }

    /// Address and port.
    pub(super) fn address(&mut self, address: SocketAddr) -> &str {
        self.text.clear();
        let IpAddr::V4(v4) = address.ip() else {
            // Writing to a string does not fail.
            let _ = write!(self.text, "{address}");
            return &self.text;
        };
        let mut buffer = itoa::Buffer::new();
        for (octet, after) in v4.octets().into_iter().zip(['.', '.', '.', ':']) {
            self.text.push_str(buffer.format(octet));
            self.text.push(after);
        }
        self.text.push_str(buffer.format(address.port()));
        &self.text
    }
}

/// Fills `room` with the last decimal digits of a number.
fn decimal(mut number: u64, room: &mut [u8]) {
    for place in room.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_jiff_does() {
        let mut scratch = Scratch::default();
        let days = (0..=u64::MAX / DAY_NS).step_by(311).map(|day| day * DAY_NS);
        for time in days.chain([0, 1, DAY_NS - 1, 1_700_000_000_123_456_789, u64::MAX]) {
            let expected = format!("{:.9}", jiff::Timestamp::from_nanosecond(time.into()).unwrap());
            assert_eq!(scratch.time(Nanos(time)), expected);
        }
    }

    #[test]
    fn writes_addresses_and_digests_as_std_does() {
        let mut scratch = Scratch::default();
        for address in ["0.0.0.0:0", "10.1.2.3:8443", "255.255.255.255:65535", "[2001:db8::1]:443"] {
            assert_eq!(scratch.address(address.parse().unwrap()), address);
        }
        let octets: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        let expected: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(scratch.hex(&octets), expected);
        assert_eq!(scratch.digest(&octets), format!("sha256:{expected}"));
        assert_eq!(scratch.keyed_digest(&octets), format!("hmac-sha256:{expected}"));
        assert_eq!(scratch.hex(&octets[16..]), &expected[32..]);
    }
}
