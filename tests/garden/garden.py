#!/usr/bin/env python3
"""Real origins behind the proxy, hostile requests in front, and one question: is what each origin received what the log says was forwarded?

  tests/garden/garden.py [--count N] [--seed S] [--origins nginx,node,…] [--ringfence PATH] [--venv PATH]

Each origin gets N connections of generated requests, whose seed is printed. The proxy's log and the origin's own record are then compared,
request by request: method, the number in the path, and the length of the body; and the body's content with what a strict reader finds in the bytes that were
sent. A request in one and not in the other, or another body, is a disagreement, and the exit status is 1.
Requests that an origin itself refuses (its answer is 4xx or 5xx) are counted apart: it received them and did not believe them.
"""

import argparse
import asyncio
import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parent))
import grammar  # noqa: E402
import origins  # noqa: E402
import reference  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 8


def main():
    options = arguments()
    work = Path(tempfile.mkdtemp(prefix="garden-"))
    # Some of them work as another user.
    work.chmod(0o711)
    have = origins.commands(options.venv / "bin", work)
    inner = have.pop(None)
    wanted = options.origins.split(",") if options.origins else list(have)
    missing = [name for name in wanted if name not in have]
    if missing:
        sys.exit(f"not to be had here: {', '.join(missing)}")
    print(f"origins here: {', '.join(have)}", flush=True)
    running, bodies = [], {}
    try:
        plots = {name: start_origin(name, have[name], inner, work, running) for name in wanted}
        gateway, audit = start_proxy(options.ringfence, plots, work, running)
        started = time.monotonic()
        for name in wanted:
            bodies[name] = {}
            asyncio.run(sow(name, gateway, bodies[name], options))
        took = time.monotonic() - started
        stop(running.pop())
        wrong = sum(compare(name, plots[name][1], audit, bodies[name], options) for name in wanted)
        requests = options.count * len(wanted)
        print(f"{requests} connections, {len(wanted)} origins, seed {options.seed}, {took:.0f} s: {wrong} disagreements")
        return wrong
    finally:
        for program in reversed(running):
            stop(program)
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--origins")
    parser.add_argument("--ringfence", type=Path, default=ROOT / "target/debug/ringfence")
    parser.add_argument("--venv", type=Path, default=ROOT / "target/garden-venv")
    parser.add_argument("--keep", action="store_true", help="leave configurations and logs")
    return parser.parse_args()


# ---- programs ----------------------------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_origin(name, how, inner, work, running):
    command, needs_inner = how
    log = work / f"{name}.log"
    log.touch()
    inside = start(f"{name}-inner", lambda port: inner(port, str(log), None), log, work, running) if needs_inner else None
    return start(name, lambda port: command(port, str(log), inside), log, work, running), log


def start(name, command, log, work, running):
    port = free_port()
    env = {**os.environ, "GARDEN_LOG": str(log), "PYTHONDONTWRITEBYTECODE": "1"}
    noise = open(work / f"{name}.err", "wb")
    running.append(subprocess.Popen(command(port), env=env, stdout=noise, stderr=noise, start_new_session=True))
    listens(port, running[-1], work / f"{name}.err")
    return port


def start_proxy(ringfence, plots, work, running):
    gateway = free_port()
    upstreams = "".join(f'  {name}.test: {{ address: "127.0.0.1:{port}" }}\n' for name, (port, _) in plots.items())
    hosts = ", ".join(f"{name}.test" for name in plots)
    policy = f"ringfence: v1\nupstreams:\n{upstreams}rules:\n  - allow: garden\n    host: [{hosts}]\n    port: {gateway}\n"
    (work / "policy.yaml").write_text(policy)
    config = f'listen:\n  - {{ mode: gateway, address: "127.0.0.1", ports: [{gateway}] }}\npolicy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\nio: {{ workers: 1 }}\n'
    (work / "ringfence.yaml").write_text(config)
    noise = open(work / "ringfence.err", "wb")
    env = {**os.environ, "RINGFENCE_STATE": str(work / "state")}
    running.append(subprocess.Popen([ringfence, "proxy", "--config", work / "ringfence.yaml"], env=env, stdout=noise, stderr=noise, start_new_session=True))
    listens(gateway, running[-1], work / "ringfence.err")
    return gateway, lambda: subprocess.run([ringfence, "audit", "decode", work / "audit", "--format", "json"], check=True, capture_output=True, text=True, env=env).stdout


def listens(port, program, noise):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if program.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"{program.args[0]} does not listen: {noise.read_text(errors='replace')}")


def stop(program):
    if program.poll() is None:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


# ---- requests ----------------------------------------------------------------------------------------------------------------------------


async def sow(name, gateway, bodies, options):
    generator = grammar.Generator(f"{options.seed} {name}", f"{name}.test:{gateway}")
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(message):
        async with turns:
            await send(gateway, message)

    for start in range(0, options.count, 1000):
        messages = [generator.next() for _ in range(min(1000, options.count - start))]
        for message in messages:
            bodies.update(reference.digests(message))
        await asyncio.gather(*(one(message) for message in messages))


async def send(gateway, message):
    """Sends everything, says that it was all, and reads to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
    try:
        writer.write(message)
        await writer.drain()
        writer.write_eof()
        # Longer than the proxy lingers; what takes longer has gone wrong, and is in the log.
        await asyncio.wait_for(reader.read(-1), 30)
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


# ---- the oracle --------------------------------------------------------------------------------------------------------------------------


def compare(name, log, audit, bodies, options):
    forwarded, uncertain, refused, cut = said_by_proxy(name, audit())
    seen, others, completed = said_by_origin(log, bodies, cut if name in origins.COMPLETES_WHAT_IS_CUT else set())
    # An origin that believes nothing shows nothing.
    wrong = len(others) + (0 if sum(forwarded.values()) * 5 > options.count else 1)
    for other in others[:20]:
        print(f"{name} seed {options.seed}: another body than was sent: {other}")
    for key in sorted(set(forwarded) | set(seen), key=str):
        least, most = forwarded[key], forwarded[key] + uncertain[key] + refused[key]
        if not least <= seen[key] <= most:
            wrong += 1
            if wrong <= 20:
                print(f"{name} seed {options.seed}: {key}: forwarded {forwarded[key]}, refused there {refused[key]}, cut {uncertain[key]}, seen {seen[key]}")
    print(f"{name:10} {sum(forwarded.values()):7} forwarded whole, {sum(refused.values()):5} refused by the origin, {sum(uncertain.values()):5} cut, {sum(seen.values()):7} seen, {wrong} disagreements" + (f" ({completed} that the proxy cut were handed on as whole)" if completed else ""), flush=True)
    return wrong


def key_of(method, target, length):
    number = re.search(r"/([gs])/(\d+)(?=[/?]|$)", target or "")
    # Without its number, or with one that was mutated (/g/6:68 is not number 6), it goes by its path; the log has that with escapes decoded and the query apart.
    return (method, number.group(0) if number else unquote((target or "").split("?")[0]), length)


def said_by_proxy(name, decoded):
    forwarded, uncertain, refused, cut = collections.Counter(), collections.Counter(), collections.Counter(), set()
    open_decisions = {}
    for line in decoded.splitlines():
        record = json.loads(line)
        if record["kind"] == "decision" and record["verdict"] == "allow" and record.get("host") == f"{name}.test":
            open_decisions[record["id"]] = (record["method"], record["path"])
        elif record["kind"] == "outcome" and record["id"] in open_decisions:
            length = record.get("bytes_up", 0)
            key, status = key_of(*open_decisions.pop(record["id"]), length), record.get("status", 0)
            if record.get("code") in ("body_truncated", "malformed"):
                # The request never went up whole: no origin may have believed it.
                cut.add(key[:2])
                continue
            (uncertain if record.get("code") else forwarded if status < 400 else refused)[key] += 1
    return forwarded, uncertain, refused, cut


def said_by_origin(log, bodies, cut):
    seen, others, completed = collections.Counter(), [], 0
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        record = json.loads(line)
        key = key_of(record["method"], record["target"], record["length"])
        if key[:2] in cut:
            completed += 1
            continue
        seen[key] += 1
        if bodies.get(key[1], record["body"]) != record["body"]:
            others.append(line)
    return seen, others, completed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
