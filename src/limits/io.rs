//! The bounds of the data path: the engine, connections, waits, caches.

use std::time::Duration;

use super::{HEAD_BYTES_MAX, JSON_BYTES_MAX};

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
/// Pause between two reads for a head that comes in more than [`HEAD_READS_AT_ONCE`] of them. What comes meanwhile is read as one. It is doubled
/// with each [`HEAD_READS_AT_ONCE`] more, up to [`HEAD_READ_PAUSE_MAX`].
pub const HEAD_READ_PAUSE: Duration = Duration::from_millis(1);
/// Longest such pause.
pub const HEAD_READ_PAUSE_MAX: Duration = Duration::from_millis(20);
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
