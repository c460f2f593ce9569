//! Why the rules could not be set, read or made, and what mends it.

use std::{fmt, io, path::Path};

use crate::io::nftables::{Chain, Family, Term};

/// Its [`fmt::Display`] is the sentence a user reads: what, why, remedy.
#[derive(Debug)]
pub struct RedirectError {
    what: String,
    source: Option<io::Error>,
    remedy: String,
    misuse: bool,
}

impl RedirectError {
    /// Whether the configuration is at fault and not the machine.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        self.misuse
    }

    /// Whether the kernel says that we may not.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.source.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for RedirectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A key of the configuration that no rules can be made from; `why` ends with the remedy.
pub(super) fn setting(key: &str, why: &str) -> RedirectError {
    RedirectError { what: format!("{key} {why}"), source: None, remedy: String::new(), misuse: true }
}

pub(super) fn cgroup(path: &Path, source: io::Error) -> RedirectError {
    RedirectError {
        what: format!("redirect.exempt.cgroup: {}", path.display()),
        source: Some(source),
        remedy: "name an existing control group, relative to the root of the version 2 hierarchy (0::/PATH in the proxy's /proc/PID/cgroup)".to_owned(),
        misuse: true,
    }
}

pub(super) fn no_cgroup_mount(path: &Path) -> RedirectError {
    RedirectError {
        what: format!("redirect.exempt.cgroup: {}: no version 2 hierarchy is mounted here", path.display()),
        source: None,
        remedy: "mount it at /sys/fs/cgroup, or exempt by uid".to_owned(),
        misuse: true,
    }
}

pub(super) fn interfaces(source: io::Error) -> RedirectError {
    RedirectError {
        what: "the interfaces cannot be listed".to_owned(),
        source: Some(source),
        remedy: String::new(),
        misuse: false,
    }
}

pub(super) fn open(source: io::Error) -> RedirectError {
    let remedy = match source.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => "the kernel has no netfilter over netlink: modprobe nfnetlink",
        _ => "netlink sockets are refused here, perhaps by seccomp",
    };
    RedirectError { what: "netlink".to_owned(), source: Some(source), remedy: remedy.to_owned(), misuse: false }
}

pub(super) fn read(source: io::Error) -> RedirectError {
    let remedy = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NET_ADMIN,
        Some(libc::EAGAIN) => "they changed meanwhile: try again",
        _ => "",
    };
    RedirectError {
        what: "the rules in force cannot be read".to_owned(),
        source: Some(source),
        remedy: remedy.to_owned(),
        misuse: false,
    }
}

/// The kernel refused a part of the rules, and with it all of them.
#[derive(Debug)]
pub(super) struct Rejected {
    /// Which table; `None` when it was the batch as a whole.
    pub(super) family: Option<Family>,
    what: String,
    modules: Vec<&'static str>,
    source: io::Error,
}

impl Rejected {
    pub(super) fn batch(source: io::Error) -> Rejected {
        Rejected { family: None, what: "the rules were refused".to_owned(), modules: vec!["nf_tables"], source }
    }

    pub(super) fn new(family: Family, chain: Option<&Chain>, rule: &[Term], source: io::Error) -> Rejected {
        let mut modules: Vec<&str> = rule.iter().filter_map(Term::module).collect();
        let rule: Vec<String> = rule.iter().map(ToString::to_string).collect();
        let what = match (chain, rule.as_slice()) {
            (None, _) => "the table was refused".to_owned(),
            (Some(chain), []) => format!("the chain {} was refused", chain.name),
            (Some(chain), rule) => format!("`{}` in the chain {} was refused", rule.join(" "), chain.name),
        };
        if modules.is_empty() {
            modules = match chain {
                Some(chain) if chain.name.starts_with("nat") => vec!["nft_chain_nat"],
                _ => vec!["nf_tables"],
            };
        }
        modules.dedup();
        Rejected { family: Some(family), what, modules, source }
    }

    /// The kernel does not know what was asked for.
    pub(super) fn is_unsupported(&self) -> bool {
        let unsupported = [libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::EINVAL];
        self.source.raw_os_error().is_some_and(|errno| unsupported.contains(&errno))
    }

    /// An interface is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
    }
}

impl From<Rejected> for RedirectError {
    fn from(rejected: Rejected) -> RedirectError {
        let remedy = match rejected.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NET_ADMIN.to_owned(),
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EINVAL) => {
                match rejected.family {
                    Some(Family::Netdev) => {
                        "it needs Linux 5.16 with CONFIG_NETFILTER_EGRESS and CONFIG_IP_ROUTE_CLASSID".to_owned()
                    }
                    _ => format!("the kernel lacks it: modprobe -a {} on the host", rejected.modules.join(" ")),
                }
            }
            _ => String::new(),
        };
        RedirectError { what: rejected.what, source: Some(rejected.source), remedy, misuse: false }
    }
}

const NET_ADMIN: &str = "it needs CAP_NET_ADMIN in this network namespace (docker run --cap-add NET_ADMIN --user 0)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_name_the_module_or_the_capability() {
        let says = |rule: &[Term], errno: i32| {
            let source = io::Error::from_raw_os_error(errno);
            RedirectError::from(Rejected::new(Family::Inet, None, rule, source)).to_string()
        };
        assert!(says(&[Term::Redirect(9)], libc::ENOENT).contains("modprobe -a nft_redir on"));
        assert!(says(&[Term::Redirected, Term::Reject], libc::EOPNOTSUPP).contains("nft_ct nft_reject_inet"));
        assert!(says(&[Term::Cgroup { path: String::new(), id: 1, level: 1 }], libc::ENOENT).contains("nft_socket"));
        assert!(says(&[], libc::EPERM).contains("CAP_NET_ADMIN"));
    }
}
