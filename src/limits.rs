//! Every bound of the program, in one file, with the assertions that relate them.
//!
//! A bound that is not here does not exist: buffers, queues, caches, loops and waits elsewhere take theirs from this file. Units are in
//! the names; the comment says what the number protects and where it comes from.

use std::time::Duration;

// ---------------------------------------------------------------------------------------------------------------------
// parse: heads, framing, names
// ---------------------------------------------------------------------------------------------------------------------

/// Longest request target. RFC 9112 §3 recommends at least 8000 octets for the request line.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Longest method; the registry's longest is 17 octets.
pub const METHOD_BYTES_MAX: usize = 32;
/// Longest request or response head, start line and all header lines together.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header lines in one head.
pub const HEADERS_MAX: usize = 100;
/// Hexadecimal digits of one chunk size, leading zeros included: 16 digits hold any 64-bit size.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;
/// Chunk extensions accepted, and dropped, in one chunk-size line. A byte of extension in front of each byte of data is an attack on the
/// parser's time, not a use of extensions.
pub const CHUNK_EXTENSION_LINE_BYTES_MAX: usize = 256;
/// Chunk extensions accepted, and dropped, per message.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;
/// Trailer section accepted, and dropped, per message.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Longest ClientHello that is waited for, over all its records.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;
/// Longest host name in octets, without the trailing dot (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name in octets (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Ways in which one path may be read besides its canonical form. A path with more is refused: no client needs it, and each reading is
/// matched against the policy.
pub const PATH_READINGS_MAX: usize = 16;
/// Longest DNS query over UDP or TCP that the stub looks at: a header, one name of 255 octets and room for EDNS options (RFC 6891 §6.2.5).
pub const DNS_QUERY_BYTES_MAX: usize = 4096;
/// Interim (1xx) responses forwarded before a final one.
pub const INTERIM_RESPONSES_MAX: u32 = 8;

// ---------------------------------------------------------------------------------------------------------------------
// policy: files, rules, patterns
// ---------------------------------------------------------------------------------------------------------------------

/// Longest policy file.
pub const POLICY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most rules in one policy; ten times what the speed targets speak of.
pub const POLICY_RULES_MAX: usize = 1_000_000;
/// Most values in one policy after groups are put in place of their names: what the table's size and compile time follow.
pub const POLICY_VALUES_MAX: usize = 8_000_000;
/// Most values (scalars, lists, maps) in one policy file; about ten for a rule.
pub const POLICY_YAML_NODES_MAX: usize = 20 * POLICY_RULES_MAX;
/// Most parser events for one policy file; a value makes one or two.
pub const POLICY_YAML_EVENTS_MAX: usize = 2 * POLICY_YAML_NODES_MAX;
/// Deepest nesting of a policy file; the language needs five.
pub const POLICY_YAML_DEPTH_MAX: usize = 24;
/// Most aliases and anchors in a policy file; groups make them needless.
pub const POLICY_YAML_ALIASES_MAX: usize = 1_000;
/// Most pairs of a deny and another rule that are compared to warn of rules that can never win; beyond, loading would take long.
pub const POLICY_LINT_PAIRS_MAX: usize = 1_000_000;
/// Longest rule name, reason or remedy in octets: all three go into refusals and audit records.
pub const POLICY_TEXT_BYTES_MAX: usize = 1_024;
/// Most segments of a path pattern: the walk over the path index keeps one entry for each on its stack.
pub const POLICY_PATH_SEGMENTS_MAX: usize = 64;
/// Most nodes of the path index that one decision visits before it falls back to matching candidates one by one.
pub const POLICY_PATH_VISITS_MAX: usize = 256;
/// Most sets of rules that one dimension of one decision unites before it falls back to matching candidates one by one.
pub const POLICY_SETS_MAX: usize = 24;
/// A set with at most this many rules is a list, a larger one a bitmap.
pub const POLICY_SET_LIST_MAX: usize = 32;

// ---------------------------------------------------------------------------------------------------------------------
// audit: rings, records, segments
// ---------------------------------------------------------------------------------------------------------------------

// ---------------------------------------------------------------------------------------------------------------------
// io: engine
// ---------------------------------------------------------------------------------------------------------------------

// ---------------------------------------------------------------------------------------------------------------------
// io: connections, waits, caches
// ---------------------------------------------------------------------------------------------------------------------

/// From the first byte of a connection, or the end of the previous exchange's head wait, to the end of a request head.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// From the first byte of a TLS connection to its finished handshake, on either side.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// A keep-alive connection without a request under way.
pub const IDLE_WAIT: Duration = Duration::from_secs(60);
/// From the end of a request to the head of its response.
pub const RESPONSE_HEAD_WAIT: Duration = Duration::from_secs(600);
/// Connecting to an upstream address.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);

const _: () = {
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(METHOD_BYTES_MAX + TARGET_BYTES_MAX + 64 < HEAD_BYTES_MAX);
    assert!(CHUNK_SIZE_DIGITS_MAX as usize * 4 == u64::BITS as usize);
    assert!(CHUNK_EXTENSION_LINE_BYTES_MAX < CHUNK_EXTENSION_BYTES_MAX);
    assert!(LABEL_BYTES_MAX < HOST_BYTES_MAX);
    assert!(POLICY_RULES_MAX < u32::MAX as usize / 64);
    assert!(POLICY_VALUES_MAX < u32::MAX as usize);
    assert!(3 * POLICY_TEXT_BYTES_MAX < HEAD_BYTES_MAX);
};
