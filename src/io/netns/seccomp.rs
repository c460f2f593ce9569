//! The system call filter of everything inside. It is a list of doors that namespaces and capabilities leave open, not a sandbox.
//!
//! | refused | with | because |
//! | --- | --- | --- |
//! | `socket`, `socketpair` of any family but UNIX, INET, INET6, NETLINK | EAFNOSUPPORT | AF_VSOCK and AF_ALG know no network namespace; as on a kernel without the family |
//! | `io_uring_*` | ENOSYS | `IORING_OP_SOCKET` opens any family behind this filter; programs fall back to epoll |
//! | `keyctl`, `add_key`, `request_key` | ENOSYS | `request_key` makes the kernel run a resolver on the host, outside every namespace |
//! | `ioctl` TIOCSTI, TIOCLINUX | EPERM | typing into the user's terminal |
//! | `bpf`, `perf_event_open`, `userfaultfd`, `open_by_handle_at`, `kexec_*`, modules | EPERM | kernel surface that an agent has no use for |
//! | calls of another architecture (`int 0x80`) | the process is killed | their numbers would be read wrongly |
//! | x32 calls on x86-64 | ENOSYS | they carry this architecture's mark, but other numbers |

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

use super::error::{At, FenceError, Step};

/// Compiles the filters. They allocate and can fail, so this is done before anything is given up.
pub(super) fn programs() -> Result<Vec<BpfProgram>, FenceError> {
    let unsupported = libc::EINVAL;
    compile().map_err(|_| io::Error::from_raw_os_error(unsupported)).at(Step::Seccomp, std::env::consts::ARCH)
}

/// Loads the filters; they bind this process and all it starts, and need `no_new_privs`, which loading sets.
pub(super) fn apply(programs: &[BpfProgram]) -> Result<(), FenceError> {
    for program in programs {
        apply_filter(program).map_err(|_| io::Error::last_os_error()).at(Step::Seccomp, "")?;
    }
    Ok(())
}

fn compile() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut programs = vec![
        refuse(vec![(libc::SYS_socket, families()?), (libc::SYS_socketpair, families()?)], libc::EAFNOSUPPORT)?,
        refuse(ABSENT.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)?,
    ];
    let mut forbidden: Vec<_> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    forbidden.push((libc::SYS_ioctl, terminal_injection()?));
    programs.push(refuse(forbidden, libc::EPERM)?);
    if cfg!(target_arch = "x86_64") {
        programs.push(refuse_x32());
    }
    Ok(programs)
}

fn refuse(calls: Vec<(i64, Vec<SeccompRule>)>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<_, _> = calls.into_iter().collect();
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.cast_unsigned()), architecture)?
        .try_into()
}

/// The kernel takes the family as an `int`, so the upper half of the register must not count.
fn families() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let unlike = |family: i32| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))
    };
    let all = FAMILIES.iter().map(|family| unlike(*family)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![SeccompRule::new(all)?])
}

/// The kernel takes the request as an `unsigned int`; glibc passes an `unsigned long`.
fn terminal_injection() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let requests = [libc::TIOCSTI, libc::TIOCLINUX];
    let like = |request| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request);
    requests.into_iter().map(|request| SeccompRule::new(vec![like(request)?])).collect()
}

/// ```text
/// load nr; if nr & 0x4000_0000 (and nr is no -1, which tracers use): ENOSYS; allow
/// ```
/// Only ever reached by calls marked x86-64: [`SeccompFilter`] kills the others.
fn refuse_x32() -> BpfProgram {
    let load_number = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let if_x32 = sock_filter { code: 0x45, jt: 0, jf: 1, k: 0x4000_0000 };
    let give = |action: u32| sock_filter { code: 0x06, jt: 0, jf: 0, k: action };
    vec![load_number, if_x32, give(SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()), give(SECCOMP_RET_ALLOW)]
}

const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const ABSENT: [i64; 6] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

const FORBIDDEN: [i64; 9] = [
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
];

// <linux/seccomp.h>
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_for_this_architecture() {
        let programs = programs().unwrap();
        assert!(programs.len() >= 3);
        assert!(programs.iter().all(|program| (2..4096).contains(&program.len())));
    }
}
