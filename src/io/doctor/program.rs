//! Asking another program, for a bounded time.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::limits::DOCTOR_PROGRAM_WAIT;

/// Where a program is found on PATH.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// What it prints on its stdout and stderr, if it ends in time and with success.
pub(super) fn ask(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let (mut stdout, mut stderr) = (child.stdout.take()?, child.stderr.take()?);
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.read_to_end(&mut text).and_then(|_| stderr.read_to_end(&mut text));
        // Whoever asked may have stopped waiting.
        let _ = say.send(read.map(|_| text));
    });
    let text = said.recv_timeout(DOCTOR_PROGRAM_WAIT);
    if text.is_err() {
        // It may have ended this moment.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    let text = text.ok()?.ok()?;
    status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}
