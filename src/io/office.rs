//! The office: one thread for what must not block a worker. It mints leaves and resolves names, and answers by message.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::ServerConfig;
use tokio::sync::mpsc;

use crate::io::engine::{self, Reply};
use crate::io::mint::Authority;
use crate::io::names::{NameError, Names};
use crate::limits::OFFICE_QUEUE_MAX;

/// A worker's line to the office.
#[derive(Clone)]
pub(crate) struct Office {
    desk: mpsc::Sender<Job>,
}

/// The office's thread; it ends when the last [`Office`] is dropped.
pub(crate) struct OfficeThread {
    thread: JoinHandle<()>,
}

/// The office has too much to do, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overloaded;

enum Job {
    Mint { host: Box<str>, reply: Reply<Option<Arc<ServerConfig>>> },
    Resolve { host: Box<str>, reply: Reply<Result<Vec<IpAddr>, NameError>> },
}

impl Office {
    /// Opens the office.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be started.
    pub(crate) fn open(authority: Authority) -> std::io::Result<(Office, OfficeThread)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (desk, inbox) = mpsc::channel(OFFICE_QUEUE_MAX);
        let thread = thread::Builder::new()
            .name("ringfence-office".to_owned())
            .spawn(move || runtime.block_on(work(inbox, authority)))?;
        Ok((Office { desk }, OfficeThread { thread }))
    }

    /// A TLS configuration with a leaf for `host`; `None` inside when the leaf cannot be made.
    pub(crate) async fn mint(&self, host: &str) -> Result<Option<Arc<ServerConfig>>, Overloaded> {
        self.ask(|reply| Job::Mint { host: host.into(), reply }).await
    }

    /// The addresses of `host`.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Result<Vec<IpAddr>, NameError>, Overloaded> {
        self.ask(|reply| Job::Resolve { host: host.into(), reply }).await
    }

    async fn ask<T: Send + 'static>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Overloaded> {
        let (reply, answer) = engine::oneshot();
        self.desk.try_send(job(reply)).map_err(|_| Overloaded)?;
        answer.await.ok_or(Overloaded)
    }
}

impl OfficeThread {
    /// Waits for the end of the thread, after every [`Office`] is dropped.
    pub(crate) fn join(self) {
        // A panic in there has been reported by the panic hook; nothing waits for an answer any more.
        let _ = self.thread.join();
    }
}

async fn work(mut inbox: mpsc::Receiver<Job>, authority: Authority) {
    let names = std::rc::Rc::new(Names::system());
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            while let Some(job) = inbox.recv().await {
                match job {
                    // A signature takes tens of microseconds: short enough to take turns with the lookups.
                    Job::Mint { host, reply } => reply.send(mint(&authority, &host)),
                    Job::Resolve { host, reply } => {
                        let names = std::rc::Rc::clone(&names);
                        tokio::task::spawn_local(async move { reply.send(names.resolve(&host).await) });
                    }
                }
            }
        })
        .await;
}

fn mint(authority: &Authority, host: &str) -> Option<Arc<ServerConfig>> {
    match authority.mint(host) {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::warn!(host, %error, "no certificate for this host");
            None
        }
    }
}
