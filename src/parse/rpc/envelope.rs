//! Whether a text that is arriving can be JSON-RPC, told as early as that can be told.
//!
//! At endpoints that nobody has declared, most JSON is something else, and must not be waited for. An envelope has six names and no other (JSON-RPC 2.0
//! §4 and §5), so that the first other one decides, which is mostly the first name of all.

use super::super::Progress;
use super::super::json::{Kind, Layout, Scanner, Step, Token, decode};

/// Looks at one text as it arrives.
#[derive(Debug, Clone)]
pub struct Envelope {
    scanner: Scanner,
    /// How deep the messages' own names stand; nothing before the text has begun.
    depth: Option<usize>,
}

impl Default for Envelope {
    fn default() -> Envelope {
        Envelope { scanner: Scanner::new(Layout::Free), depth: None }
    }
}

impl Envelope {
    /// Reads on. `bytes` is the text from its beginning, as far as it has arrived; `last` says that this is all of it. Done with `false` as soon as it
    /// cannot be JSON-RPC that is read strictly, with `true` where it is whole and can be.
    pub fn step(&mut self, bytes: &[u8], last: bool) -> Progress<bool> {
        loop {
            match self.scanner.step(bytes, last) {
                Ok(Step::Token(token)) if self.fits(token, bytes) => {}
                Ok(Step::Token(_)) | Err(_) => return Progress::Done(false),
                Ok(Step::More) => return Progress::More,
                Ok(Step::End) => return Progress::Done(true),
            }
        }
    }

    fn fits(&mut self, token: Token, bytes: &[u8]) -> bool {
        let Some(depth) = self.depth else {
            self.depth = Some(if token.kind == Kind::ArrayStart { 2 } else { 1 });
            return matches!(token.kind, Kind::ObjectStart | Kind::ArrayStart);
        };
        match token.kind {
            Kind::Key if token.depth == depth => NAMES.contains(&&*decode(token.of(bytes))),
            Kind::ObjectStart | Kind::ObjectEnd => true,
            // In a batch stands nothing but messages.
            _ => token.depth >= depth || (token.kind == Kind::ArrayEnd && token.depth == 0),
        }
    }
}

const NAMES: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict and how many bytes it took, fed one by one.
    fn drip(text: &str) -> (Progress<bool>, usize) {
        let mut envelope = Envelope::default();
        for here in 1..=text.len() {
            let told = envelope.step(&text.as_bytes()[..here], here == text.len());
            if told != Progress::More {
                return (told, here);
            }
        }
        (Progress::More, text.len())
    }

    #[test]
    fn the_first_name_that_is_none_of_an_envelopes_decides() {
        for (text, after) in [
            (r#"{"model":"x","messages":[]}"#, 8),
            (r#"{"id":1,"upload":"x"}"#, 16),
            (r#"[{"jsonrpc":"2.0"},{"a":1}]"#, 23),
            ("[1,2]", 3),
            (r#"["jsonrpc"]"#, 10),
            (r#"[[{"method":"x"}]]"#, 2),
            ("\"jsonrpc\"", 9),
            ("17 ", 3),
            ("not json", 2),
            (r#"{"jsonrpc":"2.0","jsonrpc":"2.0"}"#, 26),
        ] {
            let (told, taken) = drip(text);
            assert_eq!(told, Progress::Done(false), "{text}");
            assert!(taken <= after, "{text}: {taken}");
        }
    }

    #[test]
    fn an_envelope_is_one_whatever_stands_inside_and_however_it_is_cut() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","model":{"a":[1,{"b":2}]}}}"#,
            r#" { "params" : {} , "m\u0065thod" : "x" } "#,
            r#"[{"id":1,"result":{"a":1}},{"error":{"code":1},"id":null}]"#,
        ] {
            assert_eq!(drip(text), (Progress::Done(true), text.len()), "{text}");
            assert_eq!(Envelope::default().step(text.as_bytes(), true), Progress::Done(true));
        }
        assert_eq!(Envelope::default().step(br#"{"jsonrpc":"2."#, false), Progress::More);
    }
}
