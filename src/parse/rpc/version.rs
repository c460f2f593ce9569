//! The versions of MCP, and what each of them has.

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// stdio, and HTTP with a separate event stream.
    V2024_11_05,
    /// Streamable HTTP; the only one with batches.
    V2025_03_26,
    /// The version header; elicitation.
    V2025_06_18,
    /// Tasks; elicitation by URL.
    V2025_11_25,
    /// Stateless: no handshake, no session, each request names its version; nothing is asked of the client but inside of results.
    V2026_07_28,
}

impl Version {
    /// Oldest first.
    pub const ALL: [Version; 5] =
        [Version::V2024_11_05, Version::V2025_03_26, Version::V2025_06_18, Version::V2025_11_25, Version::V2026_07_28];

    /// The version of that name.
    pub fn read(name: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.name() == name)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Version::V2024_11_05 => "2024-11-05",
            Version::V2025_03_26 => "2025-03-26",
            Version::V2025_06_18 => "2025-06-18",
            Version::V2025_11_25 => "2025-11-25",
            Version::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether every request stands alone: `_meta` names the version, headers mirror the body, and there is no session.
    pub fn is_stateless(self) -> bool {
        self >= Version::V2026_07_28
    }

    /// Whether one text may hold several messages.
    pub fn has_batches(self) -> bool {
        self == Version::V2025_03_26
    }

    /// Whether a client may send answers, since a server may send requests.
    pub fn has_client_responses(self) -> bool {
        !self.is_stateless()
    }
}
