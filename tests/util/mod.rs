//! What the tests of the whole share: programs that end with the test, and waiting for what they say.

#![allow(dead_code, reason = "each of the tests that share it uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a loaded machine: who waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A program with pipes at its three standard streams. Dropping it ends the program.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            piped.spawn().unwrap_or_else(|error| panic!("{:?} does not start: {error}", command.get_program()));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (say, lines) = channel();
        // Ends with the program: its pipe closes. Lines nobody waits for any more are dropped.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let stderr = child.stderr.take().expect("stderr is piped");
        let stderr = Some(std::thread::spawn(|| read_all(stderr)));
        Program { stdin: child.stdin.take(), child, lines, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its stdout; `None` when it has closed it.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line on stdout within {PATIENCE:?}"),
        }
    }

    /// Writes one line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the program reads its stdin");
    }

    /// Closes its stdin, reads what is left of its stdout, and waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        self.stdin = None;
        let mut stdout = Vec::new();
        while let Some(line) = self.line() {
            stdout.push(line);
        }
        let status = until("the program ends", || self.child.try_wait().expect("it is our child"));
        let stderr = self.stderr.take().expect("finished once").join().expect("stderr is read to its end");
        Finished { status, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

fn read_all(mut from: ChildStderr) -> String {
    let mut bytes = Vec::new();
    // What arrived before an error is still worth showing.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks until there is an answer. The one place where tests poll.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
