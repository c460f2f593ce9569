//! The DNS stub of the fence: what the fenced program asks, and what it is told (RFC 1035, RFC 6891).
//!
//! The stub never asks anyone. It answers an admitted name with an address that only leads back to us, so the answers carry no information
//! from outside; every other name does not exist, with the reason in an extended error (RFC 8914) where the client can read one. `hickory-proto`
//! reads and writes the messages; this module decides which of them are questions at all.

use std::fmt;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::limits::DNS_QUERY_BYTES_MAX;

/// One question.
#[derive(Debug, Clone)]
pub struct Query {
    /// Chosen by the client; the answer repeats it.
    pub id: u16,
    /// Lower-case, without the final dot; empty for the root. Octets other than letters, digits, `-` and `_` are written `\DDD`, so that only
    /// a name that a host can have looks like one.
    pub name: String,
    /// The record type asked for.
    pub kind: Kind,
    metadata: Metadata,
    question: hickory_proto::op::Query,
    edns: bool,
}

/// The record types that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Everything else, by its number.
    Other(u16),
}

/// Reads a message as it came over UDP, or over TCP without the length in front.
pub fn query(bytes: &[u8]) -> Result<Query, DnsError> {
    let header = Header::read(bytes).ok_or(DnsError::NotAQuery)?;
    if header.opcode != 0 {
        return Err(DnsError::Refused(header, Refusal::OpCode));
    }
    let malformed = DnsError::Refused(header, Refusal::Malformed);
    if bytes.len() > DNS_QUERY_BYTES_MAX {
        return Err(malformed);
    }
    let mut decoder = BinDecoder::new(bytes);
    let mut message = Message::read(&mut decoder).map_err(|_| malformed)?;
    // RFC 9619: one question, no more and no less.
    let (Some(question), true) = (message.queries.pop(), message.queries.is_empty()) else { return Err(malformed) };
    if !decoder.is_empty() || !message.answers.is_empty() || !message.authorities.is_empty() {
        return Err(malformed);
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Err(DnsError::Refused(header, Refusal::EdnsVersion));
    }
    if question.query_class() != DNSClass::IN {
        return Err(DnsError::Refused(header, Refusal::Class));
    }
    let kind = match question.query_type() {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        other => Kind::Other(other.into()),
    };
    let name = presentation(question.name());
    Ok(Query { id: header.id, name, kind, metadata: message.metadata, question, edns: message.edns.is_some() })
}

/// The name has this address, for `ttl` seconds.
pub fn answer_address(query: &Query, address: IpAddr, ttl: u32) -> Vec<u8> {
    let mut answer = answer(query, ResponseCode::NoError);
    let data = match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    answer.add_answer(Record::from_rdata(query.question.name().clone(), ttl, data));
    encode(query, &answer)
}

/// The name exists and has no records of the type asked for.
pub fn answer_empty(query: &Query) -> Vec<u8> {
    encode(query, &answer(query, ResponseCode::NoError))
}

/// The name does not exist. A client that speaks EDNS is told that it is blocked (RFC 8914 §4.16).
pub fn answer_nxdomain(query: &Query) -> Vec<u8> {
    let mut answer = answer(query, ResponseCode::NXDomain);
    if let Some(edns) = &mut answer.edns {
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, BLOCKED.to_be_bytes().to_vec()));
    }
    encode(query, &answer)
}

/// The stub does not answer this client now. A client that speaks EDNS is told that it is policy.
pub fn answer_refused(query: &Query) -> Vec<u8> {
    let mut answer = answer(query, ResponseCode::Refused);
    if let Some(edns) = &mut answer.edns {
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, PROHIBITED.to_be_bytes().to_vec()));
    }
    encode(query, &answer)
}

fn answer(query: &Query, code: ResponseCode) -> Message {
    let mut message = Message::new(query.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.checking_disabled = query.metadata.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(query.question.clone());
    if query.edns {
        // RFC 6891 §6.1.1: an OPT in the query asks for one in the response.
        let mut edns = Edns::new();
        edns.set_version(0).set_max_payload(PAYLOAD_BYTES);
        message.set_edns(edns);
    }
    message
}

/// Encoding what was decoded does not fail; should it, the client learns that the server did.
fn encode(query: &Query, message: &Message) -> Vec<u8> {
    let header = Header { id: query.id, opcode: 0, recursion_desired: query.metadata.recursion_desired };
    message.to_vec().unwrap_or_else(|_| header.response(SERVER_FAILURE))
}

fn presentation(name: &Name) -> String {
    use fmt::Write;
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                    text.push(char::from(byte.to_ascii_lowercase()));
                }
                // Writing to a string does not fail.
                _ => _ = write!(text, "\\{byte:03}"),
            }
        }
    }
    text
}

/// The part of a message's header that a refusal repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    id: u16,
    opcode: u8,
    recursion_desired: bool,
}

impl Header {
    /// None for what is too short, and for responses: answering those makes two servers talk for ever.
    fn read(bytes: &[u8]) -> Option<Header> {
        let &[high, low, flags, ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        (flags & 0x80 == 0).then_some(Header {
            id: u16::from_be_bytes([high, low]),
            opcode: flags >> 3 & 0x0f,
            recursion_desired: flags & 1 != 0,
        })
    }

    /// A response without any record.
    fn response(self, code: u8) -> Vec<u8> {
        let [high, low] = self.id.to_be_bytes();
        let flags = 0x80 | self.opcode << 3 | u8::from(self.recursion_desired);
        let mut bytes = vec![0; HEADER_BYTES];
        for (slot, byte) in bytes.iter_mut().zip([high, low, flags, 0x80 | code]) {
            *slot = byte;
        }
        bytes
    }
}

const HEADER_BYTES: usize = 12;
/// What fits into one datagram on any path (DNS flag day 2020).
const PAYLOAD_BYTES: u16 = 1232;
/// The EDNS option of RFC 8914.
const EXTENDED_ERROR: u16 = 15;
/// RFC 8914 §4.16: blocked by the operator's policy.
const BLOCKED: u16 = 15;
/// RFC 8914 §4.19: this client is not served.
const PROHIBITED: u16 = 18;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// Why a message is no question that the stub answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsError {
    /// Too short for a header, or a response. Nothing is sent back.
    NotAQuery,
    /// A query that is refused.
    Refused(Header, Refusal),
}

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Against the grammar, longer than [`DNS_QUERY_BYTES_MAX`], or not exactly one question.
    Malformed,
    /// Something else than a standard query.
    OpCode,
    /// Another class than IN.
    Class,
    /// Another EDNS version than 0.
    EdnsVersion,
}

impl DnsError {
    /// What to send back, where anything is.
    pub fn response(&self) -> Option<Vec<u8>> {
        let DnsError::Refused(header, refusal) = self else { return None };
        Some(header.response(match refusal {
            Refusal::Malformed => FORMAT_ERROR,
            Refusal::OpCode => NOT_IMPLEMENTED,
            // BADVERS would need an OPT record in the response; no client depends on it.
            Refusal::Class | Refusal::EdnsVersion => REFUSED,
        }))
    }

    /// The stable word for the record.
    pub fn code(&self) -> &'static str {
        match self {
            DnsError::NotAQuery | DnsError::Refused(_, Refusal::Malformed) => "malformed",
            DnsError::Refused(..) => "dns_unsupported",
        }
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            DnsError::NotAQuery => "the message is no DNS query",
            DnsError::Refused(_, Refusal::Malformed) => "the DNS query is malformed",
            DnsError::Refused(_, Refusal::OpCode) => "only standard DNS queries are answered",
            DnsError::Refused(_, Refusal::Class) => "only DNS queries of class IN are answered",
            DnsError::Refused(_, Refusal::EdnsVersion) => "only version 0 of EDNS is spoken",
        })
    }
}

impl std::error::Error for DnsError {}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
