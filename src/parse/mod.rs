//! Bytes in, facts out.
//!
//! This floor knows no socket, clock, file or environment. Each parser takes what has arrived so far and answers with a fact, with
//! [`Progress::More`], or with a typed error; it borrows the caller's bytes, and cutting the input anywhere changes nothing in the
//! answer. In the order in which a connection meets them:
//!
//! 1. [`client_hello`]: where does a TLS client want to go, and what will it speak?
//! 2. [`head`]: the start line and header lines of one HTTP/1.1 message. [`header`] knows the fields that have a meaning for a proxy.
//! 3. [`framing`]: where does the body of that message end, and does the connection live on?
//! 4. [`target`]: the one identity of what is asked for, which is what policy decides on; [`host`] and [`path`] are its two halves,
//!    and [`query`] is what hangs on it.
//! 5. [`chunked`]: the spans of data inside a chunked body. [`location`]: where a redirect would lead.
//! 6. [`dns`]: the questions of the fenced program, and the stub's answers.
//! 7. [`json`]: the tokens of a body, strictly, and values by pointer.
//! 8. [`sse`]: the events of a stream.
//! 9. [`rpc`]: the messages of MCP, in a body, an event or a line.
//!
//! Whatever is ambiguous is an error here, never a guess: two recipients that read the same bytes differently are how requests are
//! smuggled.

#![allow(unexpected_cfgs, reason = "cargo-fuzz sets `fuzzing`, which cargo does not know of")]

pub mod chunked;
pub mod client_hello;
pub mod dns;
pub mod framing;
pub mod head;
pub mod header;
pub mod host;
pub mod json;
pub mod location;
pub mod path;
pub mod query;
pub mod rpc;
pub mod sse;
pub mod target;

/// What a parser has made of the bytes so far. Faults travel in the `Err` of the surrounding `Result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// The whole of it.
    Done(T),
    /// Everything so far is a valid beginning; more bytes are needed.
    More,
}
