//! The fence around a command: what `ringfence run -- CMD` stands on.
//!
//! [`raise`] forks a process into namespaces of its own, in which there is no network but loopback, no host process, no host socket, no
//! device and no capability; the redirect rules there lead every TCP connection and every DNS question to listeners that were bound inside
//! and are used outside, by ringfence. Nothing has to be blocked, because nothing leads out. [`Fence::start`] lets the command execute,
//! [`Fence::wait`] waits for it.
//!
//! Knows nothing of policy or records. The invariant: the command executes only after every step succeeded; any failure is a
//! [`FenceError`] and nothing has run. `docs/adr/0003-fence.md` says why it is built this way and what it leaves open.
//!
//! Read on in `init`, which is the inside, then `view`.

mod command;
mod confine;
mod control;
mod dev;
mod enter;
mod error;
mod fence;
mod init;
mod mountinfo;
mod mounts;
mod names;
mod network;
mod nftables;
mod original_destination;
mod path_sockets;
mod routes;
mod seccomp;
mod spawn;
mod terminal;
mod view;

pub use confine::inherit_three;
pub use enter::enter;
pub use error::{FenceError, Step};
pub use fence::{Fence, Plan, raise};
pub use network::Sockets;
pub use nftables::{DNS_PORT, REDIRECT_PORT};
pub use original_destination::original_destination;
pub use routes::{AGENT_V4, AGENT_V6};

/// Where the command finds the trust bundle that [`raise`] was given: in its private `/run`, read-only.
pub const TRUST_BUNDLE_PATH: &str = "/run/ringfence/ca-bundle.crt";
