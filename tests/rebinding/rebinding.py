#!/usr/bin/python3
"""A name server that changes its mind, the places it points to, and a client of the proxy; in namespaces of their own.

Run as `rebinding.py RINGFENCE FOLDER` where a network and a mount namespace belong to it. Prints a line for each request, `NAME STATUS WHAT`:
what is the answering origin's address or the code of the refusal. Then a line for each address with the connections it has seen, and how
often each name was looked up.
"""
import collections
import ctypes
import faulthandler
import http.client
import json
import os
import pathlib
import queue
import socket
import struct
import subprocess
import sys
import threading
import time

PUBLIC, PRIVATE, LOOPBACK = "93.184.215.14", "10.20.30.40", "127.0.0.1"
PUBLIC_6, PRIVATE_6 = "2600:1406::14", "fd00::40"
OWN = "93.184.215.99"  # public, and the machine's that the proxy runs on
ELSEWHERE = (PUBLIC, PRIVATE, PUBLIC_6, PRIVATE_6)  # another machine's
ALL = (PUBLIC, PRIVATE, LOOPBACK, PUBLIC_6, PRIVATE_6, OWN)
CLONE_NEWNET = 0x40000000
A, CNAME, AAAA = 1, 5, 28

# By name: what each lookup is told, one after the other; the last for ever. A tuple is one answer of several records.
A_RECORDS = {
    "flip.test": [PUBLIC, PRIVATE, PUBLIC, LOOPBACK, PUBLIC, "169.254.169.254"],
    "race.test": [PUBLIC, PRIVATE],
    "mixed.test": [(PRIVATE, PUBLIC, LOOPBACK)],
    "inward.test": [(("inside.test",), PRIVATE)],
    "inward6.test": [PUBLIC],
    "private6.test": [()],
    "mapped.test": [()],
    "own.test": [OWN],
}
AAAA_RECORDS = {"inward6.test": PRIVATE_6, "private6.test": PRIVATE_6, "mapped.test": "::ffff:10.20.30.40"}

asked = collections.Counter()
seen = collections.Counter()


def main(ringfence, folder):
    # Whatever hangs here says where it does, and ends; so does a thread that fails, for the others may wait for it.
    faulthandler.dump_traceback_later(300, exit=True)
    threading.excepthook = lambda failed: (threading.__excepthook__(failed), os._exit(1))
    world(folder)
    name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name_server.bind(("127.0.0.53", 53))
    threading.Thread(target=answer_questions, args=(name_server,), daemon=True).start()
    listen((LOOPBACK, OWN))
    proxy = start(ringfence, folder)
    try:
        for name in ["flip.test"] * 6 + ["race.test"] * 2 + ["mixed.test", "inward.test", "inward6.test", "private6.test", "mapped.test", "own.test"]:
            print(name, *request(name), flush=True)
    finally:
        proxy.terminate()
        proxy.wait()
    for address in ALL:
        print("connections", address, seen[address])
    for name in ("flip.test", "race.test"):
        print("lookups", name, asked[name])


def world(folder):
    ip("link", "set", "lo", "up")
    ip("addr", "add", OWN + "/32", "dev", "lo")
    there, built = queue.Queue(), threading.Event()
    threading.Thread(target=another_machine, args=(there, built), daemon=True).start()
    ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(there.get()))
    for address in ("198.18.0.1/24", "fd12::1/64"):
        ip("addr", "add", address, "dev", "here", *(["nodad"] if ":" in address else []))
    ip("link", "set", "here", "up")
    for address in ELSEWHERE:
        ip("route", "add", address, "via", "fd12::2" if ":" in address else "198.18.0.2")
    built.set()
    there.get()
    resolv = pathlib.Path(folder, "resolv.conf")
    resolv.write_text("nameserver 127.0.0.53\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)


def another_machine(told, cabled):
    """A thread with a network namespace of its own; whoever it starts is there too."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    told.put(threading.get_native_id())
    cabled.wait()
    ip("link", "set", "lo", "up")
    for address in ("198.18.0.2/24", "fd12::2/64"):
        ip("addr", "add", address, "dev", "there", *(["nodad"] if ":" in address else []))
    ip("link", "set", "there", "up")
    for address in ELSEWHERE:
        # `nodad`: without it an address is tentative for a moment, on the loopback too, and no socket may have it yet.
        ip("addr", "add", *([address + "/128", "nodad"] if ":" in address else [address + "/32"]), "dev", "lo")
    listen(ELSEWHERE)
    told.put("listening")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def listen(addresses):
    for address in addresses:
        listener = socket.create_server((address, 80), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        threading.Thread(target=serve, args=(listener, address), daemon=True).start()


def start(ringfence, folder):
    pathlib.Path(folder, "policy.yaml").write_text("ringfence: v1\nrules:\n  - allow: every name\n    host: \"*\"\n    scheme: http\n    port: 80\n")
    config = pathlib.Path(folder, "ringfence.yaml")
    config.write_text('listen: [{ mode: proxy, address: "127.0.0.1:3128" }]\npolicy: policy.yaml\naudit: { dir: audit }\nca: { dir: ca }\nio: { workers: 1 }\n')
    env = {**os.environ, "RINGFENCE_STATE": str(pathlib.Path(folder, "state"))}
    proxy = subprocess.Popen([ringfence, "proxy", "--config", config], env=env, stdout=sys.stderr)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and proxy.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 3128)) == 0:
                return proxy
        time.sleep(0.01)
    sys.exit("the proxy does not listen")


def request(name):
    connection = http.client.HTTPConnection("127.0.0.1", 3128, timeout=60)
    connection.request("GET", f"http://{name}/", headers={"Host": name})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, json.loads(body)["code"] if response.status != 200 else body


def serve(listener, address):
    while True:
        stream, _ = listener.accept()
        seen[address] += 1
        head = b""
        while b"\r\n\r\n" not in head:
            part = stream.recv(4096)
            if not part:
                break
            head += part
        # Closed, so that the next request needs a connection of its own, and a lookup.
        stream.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(address)}\r\n\r\n{address}".encode())
        stream.close()


def answer_questions(server):
    while True:
        message, peer = server.recvfrom(2000)
        name, kind, end = question(message)
        server.sendto(reply(message, name, kind, end), peer)


def question(message):
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    return ".".join(labels), struct.unpack_from("!H", message, at + 1)[0], at + 5


def reply(message, name, kind, end):
    """Everything with a life of no seconds."""
    records = []
    if kind == A and name in A_RECORDS:
        answers = A_RECORDS[name]
        records = answers[min(asked[name], len(answers) - 1)]
        asked[name] += 1
        records = (records,) if isinstance(records, str) else records
    elif kind == AAAA and name in AAAA_RECORDS:
        records = (AAAA_RECORDS[name],)
    out, owner = [], name
    for record in records:
        if isinstance(record, tuple):
            out.append(resource(owner, CNAME, encoded(record[0])))
            owner = record[0]
        elif ":" in record:
            out.append(resource(owner, AAAA, socket.inet_pton(socket.AF_INET6, record)))
        else:
            out.append(resource(owner, A, socket.inet_aton(record)))
    header = message[:2] + struct.pack("!HHHHH", 0x8180, 1, len(out), 0, 0)
    return header + message[12:end] + b"".join(out)


def resource(owner, kind, data):
    return encoded(owner) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


main(*sys.argv[1:])
