#!/usr/bin/python3
"""Dials each PROTOCOL:ADDRESS:PORT and prints a line: what it answered, or the error's name with `at once` if it came within 100 ms."""
import errno, os, socket, sys, time

for asked in sys.argv[1:]:
    protocol, rest = asked.split(":", 1)
    address, port = rest.rsplit(":", 1)
    kind, number = {"tcp": (1, 0), "udp": (2, 0), "sctp": (3, 132), "udplite": (2, 136), "icmp": (3, 1), "mark": (1, 0)}[protocol]
    began = time.monotonic()
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number) as probe:
            probe.settimeout(5)
            if protocol == "mark":
                probe.setsockopt(socket.SOL_SOCKET, 36, int(os.environ["MARK"], 0))
            probe.connect((address, int(port)))
            if kind != 1:
                probe.send(b"\x08\0\xf7\xff\0\0\0\0" if protocol == "icmp" else b"CONTROL" + protocol.encode())
            print(probe.recv(100).decode(), flush=True)
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error))
        print(name, "at once" if time.monotonic() - began < 0.1 else "late", flush=True)
