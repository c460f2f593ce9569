//! Every bound of the program, in one file; `relations` has the assertions that relate them, `bench` those of the load-test harness.
//!
//! A bound that is not here does not exist: buffers, queues, caches, loops and waits elsewhere take theirs from this file. Units are in
//! the names; the comment says what the number protects and where it comes from.

mod bench;
mod relations;

pub use bench::*;

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
// audit: rings, records, segments
// ---------------------------------------------------------------------------------------------------------------------

/// Longest text of a decision record other than its path and query (agent, rule, reason, code, …), in octets; longer ones are cut at a
/// character and the record says so.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1024;
/// Longest text of an outcome record. Small, because room for every outcome is held back in the ring while its exchange runs.
pub const AUDIT_OUTCOME_TEXT_BYTES_MAX: usize = 160;
/// Longest payload of one record.
pub const AUDIT_RECORD_BYTES_MAX: usize = 32 * 1024;
/// Ring bytes held back for one outcome, header included: what an allowed exchange costs of its ring until it ends.
pub const AUDIT_CREDIT_BYTES: usize = 512;
/// Ring of one worker. At 300 octets a record, 13,000 records wait while the disk is busy; 4,000 exchanges under way hold half of it.
pub const AUDIT_RING_BYTES: usize = 4 * 1024 * 1024;
/// Smallest ring: a few of the longest records and some outcomes.
pub const AUDIT_RING_BYTES_MIN: usize = 128 * 1024;
/// Largest ring.
pub const AUDIT_RING_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most rings that one writer drains.
pub const AUDIT_RINGS_MAX: usize = 1024;
/// Most entries of the folder of ring files that a start looks at; each killed process leaves one until its log's next start.
pub const AUDIT_RING_FILES_MAX: usize = 100_000;
/// Most logs of other killed writers that one start puts in order.
pub const AUDIT_ORPHANS_MAX: usize = 16;
/// Bytes taken from one ring before the next has its turn, and before the producer sees the room again.
pub const AUDIT_DRAIN_BYTES: usize = 256 * 1024;
/// Bytes that the writer keeps in memory until the disk has confirmed them; it stops draining beyond.
pub const AUDIT_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Group commit by size: a sync follows at the latest after so many bytes.
pub const AUDIT_SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Group commit by time: what a power cut may cost in `batched` durability, plus the time of one sync.
pub const AUDIT_SYNC_WAIT: Duration = Duration::from_millis(10);
/// A signed head follows a record at the latest after this long.
pub const AUDIT_HEAD_WAIT: Duration = Duration::from_secs(1);
/// Longest path of an inclusion proof: a tree with more leaves than numbers go.
pub const AUDIT_PROOF_STEPS_MAX: usize = 64;
/// Most records of a segment that a proof is made for; each takes 32 octets of memory meanwhile.
pub const AUDIT_PROOF_LEAVES_MAX: usize = 8 * 1024 * 1024;
/// Longest proof that is read: the longest record and its path, in hexadecimal digits.
pub const AUDIT_PROOF_BYTES_MAX: u64 = 128 * 1024;
/// Size at which a segment is sealed and the next one begun.
pub const AUDIT_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Age at which a segment is sealed and the next one begun, unless it is empty.
pub const AUDIT_SEGMENT_AGE: Duration = Duration::from_secs(24 * 3600);
/// Stretches of a segment that the index of its seal tells apart by time; even, because neighbours are joined when it is full.
pub const AUDIT_INDEX_SPANS: usize = 64;
/// The shortest of these stretches. A full segment has stretches of 1 MiB.
pub const AUDIT_INDEX_SPAN_BYTES_MIN: u64 = 64 * 1024;
/// Room that a segment's file has on the disk beyond what is written.
pub const AUDIT_PREALLOCATE_BYTES: u64 = 8 * 1024 * 1024;
/// Smallest log that retention may leave: two segments.
pub const AUDIT_RETENTION_BYTES_MIN: u64 = 2 * AUDIT_SEGMENT_BYTES;
/// Longest age that retention may be told, so that it is a number of nanoseconds: a hundred years.
pub const AUDIT_RETENTION_AGE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Most segments that one turn of the writer removes.
pub const AUDIT_RETIRE_SEGMENTS_MAX: usize = 64;
/// Most signatures of a checkpoint that is read: the log's own and those of witnesses.
pub const AUDIT_NOTE_SIGNATURES_MAX: usize = 16;
/// How long one attempt to hand a checkpoint to the anchor may take, for each of connecting, writing and reading.
pub const AUDIT_ANCHOR_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts after the anchor refused.
pub const AUDIT_ANCHOR_RETRY_WAIT: Duration = Duration::from_secs(1);
/// How long a proxy that stops waits for its last checkpoint to be delivered.
pub const AUDIT_ANCHOR_FINISH_WAIT: Duration = Duration::from_secs(10);
/// Longest answer of an anchor that is looked at: its status line.
pub const AUDIT_ANCHOR_ANSWER_BYTES_MAX: u64 = 4096;
/// How long a request waits for room with `on_full: block` before it is refused.
pub const AUDIT_BLOCK_WAIT: Duration = Duration::from_secs(60);
/// Largest segment that a reader takes for one.
pub const AUDIT_SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most segments of one log that a reader lists, and most logs under one parent.
pub const AUDIT_SEGMENTS_MAX: usize = 1_000_000;
/// Block that a reader asks the file for.
pub const AUDIT_READ_BYTES: usize = 256 * 1024;
/// What a turn of the writer should find: with less the pause before the next grows.
pub const AUDIT_DRAIN_AIM_BYTES: usize = 64 * 1024;
/// The writer's shortest and longest pause between turns. The longest, times the highest record rate, must fit a ring.
pub const AUDIT_POLL_MIN: Duration = Duration::from_micros(50);
/// See [`AUDIT_POLL_MIN`].
pub const AUDIT_POLL_MAX: Duration = Duration::from_millis(5);
/// Between two looks of `decode --follow` for what is new.
pub const AUDIT_FOLLOW_WAIT: Duration = Duration::from_millis(100);
/// Records that `decode --follow` reads of one log before it looks at the next, and whether it shall end.
pub const AUDIT_FOLLOW_RECORDS: usize = 4096;
/// Most rules, hosts, agents or codes that `stats` tells apart; what comes later is counted together.
pub const AUDIT_STATS_KEYS_MAX: usize = 100_000;
/// Most selected decisions whose outcome `stats` waits for; outcomes of later ones are not counted.
pub const AUDIT_STATS_OPEN_MAX: usize = 1_000_000;
/// Rows of a Parquet row group, which an export holds in memory.
pub const AUDIT_EXPORT_ROWS: usize = 65_536;
/// Records of one request to an OTLP collector.
pub const AUDIT_EXPORT_SEND_RECORDS: usize = 1_000;
/// How long an OTLP collector has for one request, and the longest pause that it may ask for.
pub const AUDIT_EXPORT_SEND_WAIT: Duration = Duration::from_secs(30);
/// How often a request is sent to a collector that is busy or cannot be reached.
pub const AUDIT_EXPORT_ATTEMPTS: u32 = 5;
/// The first pause between two of these attempts; each next one is twice as long.
pub const AUDIT_EXPORT_RETRY_WAIT: Duration = Duration::from_millis(500);
/// Between two attempts to write after the disk refused.
pub const AUDIT_RETRY_WAIT: Duration = Duration::from_millis(200);
/// At shutdown: how long the writer waits for producers that still live and for a disk that still refuses.
pub const AUDIT_FINISH_WAIT: Duration = Duration::from_secs(5);
/// Longest signed head, base, checkpoint, key or lock file that is read: a base of a large tree with its 64 peaks, a note with many
/// signatures.
pub const AUDIT_HEAD_FILE_BYTES_MAX: u64 = 8192;

// ---------------------------------------------------------------------------------------------------------------------
// io: engine
// ---------------------------------------------------------------------------------------------------------------------

/// Task polls between two entries into the kernel: bounds how long a completion waits behind busy tasks.
pub const POLLS_PER_TURN_MAX: u32 = 256;
/// Operations one task may finish in one poll before it has to let the others run.
pub const OPERATIONS_PER_POLL_MAX: u32 = 64;
/// Submission entries of a ring; the completion queue is [`RING_COMPLETIONS_PER_ENTRY`] times as long.
pub const RING_ENTRIES: u32 = 256;
/// Smallest ring worth having. A kernel that lacks the memory (RLIMIT_MEMLOCK) is asked for less, down to this.
pub const RING_ENTRIES_MIN: u32 = 32;
/// Largest ring a user may ask for: about 400 KiB of locked memory on Linux 6.18.
pub const RING_ENTRIES_MAX: u32 = 4096;
/// An operation in flight may complete at any time, so completions need more room than submissions.
pub const RING_COMPLETIONS_PER_ENTRY: u32 = 4;
/// Receive buffers of one engine; a power of two, at most 32768 (io_uring_register_buf_ring(3)).
pub const RECEIVE_BUFFERS: u16 = 256;
/// Bytes of one receive buffer: the plaintext of one TLS record (RFC 8446 §5.1).
pub const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
/// Largest receive buffer a user may ask for.
pub const RECEIVE_BUFFER_BYTES_MAX: u32 = 1024 * 1024;
/// Receive buffers taken from the heap while all others are in use. Beyond that, receives wait for one to come back.
pub const RECEIVE_BUFFERS_OVERFLOW_MAX: usize = 1024;
/// Bytes handed to the kernel in one send; a longer one is sent in several.
pub const SEND_BYTES_MAX: usize = 1 << 30;
/// Accepted connections nobody has taken yet; beyond that they wait in the kernel's backlog.
pub const ACCEPTED_WAITING_MAX: usize = 64;
/// Pause of a listener after the kernel ran out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Readiness events taken from epoll at once.
pub const READINESS_EVENTS_MAX: usize = 256;
/// Longest UDP payload (RFC 768: 16-bit length).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Longest wait of the timer wheel, in milliseconds: six levels of 64 slots, less one slot of the last (two years).
pub const TIMER_MILLISECONDS_MAX: u64 = (1 << 36) - (1 << 30);

// ---------------------------------------------------------------------------------------------------------------------
// io: connections, waits, caches
// ---------------------------------------------------------------------------------------------------------------------

/// From the first byte of a request to the end of its head.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Reads for one head before they are paced: more than a head of full packets needs.
pub const HEAD_READS_AT_ONCE: u32 = 32;
/// Pause between two reads for a head that comes in more than [`HEAD_READS_AT_ONCE`] of them. What comes meanwhile is read as one.
pub const HEAD_READ_PAUSE: Duration = Duration::from_millis(1);
/// From the first byte of a TLS connection to its finished handshake, on either side.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// A keep-alive connection without a request under way.
pub const IDLE_WAIT: Duration = Duration::from_secs(60);
/// From the end of a request to the head of its response: models think for minutes.
pub const RESPONSE_HEAD_WAIT: Duration = Duration::from_secs(600);
/// A body, an event stream or a tunnel without a byte.
pub const BODY_WAIT: Duration = Duration::from_secs(3600);
/// How long a client's request body may be waited for until [`REQUEST_BODY_BYTES_MIN`] more of it have come. What a client has to say
/// it has at hand, or makes as fast as a person types: unlike a response, a request body waits for nobody's thoughts.
pub const REQUEST_BODY_WAIT: Duration = Duration::from_secs(60);
/// See [`REQUEST_BODY_WAIT`].
pub const REQUEST_BODY_BYTES_MIN: usize = 1024;
/// After this long a wait for one peer also watches the other.
pub const WATCH_AFTER: Duration = Duration::from_secs(1);
/// From the head of a request whose body is needed for its decision to the end of that body.
pub const HELD_BODY_WAIT: Duration = Duration::from_secs(60);
/// How long a body is waited for that can be JSON-RPC where nothing depends on it.
pub const ENVELOPE_WAIT: Duration = Duration::from_secs(1);
/// Longest value of `limits.held_body`.
pub const HELD_BODY_WAIT_MAX: Duration = Duration::from_secs(3600);
/// What a held body may take as it came: a longest text in chunks of 64 octets and more.
pub const HELD_WIRE_BYTES_MAX: usize = JSON_BYTES_MAX + JSON_BYTES_MAX / 8;
/// What the held bodies of one agent may take of one worker at the same time. Who wants more is told to come back.
pub const HELD_AGENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Silence on a TCP connection after which the kernel asks whether the peer is still there, and between its questions.
pub const KEEP_ALIVE_IDLE_SECONDS: u32 = 60;
/// See [`KEEP_ALIVE_IDLE_SECONDS`].
pub const KEEP_ALIVE_PROBE_SECONDS: u32 = 15;
/// Questions without an answer after which the connection has failed.
pub const KEEP_ALIVE_PROBES: u32 = 4;
/// What the kernel takes of a connection that it has not sent (`TCP_NOTSENT_LOWAT`). Without it each peer that does not read gets the most
/// that `tcp_wmem` says, 4 MiB, and a thousand of them use up `tcp_mem`, which everybody's connections share.
pub const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// Connecting to one upstream address.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// What is read of a denied request's body so that the answer is not lost in a reset.
pub const DENIED_BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a denied request's body is read for.
pub const DENIED_BODY_WAIT: Duration = Duration::from_secs(2);
/// How long a stopping worker lets connections end.
/// Less than the 10 s after which container engines kill what they asked to stop.
pub const DRAIN_WAIT: Duration = Duration::from_secs(8);
/// Pause after a failed accept.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// Open client connections of one worker.
pub const CONNECTIONS_MAX: usize = 16 * 1024;
/// Open client connections of one agent at one worker: a flood of one leaves the others room.
pub const CONNECTIONS_PER_AGENT_MAX: usize = CONNECTIONS_MAX / 16;
/// How long a worker has to show that each of its doors denies what is always denied.
pub const CANARY_WAIT: Duration = Duration::from_secs(5);
/// How long a container engine has for one answer.
pub const ENGINE_WAIT: Duration = Duration::from_secs(5);
/// Longest answer of a container engine that is read.
pub const ENGINE_ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest configuration of an MCP client; Claude Code keeps its history in it.
pub const CLIENT_CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of one read from a standard stream.
pub const STDIO_READ_BYTES: usize = 64 * 1024;
/// Bytes of one write to a standard stream that is not ours alone: what a pipe that is ready takes (`PIPE_BUF` of pipe(7)).
pub const STDIO_WRITE_BYTES: usize = 4096;
/// Bytes that wait for one side of `ringfence mcp` before the other side is read again.
pub const STDIO_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// How long the client of an ended server has to take the rest of what it said, without taking a byte.
pub const STDIO_FLUSH_WAIT: Duration = Duration::from_secs(5);
/// Messages of one process that wait for somebody's leave, each with a thread of its own; beyond, they are denied.
pub const APPROVALS_MAX: usize = 32;
/// The same of one agent: a flood of one leaves the others room.
pub const APPROVALS_PER_AGENT_MAX: usize = 8;
/// How long an approver has, unless the policy says otherwise.
pub const APPROVAL_WAIT: Duration = Duration::from_secs(300);
/// Longest time that a policy may give an approver.
pub const APPROVAL_WAIT_MAX: Duration = Duration::from_secs(3600);
/// Longest message that somebody is asked about; nobody reads more.
pub const APPROVAL_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest answer of an approver.
pub const APPROVAL_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long a connection to a webhook, its handshake and each write may take.
pub const APPROVAL_CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How often a thread that waits for an approver looks whether its answer is still wanted.
pub const APPROVAL_LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a client that waits for an approval hears that it still does; common clients give up after 60 s without a word.
pub const APPROVAL_HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Most words of an approver's command.
pub const APPROVER_WORDS_MAX: usize = 64;
/// How often the proxy looks whether its policy has changed.
pub const RELOAD_EVERY: Duration = Duration::from_millis(500);
/// Orders to a worker that wait.
pub const CONTROL_QUEUE_MAX: usize = 16;

/// Unused received bytes of one connection: a whole head and one read beyond it.
pub const TRANSPORT_INBOX_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;
/// Plaintext that is sealed before it is sent: four TLS records.
pub const TLS_SEAL_BYTES_MAX: usize = 64 * 1024;
/// Body bytes that are joined into one send.
pub const RELAY_BATCH_BYTES_MAX: usize = 32 * 1024;

/// Idle upstream connections of one worker.
pub const POOL_CONNECTIONS_MAX: usize = 1024;
/// Idle upstream connections of one route.
pub const POOL_PER_ROUTE_MAX: usize = 64;
/// How long an upstream connection waits for its next use; origins commonly close after 60 s.
pub const POOL_IDLE_WAIT: Duration = Duration::from_secs(30);
/// How often the pool is looked through.
pub const POOL_SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
pub const UPSTREAM_ADDRESSES_MAX: usize = 8;

/// Leaves that a worker keeps at hand.
pub const LEAF_CACHE_MAX: usize = 1024;
/// Life of a leaf certificate.
pub const LEAF_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of an authority that lives in memory; a run that lasts longer needs a new one.
pub const CA_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Life of an authority that is kept on disk and survives a restart.
pub const STORED_CA_LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// How long before its end a stored authority is warned about at every start.
pub const STORED_CA_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest key or certificate file of a stored authority.
pub const CA_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest file with certificate revocation lists; those of the largest public authorities have some 20 MiB.
pub const CRL_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How far before now a certificate starts to be valid, for clocks that differ.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(3600);
/// TLS sessions that one leaf remembers for resumption.
pub const TLS_SERVER_SESSIONS_MAX: usize = 32;
/// TLS sessions with origins that are remembered for resumption.
pub const TLS_CLIENT_SESSIONS_MAX: usize = 256;
/// Jobs that wait for the office.
pub const OFFICE_QUEUE_MAX: usize = 4096;

/// Names that have a synthetic address at the same time.
pub const SYNTHETIC_NAMES_MAX: usize = 16 * 1024;
/// How long a program may keep a synthetic address.
pub const SYNTHETIC_TTL_SECONDS: u32 = 60;
/// Answers that the resolver keeps.
pub const NAME_CACHE_MAX: u64 = 4096;
/// How long a name server has for one answer.
pub const NAME_WAIT: Duration = Duration::from_secs(3);
/// How often a name server is asked.
pub const NAME_ATTEMPTS: usize = 2;
/// Queries that one agent may ask the stub of one worker in a second, and at once.
pub const DNS_QUERIES_PER_SECOND: u32 = 200;
/// See [`DNS_QUERIES_PER_SECOND`].
pub const DNS_QUERIES_BURST: u32 = 1000;
/// Bits that one agent may put into names nobody has asked for before, in a second: two ordinary names, or 32 octets of a secret.
pub const NAME_BITS_PER_SECOND: u32 = 256;
/// See [`NAME_BITS_PER_SECOND`]: at once, about 1500 ordinary names.
pub const NAME_BITS_BURST: u32 = 64 * 1024;
/// Names that a worker remembers as asked for.
pub const NAMES_SEEN_MAX: usize = 4096;
/// Leaves that are made for one agent of one worker in a second, and at once. One takes a tenth of a millisecond.
pub const LEAVES_PER_SECOND: u32 = 50;
/// See [`LEAVES_PER_SECOND`].
pub const LEAVES_BURST: u32 = 500;
/// Agents whose quotas are kept apart.
pub const QUOTA_AGENTS_MAX: usize = 4096;
/// Longest DNS message over TCP that a stub needs to read.
pub const DNS_MESSAGE_BYTES_MAX: usize = 4096;
/// DNS connections at the same time.
pub const DNS_CONNECTIONS_MAX: usize = 64;
/// DNS connections of one agent at the same time.
pub const DNS_CONNECTIONS_PER_AGENT_MAX: usize = DNS_CONNECTIONS_MAX / 4;
/// Life of a DNS connection.
pub const DNS_IDLE_WAIT: Duration = Duration::from_secs(10);
/// Longest request head on the admin socket; a scraper's has a few hundred bytes.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Connections to the admin socket and to the metrics address at the same time; one more ends the oldest.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Connections that wait for the admin thread.
pub const ADMIN_BACKLOG: i32 = 128;
/// Life of one admin connection, and the pause of its listeners after the kernel ran out of descriptors.
pub const ADMIN_WAIT: Duration = Duration::from_secs(2);
/// A worker that has shown no sign of life for so long counts as dead. It owes one each [`POOL_SWEEP_EVERY`].
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest datagram that the kernel answers over netlink; it fills at most 32 KiB of a dump at a time.
pub const NETLINK_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most messages of one netlink dump: rules of every program in the namespace.
pub const NETLINK_DUMP_MESSAGES_MAX: usize = 100_000;
/// How long `doctor` waits for a program that it asks (an interpreter for its trust store, itself in a throwaway namespace).
pub const DOCTOR_PROGRAM_WAIT: Duration = Duration::from_secs(10);
/// How long `doctor` waits for a sign that a packet arrived somewhere.
pub const DOCTOR_NETWORK_WAIT: Duration = Duration::from_millis(500);
/// Most processes that `doctor` looks at.
pub const DOCTOR_PROCESSES_MAX: usize = 10_000;
/// How long `doctor --ready` waits for its answer.
pub const READY_WAIT: Duration = Duration::from_secs(2);
/// Longest answer that `doctor --ready` reads.
pub const READY_BYTES_MAX: u64 = 64 * 1024;
/// Connections of the agent waiting to be accepted, per listener; the kernel caps it at `net.core.somaxconn` (4096 since Linux 5.4).
pub const FENCE_BACKLOG: i32 = 4096;
/// Path sockets that are masked one by one. Each costs a mount; the kernel allows 100 000 a namespace (`fs.mount-max`).
pub const FENCE_MASKS_MAX: usize = 10_000;
/// What the agent can write into each of its private runtime folders (`/run`, `$XDG_RUNTIME_DIR`).
pub const FENCE_RUN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What the agent can write into its `/dev` itself, which is for nodes and not for data.
pub const FENCE_DEV_BYTES_MAX: u64 = 1024 * 1024;
/// The agent's shared memory; browsers and databases take hundreds of megabytes.
pub const FENCE_SHM_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

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
