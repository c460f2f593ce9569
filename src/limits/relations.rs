//! How the bounds fit each other, checked when the program is built.

use super::*;

const _: () = {
    assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32768);
    assert!(RING_ENTRIES_MIN <= RING_ENTRIES && RING_ENTRIES <= RING_ENTRIES_MAX);
    assert!(RECEIVE_BUFFER_BYTES <= RECEIVE_BUFFER_BYTES_MAX);
    assert!(RESPONSE_HEAD_WAIT.as_millis() < TIMER_MILLISECONDS_MAX as u128);
    assert!(SEND_BYTES_MAX <= i32::MAX as usize, "a completion reports its length in an i32");
};

const _: () = {
    assert!(3 * POOL_SWEEP_EVERY.as_millis() < WORKER_SILENCE_MAX.as_millis(), "one late sign is no death");
    assert!(ADMIN_HEAD_BYTES_MAX <= HEAD_BYTES_MAX);
    assert!(FENCE_DEV_BYTES_MAX < FENCE_RUN_BYTES_MAX && FENCE_RUN_BYTES_MAX < FENCE_SHM_BYTES_MAX);
    assert!(FENCE_MASKS_MAX < 100_000);
    assert!((LEAVES_BURST as usize) < OFFICE_QUEUE_MAX, "one agent's burst leaves the office room for others");
    assert!(NAME_BITS_BURST as usize > 8 * HOST_BYTES_MAX, "every name fits the burst");
    assert!(LEAF_LIFE.as_secs() < CA_LIFE.as_secs() && STORED_CA_WARNING.as_secs() < STORED_CA_LIFE.as_secs());
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(SYNTHETIC_NAMES_MAX < 1 << 17, "the table must be smaller than its range");
    assert!(CLIENT_HELLO_BYTES_MAX <= TRANSPORT_INBOX_BYTES_MAX);
    assert!(METHOD_BYTES_MAX + TARGET_BYTES_MAX + 64 < HEAD_BYTES_MAX);
    // A rule's number, with the gaps between groups, leaves the top bit of a set's name free.
    assert!(POLICY_RULES_MAX < (1 << 30));
    assert!(POLICY_VALUES_MAX < u32::MAX as usize);
    assert!(3 * POLICY_TEXT_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(POLICY_RATE_BUCKETS_MIN.is_power_of_two() && POLICY_RATE_BUCKETS_MAX.is_power_of_two());
    assert!(POLICY_RATE_BUCKETS_MIN <= POLICY_RATE_BUCKETS_MAX && POLICY_RATE_PROBES < POLICY_RATE_BUCKETS_MIN);
    assert!(POLICY_AUTOMATON_BYTES_MAX <= POLICY_AUTOMATA_BYTES_MAX);
    assert!(CHUNK_SIZE_DIGITS_MAX as usize * 4 == u64::BITS as usize);
    assert!(CHUNK_EXTENSION_LINE_BYTES_MAX < CHUNK_EXTENSION_BYTES_MAX);
    assert!(LABEL_BYTES_MAX < HOST_BYTES_MAX);
    assert!(POLICY_RULES_MAX < u32::MAX as usize / 64);
    assert!(ACS_SNAPSHOT_DEPTH_MAX < 128, "the JSON reader's own depth");
    assert!(ACS_REASONS_MAX > 0 && ACS_EVALUATION_MAX.as_millis() < WORKER_SILENCE_MAX.as_millis());
};

const _: () = {
    // The longest decision: path, query, two names, a method, five texts and six of an MCP message, with room for its fixed part.
    assert!(
        2 * TARGET_BYTES_MAX + 2 * HOST_BYTES_MAX + METHOD_BYTES_MAX + 11 * AUDIT_TEXT_BYTES_MAX + 768
            <= AUDIT_RECORD_BYTES_MAX
    );
    assert!(2 * AUDIT_OUTCOME_TEXT_BYTES_MAX + 160 <= AUDIT_CREDIT_BYTES);
    assert!(AUDIT_CREDIT_BYTES.is_multiple_of(16));
    assert!(AUDIT_RING_BYTES_MIN >= 3 * AUDIT_RECORD_BYTES_MAX + 16 * AUDIT_CREDIT_BYTES);
    assert!(AUDIT_RING_BYTES_MIN.is_power_of_two() && AUDIT_RING_BYTES.is_power_of_two());
    assert!(AUDIT_RING_BYTES_MAX.is_power_of_two() && AUDIT_RING_BYTES_MIN <= AUDIT_RING_BYTES);
    assert!(AUDIT_SYNC_BYTES + AUDIT_DRAIN_BYTES + AUDIT_RECORD_BYTES_MAX < AUDIT_BATCH_BYTES_MAX);
    assert!((AUDIT_BATCH_BYTES_MAX as u64) < AUDIT_SEGMENT_BYTES && AUDIT_SEGMENT_BYTES < AUDIT_SEGMENT_BYTES_MAX);
    assert!(AUDIT_RECORD_BYTES_MAX + 64 <= AUDIT_READ_BYTES);
    assert!(AUDIT_INDEX_SPANS.is_multiple_of(2) && AUDIT_INDEX_SPANS * 32 + 256 <= AUDIT_RECORD_BYTES_MAX);
};

const _: () = {
    assert!(CONFIG_BYTES_MAX <= POLICY_BYTES_MAX, "the reader's own budgets are those of a policy");
    assert!(WORKERS_MAX <= AUDIT_RINGS_MAX);
    assert!(CONNECTIONS_MAX <= CONNECTIONS_SET_MAX && CONNECTIONS_PER_AGENT_MAX < CONNECTIONS_MAX);
    assert!(REQUEST_BODY_WAIT.as_millis() <= REQUEST_BODY_WAIT_MAX.as_millis());
    assert!(REQUEST_BODY_WAIT.as_millis() < BODY_WAIT.as_millis());
    assert!(HEAD_WAIT.as_millis() <= HEAD_WAIT_MAX.as_millis());
    assert!(HANDSHAKE_WAIT.as_millis() <= HANDSHAKE_WAIT_MAX.as_millis());
    assert!(IDLE_WAIT.as_millis() <= IDLE_WAIT_MAX.as_millis());
    assert!(RESPONSE_HEAD_WAIT.as_millis() <= RESPONSE_HEAD_WAIT_MAX.as_millis());
    assert!(HELD_BODY_WAIT.as_millis() <= HELD_BODY_WAIT_MAX.as_millis());
    assert!(HELD_AGENT_BYTES_MAX >= 2 * HELD_WIRE_BYTES_MAX && HELD_WIRE_BYTES_MAX >= TRANSPORT_INBOX_BYTES_MAX);
    assert!(BODY_WAIT.as_millis() <= BODY_WAIT_MAX.as_millis());
    assert!(CONNECT_WAIT.as_millis() <= CONNECT_WAIT_MAX.as_millis());
    assert!(DRAIN_WAIT.as_millis() <= DRAIN_WAIT_MAX.as_millis());
    assert!(APPROVAL_WAIT.as_millis() <= APPROVAL_WAIT_MAX.as_millis());
    assert!(APPROVAL_WAIT_MAX.as_millis() < TIMER_MILLISECONDS_MAX as u128);
    assert!(APPROVALS_PER_AGENT_MAX < APPROVALS_MAX && APPROVAL_MESSAGE_BYTES_MAX < JSON_BYTES_MAX);
    assert!(APPROVAL_LOOK_EVERY.as_millis() < APPROVAL_HEARTBEAT_EVERY.as_millis());
    assert!(BODY_WAIT_MAX.as_millis() < TIMER_MILLISECONDS_MAX as u128);
};
