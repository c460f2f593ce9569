"""What the `start` scripts of the peers share: the harness's terms, the rules, and the way to the line `ready`.

A peer's folder has an executable `start`; README.md says what it is told and what it says. Standard library only.
"""

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Where `install` puts what does not come from the distribution.
INSTALLED = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "peers"
NOT_INSTALLED = 77


@dataclass(frozen=True)
class Service:
    """A rule that allows a service which the load does not use."""

    exact: str
    suffix: str
    methods: tuple = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH")
    prefix: str = "/v1"
    items: str = "/v2/items"


# The load's own rule: these methods on these paths of the origin's host.
LOAD_METHODS = ("GET", "POST")
LOAD_PREFIXES = ("/bytes", "/events")
LOAD_EXACT = "/mcp"
# Denied whatever allows it.
DENIED_METHOD = "DELETE"
DENIED_PREFIX = "/admin"


def services(rules):
    """All rules but the load's and the two denials, so that there are as many in all as ringfence has."""
    return [Service(f"api{number}.example.com", f"s{number}.example.net") for number in range(3, rules)]


class Terms:
    """What the harness says in the environment."""

    def __init__(self, environment=os.environ):
        self.origin = environment["BENCH_ORIGIN"]
        self.origin_address, self.origin_port = self.origin.rsplit(":", 1)
        self.host = environment["BENCH_HOST"]
        self.tls = environment["BENCH_TLS"] == "1"
        self.listen = environment["BENCH_LISTEN"]
        self.address, self.port = self.listen.rsplit(":", 1)
        self.folder = Path(environment["BENCH_FOLDER"])
        self.rules = int(environment["BENCH_RULES"])
        # As many as descriptors last for, two for each.
        self.connections_max = min(20000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
        self.leaf, self.leaf_key, self.leaf_both = (environment.get(f"BENCH_LEAF{part}") for part in ("", "_KEY", "_BOTH"))
        self.authority, self.authority_key, self.authority_both = (
            environment.get(f"BENCH_AUTHORITY{part}") for part in ("", "_KEY", "_BOTH")
        )

    def write(self, name, text):
        """A file in the run's folder."""
        file = self.folder / name
        file.write_text(text)
        return str(file)

    def services(self):
        return services(self.rules)


def program(name, remedy, at=None):
    """The path of a program; without it, the end with the word for that."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=f"{at}:{path}" if at else path)
    if found is None:
        print(f"{name} is not installed: {remedy}", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    return found


def says_version(command, pick):
    """Answers `--version`, if that is what was asked: one line, which `pick` finds in what the command prints."""
    if sys.argv[1:] != ["--version"]:
        return
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    print(pick(printed.stdout + printed.stderr))
    sys.exit(0)


def serve(command, terms, way, enforcing=True):
    """Becomes the peer, and has a child say when it accepts connections. What the peer prints goes to files in the run's folder."""
    announce(terms, way, enforcing)
    os.chdir(terms.folder)
    with open("stdout.log", "ab") as out, open("stderr.log", "ab") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
    os.execv(command[0], [str(word) for word in command])


def announce(terms, way, enforcing=True):
    """Leaves a child behind that waits for the port, says so, and ends."""
    peer = os.getpid()
    if os.fork() > 0:
        return
    deadline = time.monotonic() + 60
    # A peer that has ended will not listen any more.
    while time.monotonic() < deadline and os.getppid() == peer:
        try:
            socket.create_connection((terms.address, int(terms.port)), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    else:
        print(f"nothing listens on {terms.listen}: see the logs in {terms.folder}", file=sys.stderr)
        os._exit(1)
    print(f"ready {way} {terms.listen}{' enforcing' if enforcing else ''}", flush=True)
    os._exit(0)
