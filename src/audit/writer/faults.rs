//! A disk that fails where a test says so: one call refused, a write cut short, a power cut that tears the last write or keeps later
//! ones and loses earlier ones; and a disk that keeps everybody waiting.
//!
//! It remembers what a real disk would have promised: of each file what was synced and what was only written, of each folder which names
//! were synced. After a power cut [`Faults::cut`] makes the files what they would be then.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused, and has no effect.
    Error,
    /// Of a write the first half is done, then it is refused. A sync is refused, and the kernel forgets what it had: zeros stand there, and
    /// another sync would succeed. Another call is refused.
    Short,
    /// The power is cut: of the last write that was not synced only the first half is there.
    Torn,
    /// The power is cut: of the writes that were not synced only the last is there, with zeros before it. What was renamed is.
    Reordered,
}

/// Shared with the writer under test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    /// Calls so far.
    calls: usize,
    /// The call that fails, and how.
    plan: Option<(usize, Fault)>,
    /// What was tried when it failed.
    failed: Option<String>,
    /// The next write is done by half and then refused.
    short: bool,
    /// The power is off: nothing works.
    off: bool,
    files: BTreeMap<PathBuf, Shadow>,
    /// Syncs wait while this is set.
    held: bool,
    /// How many wait.
    waiting: usize,
    /// What a sync takes.
    slow: std::time::Duration,
}

/// What the disk has of a file.
#[derive(Debug, Default)]
struct Shadow {
    synced: Vec<u8>,
    written: Vec<(u64, Vec<u8>)>,
    /// Its name is on disk.
    named: bool,
    /// It took the place of this, and the folder was not synced since.
    before: Option<Option<Vec<u8>>>,
}

impl Faults {
    /// A disk on which call number `at` fails.
    pub(crate) fn at(at: usize, fault: Fault) -> Self {
        let faults = Self::default();
        faults.state().plan = Some((at, fault));
        faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// What failed; `None` when the chosen call was never made.
    pub(crate) fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// From now on syncs wait.
    pub(crate) fn hold(&self) {
        self.state().held = true;
    }

    /// From now on a sync takes so long.
    pub(crate) fn slow(&self, sync: std::time::Duration) {
        self.state().slow = sync;
    }

    /// Syncs wait no longer.
    pub(crate) fn release(&self) {
        self.state().held = false;
        self.0.1.notify_all();
    }

    /// From now on every call is refused.
    pub(crate) fn refuse(&self) {
        self.state().off = true;
    }

    /// No call is refused any more.
    pub(crate) fn mend(&self) {
        self.state().off = false;
    }

    /// Returns when a sync waits.
    pub(crate) fn until_one_waits(&self) {
        drop(self.0.1.wait_while(self.state(), |state| state.waiting == 0).unwrap());
    }

    pub(super) fn reach(&self, doing: &'static str, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if doing == "sync" && state.held {
            state.waiting += 1;
            self.0.1.notify_all();
            state = self.0.1.wait_while(state, |state| state.held).unwrap();
            state.waiting -= 1;
        }
        if doing == "sync" && !state.slow.is_zero() {
            let slow = state.slow;
            state = self.0.1.wait_timeout_while(state, slow, |_| true).unwrap().0;
        }
        if state.off {
            return Err(io::Error::other("the power is off"));
        }
        let call = state.calls;
        state.calls += 1;
        let Some((_, fault)) = state.plan.filter(|(at, _)| *at == call) else { return Ok(()) };
        state.failed = Some(format!("{doing} {}", path.file_name().unwrap_or_default().to_string_lossy()));
        match fault {
            Fault::Short if doing == "write to" => {
                state.short = true;
                Ok(())
            }
            Fault::Error | Fault::Short => {
                if fault == Fault::Short && doing == "sync" {
                    state.forget(path);
                }
                Err(io::Error::from_raw_os_error(nix::libc::EIO))
            }
            Fault::Torn | Fault::Reordered => {
                // The write itself is under way when the power goes.
                state.off = doing != "write to";
                state.short = doing == "write to";
                if state.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
            }
        }
    }

    pub(super) fn written<'b>(&self, path: &Path, bytes: &'b [u8], at: u64) -> &'b [u8] {
        let mut state = self.state();
        let cut = matches!(state.plan, Some((_, Fault::Torn | Fault::Reordered)));
        let done = if state.short && !cut { &bytes[..bytes.len() / 2] } else { bytes };
        state.files.entry(path.to_owned()).or_default().written.push((at, done.to_vec()));
        done
    }

    pub(super) fn was_short(&self) -> io::Result<()> {
        let mut state = self.state();
        if !std::mem::take(&mut state.short) {
            return Ok(());
        }
        state.off = matches!(state.plan, Some((_, Fault::Torn | Fault::Reordered)));
        Err(io::Error::from_raw_os_error(nix::libc::ENOSPC))
    }

    pub(super) fn created(&self, path: &Path) {
        self.state().files.insert(path.to_owned(), Shadow::default());
    }

    pub(super) fn synced(&self, path: &Path) {
        if let Some(shadow) = self.state().files.get_mut(path) {
            for (at, bytes) in std::mem::take(&mut shadow.written) {
                put(&mut shadow.synced, at, &bytes);
            }
        }
    }

    pub(super) fn renamed(&self, to: &Path) {
        let mut state = self.state();
        let Some(mut shadow) = state.files.remove(&to.with_extension("new")) else { return };
        let old = state.files.remove(to).map(|old| old.before.unwrap_or(Some(old.synced)));
        shadow.before = Some(old.unwrap_or_else(|| std::fs::read(to).ok()));
        state.files.insert(to.to_owned(), shadow);
    }

    pub(super) fn named(&self, folder: &Path) {
        for (path, shadow) in &mut self.state().files {
            if path.parent() == Some(folder) {
                shadow.named = true;
                shadow.before = None;
            }
        }
    }

    /// Makes the files what the power cut left, and the disk good again.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        let fault = state.plan.take().map(|(_, fault)| fault);
        for (path, shadow) in std::mem::take(&mut state.files) {
            let keeps_names = fault == Some(Fault::Torn);
            if let Some(before) = shadow.before {
                // A rename whose folder was not synced: done or not.
                match before {
                    Some(before) if keeps_names => std::fs::write(&path, before).unwrap(),
                    None if keeps_names => std::fs::remove_file(&path).unwrap(),
                    _ => {}
                }
                continue;
            }
            if !path.exists() {
                continue;
            }
            if !shadow.named && !keeps_names {
                std::fs::remove_file(&path).unwrap();
                continue;
            }
            let mut content = shadow.synced;
            if let Some(((at, last), earlier)) = shadow.written.split_last() {
                match fault {
                    Some(Fault::Torn) => {
                        earlier.iter().for_each(|(at, bytes)| put(&mut content, *at, bytes));
                        put(&mut content, *at, &last[..last.len() / 2]);
                    }
                    _ => put(&mut content, *at, last),
                }
            }
            std::fs::write(&path, content).unwrap();
        }
        state.off = false;
    }
}

impl State {
    fn forget(&mut self, path: &Path) {
        use std::os::unix::fs::FileExt;
        let Some(shadow) = self.files.get_mut(path) else { return };
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for (at, bytes) in std::mem::take(&mut shadow.written) {
            file.write_all_at(&vec![0; bytes.len()], at).unwrap();
        }
    }
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}
