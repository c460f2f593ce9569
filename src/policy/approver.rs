//! Who is asked, as a policy's author declares it. How somebody is asked is not known here.

use std::path::PathBuf;
use std::time::Duration;

/// Who is asked about messages that a rule lets go only with somebody's leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Its name.
    pub name: Box<str>,
    /// How it is asked.
    pub way: ApproverWay,
    /// `timeout`: no answer by then is no.
    pub wait: Duration,
}

/// How an approver is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApproverWay {
    /// `command`: a program by its absolute path, and its words; never empty.
    Command(Box<[Box<str>]>),
    /// `webhook`
    Webhook(Webhook),
}

/// A URL that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// In the clear only to this machine itself.
    pub tls: bool,
    /// Who is dialled: a name or an address.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// Host and port as they are written, for the `Host` field.
    pub authority: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// A file of trust anchors beside the system's. Relative paths count from the policy file's folder.
    pub trust: Option<PathBuf>,
}
