//! The engine's switches, which every subcommand that moves bytes has.

use clap::{Args, ValueEnum};

use crate::config::{self, IoSettings};
use crate::io::engine;
use crate::limits::SPIN_WAIT;

/// `--io` and `--spin`.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// The I/O backend [default: auto, or what the configuration says]
    #[arg(long, value_enum)]
    io: Option<Backend>,
    /// How long to look for work before sleeping [default: auto, or what the configuration says]
    #[arg(long, value_enum)]
    spin: Option<Spin>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    /// io_uring, or epoll where the kernel refuses it
    Auto,
    /// io_uring, or not at all
    Uring,
    /// epoll
    Epoll,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spin {
    /// 50 microseconds, where a core is left over and recent waits were short
    Auto,
    #[value(name = "0")]
    Never,
    #[value(name = "50us")]
    Always,
}

impl EngineArgs {
    /// The engine's options for one worker.
    pub fn options(&self) -> engine::Options {
        engine::Options {
            choice: choice(self.io.unwrap_or(Backend::Auto)),
            spin: spin(self.spin.unwrap_or(Spin::Auto), 1),
            ..engine::Options::default()
        }
    }

    /// The engine's options of a configuration, where the command line does not say otherwise.
    pub fn over(&self, settings: &IoSettings) -> engine::Options {
        let configured = match settings.engine {
            config::Engine::Auto => engine::Choice::Auto,
            config::Engine::Uring => engine::Choice::Uring,
            config::Engine::Epoll => engine::Choice::Epoll,
        };
        let configured_spin = match settings.spin {
            config::Spin::Auto => engine::Spin::AfterShortWaits(SPIN_WAIT),
            config::Spin::Always => engine::Spin::Always(SPIN_WAIT),
            config::Spin::Never => engine::Spin::Never,
        };
        engine::Options {
            choice: self.io.map_or(configured, choice),
            spin: self.spin.map_or(configured_spin, |asked| spin(asked, settings.workers.get())),
            ..engine::Options::default()
        }
    }
}

fn choice(backend: Backend) -> engine::Choice {
    match backend {
        Backend::Auto => engine::Choice::Auto,
        Backend::Uring => engine::Choice::Uring,
        Backend::Epoll => engine::Choice::Epoll,
    }
}

/// What was asked for, beside so many workers.
fn spin(asked: Spin, workers: usize) -> engine::Spin {
    match asked {
        Spin::Never => engine::Spin::Never,
        Spin::Always => engine::Spin::Always(SPIN_WAIT),
        // A core for each worker, and one for everybody else.
        Spin::Auto if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > workers) => {
            engine::Spin::AfterShortWaits(SPIN_WAIT)
        }
        Spin::Auto => engine::Spin::Never,
    }
}
