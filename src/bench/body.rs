//! The pattern that every body is made of, sent and checked in pieces, so that a body of gigabytes takes no memory.

use std::io;
use std::sync::LazyLock;

use super::framing::Framing;
use super::pipe::Pipe;
use crate::limits::BENCH_PIECE_BYTES;

/// The first `bytes` bytes of the pattern.
pub(super) fn body(bytes: usize) -> Vec<u8> {
    (b'a'..=b'w').cycle().take(bytes).collect()
}

/// Sends `bytes` bytes of the pattern behind `head`; `spoilt`: the last of them is another.
pub(super) async fn send(pipe: &mut Pipe, head: &[u8], bytes: usize, spoilt: bool) -> io::Result<()> {
    let mut piece = head.to_vec();
    let mut at = 0;
    loop {
        let count = (bytes - at).min(BENCH_PIECE_BYTES);
        piece.extend_from_slice(&PIECE[at % PERIOD..][..count]);
        at += count;
        if at == bytes {
            break;
        }
        pipe.send(&piece).await?;
        piece.clear();
    }
    if let (true, Some(last)) = (spoilt && bytes > 0, piece.last_mut()) {
        *last = b'!';
    }
    pipe.send(&piece).await
}

/// Receives a body; whether it is `bytes` bytes of the pattern.
pub(super) async fn receive(pipe: &mut Pipe, mut framing: Framing, bytes: usize) -> io::Result<bool> {
    let (mut at, mut right) = (0, true);
    loop {
        let count = framing.more(pipe).await?;
        if count == 0 {
            return Ok(right && at == bytes);
        }
        right = right && matches_at(at, &pipe.received()[..count]);
        at += count;
        framing.take(pipe, count);
    }
}

/// Whether `received` is what the pattern has from `at`.
pub(super) fn matches_at(at: usize, received: &[u8]) -> bool {
    let mut at = at;
    received.chunks(BENCH_PIECE_BYTES).all(|piece| {
        let expected = &PIECE[at % PERIOD..][..piece.len()];
        at += piece.len();
        piece == expected
    })
}

/// A prime number of letters, so that no piece, record or buffer falls on its period.
const PERIOD: usize = 23;

/// A piece from any place in the pattern is a part of this.
static PIECE: LazyLock<Vec<u8>> = LazyLock::new(|| body(BENCH_PIECE_BYTES + PERIOD));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_from_wherever_it_is_read() {
        let whole = body(3 * BENCH_PIECE_BYTES);
        for at in [0, 1, PERIOD - 1, PERIOD, BENCH_PIECE_BYTES - 1, BENCH_PIECE_BYTES] {
            assert!(matches_at(at, &whole[at..]), "{at}");
            assert!(!matches_at(at + 1, &whole[at..]), "{at}");
        }
        let mut other = whole;
        other[2 * BENCH_PIECE_BYTES] = b'!';
        assert!(!matches_at(0, &other));
    }
}
