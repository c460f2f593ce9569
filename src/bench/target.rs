//! What load is sent through, by name.

use serde::{Deserialize, Serialize};

use crate::limits::BENCH_NAME_BYTES_MAX;

/// Something that load is sent through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// Nothing in between.
    Direct,
    /// A byte relay on our engine and the backend of the scenario: the floor.
    Relay,
    /// The same relay on epoll, whatever the scenario says.
    RelayEpoll,
    /// A byte relay on tokio-uring; only in a build with that feature.
    RelayTokioUring,
    /// A program under `ringfence run`, with a policy and the audit log on.
    Ringfence,
    /// `ringfence proxy` as an explicit proxy, with a policy and the audit log on.
    RingfenceProxy,
    /// Another program's proxy, started by a script of this name.
    Peer(String),
}

/// The targets that need no script.
pub const BUILT_IN: [Target; 6] = [
    Target::Direct,
    Target::Relay,
    Target::RelayEpoll,
    Target::RelayTokioUring,
    Target::Ringfence,
    Target::RingfenceProxy,
];

impl Target {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Target::Direct => "direct",
            Target::Relay => "relay",
            Target::RelayEpoll => "relay-epoll",
            Target::RelayTokioUring => "relay-tokio-uring",
            Target::Ringfence => "ringfence",
            Target::RingfenceProxy => "ringfence-proxy",
            Target::Peer(name) => name,
        }
    }

    /// The target of this name; every name that is not built in is a peer's. `None` where a peer cannot be called that.
    pub fn named(name: &str) -> Option<Target> {
        if let Some(target) = BUILT_IN.into_iter().find(|target| target.name() == name) {
            return Some(target);
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let follows = |byte: u8| plain(byte) || matches!(byte, b'.' | b'-');
        let fits = name.len() <= BENCH_NAME_BYTES_MAX && name.bytes().all(follows);
        // Neither a way out of the peers' folder nor an option: the first octet is a letter or a digit.
        (fits && name.bytes().next().is_some_and(plain)).then(|| Target::Peer(name.to_owned()))
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(name: String) -> Result<Target, String> {
        Target::named(&name).ok_or_else(|| {
            format!(
                "`{name}` cannot be a target: lower-case letters, digits, `.` and `-`, at most {BENCH_NAME_BYTES_MAX}"
            )
        })
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_built_in_is_a_peers() {
        for target in BUILT_IN {
            assert_eq!(Target::named(target.name()), Some(target));
        }
        assert_eq!(Target::named("envoy-1.40"), Some(Target::Peer("envoy-1.40".to_owned())));
    }

    #[test]
    fn no_name_leads_out_of_the_peers_folder() {
        for name in ["", "..", "../nginx", "a/b", "-x", ".hidden", "Nginx", "a b", &"a".repeat(33)] {
            assert_eq!(Target::named(name), None, "{name}");
        }
    }
}
