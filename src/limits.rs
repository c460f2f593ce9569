//! Every bound of the program, in one module: those of parsing, policies and configuration here, the others in a file each; `relations` has
//! the assertions that relate them.
//!
//! A bound that is not here does not exist: buffers, queues, caches, loops and waits elsewhere take theirs from this module. Units are in
//! the names; the comment says what the number protects and where it comes from.

mod audit;
mod bench;
mod io;
mod relations;

pub use audit::*;
pub use bench::*;
pub use io::*;

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
/// Longest JSON text that is inspected: a body, a line, an event. Go's MCP SDK takes 4 MiB, TypeScript's 10 MiB. It bounds each string, too.
pub const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of a JSON text. Readers commonly stop at 128 or more.
pub const JSON_DEPTH_MAX: usize = 64;
/// Most tokens of a JSON text: what it may cost in time and, by its keys, in memory.
pub const JSON_TOKENS_MAX: usize = 200_000;
/// Longest name in a JSON object, as written. Arguments use paths and URLs as names.
pub const JSON_KEY_BYTES_MAX: usize = 4 * 1024;
/// Longest JSON number; a double needs 25 characters.
pub const JSON_NUMBER_BYTES_MAX: usize = 64;
/// Most blanks around the value of a JSON text.
pub const JSON_BLANKS_MAX: usize = 1024;
/// Longest server-sent event on an MCP endpoint, all its lines together: one JSON text and its framing.
pub const SSE_EVENT_BYTES_MAX: usize = JSON_BYTES_MAX + 64 * 1024;
/// Longest identifier of a server-sent event; it comes back in a header.
pub const SSE_ID_BYTES_MAX: usize = 1024;
/// Shortest reconnection time that a server may ask for.
pub const SSE_RETRY_MILLISECONDS_MIN: u64 = 100;
/// Longest reconnection time that a server may ask for.
pub const SSE_RETRY_MILLISECONDS_MAX: u64 = 10 * 60 * 1000;
/// Most messages of one JSON-RPC batch.
pub const RPC_BATCH_MAX: usize = 32;
/// Longest name of a tool that MCP asks servers to keep to (2025-11-25, "Tool Names"); a longer one has to be spelt out in a rule.
pub const MCP_TOOL_BYTES_USUAL: usize = 128;
/// Longest token, cursor or state as written: values that only their maker reads, and that could carry anything.
pub const RPC_OPAQUE_BYTES_MAX: usize = 16 * 1024;
/// Longest JSON-RPC id, as written.
pub const RPC_ID_BYTES_MAX: usize = 1024;
/// Longest method, tool, prompt, task or URI of a resource.
pub const RPC_NAME_BYTES_MAX: usize = TARGET_BYTES_MAX;
/// Most requests to the client in one result, and most resources of one subscription.
pub const RPC_INPUTS_MAX: usize = 64;
/// Most entries of the lists in one result.
pub const RPC_LIST_ENTRIES_MAX: usize = 10_000;
/// MCP sessions over HTTP that are known at the same time; a client whose session is forgotten begins a new one.
pub const MCP_SESSIONS_MAX: usize = 16 * 1024;
/// MCP tasks whose agents are known at the same time.
pub const MCP_TASKS_MAX: usize = 16 * 1024;
/// Comments of an event stream on an MCP endpoint pass at most this often.
pub const SSE_COMMENT_EVERY: Duration = Duration::from_secs(1);
/// Requests of one MCP conversation that wait for their answers, in each direction.
pub const MCP_REQUESTS_MAX: usize = 1024;
/// Refusals that wait to be put on one stream of the older HTTP+SSE transport.
pub const MCP_REFUSALS_MAX: usize = 64;
/// Errors for requests of a server's own that are on their way to it, for each stream; what comes beyond is not answered.
pub const MCP_ERRORS_BACK_MAX: usize = 8;
/// Tools of one server that are pinned.
pub const PINS_PER_SERVER_MAX: usize = 1024;
/// Longest definition of a tool whose text is kept beside its digest.
pub const PIN_DEFINITION_BYTES_MAX: usize = 8 * 1024;
/// Longest file of pins: every tool with a name and two definitions of full length, escaped.
pub const PIN_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pins that are new in memory are written to disk at most this often.
pub const PIN_SAVE_EVERY: Duration = Duration::from_millis(100);
/// Where a tool has changed, its file is looked at this often for what somebody has accepted.
pub const PIN_REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Longest MCP session id.
pub const MCP_SESSION_BYTES_MAX: usize = 512;

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
/// Most rules of one policy of AGT's, over all files that it extends: they are walked one by one.
pub const AGT_RULES_MAX: usize = 20_000;
/// Longest regular expression of an AGT policy, in octets.
pub const AGT_PATTERN_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of groups in one.
pub const AGT_REGEX_DEPTH_MAX: usize = 64;
/// Steps that the engine for look-around and references may go back before its answer is a denial.
pub const AGT_REGEX_STEPS_MAX: usize = 100_000;
/// What one expression may keep of the automaton that it builds while it runs, for each thread.
pub const AGT_REGEX_CACHE_BYTES: usize = 256 * 1024;
/// What the expressions of one policy may take together.
pub const AGT_REGEXES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most files that one policy names beside its own.
pub const POLICY_FILES_MAX: usize = 256;
/// Most bytes of what a policy in Rego is told of one call, as JSON; AGT's own bound.
pub const ACS_SNAPSHOT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of what a policy in Rego is told; AGT's own bound.
pub const ACS_SNAPSHOT_DEPTH_MAX: usize = 64;
/// Longest evaluation of a policy in Rego: it keeps its worker from everything else.
pub const ACS_EVALUATION_MAX: Duration = Duration::from_millis(100);
/// Steps of such an evaluation between two looks at the time.
pub const ACS_EVALUATION_STEPS: u32 = 32;
/// Evaluators that are kept for later, one for each worker that decides at the same time.
pub const ACS_EVALUATORS_MAX: usize = 256;
/// Deepest chain of manifests that extend one another; AGT's own bound.
pub const ACS_EXTENDS_DEPTH_MAX: usize = 16;
/// Different reasons that policies in Rego may give until the policy is read again; later ones are told without their text.
pub const ACS_REASONS_MAX: usize = 1_024;
/// Most compiled expressions, and most compiled globs, that evaluations of Rego keep for one another; without them each is compiled each time.
pub const ACS_PATTERNS_MAX: usize = 2_048;
/// Longest module in Rego.
pub const ACS_MODULE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most lines of a module in Rego, and most columns of a line.
pub const ACS_MODULE_LINES_MAX: usize = 200_000;
/// Most problems that loading one policy names.
pub const POLICY_PROBLEMS_MAX: usize = 1_000;
/// Ways in which a new policy is weaker that one line of the log names.
pub const WEAKENINGS_TOLD_MAX: usize = 3;
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
/// Longest regular expression, glob or prefix of a value matcher, in octets.
pub const POLICY_PATTERN_BYTES_MAX: usize = 4 * 1024;
/// Deepest nesting of `not` in a value matcher.
pub const POLICY_MATCHER_DEPTH_MAX: u32 = 4;
/// Regular expressions that are tried in one automaton; an automaton that would be too large is halved.
pub const POLICY_AUTOMATON_PATTERNS: usize = 32;
/// Largest automaton.
pub const POLICY_AUTOMATON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// All automata of one policy together.
pub const POLICY_AUTOMATA_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory that building one automaton may take.
pub const POLICY_DETERMINIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest automaton before it is made deterministic: bounds what `{1000}{1000}` costs before it is refused.
pub const POLICY_NFA_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most requests that a rate counts; more is no limit.
pub const POLICY_RATE_COUNT_MAX: u32 = 1_000_000;
/// Agents for which each rate has a bucket at hand, at least.
pub const POLICY_RATE_AGENTS: usize = 8;
/// Fewest buckets of a policy with rates: what one rate has, for as many agents.
pub const POLICY_RATE_BUCKETS_MIN: usize = 4 * 1024;
/// Most buckets of a policy: 16 MiB.
pub const POLICY_RATE_BUCKETS_MAX: usize = 1024 * 1024;
/// Buckets that are looked at for one agent and rule before it counts as having no token.
pub const POLICY_RATE_PROBES: usize = 64;
/// How often a decision is made again because another worker took the last token in between.
pub const POLICY_RATE_RETRIES: usize = 16;

// ---------------------------------------------------------------------------------------------------------------------
// config: what an operator may set
// ---------------------------------------------------------------------------------------------------------------------

/// Longest configuration file.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Most listeners, ports of one gateway, address blocks of one listener, and agents.
pub const CONFIG_LIST_MAX: usize = 4096;
/// Most worker threads; each has an audit ring of its own.
pub const WORKERS_MAX: usize = 256;
/// How long a worker looks for work before it sleeps, where it does so at all.
pub const SPIN_WAIT: Duration = Duration::from_micros(50);
/// Up to here an entry into the kernel has not waited: what it asked for was there.
pub const NO_WAIT_MAX: Duration = Duration::from_micros(10);
/// Looks that a wait no longer than [`SPIN_WAIT`] earns: two, so that one short wait of every two (the response of a request) is enough.
pub const SHORT_WAIT_CREDIT: u8 = 2;
/// Most looks that are kept: so many long waits in a row end the looking.
pub const SHORT_WAIT_CREDIT_MAX: u8 = 16;
/// Longest path of a unix socket: `sun_path` of unix(7) without the closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Most symbolic links on the way to one file, as the kernel has it (path_resolution(7)).
pub const SYMLINKS_MAX: usize = 40;
/// Longest value of `limits.head`.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(600);
/// Longest value of `limits.handshake`.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest value of `limits.idle`.
pub const IDLE_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest value of `limits.response_head`.
pub const RESPONSE_HEAD_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest value of `limits.body`.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest value of `limits.request_body`.
pub const REQUEST_BODY_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest value of `limits.connect`.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(600);
/// Longest value of `limits.drain`.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(3600);
/// Largest value of `limits.connections` and `limits.connections_per_agent`; each costs a descriptor, and one more upstream.
pub const CONNECTIONS_SET_MAX: usize = 256 * 1024;
