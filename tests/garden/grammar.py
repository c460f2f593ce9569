"""Requests for the garden: a grammar of valid ones, and mutations that parsers are known to disagree about.

Deterministic for a seed. Every request names itself in its path (/g/N, and /s/N for what is hidden in a body), so that an origin which sees
another number of requests than were forwarded shows it.
"""

import random

METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"]
CODINGS = ["chunked", "Chunked", "chunked, chunked", "identity", "gzip", "gzip, chunked", "chunked;q=1", "xchunked", ",chunked", "chunked,", "\x0bchunked", "", " chunked", "\tchunked", '"chunked"', "chunked\x00", "\xa0chunked"]
LENGTHS = ["0", "5", "+5", "-1", "05", "5, 5", "0x5", "5 ", "5e0", "99999999999999999999", "", "5\x0c", "1_0"]
NAMES = ["Content-Length", "Transfer-Encoding", "Host", "Connection", "Expect", "Upgrade", "X-Any", "Content_Length", "Transfer_Encoding", "Content-Length ", "Transfer-Encoding\t", " Transfer-Encoding", "TE", "Trailer", "Cookie", "X-HTTP-Method-Override", "X-Forwarded-Host", "Content-Encoding"]
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n ", b"\r\n\t", b""]
SIZES = ["{:x}", "0{:x}", "{:x} ", " {:x}", "0x{:x}", "+{:x}", "{:X}", "{:x};a=b", "{:x};", "{:x};\n", "{:x}\n", "{:x}g", "{:017x}"]
PATHS = ["", "/", "//a", "/a//b", "/.", "/..", "/%2e%2e/x", "/%2f", "/;a=b", "/%00", "/%", "/a%20b", "/caf%c3%a9", "?q=1", "?", "/a#b", "/\\", "/%5c", "?a=http://x/"]


class Generator:
    def __init__(self, seed, host):
        self.random, self.host, self.number = random.Random(seed), host, 0

    def next(self):
        """The bytes of one connection: mostly one request, sometimes several."""
        count = self.random.choices([1, 2, 3], [6, 3, 1])[0]
        return b"".join(self.request() for _ in range(count))

    def request(self):
        pick = self.random
        self.number += 1
        path = f"/g/{self.number}" + (pick.choice(PATHS) if pick.random() < 0.3 else "")
        method = pick.choice(METHODS) if pick.random() < 0.95 else pick.choice(["get", "FOO", "TRACE", "G\x00T", "GET\t"])
        version = "HTTP/1.1" if pick.random() < 0.93 else pick.choice(["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/2.0"])
        host = self.host if pick.random() < 0.96 else pick.choice([self.host.upper(), "evil.test", "", self.host + ", a", "@" + self.host])
        lines = [f"{method} {path} {version}".encode("latin-1"), f"Host: {host}".encode("latin-1")]
        body = self.body(lines)
        for _ in range(pick.choices([0, 1, 2], [5, 3, 1])[0]):
            self.mutate(lines)
        ends = [b"\r\n" if pick.random() < 0.995 else pick.choice(ENDS) for _ in range(len(lines) + 1)]
        message = b"".join(line + end for line, end in zip(lines, ends)) + ends[-1] + body
        if pick.random() < 0.05:
            at = pick.randrange(len(message))
            message = message[:at] + bytes([pick.choice([0, 9, 10, 11, 13, 32, 58, 127, 128, 160, 255])]) + message[at + pick.randrange(2):]
        return message

    def body(self, lines):
        pick = self.random
        hidden = f"GET /s/{self.number} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        data = pick.choice([b"", b"hello", b"x" * 300, hidden, b"0\r\n\r\n" + hidden, b"a" * 20000])
        kind = pick.choices(["none", "length", "chunked", "both"], [4, 4, 4, 1])[0]
        if kind == "none":
            return hidden if pick.random() < 0.1 else b""
        if kind in ("length", "both"):
            length = str(len(data) + (pick.choice([-1, 1, 5]) if pick.random() < 0.06 else 0))
            lines.append(b"Content-Length: " + (pick.choice(LENGTHS) if pick.random() < 0.1 else length).encode("latin-1"))
        if kind == "length":
            return data
        coding = "chunked" if pick.random() < 0.85 else pick.choice(CODINGS)
        lines.append(b"Transfer-Encoding: " + coding.encode("latin-1"))
        return self.chunks(data)

    def chunks(self, data):
        pick, out = self.random, b""
        while data:
            n = pick.randrange(1, len(data) + 1)
            size = n + (pick.choice([-1, 1]) if pick.random() < 0.02 else 0)
            form = "{:x}" if pick.random() < 0.96 else pick.choice(SIZES)
            out += form.format(max(size, 0)).encode() + (b"\r\n" if pick.random() < 0.99 else pick.choice(ENDS)) + data[:n]
            out += b"\r\n" if pick.random() < 0.99 else pick.choice(ENDS)
            data = data[n:]
        trailer = pick.choice([b"", b"", b"", b"X: y\r\n", b"Content-Length: 5\r\n", b"Host: evil\r\n", b"bad\r\n"])
        return out + b"0\r\n" + trailer + b"\r\n"

    def mutate(self, lines):
        pick = self.random
        what = pick.randrange(5)
        if what == 0:
            lines.insert(pick.randrange(1, len(lines) + 1), lines[pick.randrange(1, len(lines))])
        elif what == 1:
            value = pick.choice(CODINGS + LENGTHS + ["close", "keep-alive", "100-continue", "websocket", "a" * 500])
            lines.append(f"{pick.choice(NAMES)}: {value}".encode("latin-1"))
        elif what == 2:
            lines.append(f"X-{pick.randrange(99)}: ordinary".encode())
        elif what == 3:
            at = pick.randrange(1, len(lines))
            lines[at] = bytes(byte ^ 0x20 if 64 < byte < 123 and pick.random() < 0.5 else byte for byte in lines[at])
        else:
            at = pick.randrange(1, len(lines))
            lines[at] = lines[at].replace(b": ", pick.choice([b":", b" : ", b":  ", b":\t", b"\t: ", b":\x0b", b": \r\n "]), 1)
