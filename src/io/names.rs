//! Names to addresses, for upstream connections.
//!
//! The operator's own resolver configuration and `/etc/hosts` count; search domains do not, so that a name means one thing. What comes back is
//! only a proposal: no address is dialled before `policy` has vetted it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::proto::rr::Name;

use crate::limits::{NAME_ATTEMPTS, NAME_CACHE_MAX, NAME_WAIT, UPSTREAM_ADDRESSES_MAX};

/// Asks the operator's name servers.
pub(crate) struct Names {
    resolver: Option<TokioResolver>,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    /// There is no such name, or it has no address.
    NotFound,
    /// The name servers did not answer, or not with an answer.
    Unanswered,
}

impl NameError {
    /// The stable word for records and answers.
    pub(crate) fn code(self) -> &'static str {
        match self {
            NameError::NotFound => "name_not_found",
            NameError::Unanswered => "name_unanswered",
        }
    }
}

impl Names {
    /// Reads the system's resolver configuration; without a usable one only `/etc/hosts` and literals resolve.
    pub(crate) fn system() -> Names {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.use_hosts_file = ResolveHosts::Always;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.cache_size = NAME_CACHE_MAX;
            options.timeout = NAME_WAIT;
            options.attempts = NAME_ATTEMPTS;
            builder.build()
        });
        match built {
            Ok(resolver) => Names { resolver: Some(resolver) },
            Err(error) => {
                tracing::warn!(%error, "the system's resolver configuration cannot be used; names will not resolve");
                Names { resolver: None }
            }
        }
    }

    /// The addresses of `host`, a canonical name without a trailing dot. IPv4 first: it is what most networks route.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        // RFC 6761 §6.3: names under localhost are loopback, whatever a server says.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver.as_ref().ok_or(NameError::Unanswered)?;
        let mut name = Name::from_ascii(host).map_err(|_| NameError::NotFound)?;
        // A rooted name is never completed from a search list.
        name.set_fqdn(true);
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().take(UPSTREAM_ADDRESSES_MAX).collect();
                addresses.sort_by_key(IpAddr::is_ipv6);
                addresses.dedup();
                if addresses.is_empty() { Err(NameError::NotFound) } else { Ok(addresses) }
            }
            Err(error) if error.is_no_records_found() => Err(NameError::NotFound),
            Err(_) => Err(NameError::Unanswered),
        }
    }
}
