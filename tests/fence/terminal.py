#!/usr/bin/python3
"""Types at a terminal in which commands run fenced: terminal.py FENCE. Exit status 1 and a transcript if something differs."""
import os, pty, select, signal, sys, time

FENCE = sys.argv[1]


class Terminal:
    def __init__(self, *command):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.execvp(command[0], command)
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, seconds=15):
        """Reads until the text appears after what was expected last."""
        until = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, until - time.monotonic()))
            try:
                data = os.read(self.fd, 4096) if ready else b""
            except OSError:
                data = b""
            if not data:
                sys.exit(f"waited for {text!r}, saw {self.seen!r}")
            self.seen += data.decode(errors="replace")
        self.seen = self.seen.split(text, 1)[1]

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def equal(got, wanted, what):
    if got != wanted:
        sys.exit(f"{what}: {got!r}, not {wanted!r}")


def ctrl_c_reaches_the_command():
    terminal = Terminal(FENCE, "sh", "-c", "trap 'exit 33' INT; echo ready; while :; do sleep 0.02; done")
    terminal.expect("ready")
    terminal.type("\x03")
    equal(terminal.end(), 33, "exit code after ctrl-c")


def the_command_reads_and_knows_its_terminal():
    terminal = Terminal(FENCE, "sh", "-c", "test -t 0 && tty && echo ready && read line && echo got $line < /dev/tty")
    terminal.expect("/dev/console")
    terminal.expect("ready")
    terminal.type("some words\n")
    terminal.expect("got some words")
    equal(terminal.end(), 0, "exit code")


def a_shell_stops_and_continues_it():
    terminal = Terminal("env", "PS1=prompt:", "bash", "--norc", "--noprofile", "-i")
    terminal.expect("prompt:")
    terminal.type(f"{FENCE} sh -c 'echo be''gun; read line; echo got $line'\n")
    terminal.expect("begun")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("echo in-''between\n")
    terminal.expect("in-between")
    terminal.type("fg\n")
    terminal.expect(FENCE)
    terminal.type("words\n")
    terminal.expect("got words")
    terminal.expect("prompt:")
    terminal.type(f"{FENCE} sh -c 'echo wait''ing; read line; echo late $line' &\n")
    # A shell tells of background jobs when it prompts.
    terminal.type("while jobs -r | grep -q .; do sleep 0.05; done; jobs\n")
    terminal.expect("Stopped")
    terminal.type("fg\n")
    terminal.type("again\n")
    terminal.expect("late again")
    terminal.expect("prompt:")
    terminal.type(f"{FENCE} sh -c 'echo piped; exec sleep 600' | cat\n")
    terminal.expect("piped\r\n")
    terminal.type("\x03")
    terminal.expect("prompt:")
    terminal.type("exit 9\n")
    equal(terminal.end(), 9, "exit code of the shell")


def an_interactive_shell_inside_has_job_control():
    terminal = Terminal(FENCE, "env", "PS1=inside:", "bash", "--norc", "--noprofile", "-i")
    terminal.expect("inside:")
    terminal.type("sh -c 'trap \"echo interr\"\"upted; exit\" INT; trap \"echo contin\"\"ued\" CONT; echo slee\"\"ping; while :; do read line; done'\n")
    terminal.expect("sleeping")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.expect("inside:")
    terminal.type("fg\n")
    terminal.expect("continued")
    terminal.type("\x03")
    terminal.expect("interrupted")
    terminal.expect("inside:")
    terminal.type("exit 4\n")
    equal(terminal.end(), 4, "exit code of the inner shell")


signal.alarm(30)
for claim in (ctrl_c_reaches_the_command, the_command_reads_and_knows_its_terminal, a_shell_stops_and_continues_it,
              an_interactive_shell_inside_has_job_control):
    claim()
    print("ok", claim.__name__, flush=True)
