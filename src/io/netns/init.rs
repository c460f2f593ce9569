//! Pid 1 of the fence: builds it from the inside, gives everything up, starts the command and waits.
//!
//! It is a fork of ringfence that never executes anything, so what it may touch is what was prepared before. When it exits, the kernel
//! kills everything else inside; it exits when the command does, and when ringfence is gone.

use std::{
    os::fd::{AsFd, AsRawFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, Signal, kill, killpg, signal},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid, setpgid},
};
use seccompiler::BpfProgram;

use super::{
    command::Command,
    confine,
    control::{Channel, Order},
    error::{At, FenceError, Step},
    network, seccomp,
    terminal::Terminal,
    view::View,
};

/// What pid 1 is given by ringfence, through the fork.
pub(super) struct Inside<'p> {
    pub(super) view: &'p View,
    pub(super) command: &'p Command,
    pub(super) filters: &'p [BpfProgram],
    pub(super) channel: &'p Channel,
    pub(super) terminal: Option<&'p Terminal>,
    /// The signal mask that the command starts with: ringfence's from before it blocked anything.
    pub(super) mask: &'p SigSet,
}

impl Inside<'_> {
    /// The whole life of pid 1. A panic must not unwind into the copy of ringfence's stack below.
    pub(super) fn live(&self) -> ! {
        let code = catch_unwind(AssertUnwindSafe(|| self.lead())).unwrap_or(CANNOT_FENCE);
        exit(code)
    }

    fn lead(&self) -> i32 {
        match self.build() {
            Ok(Some(signals)) => self.serve(&signals),
            // Ringfence gave up or died before it said start.
            Ok(None) => CANNOT_FENCE,
            Err(error) => {
                let _ = self.channel.report_failed(&error);
                CANNOT_FENCE
            }
        }
    }

    fn build(&self) -> Result<Option<SignalFd>, FenceError> {
        die_with_ringfence()?;
        self.close_inherited()?;
        if self.channel.next_order().at(Step::Control, "")? != Some(Order::Mapped) {
            return Ok(None);
        }
        let Some(bundle) = self.channel.take_bundle().at(Step::Control, "trust bundle")? else { return Ok(None) };
        // Out of ringfence's process group, which the command's processes must not be able to join.
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).at(Step::Control, "process group")?;
        let mode_mask = umask(Mode::empty());
        let sockets = network::raise()?;
        self.channel.report_listeners(&sockets.descriptors()).at(Step::Control, "listeners")?;
        drop(sockets);
        self.view.build(&bundle)?;
        umask(mode_mask);
        SigSet::all().thread_set_mask().at(Step::Control, "signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&SigSet::all(), flags).at(Step::Control, "signals")?;
        confine::capabilities()?;
        // Whoever changes its credentials loses its death signal, so it is set again.
        die_with_ringfence()?;
        confine::undumpable()?;
        seccomp::apply(self.filters)?;
        self.channel.report_ready().at(Step::Control, "")?;
        let start = self.channel.next_order().at(Step::Control, "")? == Some(Order::Start);
        Ok(start.then_some(signals))
    }

    /// Everything that ringfence has open and that this process does not need: its log, its state, whatever it inherited itself.
    fn close_inherited(&self) -> Result<(), FenceError> {
        let mut keep: Vec<u32> = vec![0, 1, 2, self.channel.as_fd().as_raw_fd().cast_unsigned()];
        keep.extend(self.terminal.map(|terminal| terminal.as_fd().as_raw_fd().cast_unsigned()));
        keep.sort_unstable();
        for pair in keep.windows(2) {
            if pair[0] + 1 < pair[1] {
                confine::close_range(pair[0] + 1, pair[1] - 1).at(Step::Control, "close_range")?;
            }
        }
        let last = keep.last().copied().unwrap_or(2);
        confine::close_range(last + 1, u32::MAX).at(Step::Control, "close_range")
    }

    fn serve(&self, signals: &SignalFd) -> i32 {
        // SAFETY: this process has one thread, so its child may run any code.
        let command = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            Ok(ForkResult::Child) => exit(self.become_command()),
            Err(error) => {
                let error = FenceError::new(Step::Fork, "", error);
                let _ = self.channel.report_failed(&error);
                return CANNOT_FENCE;
            }
        };
        // The child does so too; whoever comes first, neither goes on before it is done.
        let _ = setpgid(command, command);
        loop {
            let mut ready =
                [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return CANNOT_FENCE,
            }
            let ordered = ready[0].any().unwrap_or(true);
            let signalled = ready[1].any().unwrap_or(true);
            if signalled && let Some(code) = self.handle_signals(signals, command) {
                return code;
            }
            if ordered && !self.obey(command) {
                // Ringfence is gone: without it there is no network, and nobody to account to.
                return CANNOT_FENCE;
            }
        }
    }

    /// Becomes the command; answers only when that failed.
    fn become_command(&self) -> i32 {
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        if let Some(terminal) = self.terminal.filter(|terminal| terminal.hand_over) {
            terminal.give(getpid());
        }
        // SAFETY: SIG_DFL runs no code of ours. Rust's runtime ignores SIGPIPE, and what is ignored stays so across exec.
        let piped = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
        if piped.is_err() || self.mask.thread_set_mask().is_err() || confine::close_range(3, u32::MAX).is_err() {
            return CANNOT_FENCE;
        }
        self.command.execute()
    }

    /// Reaps, and passes on what came from outside. `Some` is the exit code of the command.
    fn handle_signals(&self, signals: &SignalFd, command: Pid) -> Option<i32> {
        while let Ok(Some(received)) = signals.read_signal() {
            let number = i32::try_from(received.ssi_signo).unwrap_or(0);
            let Ok(received_signal) = Signal::try_from(number) else { continue };
            // A sender without a number here is outside. What the command's processes send to pid 1 is ignored, as the kernel would.
            if received.ssi_pid == 0 && PASSED_ON.contains(&received_signal) {
                let _ = kill(command, received_signal);
            }
        }
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == command => return Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => return Some(128 + signal as i32),
                Ok(WaitStatus::Stopped(pid, signal)) if pid == command => {
                    let _ = self.channel.report_stopped(signal as i32);
                }
                Ok(WaitStatus::StillAlive) => return None,
                // Somebody else's child, reaped; or a real-time signal that nix has no name for.
                Ok(_) | Err(Errno::EINTR | Errno::EINVAL) => {}
                Err(_) => return Some(CANNOT_FENCE),
            }
        }
    }

    /// One order of ringfence; no when it is gone.
    fn obey(&self, command: Pid) -> bool {
        let named = |number: i32| Signal::try_from(number).ok();
        match self.channel.next_order() {
            Ok(Some(Order::Signal(number))) => {
                let _ = named(number).map(|signal| kill(command, signal));
            }
            Ok(Some(Order::SignalGroup(number))) => {
                let _ = named(number).map(|signal| killpg(command, signal));
            }
            Ok(Some(Order::Continue { foreground })) => {
                if foreground && let Some(terminal) = self.terminal {
                    terminal.give(command);
                }
                let _ = killpg(command, Signal::SIGCONT);
            }
            Ok(Some(Order::Mapped | Order::Start)) => {}
            Ok(None) | Err(_) => return false,
        }
        true
    }
}

/// The kernel kills pid 1 when the thread of ringfence that made it ends. Should that have happened already, the channel says so.
fn die_with_ringfence() -> Result<(), FenceError> {
    prctl::set_pdeathsig(Signal::SIGKILL).at(Step::Control, "death signal")
}

/// Without running what ringfence registered to run at its own exit.
fn exit(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// What ringfence exits with when it cannot fence.
const CANNOT_FENCE: i32 = 125;

const PASSED_ON: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];
