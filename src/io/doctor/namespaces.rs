//! Namespaces and rules, tried for real: in a child of ours, in namespaces that end with it.
//!
//! The child is this program again, because a user namespace is for processes of one thread, which we may not be.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::kernel::number;
use super::{Finding, program};
use crate::io::redirect::{self, Applied, Redirect};

/// What the child can be asked: as an ordinary user does it, and as root may.
pub const PROBES: [&str; 2] = ["user-namespace", "network-namespace"];

/// The child's part: enters new namespaces and sets every rule that there is. Gives the lines to print.
#[must_use]
pub fn probe(name: &str) -> Vec<String> {
    let entered = match name {
        "user-namespace" => enter_as_user(),
        _ => unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from),
    };
    if let Err(error) = entered {
        return vec![format!("{REFUSED}{}", error.raw_os_error().unwrap_or(0))];
    }
    let rules = match redirect::apply(&Redirect::default()) {
        Ok(Applied::Whole(_)) => RULES.to_owned(),
        Ok(Applied::WithoutFrames(why)) => format!("{WITHOUT_FRAMES}{why}"),
        Err(error) => format!("{NO_RULES}{error}"),
    };
    vec![ENTERED.to_owned(), rules]
}

fn enter_as_user() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

const REFUSED: &str = "refused ";
const ENTERED: &str = "entered";
const RULES: &str = "rules";
const WITHOUT_FRAMES: &str = "without frames ";
const NO_RULES: &str = "no rules ";

/// What the children said. `needed` where the question is what `run` needs; a proxy in a container needs none of it there.
pub(super) fn look(needed: bool) -> Vec<Finding> {
    let [as_user, as_root] = PROBES.map(ask);
    let entered = |said: &[String]| said.first().is_some_and(|line| line == ENTERED);
    let (user, network) = (entered(&as_user), entered(&as_root));
    let mut findings = vec![match as_user.first().and_then(|line| line.strip_prefix(REFUSED)) {
        _ if user => Finding::ok("user namespaces", "granted"),
        Some(errno) => {
            let error = io::Error::from_raw_os_error(errno.parse().unwrap_or(0));
            Finding::miss("user namespaces", format!("refused: {error}; {}", why_no_user_namespace()))
                .needed(needed && !network)
        }
        None => Finding::note("user namespaces", UNTOLD),
    }];
    if user || network {
        findings.push(Finding::ok("network namespaces", "granted"));
    } else {
        findings.push(Finding::miss("network namespaces", "refused, as above").needed(needed));
    }
    let rules =
        [&as_user, &as_root].into_iter().filter_map(|said| said.get(1)).min_by_key(|line| line.as_str() != RULES);
    findings.push(match rules {
        Some(line) if line == RULES => {
            Finding::ok("nftables", "redirect, reject, connection tracking and frame rules work")
        }
        Some(line) => match (line.strip_prefix(WITHOUT_FRAMES), line.strip_prefix(NO_RULES)) {
            (Some(why), _) => {
                Finding::note("nftables", format!("works but for frames, so packet sockets stay open: {why}"))
            }
            (_, Some(why)) => Finding::miss("nftables", why).needed(needed),
            _ => Finding::note("nftables", UNTOLD),
        },
        None => Finding::note(
            "nftables",
            "cannot be tried without a namespace of our own; `ringfence redirect apply` says what is missing",
        ),
    });
    findings
}

const UNTOLD: &str = "the probe ended without a word";

fn ask(probe: &str) -> Vec<String> {
    let said = std::env::current_exe().ok().and_then(|own| program::ask(own, &["doctor", "--probe", probe]));
    said.map(|said| said.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn why_no_user_namespace() -> &'static str {
    if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        "they are switched off: sysctl -w user.max_user_namespaces=16384"
    } else if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        "they are switched off for ordinary users: sysctl -w kernel.unprivileged_userns_clone=1"
    } else if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "AppArmor restricts them: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give ringfence a profile with `userns,`"
    } else {
        "seccomp or a security module refuses them, as in most containers: use the gateway or sidecar form there (`ringfence proxy`)"
    }
}
