#!/usr/bin/env python3
"""What one request costs ringfence, in instructions and system calls, held against a committed baseline. Never wall time.

    bench/gate.py                     measures; exit status 1 when something costs more than a tenth above its baseline
    bench/gate.py --update            measures, and writes bench/baseline.json
    bench/gate.py --profile DIR       measures, and leaves callgrind's files there, and tables of where the instructions go
    bench/gate.py --only uring/tls    one of the four

A real `ringfence proxy` serves one keep-alive connection: 20 rules, audit on (`batched`), one worker, no spinning, 256 bytes of body. Counted
is its worker thread, which carries a request from head to outcome; how often the audit writer wakes is a matter of time and not of requests.

* Instructions: callgrind (valgrind) counts two runs, a short and a long one. Their difference is that of the requests, without start,
  handshake and minting. User space only. valgrind shows programs no AVX-512, so that the counts of two machines can be compared. On epoll
  alone: valgrind stops every other thread while one waits in io_uring_enter(2).
* System calls, on both backends: the tracepoint raw_syscalls:sys_enter (perf) where it may be used, else strace. Both see the same.

Counts depend on the compiler and the architecture; the baseline has one set for each architecture. Standard library only.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
import stages

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
HOST = "origin.bench.test"
BODY_BYTES = 256
RULES = 20
ABOVE_MAX = 0.10
COUNTS = ("instructions", "syscalls")
PATIENCE = 120.0


def main():
    arguments = parse()
    program = Path(arguments.program).resolve()
    if not program.is_file():
        sys.exit(f"gate: {program} is not there; build it with `cargo build --release`")
    for tool in ["valgrind"] + ([] if counts_tracepoints() else ["strace"]):
        if shutil.which(tool) is None:
            print(f"gate: {tool} is missing; on Debian: apt-get install --no-install-recommends {tool}", file=sys.stderr)
            sys.exit(2)
    measured = {}
    for case in [f"{io}/{scheme}" for io in ("uring", "epoll") for scheme in ("plaintext", "tls")]:
        if arguments.only in (None, case):
            measured[case] = measure(program, case, arguments)
    architecture = platform.machine()
    baselines = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if arguments.update:
        baselines.setdefault(architecture, {}).update(measured)
        BASELINE.write_text(json.dumps(baselines, indent=2, sort_keys=True) + "\n")
    sys.exit(0 if report(measured, baselines.get(architecture)) else 1)


def parse():
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(Path(target) / "release/ringfence"), help="the program [target/release/ringfence]")
    parser.add_argument("--update", action="store_true", help="write the baseline instead of comparing with it")
    parser.add_argument("--only", metavar="IO/SCHEME", help="uring or epoll, plaintext or tls")
    parser.add_argument("--requests", type=int, default=1000, help="requests that are counted [1000]")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="keep callgrind's files here, and what the proxy's own clock says")
    return parser.parse_args()


def report(measured, baseline):
    """Prints the counts; false when one is not as its baseline."""
    good = True
    if baseline is None:
        print(f"no baseline for {platform.machine()}: counted, not compared (--update writes one)")
    for case, counts in measured.items():
        for what in (what for what in COUNTS if what in counts):
            now, line = counts[what], f"{case:<16} {what + '/request':<21} {counts[what]:>9.1f}"
            was = (baseline or {}).get(case, {}).get(what)
            if was is None:
                print(line)
                continue
            change = now / was - 1
            verdict = "ok"
            if change > ABOVE_MAX:
                verdict, good = f"FAILED: more than {ABOVE_MAX:.0%} above its baseline", False
            elif change < -ABOVE_MAX:
                # Left there, the next regression would hide behind it.
                verdict = "better: write it down with bench/gate.py --update"
            print(f"{line}   baseline {was:>10.1f}   {change:+7.1%}   {verdict}")
    return good


def measure(program, case, arguments):
    io, scheme = case.split("/")
    with tempfile.TemporaryDirectory(prefix="ringfence-gate-") as folder:
        site = Site(program, Path(folder), io, scheme)
        try:
            counts = {"syscalls": round(site.system_calls(arguments.requests), 2)}
            if io == "epoll":
                few, many = (site.instructions(WARM_UP + requests) for requests in (0, arguments.requests))
                counts["instructions"] = round((many[0] - few[0]) / arguments.requests, 1)
                if arguments.profile:
                    keep(arguments.profile / case.replace("/", "-"), few[1], many[1], arguments.requests)
            if arguments.profile:
                arguments.profile.mkdir(parents=True, exist_ok=True)
                (arguments.profile / f"{case.replace('/', '-')}.clock.txt").write_text(site.clock(20 * arguments.requests))
            return counts
        finally:
            site.end()


# Requests before any are counted: buffers have grown, the upstream connection is there.
WARM_UP = 100


class Site:
    """An origin, and a proxy in front of it as often as one is asked for."""

    def __init__(self, program, folder, io, scheme):
        self.program, self.folder, self.io, self.tls = program, folder, io, scheme == "tls"
        trust = folder / "origin.pem"
        command = [program, "bench", "origin", "--bytes", str(BODY_BYTES), "--trust", trust, "--io", "epoll", "--spin", "0"]
        self.origin = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        addresses = dict(self.origin.stdout.readline().split() for _ in range(2))
        self.port = free_port()
        (folder / "policy.yaml").write_text(policy(addresses["https" if self.tls else "http"], self.port, self.tls))

    def end(self):
        self.origin.kill()
        self.origin.wait()

    def start(self, wrapper):
        """Starts a proxy."""
        (self.folder / "ringfence.yaml").write_text(
            f'listen:\n  - {{ mode: gateway, address: "127.0.0.1", ports: [{self.port}] }}\n'
            "policy: policy.yaml\naudit: { dir: audit, durability: batched }\n"
            "ca: { dir: ca, bundle: bundle.pem }\nio: { workers: 1 }\n"
        )
        shutil.rmtree(self.folder / "audit", ignore_errors=True)
        command = [*wrapper, self.program, "proxy", "--config", "ringfence.yaml", "--io", self.io, "--spin", "0"]
        # One root will do, and is read faster than the system's.
        trust = self.folder / "origin.pem"
        environment = dict(os.environ, RINGFENCE_STATE=str(self.folder / "state"), SSL_CERT_FILE=str(trust))
        with open(self.folder / "proxy.log", "w") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while " ready" not in (self.folder / "proxy.log").read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"gate: the proxy does not start:\n{(self.folder / 'proxy.log').read_text()}")
            time.sleep(0.02)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE) != 0:
            raise SystemExit(f"gate: the proxy ended badly:\n{(self.folder / 'proxy.log').read_text()}")

    def client(self):
        context = ssl.create_default_context(cafile=self.folder / "bundle.pem") if self.tls else None
        return Client(self.port, context)

    def instructions(self, requests):
        """Instructions of the worker from its start to its end, with so many requests between; and callgrind's file."""
        folder = self.folder / f"callgrind-{requests}"
        folder.mkdir()
        wrapper = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes"]
        process = self.start([*wrapper, f"--callgrind-out-file={folder}/out"])
        with self.client() as client:
            client.ask(requests)
        self.stop(process)
        for file in folder.glob("out-*"):
            text = file.read_text()
            if "ringfence::io::flow" in text:
                return int(re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[1]), file
        raise SystemExit("gate: no thread of the proxy has served a connection")

    def system_calls(self, requests):
        """System calls of the worker for each request."""
        process = self.start([])
        with self.client() as client:
            client.ask(WARM_UP)
            counter = Counter(worker(process.pid), self.folder / "syscalls")
            client.ask(requests)
            count = counter.end()
        self.stop(process)
        return count / requests

    def clock(self, requests):
        """What the proxy's own clock says of so many requests: the latencies on its record."""
        process = self.start([])
        with self.client() as client:
            client.ask(requests)
        self.stop(process)
        command = [self.program, "audit", "stats", self.folder / "audit"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def keep(folder, few, many, requests):
    """Leaves the profile of a case, and what it comes to."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(few, folder / "few.callgrind")
    shutil.copy(many, folder / "many.callgrind")
    (folder / "stages.txt").write_text(stages.table(few, many, requests))


def policy(origin, port, tls):
    """Rules as people write them, among them the one that admits the load."""
    trust = ", trust: ./origin.pem" if tls else ""
    lines = [
        "ringfence: v1",
        f'upstreams: {{ {HOST}: {{ address: "{origin}"{trust} }} }}',
        "rules:",
        f'  - {{ allow: the load, host: {HOST}, port: {port}, method: [GET, POST], path: /bytes/** }}',
        "  - { deny: delete anything, method: DELETE, reason: Deletion needs a person. }",
        "  - { deny: administration, path: /admin/** }",
    ]
    for service in range(3, RULES):
        lines.append(
            f'  - {{ allow: service {service}, host: [api{service}.example.com, "*.s{service}.example.net"], '
            "access: read-write, path: [/v1/**, /v2/items/*] }"
        )
    return "\n".join(lines) + "\n"


class Client:
    """One keep-alive connection on which one request follows the other, and every answer is looked at."""

    def __init__(self, port, context):
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = context.wrap_socket(raw, server_hostname=HOST) if context else raw
        self.request = (
            f"GET /bytes/{BODY_BYTES} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUser-Agent: gate/1\r\n"
            "Accept: application/json\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n"
        ).encode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def ask(self, requests):
        for _ in range(requests):
            self.stream.sendall(self.request)
            answer = b""
            while len(answer) < (end := answer.find(b"\r\n\r\n") + 4) + BODY_BYTES or end < 4:
                part = self.stream.recv(65536)
                if not part:
                    raise SystemExit(f"gate: the connection ended within an answer: {answer!r}")
                answer += part
            if not answer.startswith(b"HTTP/1.1 200 ") or len(answer) != end + BODY_BYTES:
                raise SystemExit(f"gate: not the answer that was expected: {answer!r}")


class Counter:
    """Counts the system calls of one thread from now on."""

    def __init__(self, thread, out):
        self.out, self.perf = out, counts_tracepoints()
        if self.perf:
            command = ["perf", "stat", "--field-separator=,", "--event=raw_syscalls:sys_enter", f"--tid={thread}", f"--output={out}"]
            # With a command perf would count that; without, it counts until it is interrupted.
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            command = ["strace", "--summary-only", f"--attach={thread}", f"--output={out}"]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Neither says when it has begun. It is a fraction of this; what is lost is the first request's.
        time.sleep(1.0)
        if self.process.poll() is not None:
            raise SystemExit(f"gate: {command[0]} cannot watch the worker")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        text = self.out.read_text()
        pattern = r"^(\d+),.*raw_syscalls:sys_enter" if self.perf else r"^100\.00 +\S+ +\S* *?(\d+)\b.* total$"
        if found := re.search(pattern, text, re.MULTILINE):
            return int(found[1])
        raise SystemExit(f"gate: no count in\n{text}")


def counts_tracepoints():
    """Whether perf may count this tracepoint here: it needs tracefs and the permission."""
    if shutil.which("perf") is None:
        return False
    probe = ["perf", "stat", "--event=raw_syscalls:sys_enter", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def worker(pid):
    """The thread id of a proxy's only worker."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("ringfence-worke"):
            return int(task.name)
    raise SystemExit("gate: the proxy has no worker")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
