//! The outside of the fence: raising it, and standing by while the command runs.

use std::{
    ffi::OsString,
    io,
    net::{TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigHandler, SigSet, Signal, kill, signal},
        signalfd::{SfdFlags, SignalFd},
        stat::{SFlag, fstat},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, gethostname},
};

use super::{
    command::Command,
    control::{Channel, Order, Report},
    error::{At, FenceError, Step},
    init::Inside,
    network::Sockets,
    path_sockets, seccomp, spawn,
    terminal::Terminal,
    view::View,
};

/// What to fence, and what to hide from it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The command and its arguments; the command is searched for along the PATH that it will see.
    pub command: Vec<OsString>,
    /// Variables to set, over inherited ones.
    pub env_set: Vec<(OsString, OsString)>,
    /// Inherited variables to leave out. Proxy variables always are.
    pub env_remove: Vec<OsString>,
    /// Folders that show empty and read-only: state, audit. They must exist.
    pub hide_dirs: Vec<PathBuf>,
    /// Files that show empty and read-only: the policy. They must exist.
    pub hide_files: Vec<PathBuf>,
    /// Host sockets, files or folders that stay visible although they are sockets or lie below `/run` or `/dev`.
    pub expose: Vec<PathBuf>,
}

/// A fence that stands. Dropping it before [`Fence::wait`] answered kills whatever runs inside.
#[derive(Debug)]
pub struct Fence {
    /// 127.0.0.1 and, where the kernel has IPv6, ::1, port [`super::REDIRECT_PORT`] inside: what connections are redirected to. Blocking.
    pub listeners: Vec<TcpListener>,
    /// The same addresses, port [`super::DNS_PORT`]; answers must leave from the socket that got the question. Blocking.
    pub dns_udp: Vec<UdpSocket>,
    /// As `dns_udp`, over TCP.
    pub dns_tcp: Vec<TcpListener>,
    init: Pid,
    channel: Channel,
    signals: SignalFd,
    mask: SigSet,
    terminal: Option<Terminal>,
    code: Option<i32>,
}

/// Raises the fence; the command waits inside for [`Fence::start`].
///
/// Must be called while the process has one thread, and from the one that lives as long as the process: the command dies with it.
/// Signals that are for the command (SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and those of job control) are blocked here,
/// so that threads started later inherit that and [`Fence::wait`] can pass them on.
///
/// `trust` makes the PEM certificates that are placed at [`super::TRUST_BUNDLE_PATH`] and over the system's own bundles. It is called after the
/// fork, so that a key it makes was never in the memory of a process inside.
///
/// # Errors
///
/// When any step fails, `trust` included; then nothing is left behind and nothing has run.
pub fn raise<E: From<FenceError>>(plan: &Plan, trust: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Fence, E> {
    check_streams()?;
    let command = Command::prepare(&plan.command, std::env::vars_os(), &plan.env_remove, &plan.env_set)?;
    let filters = seccomp::programs()?;
    let view = view(plan)?;
    let terminal = Terminal::find();
    let (ours, theirs) = Channel::pair().at(Step::Control, "socketpair")?;
    let (signals, mask) = block_signals()?;
    let forked = spawn::clone();
    if let Ok(None) = forked {
        // In the child ringfence's end must be closed, or pid 1 would never see it close; it closes everything it does not name.
        let inside = Inside {
            view: &view,
            command: &command,
            filters: &filters,
            channel: &theirs,
            terminal: terminal.as_ref(),
            mask: &mask,
        };
        inside.live();
    }
    drop(theirs);
    let init = match forked {
        Ok(Some(init)) => init,
        Ok(None) => return Err(FenceError::new(Step::Clone, "", io::Error::from_raw_os_error(libc::ECHILD)).into()),
        Err(error) => {
            let _ = mask.thread_set_mask();
            return Err(error.into());
        }
    };
    let sockets = Sockets::default();
    let mut fence = Fence {
        listeners: sockets.tcp,
        dns_udp: sockets.dns_udp,
        dns_tcp: sockets.dns_tcp,
        init,
        channel: ours,
        signals,
        mask,
        terminal,
        code: None,
    };
    let bundle = trust()?;
    fence.complete(&bundle)?;
    Ok(fence)
}

impl Fence {
    /// Maps the ids, hands the trust bundle in, takes the listeners and waits until everything stands.
    fn complete(&mut self, bundle: &[u8]) -> Result<(), FenceError> {
        spawn::map_ids(self.init)?;
        self.channel.order(&Order::Mapped).at(Step::Control, "")?;
        self.channel.hand_bundle(bundle).at(Step::Control, "trust bundle")?;
        loop {
            match self.channel.next_report().at(Step::Control, "")? {
                Some(Report::Listeners(descriptors)) => {
                    let sockets = Sockets::from_descriptors(descriptors);
                    (self.listeners, self.dns_udp, self.dns_tcp) = (sockets.tcp, sockets.dns_udp, sockets.dns_tcp);
                }
                Some(Report::Ready) => return Ok(()),
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Stopped(_)) => {}
                None => return Err(FenceError::new(Step::Wait, "", io::Error::from_raw_os_error(libc::ECHILD))),
            }
        }
    }

    /// The process id, outside, of pid 1 inside.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.init.as_raw()
    }

    /// Lets the command execute. Its failure to do so is an exit code (126, 127) with a line on stderr, as with env(1).
    ///
    /// # Errors
    ///
    /// When pid 1 is gone.
    pub fn start(&mut self) -> Result<(), FenceError> {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend();
        }
        self.channel.order(&Order::Start).at(Step::Control, "start")
    }

    /// Blocks until the command ends; answers its exit code as a shell counts it, 128 + N for signal N. Meanwhile passes signals on, and
    /// stops and continues with the command where there is a terminal. What the command leaves running inside is killed.
    ///
    /// # Errors
    ///
    /// When the kernel loses track of pid 1.
    pub fn wait(&mut self) -> Result<i32, FenceError> {
        loop {
            let mut ready = [
                PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(FenceError::new(Step::Wait, "poll", error)),
            }
            let (reported, signalled) = (ready[0].any().unwrap_or(true), ready[1].any().unwrap_or(true));
            if signalled {
                self.pass_signals_on();
            }
            if reported {
                match self.channel.next_report() {
                    Ok(Some(Report::Stopped(signal))) => self.stop_too(signal),
                    Ok(Some(Report::Failed(error))) => return Err(error),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return self.reap(),
                }
            }
        }
    }

    fn reap(&mut self) -> Result<i32, FenceError> {
        if let Some(code) = self.code {
            return Ok(code);
        }
        let code = loop {
            match waitpid(self.init, None) {
                Ok(WaitStatus::Exited(_, code)) => break code,
                Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(FenceError::new(Step::Wait, "", error)),
            }
        };
        self.code = Some(code);
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
        }
        Ok(code)
    }

    fn pass_signals_on(&mut self) {
        while let Ok(Some(received)) = self.signals.read_signal() {
            let number = i32::try_from(received.ssi_signo).unwrap_or(0);
            let order = if number == libc::SIGCONT {
                Order::Continue { foreground: self.terminal.as_mut().is_some_and(Terminal::lend) }
            } else if received.ssi_code == libc::SI_USER {
                Order::Signal(number)
            } else {
                // Typed at the terminal, so meant for the whole group of whoever is in the foreground.
                Order::SignalGroup(number)
            };
            // A pid 1 that is gone shows as the end of the channel.
            let _ = self.channel.order(&order);
        }
    }

    /// The command was stopped. With a terminal its user expects the prompt back, so ringfence stops as well and its shell takes over; when
    /// the shell continues us we go on. A command that stopped because it wanted the terminal gets it, if it is ours to give.
    fn stop_too(&mut self, number: i32) {
        let Some(terminal) = &mut self.terminal else { return };
        let wants_terminal = number == libc::SIGTTIN || number == libc::SIGTTOU;
        if !(wants_terminal && terminal.is_ours()) {
            terminal.take_back();
            stop_group();
        }
        terminal.hand_over |= wants_terminal;
        let _ = self.channel.order(&Order::Continue { foreground: terminal.lend() });
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if self.code.is_none() {
            let _ = kill(self.init, Signal::SIGKILL);
            let _ = self.reap();
        }
        let _ = self.mask.thread_set_mask();
    }
}

/// A folder as a standard stream belongs to the host's view: `openat` walks from it to every socket that is masked in the fence's.
fn check_streams() -> Result<(), FenceError> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams: [(&str, BorrowedFd<'_>); 3] =
        [("stdin", stdin.as_fd()), ("stdout", stdout.as_fd()), ("stderr", stderr.as_fd())];
    for (name, stream) in streams {
        let mode = fstat(stream).at(Step::StandardStream, name)?.st_mode;
        if SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            return Err(FenceError::new(Step::StandardStream, name, io::Error::from_raw_os_error(libc::EISDIR)));
        }
    }
    Ok(())
}

/// Looks up everything that the plan names, while the host's view is still the only one.
fn view(plan: &Plan) -> Result<View, FenceError> {
    let found = |step: Step, paths: &[PathBuf]| {
        paths.iter().map(|path| path.canonicalize().at_path(step, path)).collect::<Result<Vec<_>, _>>()
    };
    let expose = found(Step::Expose, &plan.expose)?;
    for path in &expose {
        let too_much = ["/run", "/proc", "/sys", "/dev"].iter().any(|folder| Path::new(folder).starts_with(path));
        let kernel = ["/proc", "/sys"].iter().any(|folder| path.starts_with(folder));
        if too_much || kernel {
            return Err(FenceError::new(
                Step::Expose,
                path.display().to_string(),
                io::Error::from_raw_os_error(libc::EINVAL),
            ));
        }
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").and_then(|path| Path::new(&path).canonicalize().ok());
    Ok(View {
        hide_dirs: found(Step::Hide, &plan.hide_dirs)?,
        hide_files: found(Step::Hide, &plan.hide_files)?,
        expose,
        sockets: path_sockets::list().at(Step::UnixSockets, "/proc/net/unix")?,
        runtime_dir: runtime_dir.filter(|path| path.is_dir() && path.parent().is_some()),
        working_dir: std::env::current_dir().at(Step::WorkingDirectory, "")?,
        hostname: gethostname().unwrap_or_default(),
    })
}

/// Blocks what [`Fence::wait`] passes on, and SIGTTOU, which would stop us when we take the terminal back. Answers the mask before.
fn block_signals() -> Result<(SignalFd, SigSet), FenceError> {
    let mut passed = SigSet::empty();
    for signal in PASSED_ON {
        passed.add(signal);
    }
    let mut blocked = passed;
    blocked.add(Signal::SIGTTOU);
    // SAFETY: SIG_DFL runs no code of ours. Whoever started us may ignore SIGCHLD, and then exit codes would be lost.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.at(Step::Control, "SIGCHLD")?;
    let before = SigSet::thread_get_mask().at(Step::Control, "signals")?;
    let descriptor =
        SignalFd::with_flags(&passed, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).at(Step::Control, "signalfd")?;
    blocked.thread_block().at(Step::Control, "signals")?;
    Ok((descriptor, before))
}

/// Stops our process group as Ctrl-Z would have, had we kept the terminal. The kernel ignores that where no shell could continue us.
fn stop_group() {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTSTP);
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = stop.thread_unblock();
    let _ = stop.thread_block();
}

const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];
