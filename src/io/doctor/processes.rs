//! The processes we can see, and what they hold that leads around the rules: capabilities, or the exempt user.
//!
//! Seen are those of our pid namespace: to look at an agent's container, doctor runs in its (`docker run --pid container:AGENT`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::Exempt;
use crate::limits::DOCTOR_PROCESSES_MAX;

/// What a process says of itself in `/proc/PID/status`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Process {
    name: String,
    users: [u32; 4],
    /// Effective, permitted, inheritable and ambient capabilities together.
    held: u64,
    bounding: u64,
    no_new_privileges: bool,
    /// Kernel threads and the dead have no memory.
    lives: bool,
}

pub(super) fn look(exempt: &Exempt) -> Vec<Finding> {
    let subject = "processes";
    // By fault, because a container's processes are commonly all alike.
    let mut faulty: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen = 0;
    for folder in folders() {
        // Processes end while we look.
        let Ok(status) = fs::read_to_string(folder.join("status")) else { continue };
        let process = read(&status);
        if !process.lives || is_elsewhere(&folder) || is_proxy(&folder) {
            continue;
        }
        seen += 1;
        let number = folder.file_name().unwrap_or_default().to_string_lossy();
        for fault in faults(&process, exempt) {
            faulty.entry(fault).or_default().push(format!("{} ({number})", process.name));
        }
    }
    if faulty.is_empty() {
        return vec![match seen {
            0 => Finding::note(
                subject,
                "none but ours can be seen: run this in the agent's pid namespace (docker run --pid container:AGENT)",
            ),
            seen => Finding::ok(subject, format!("{seen} seen, none holds what leads around the rules")),
        }];
    }
    let lines = faulty.into_iter().map(|(fault, who)| Finding::miss(subject, format!("{}: {fault}", some(&who))));
    lines.collect()
}

/// The first few of them.
fn some(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(NAMES_SHOWN));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const NAMES_SHOWN: usize = 4;

fn folders() -> Vec<PathBuf> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.bytes().all(|byte| byte.is_ascii_digit()) && name != own
    });
    numbers.map(|entry| entry.path()).take(DOCTOR_PROCESSES_MAX).collect()
}

/// In another network namespace, as far as we may know.
fn is_elsewhere(folder: &Path) -> bool {
    let (theirs, ours) = (fs::read_link(folder.join("ns/net")), fs::read_link("/proc/self/ns/net"));
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs != ours)
}

/// The proxy may be what it is. By its words, because whose program it is may be hidden from us.
fn is_proxy(folder: &Path) -> bool {
    let command = fs::read(folder.join("cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"ringfence")) && words.next() == Some(b"proxy")
}

fn read(status: &str) -> Process {
    let mut process = Process::default();
    for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let capabilities = u64::from_str_radix(value, 16).unwrap_or(0);
        match name {
            "Name" => value.clone_into(&mut process.name),
            "Uid" => {
                let users = value.split_whitespace().filter_map(|user| user.parse().ok());
                process.users.iter_mut().zip(users).for_each(|(to, from)| *to = from);
            }
            "CapEff" | "CapPrm" | "CapInh" | "CapAmb" => process.held |= capabilities,
            "CapBnd" => process.bounding = capabilities,
            "NoNewPrivs" => process.no_new_privileges = value == "1",
            "VmSize" => process.lives = true,
            _ => (),
        }
    }
    process
}

fn faults<'p>(process: &'p Process, exempt: &'p Exempt) -> impl Iterator<Item = String> + 'p {
    // Root gains what the bounding set has with the next program it executes, and others by a setuid program.
    let gains = if process.users.contains(&0) || !process.no_new_privileges { process.bounding } else { 0 };
    let named = |set: u64| {
        let of_set = CAPABILITIES.iter().filter(move |(bit, _)| set & 1 << bit != 0);
        // To become another user is a way out only where a user is exempt.
        let counts = of_set.filter(|(bit, _)| *bit != SETUID || matches!(exempt, Exempt::Uid(_)));
        counts.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let (held, could) = (named(process.held), named(gains & !process.held));
    let remedy = "cap_drop: [ALL], user: and no-new-privileges for its container";
    let held = (!held.is_empty()).then(|| format!("held: {held}; {remedy}"));
    let could = (!could.is_empty()).then(|| format!("to be gained: {could}; {remedy}"));
    let is_exempt = match exempt {
        Exempt::Uid(user) if process.users.contains(user) => {
            Some(format!("as the exempt user {user}; give its container another (user:)"))
        }
        _ => None,
    };
    [held, could, is_exempt].into_iter().flatten()
}

const SETUID: u32 = 7;
/// Sets rules; makes frames; becomes the proxy's user; enters its namespaces; becomes its debugger; puts code into the kernel.
const CAPABILITIES: [(u32, &str); 7] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (SETUID, "CAP_SETUID"),
    (21, "CAP_SYS_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (16, "CAP_SYS_MODULE"),
    (39, "CAP_BPF"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &str, exempt: &Exempt) -> String {
        faults(&read(status), exempt).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn dockers_defaults_are_refused_and_their_removal_is_not() {
        let root = "Name:\tsh\nUid:\t0\t0\t0\t0\nVmSize:\t1 kB\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\n";
        assert!(said(root, &Exempt::Uid(1337)).starts_with("held: CAP_NET_RAW, CAP_SETUID; cap_drop"));
        assert!(said(root, &Exempt::Cgroup("a".into())).starts_with("held: CAP_NET_RAW; cap_drop"));
        let user =
            "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\n";
        assert!(said(user, &Exempt::Uid(1337)).starts_with("to be gained: CAP_NET_RAW, CAP_SETUID"));
        assert_eq!(said(&user.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1"), &Exempt::Uid(1337)), "");
        assert_eq!(said(&user.replace("a80425fb", "00000000"), &Exempt::Uid(1337)), "");
    }

    #[test]
    fn the_exempt_user_is_refused_by_any_of_its_user_ids() {
        let status = "Uid:\t1000\t1000\t1337\t1000\nNoNewPrivs:\t1\n";
        assert!(said(status, &Exempt::Uid(1337)).contains("exempt user 1337"));
        assert_eq!(said(status, &Exempt::Uid(1338)), "");
    }
}
