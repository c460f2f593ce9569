//! Loops: a request of ours that comes back to us is told by a name that only this process has (RFC 9110 §7.6.3).
//!
//! The name goes out only where a way back exists: to an address that is not public, which is a second proxy of the operator's or this
//! machine, and not from `run`, whose listeners nobody outside its fence can reach. Elsewhere an origin learns nothing of us. It is random for each start, so that nobody can send it in advance.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use crate::parse::header::Headers;

static PSEUDONYM: LazyLock<String> = LazyLock::new(|| format!("ringfence-{:016x}", RandomState::new().hash_one("via")));

/// The name of this process in `Via`.
pub(crate) fn pseudonym() -> &'static str {
    &PSEUDONYM
}

/// Whether a request has been through this process before.
pub(crate) fn is_ours(headers: &Headers<'_>) -> bool {
    headers.has_via()
        && headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
            .any(|(_, value)| memchr::memmem::find(value, pseudonym().as_bytes()).is_some())
}

/// Whether what is sent to `address` may find its way back.
pub(crate) fn may_lead_back(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => {
            let shared = u32::from(v4) >> 22 == u32::from_be_bytes([100, 64, 0, 0]) >> 22;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::head;

    #[test]
    fn knows_its_own_name_among_others() {
        let of = |via: &str| {
            is_ours(&head::request(format!("GET / HTTP/1.1\r\nHost: a\r\n{via}\r\n").as_bytes()).unwrap().headers)
        };
        let own = pseudonym();
        assert!(of(&format!("Via: 1.0 fred, 1.1 {own}\r\n")) && of(&format!("Via: 1.1 a\r\nvia: 1.1 {own}\r\n")));
        assert!(!of("") && !of("Via: 1.1 ringfence-0\r\n") && !of(&format!("X-Via: 1.1 {own}\r\n")));
    }

    #[test]
    fn a_public_address_leads_nowhere_back() {
        for (address, back) in [
            ("127.0.0.1:1", true),
            ("10.0.0.1:1", true),
            ("100.64.0.1:1", true),
            ("[fc00::1]:1", true),
            ("[::ffff:10.0.0.1]:1", true),
            ("8.8.8.8:443", false),
            ("100.128.0.1:1", false),
            ("[2001:4860::1]:1", false),
        ] {
            assert_eq!(may_lead_back(address.parse().unwrap()), back, "{address}");
        }
    }
}
