//! Variants of a call to a denied tool: however it is written, the server executes it 0 times.
//!
//! `MCP_VARIANTS=100000 cargo nextest run --test mcp variants` sends that many; without the variable it is a few thousand.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::Place;
use crate::sdks::{self, Sdk};

const CALL: &str = r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"delete_file","arguments":{"path":"/workspace/x"}}}"#;
pub(crate) const PLAIN: &str = r#"{"jsonrpc":"2.0","id":"last","method":"tools/call","params":{"name":"read_file","arguments":{"path":"/workspace/last"}}}"#;
pub(crate) const HELLO: [&str; 2] = [
    r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"VERSION","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
];

/// A sequence that is the same in every run (xorshift64*).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let wide = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * (bound as u128);
        usize::try_from(wide >> 64).expect("below the bound")
    }

    pub(crate) fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

pub(crate) fn variant(draw: &mut Draw, id: usize) -> Vec<u8> {
    let mut text = CALL.replace("ID", &id.to_string());
    for _ in 0..=draw.below(3) {
        text = rewrite(draw, &text);
    }
    let mut bytes = text.into_bytes();
    for _ in 0..draw.below(3) {
        flip(draw, &mut bytes);
    }
    bytes
}

/// One of the ways in which readers of JSON, JSON-RPC or lines differ.
fn rewrite(draw: &mut Draw, text: &str) -> String {
    let swap = |from: &str, to: &str| text.replacen(from, to, 1);
    match draw.below(18) {
        0 => swap(
            "delete_file",
            draw.of(&[
                "d\\u0065lete_file",
                "\\u0064elete_file",
                "delete\\u005ffile",
                "delete_file\\u0000",
                "delete_file ",
            ]),
        ),
        1 => {
            swap("\"name\"", draw.of(&["\"Name\"", "\"NAME\"", "\"n\\u0061me\"", "\"name\\u0000\"", "\"\u{ff4e}ame\""]))
        }
        2 => swap("\"method\"", draw.of(&["\"Method\"", "\"METHOD\"", "\"m\\u0065thod\"", "\"method \""])),
        3 => swap("\"params\"", draw.of(&["\"Params\"", "\"param\u{17f}\"", "\"p\\u0061rams\""])),
        4 => swap("\"name\":", "\"name\":\"read_file\",\"name\":"),
        5 => swap("\"name\":\"delete_file\"", "\"name\":\"delete_file\",\"name\":\"read_file\""),
        6 => swap("\"arguments\"", "\"Name\":\"read_file\",\"arguments\""),
        7 => format!("[{text}]"),
        8 => format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":\"p{}\"}}{}{text}",
            draw.below(1 << 20),
            draw.of(&["\r", "\r\r", "\u{85}", "\u{2028}", "\u{b}", "\u{c}", "", " ", "\0"])
        ),
        9 => format!("{}{text}", draw.of(&["\u{feff}", "\r", " ", "\t", "\u{0}", "\u{a0}", "1", "\"\""])),
        10 => format!("{text}{}", draw.of(&["\r", "\u{0}", "}", ",", "{}", " \t"])),
        11 => swap(
            "\"id\":",
            draw.of(&[
                "\"id\":null,\"x\":",
                "\"Id\":",
                "\"id\":1.0,\"y\":",
                "\"x\":",
                "\"id\":[],\"z\":",
                "\"id\":1e3,\"z\":",
            ]),
        ),
        12 => swap("\"2.0\"", draw.of(&["2.0", "\"2.0 \"", "\"1.0\"", "null"])),
        13 => swap(
            "tools/call",
            draw.of(&[
                "tools\\/call",
                "tools/call ",
                "Tools/Call",
                "tools/\\u0063all",
                "tools/call\\u0000",
                "/tools/call",
            ]),
        ),
        14 => swap(
            "{\"path\"",
            draw.of(&["{\"path\":\"/workspace/y\",\"path\"", "{\"__proto__\":{},\"path\"", "{\"Path\":1,\"path\""]),
        ),
        15 => text.replace(',', draw.of(&[" ,", ",\t", ",\r", ", ", ",\n"])),
        16 => swap(
            "\"params\":{",
            "\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{}},",
        ),
        _ => swap("}}}", "}},\"result\":{}}"),
    }
}

fn flip(draw: &mut Draw, bytes: &mut Vec<u8>) {
    let at = draw.below(bytes.len());
    match draw.below(4) {
        0 => bytes[at] ^= 1 << draw.below(8),
        1 => bytes.insert(at, [0xff, 0xc0, 0x00, b'\r', b' ', b'"', 0x80, 0xe2][draw.below(8)]),
        2 => drop(bytes.remove(at)),
        _ => bytes.swap(at, 0),
    }
}

/// Sends the variants and then one call that is allowed; what the server has executed when that is answered.
fn executed(place: &Place, words: &[String], count: usize, version: &str) -> Vec<String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("RINGFENCE_STATE", place.path("state")).env("MCP_NPM", sdks::packages());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let version = version.to_owned();
    let writer = std::thread::spawn(move || {
        let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
        for line in HELLO {
            writeln!(stdin, "{}", line.replace("VERSION", &version)).expect("it reads");
        }
        for id in 0..count {
            let mut line = variant(&mut draw, id);
            line.push(b'\n');
            stdin.write_all(&line).expect("it reads");
        }
        writeln!(stdin, "\n{PLAIN}").expect("it reads");
        stdin
    });
    let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let answered =
        std::io::BufRead::lines(stdout).map_while(Result::ok).any(|line| line.contains("content of /workspace/last"));
    assert!(answered, "the server answers the call that is allowed");
    drop(writer.join().expect("everything was sent"));
    child.wait().expect("it ends");
    place.executed()
}

/// How many to send: a slice, or what the environment says.
pub(crate) fn wanted(slice: usize) -> usize {
    std::env::var("MCP_VARIANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(slice)
}

fn hold(sdk: Sdk, count: usize, version: &str) {
    let place = Place::new();
    let words = [place.governed(), sdk.server(&place)].concat();
    let executed = executed(&place, &words, count, version);
    // Some variants are calls of the other tool, which is allowed.
    let denied = executed.iter().filter(|line| !line.starts_with("read_file /workspace/")).count();
    println!(
        "{sdk:?}, {version}: {count} variants on standard streams, {} executed calls, {denied} denied",
        executed.len()
    );
    assert_eq!(denied, 0, "{sdk:?}, {version}: {executed:?}");
    // The server works on several at a time: which of them it notes last is its own affair.
    assert!(executed.iter().any(|line| line == "read_file /workspace/last"), "{sdk:?}, {version}: {executed:?}");
}

#[test]
fn variants_of_a_denied_call_are_executed_0_times() {
    for version in ["2025-11-25", "2025-03-26"] {
        hold(Sdk::Python, wanted(4000), version);
    }
}

#[test]
#[ignore = "needs packages; scripts/test installs them and runs it by name"]
fn variants_of_a_denied_call_are_executed_0_times_by_the_other_sdks() {
    for sdk in [Sdk::TypeScript, Sdk::Rust] {
        hold(sdk, wanted(4000), "2025-11-25");
    }
}

/// The control: without ringfence some of the same variants do execute.
#[test]
fn variants_without_ringfence_are_executed() {
    let place = Place::new();
    let executed = executed(&place, &place.server("Reads a file."), 400, "2025-11-25");
    assert!(executed.iter().filter(|line| line.starts_with("delete_file")).count() >= 20, "{executed:?}");
}
