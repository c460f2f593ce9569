//! Where processes run and what they cost: affinity, CPU clocks, and how busy the machine is with something else.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The cpus that this process may use.
pub(super) fn cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from now on, on these cpus.
pub(super) fn stay_on(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Starts a process on `cpu`. Affinity is inherited, so the calling thread moves there for a moment.
pub(super) fn spawn_on(cpu: Option<usize>, command: &mut Command) -> io::Result<Child> {
    let Some(cpu) = cpu else { return command.spawn() };
    let before = cpus()?;
    stay_on(&[cpu])?;
    let child = command.spawn();
    stay_on(&before)?;
    child
}

/// Looks whether `child` has ended, for at most so long.
pub(super) fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() >= until {
            return Ok(ended);
        }
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// Between two looks at something that does not tell when it has changed.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// CPU time of a process with all its threads, in nanoseconds. Counts the threads that live now: a target starts none while it is measured.
pub(super) fn cpu_ns_of(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread that ended in between has nothing to add.
        total += fs::read_to_string(path).ok().as_deref().and_then(first_number).unwrap_or(0);
    }
    Ok(total)
}

/// CPU time of a process group and of everything that its leader started, in nanoseconds. Counts what lives now.
pub(super) fn cpu_ns_of_family(leader: u32) -> io::Result<u64> {
    let mut total = 0;
    for member in family(leader, &processes()?) {
        // A process that ended in between has nothing to add.
        total += cpu_ns_of(member).unwrap_or(0);
    }
    Ok(total)
}

/// A process, its parent and its group.
struct Kin {
    pid: u32,
    parent: u32,
    group: u32,
}

fn processes() -> io::Result<Vec<Kin>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        all.extend(fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| kin(pid, &stat)));
    }
    Ok(all)
}

/// Fields 4 and 5 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn kin(pid: u32, stat: &str) -> Option<Kin> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(1);
    Some(Kin { pid, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// The group of `leader` and its descendants, each once.
fn family(leader: u32, all: &[Kin]) -> Vec<u32> {
    let mut members: Vec<u32> =
        all.iter().filter(|kin| kin.pid == leader || kin.group == leader).map(|kin| kin.pid).collect();
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        let children = all.iter().filter(|kin| kin.parent == parent).map(|kin| kin.pid);
        let new: Vec<u32> = children.filter(|child| !members.contains(child)).collect();
        members.extend(new);
        at += 1;
    }
    members
}

/// The monotonic clock, in nanoseconds: every process of the machine reads the same.
pub(super) fn now_ns() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
}

/// Lets this process, and what it starts, have as many descriptors as it may.
pub(super) fn raise_descriptors() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// CPU time of the calling thread, in nanoseconds.
pub(super) fn own_cpu_ns() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    first_number(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// CPU time that all processes of the machine had so far, and what the hypervisor took, in nanoseconds; without interrupts.
pub(super) fn machine_cpu_ns() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    // user, nice, system and steal (proc(5)). USER_HZ is 100 on every architecture that we build for.
    Ok((at(0) + at(1) + at(2) + at(7)) * 10_000_000)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_group_and_all_descendants() {
        let kin = |pid, parent, group| Kin { pid, parent, group };
        // 10 leads; 11 is its child; 12 its grandchild in a group of its own; 13 was left by its parent and is still in the group.
        let all = [kin(1, 0, 1), kin(10, 1, 10), kin(11, 10, 10), kin(12, 11, 12), kin(13, 1, 10), kin(20, 1, 20)];
        let mut members = family(10, &all);
        members.sort_unstable();
        assert_eq!(members, [10, 11, 12, 13]);
    }

    #[test]
    fn a_process_is_read_whatever_its_name_holds() {
        let kin = kin(7, "7 (a) b ) S 3 5 5 0 -1").unwrap();
        assert_eq!((kin.pid, kin.parent, kin.group), (7, 3, 5));
    }

    #[test]
    fn this_process_has_used_the_cpu() {
        let own = std::process::id();
        assert!(cpu_ns_of(own).unwrap() > 0);
        assert!(cpu_ns_of_family(own).unwrap() > 0);
    }
}
