use proptest::prelude::*;

use super::properties::{End, Outcome, decode, holds};
use super::*;

fn end(bytes: &[u8]) -> End {
    holds(bytes);
    decode(bytes, bytes.len().max(1)).end
}

fn fault(bytes: &[u8]) -> ChunkedError {
    holds(bytes);
    let mut decoder = Decoder::new();
    let mut rest = bytes;
    loop {
        match decoder.step(rest).map(|step| (step, rest.len())) {
            Ok((Step::Data { skip, len }, _)) => rest = &rest[skip + len..],
            Err(fault) => return fault,
            Ok(_) => panic!("{:?} is accepted", String::from_utf8_lossy(bytes)),
        }
    }
}

#[test]
fn yields_the_data_between_the_framing() {
    let bytes = b"5\r\nhello\r\n00a;n=\"v\\\"\"\r\n, worlds!!\r\n0;last\r\nX: y\r\n\r\nGET /";
    holds(bytes);
    assert_eq!(decode(bytes, 4), Outcome { data: b"hello, worlds!!".to_vec(), end: End::Done(bytes.len() - 5) });
}

#[test]
fn yields_spans_of_the_callers_bytes() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.step(b"5\r\nhel"), Ok(Step::Data { skip: 3, len: 3 }));
    assert_eq!(decoder.step(b"lo"), Ok(Step::Data { skip: 0, len: 2 }));
    assert_eq!(decoder.step(b"\r\n"), Ok(Step::More));
    assert_eq!(decoder.step(b""), Ok(Step::More));
    assert_eq!(decoder.step(b"0\r\n\r\nGET"), Ok(Step::End { consumed: 5 }));
}

#[test]
fn rejects_odd_sizes() {
    for line in [
        "",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "0x5",
        "+5",
        "-5",
        "1_0",
        "5.0",
        "1Z",
        "g",
        ";x",
        "\u{ff15}",
        "00000000000000005",
        "10000000000000000",
        "8000000000000000",
        "FFFFFFFFFFFFFFFF",
        "FFFFFFFFFFFFFFFFF",
        "5\0",
        "5,",
        "5 ;x",
        "5\x0b",
        "5\x0c",
    ] {
        assert_eq!(fault(format!("{line}\r\nhello\r\n0\r\n\r\n").as_bytes()), ChunkedError::Size, "{line:?}");
    }
    assert_eq!(fault(&[b'0'; 64 * 1024]), ChunkedError::Size);
    assert_eq!(fault(b"\r"), ChunkedError::Size, "as soon as it is there");
    assert_eq!(end(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), End::Done(30));
    assert_eq!(end(b"7FFFFFFFFFFFFFFF\r\nx"), End::More);
}

#[test]
fn rejects_wrong_line_ends_everywhere() {
    for bytes in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"5;x\nhello\r\n0\r\n\r\n",
        b"5;x\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\rZ: a\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(end(bytes), End::Fault, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn rejects_odd_extensions() {
    for extension in [
        ";",
        ";;",
        ";;x",
        ";=x",
        ";x=",
        "; x",
        ";x =y",
        ";x= y",
        ";x ",
        ";x=\"",
        ";x=\"a\"b",
        ";x=\"a\0\"",
        ";x=\"\u{e9}\"",
        ";\u{e9}",
        ";x=y=z",
        ";x=\"\\\u{7f}\"",
        ";x=\"a\" ",
        ";(",
        ";x\0",
    ] {
        assert_eq!(
            fault(format!("5{extension}\r\nhello\r\n0\r\n\r\n").as_bytes()),
            ChunkedError::Extension,
            "{extension:?}"
        );
    }
    for inside in ["\r", "\n", "\r\n"] {
        assert_eq!(fault(format!("5;x=\"a{inside}b\"\r\nhello\r\n0\r\n\r\n").as_bytes()), ChunkedError::Extension);
    }
    for extension in [";x", ";x=y", ";x=\"y z\\\"\";a;b=c", ";chunk-signature=0123abc"] {
        assert!(matches!(end(format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n").as_bytes()), End::Done(_)));
    }
}

#[test]
fn bounds_extensions_per_line_and_per_message() {
    let line = |length: usize| format!("1;{}\r\nz\r\n", "x".repeat(length - 1));
    let longest = line(CHUNK_EXTENSION_LINE_BYTES_MAX);
    assert_eq!(end(longest.as_bytes()), End::More);
    assert_eq!(fault(line(CHUNK_EXTENSION_LINE_BYTES_MAX + 1).as_bytes()), ChunkedError::ExtensionsTooLong);
    let count = CHUNK_EXTENSION_BYTES_MAX / CHUNK_EXTENSION_LINE_BYTES_MAX;
    assert_eq!(end(longest.repeat(count).as_bytes()), End::More);
    assert_eq!(fault((longest.repeat(count) + "1;x").as_bytes()), ChunkedError::ExtensionsTooLong);
}

#[test]
fn rejects_data_that_is_longer_or_shorter_than_its_size() {
    assert_eq!(fault(b"5\r\nhello!!\r\n0\r\n\r\n"), ChunkedError::DataEnd);
    assert_eq!(fault(b"5\r\nhel\r\n0\r\n\r\n"), ChunkedError::DataEnd);
    assert_eq!(fault(b"5\r\nhello0\r\n\r\n"), ChunkedError::DataEnd);
    assert_eq!(end(b"5\r\nhello\r\n"), End::More);
}

#[test]
fn drops_trailers_and_bounds_them() {
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Content-Type", "Mcp-Name", "X_Y"] {
        let bytes = format!("1\r\nz\r\n0\r\n{name}: 5\r\n\r\n");
        assert_eq!(end(bytes.as_bytes()), End::Done(bytes.len()));
    }
    for line in ["X", "X : y", ": y", " X: y", "X: a\0b", "X Y: z", "X:\x7f"] {
        assert_eq!(fault(format!("0\r\n{line}\r\n\r\n").as_bytes()), ChunkedError::Trailer, "{line:?}");
    }
    assert_eq!(fault(b"0\r\nX: y\r\n z\r\n\r\n"), ChunkedError::Trailer);
    assert_eq!(fault(format!("0\r\n{}", "X: y\r\n".repeat(100_000)).as_bytes()), ChunkedError::TrailersTooLong);
    assert!(matches!(end(format!("0\r\nX:{}\r\n\r\n", "y".repeat(TRAILER_BYTES_MAX - 2)).as_bytes()), End::Done(_)));
    assert_eq!(
        fault(format!("0\r\nX:{}\r\n\r\n", "y".repeat(TRAILER_BYTES_MAX - 1)).as_bytes()),
        ChunkedError::TrailersTooLong
    );
}

proptest! {
    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        holds(&bytes);
    }

    #[test]
    fn holds_for_what_is_nearly_chunked(parts in prop::collection::vec(prop::sample::select(vec![
        "5\r\nhello\r\n", "1;x=y\r\nz\r\n", "a\r\n0123456789\r\n", "0\r\n", "\r\n", "X: y\r\n", "0\r\n\r\n", "1;a=\"b", "c\\\"\"", "5\r\nhello", "F", ";", "\n",
    ]), 0..8)) {
        holds(parts.concat().as_bytes());
    }
}
