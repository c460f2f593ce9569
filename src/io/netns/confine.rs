//! Giving up: capabilities, the ways to get them back, and being looked into.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::{errno::Errno, sys::prctl};

use super::error::{At, FenceError, Step};

/// Empties the bounding, ambient, permitted, effective and inheritable sets of this process and of all it starts, and locks the door:
/// with `SECBIT_NOROOT` uid 0 is a user like any other, and with `no_new_privs` no file raises anything.
pub(super) fn capabilities() -> Result<(), FenceError> {
    drop_bounding().at(Step::Capabilities, "bounding set")?;
    prctl_number(libc::PR_SET_SECUREBITS, SECURE_BITS).at(Step::Capabilities, "securebits")?;
    prctl_number(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into())
        .at(Step::Capabilities, "ambient set")?;
    clear_sets().at(Step::Capabilities, "capset")?;
    prctl::set_no_new_privs().at(Step::Capabilities, "no_new_privs")
}

/// Keeps processes of the same user from reading or tracing this one until it executes something.
pub(super) fn undumpable() -> Result<(), FenceError> {
    prctl::set_dumpable(false).at(Step::Capabilities, "dumpable")
}

/// Closes every descriptor from `first` to `last`, both included.
pub(super) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the callers name ranges of descriptors whose owners are never used again in this process, which ends by exec or _exit.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Ok(Errno::result(answer).map(drop)?)
}

/// Leaves a command nothing but stdin, stdout and stderr: all else goes away at its exec, also what we did not open ourselves.
pub fn inherit_three(command: &mut Command) {
    let close = || {
        let (first, last) = (3, libc::c_uint::MAX);
        // SAFETY: a system call without pointers; with CLOEXEC nothing is closed in this process.
        let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
        Ok(Errno::result(answer).map(drop)?)
    };
    // SAFETY: close_range(2) is async-signal-safe, and the closure touches no memory of the parent.
    unsafe {
        command.pre_exec(close);
    }
}

fn drop_bounding() -> io::Result<()> {
    for capability in 0..=CAPABILITY_MAX {
        match prctl_number(libc::PR_CAPBSET_DROP, capability) {
            // The kernel knows no capability of this number, nor any above.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

fn clear_sets() -> io::Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let sets = [0u32; 6];
    let (header, sets) = (header.as_ptr(), sets.as_ptr());
    // SAFETY: version 3 makes the kernel read two 32-bit words of header and six of sets, which is what the arrays hold.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header, sets) };
    Ok(Errno::result(answer).map(drop)?)
}

fn prctl_number(option: libc::c_int, value: u64) -> io::Result<()> {
    let none: u64 = 0;
    // SAFETY: each option used here takes numbers only, so the kernel touches no memory of ours.
    let answer = unsafe { libc::prctl(option, value, none, none, none) };
    Ok(Errno::result(answer).map(drop)?)
}

/// `NOROOT`, `NO_SETUID_FIXUP`, `NO_CAP_AMBIENT_RAISE`, each with its lock, and `KEEP_CAPS` locked off.
const SECURE_BITS: u64 = 0b1110_1111;
/// Above any capability of any kernel: the sets have 64 bits.
const CAPABILITY_MAX: u64 = 63;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
