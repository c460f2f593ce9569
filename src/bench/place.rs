//! Where processes run and what they cost: affinity, CPU clocks, and how busy the machine is with something else.

use std::fs;
use std::io;
use std::process::{Child, Command};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
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
