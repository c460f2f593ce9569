use proptest::prelude::*;

use super::properties::{Outcome, Owned, decode, holds, written};
use super::*;

fn outcome(text: impl AsRef<[u8]>) -> Outcome {
    let text = text.as_ref();
    holds(text);
    decode(text, text.len().max(1))
}

fn events(text: impl AsRef<[u8]>) -> Vec<Owned> {
    let outcome = outcome(text);
    assert!(!outcome.fault);
    outcome.events.into_iter().map(|(_, event)| event).collect()
}

fn data(text: &str) -> Vec<String> {
    events(text).into_iter().filter_map(|event| event.data).collect()
}

/// From the examples and tests of the standard (HTML §9.2.6; web-platform-tests, eventsource/format-*).
const CORPUS: [(&str, &[&str]); 20] = [
    ("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]),
    (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &["first event", "second event", " third event"],
    ),
    ("data\n\ndata\ndata\n\ndata:", &["", "\n"]),
    ("data:test\n\ndata: test\n\n", &["test", "test"]),
    ("data:test\n:\ndata:test\n\n", &["test\ntest"]),
    ("Data: x\ndatas: x\n data: x\ndata : x\n\n", &[]),
    ("\n\n\n\ndata: x\n\n\n\n", &["x"]),
    ("data: a\u{0}b\n\n", &["a\u{0}b"]),
    ("data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]),
    ("event: ping\ndata: {\"jsonrpc\":\"2.0\"}\n\n", &["{\"jsonrpc\":\"2.0\"}"]),
    ("data: x\nevent: a\nevent: b\n\n", &["x"]),
    ("data::x\ndata: :\n\n", &[":x\n:"]),
    ("\u{feff}data: bom\n\n", &["bom"]),
    ("\u{feff}\u{feff}data: bom\n\n", &[]),
    ("data: x\n\n\u{feff}data: y\n\n", &["x"]),
    ("\u{feff}\ndata: x\n\n", &["x"]),
    ("data: \u{2028}\u{85}\u{b}\u{c}\n\n", &["\u{2028}\u{85}\u{b}\u{c}"]),
    ("retry: 5000\n\nid: 7\n\ndata: x\n\n", &["x"]),
    ("data: unfinished\n", &[]),
    ("data: unfinished", &[]),
];

#[test]
fn every_split_and_every_line_end_gives_the_same_events() {
    for (text, expected) in CORPUS {
        for line_end in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', line_end);
            assert_eq!(data(&text), expected, "{text:?}");
            let whole = decode(text.as_bytes(), text.len());
            for split in 0..=text.len() {
                let mut decoder = Decoder::new();
                let mut found = Vec::new();
                for part in [&text.as_bytes()[..split], &text.as_bytes()[split..]] {
                    let mut at = 0;
                    loop {
                        match decoder.step(&part[at..]).unwrap() {
                            Step::Event { consumed, event } => {
                                at += consumed;
                                found.push(event.data.map(str::to_owned));
                            }
                            Step::Comment { consumed } => at += consumed,
                            Step::More => break,
                        }
                    }
                }
                assert_eq!(
                    found,
                    whole.events.iter().map(|(_, event)| event.data.clone()).collect::<Vec<_>>(),
                    "{text:?} at {split}"
                );
            }
        }
    }
    assert_eq!(data("data: a\rdata: b\ndata: c\r\n\rdata: d\r\r\ndata: e\n\r"), ["a\nb\nc", "d", "e"]);
}

#[test]
fn delivers_an_event_with_the_first_octet_of_its_blank_line_end() {
    for (text, last) in [("data: x\n", "\n"), ("data: x\r\n", "\r"), ("data: x\r\r", ""), ("data: x\n", "\r")] {
        let mut decoder = Decoder::new();
        if !last.is_empty() {
            assert_eq!(decoder.step(text.as_bytes()), Ok(Step::More), "{text:?}");
        }
        let rest = if last.is_empty() { text } else { last };
        assert!(
            matches!(decoder.step(rest.as_bytes()), Ok(Step::Event { event: Event { data: Some("x"), .. }, .. })),
            "{text:?}"
        );
    }
    let mut decoder = Decoder::new();
    assert!(matches!(decoder.step(b"data: x\r\n\r"), Ok(Step::Event { consumed: 10, .. })));
    assert_eq!(decoder.step(b"\n"), Ok(Step::More), "the line feed belongs to the blank line");
    assert!(decoder.is_between_events());
    assert!(matches!(decoder.step(b"data: y\n\n"), Ok(Step::Event { event: Event { data: Some("y"), .. }, .. })));
}

#[test]
fn comments_are_there_with_their_line_and_do_not_end_an_event() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.step(b"data: x\n: ping\ndata: y\n\n"), Ok(Step::Comment { consumed: 15 }));
    assert!(matches!(decoder.step(b"data: y\n\n"), Ok(Step::Event { event: Event { data: Some("x\ny"), .. }, .. })));
    assert_eq!(outcome(":\n:\r: x\r\n:").comments, 3);
    assert_eq!(decode(COMMENT, 1), Outcome { comments: 1, ..Outcome::default() });
}

#[test]
fn writes_events_in_one_form() {
    let form = |text: &str| String::from_utf8(written(&outcome(text))).unwrap();
    assert_eq!(
        form("\u{feff}data:a\rretry:3000\r\nid: 5\nunknown: z\ndata:  b\nevent:message\n\n"),
        "event: message\nid: 5\nretry: 3000\ndata: a\ndata:  b\n\n"
    );
    assert_eq!(form("data\n\nid\n\n"), "data: \n\nid: \n\n");
    assert_eq!(form("unknown: z\n\n:c\n\n"), "");
    assert_eq!(
        form("event: endpoint\ndata: /messages?session_id=1\n\n"),
        "event: endpoint\ndata: /messages?session_id=1\n\n"
    );
}

#[test]
fn knows_the_type_under_which_an_event_is_dispatched() {
    for (text, kind) in [
        ("data: x\n\n", "message"),
        ("event\ndata: x\n\n", "message"),
        ("event: Message\ndata\n\n", "Message"),
        ("event:  a \ndata\n\n", " a "),
    ] {
        let mut decoder = Decoder::new();
        let Ok(Step::Event { event, .. }) = decoder.step(text.as_bytes()) else { panic!("no event in {text:?}") };
        assert_eq!(event.kind(), kind);
    }
}

#[test]
fn brings_retry_within_bounds() {
    for (value, expected) in [
        ("1000", Some(1000)),
        ("0", Some(SSE_RETRY_MILLISECONDS_MIN)),
        ("00000000000000000000000000002000", Some(2000)),
        ("99999999999999999999999999", Some(SSE_RETRY_MILLISECONDS_MAX)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1 ", None),
        ("\u{ff11}", None),
    ] {
        assert_eq!(events(format!("data\nretry: {value}\n\n"))[0].retry, expected, "{value:?}");
    }
}

#[test]
fn ends_a_stream_that_is_not_well_formed() {
    for bytes in
        [&b"data: \xff\n\n"[..], b"\xc3(\n\n", b": \xed\xa0\x80\n", b"d\xc0\xaf\n", b"data: \xe2\x82\ndata: \xac\n\n"]
    {
        assert!(outcome(bytes).fault, "{bytes:?}");
    }
    assert!(outcome("data: x\nid: a\0b\n\n").fault);
    assert!(outcome(format!("id: {}\n\n", "i".repeat(SSE_ID_BYTES_MAX + 1))).fault);
    assert_eq!(events(format!("id: {}\n\n", "i".repeat(SSE_ID_BYTES_MAX))).len(), 1);
}

#[test]
fn bounds_an_event_whatever_it_is_made_of() {
    let mut decoder = Decoder::new();
    let longest = [b"data: ".as_slice(), &vec![b'x'; SSE_EVENT_BYTES_MAX - 8], b"\n\n"].concat();
    for _ in 0..3 {
        assert!(matches!(decoder.step(&longest), Ok(Step::Event { consumed, .. }) if consumed == SSE_EVENT_BYTES_MAX));
    }
    let too_long = [b"data: x".as_slice(), &longest[6..]].concat();
    assert_eq!(decoder.step(&too_long), Err(SseError::EventTooLong));
    for line in ["data\n", "unknown: z\n", "id: 1\n"] {
        let mut decoder = Decoder::new();
        let flood = line.repeat(SSE_EVENT_BYTES_MAX / line.len() + 1);
        assert_eq!(decoder.step(flood.as_bytes()), Err(SseError::EventTooLong), "{line:?}");
    }
    let mut decoder = Decoder::new();
    let blank = vec![b'\n'; SSE_EVENT_BYTES_MAX + 1];
    assert_eq!(decoder.step(&blank), Ok(Step::More), "blank lines are no event");
}

proptest! {
    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        holds(&bytes);
    }

    #[test]
    fn holds_for_what_is_nearly_a_stream(parts in prop::collection::vec(prop::sample::select(vec![
        "data", ":", " ", "\r", "\n", "\r\n", "id", "event", "retry", "x", "\u{feff}", "1", "\0", "\u{e9}", "data: {\"a\":1}\n", "\n\n", "\r\r", "5000",
    ]), 0..24)) {
        holds(parts.concat().as_bytes());
    }
}
