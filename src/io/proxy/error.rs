//! Why a long-running proxy does not start, or did not end in good order.

use std::fmt;
use std::io;

use crate::audit;
use crate::io::admin::AdminError;
use crate::io::container::ContainerError;
use crate::io::listen::ListenError;
use crate::io::mint::MintError;

/// Why the proxy does not start, or did not end in good order.
#[derive(Debug)]
pub enum ProxyError {
    /// The policy, or a file that it names: a line for each problem.
    Policy(Vec<String>),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// The container cannot be governed.
    Container(ContainerError),
    /// The authority cannot be used.
    Mint(MintError),
    /// The log cannot be written.
    Audit(audit::StartError),
    /// The log could not be finished.
    Unfinished(audit::WriteError),
    /// The admin socket cannot be opened.
    Admin(AdminError),
    /// The engine or a thread could not be had.
    Engine(io::Error),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Policy(problems) => f.write_str(&problems.join("\n")),
            ProxyError::Listen(error) => error.fmt(f),
            ProxyError::Container(error) => error.fmt(f),
            ProxyError::Mint(error) => error.fmt(f),
            ProxyError::Audit(error) => error.fmt(f),
            ProxyError::Unfinished(error) => write!(f, "the audit log could not be finished: {error}"),
            ProxyError::Admin(error) => error.fmt(f),
            ProxyError::Engine(error) => write!(f, "the I/O engine cannot start: {error}; try --io epoll"),
        }
    }
}

impl std::error::Error for ProxyError {}
