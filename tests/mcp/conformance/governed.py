"""A client of the conformance suite whose every request goes through `ringfence proxy`: RINGFENCE CLIENT URL.

The suite's servers listen on ports of the kernel's choice, so the policy is written when the client is started: the one at URL is declared, and
all of it is allowed; the authorization servers are among the others that listen on loopback."""

import turn  # noqa: F401, before anything is started

import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RINGFENCE, CLIENT, URL = sys.argv[1:]


def listening():
    """The ports that something listens on."""
    for family in ["tcp", "tcp6"]:
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                yield int(local.rsplit(":", 1)[1], 16)


def configure(folder, port):
    rule = {"allow": "what servers ask", "mcp": {"server": "suite", "method": ["sampling/createMessage", "elicitation/create", "roots/list"]}}
    policy = {
        "ringfence": "v1",
        "default": "allow",
        "upstreams": {f"localhost:{each}": {"address": f"127.0.0.1:{each}"} for each in sorted(set(listening()))},
        "mcp_servers": {"suite": {"url": URL, "pin": "off"}},
        "rules": [rule],
    }
    settings = {
        "listen": [{"mode": "proxy", "address": f"127.0.0.1:{port}"}],
        "policy": "policy.yaml",
        "audit": {"dir": "audit"},
        "ca": {"dir": "ca"},
        "io": {"workers": 1},
    }
    # JSON is YAML.
    for name, content in [("policy.yaml", policy), ("ringfence.yaml", settings)]:
        Path(folder, name).write_text(json.dumps(content, indent=1))


def started(folder):
    """The proxy, and where it listens. A port that was free a moment ago may be taken by now: then it is another one."""
    for attempt in range(20):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configure(folder, port)
        said = Path(folder, f"stderr-{attempt}")
        words = [RINGFENCE, "proxy", "--config", str(Path(folder, "ringfence.yaml"))]
        with said.open("w") as stderr:
            proxy = subprocess.Popen(words, stderr=stderr, env={**os.environ, "RINGFENCE_STATE": str(Path(folder, "state"))})
        while proxy.poll() is None:
            if " ready " in said.read_text():
                return proxy, port
            time.sleep(0.02)
        if "in use" not in said.read_text():
            break
    sys.exit(said.read_text())


def decided(folder):
    """How many messages are on record."""
    words = [RINGFENCE, "audit", "decode", "--format", "json", str(Path(folder, "audit"))]
    records = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return sum(record.get("kind") == "decision" and record.get("protocol") == "mcp" for record in map(json.loads, records))


with tempfile.TemporaryDirectory() as folder:
    proxy, port = started(folder)
    for name in ["NO_PROXY", "no_proxy"]:
        os.environ.pop(name, None)
    os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://127.0.0.1:{port}"
    sys.argv = [CLIENT, URL]
    try:
        runpy.run_path(CLIENT, run_name="__main__")
    finally:
        proxy.terminate()
        proxy.wait()
        # The suite keeps what its client prints.
        print("messages on record:", decided(folder), flush=True)
