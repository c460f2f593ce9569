"""The origin of the Docker tests: HTTPS on 443 and 8443, HTTP on 80, on every address of its own network namespace.

Usage: origin.py CERTIFICATE KEY

Says one JSON object a line on stdout: {"ready": true}, then {"request": {"method", "target", "headers"}} for each request, before it answers.
An event stream sends its first event unasked and each further one when `POST /next` has been asked for it: a client that waits for the whole
body before it reads never gets there.
"""

import hashlib
import json
import random
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, TCPServer

EVENTS = 5
said = threading.Lock()
turns = threading.Semaphore(0)


def say(**fact):
    with said:
        print(json.dumps(fact), flush=True)


def pattern(length):
    """Blocks of a MiB, each from its own number: a lost, doubled or swapped one changes the digest."""
    number = 0
    while length > 0:
        yield random.Random(number).randbytes(1 << 20)[:length]
        number, length = number + 1, length - (1 << 20)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 60

    def setup(self):
        # The handshake belongs to this connection's thread; the accept loop must not wait for it.
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self):
        super().finish()
        self.request.close()

    def parse_request(self):
        if not super().parse_request():
            return False
        say(request={"method": self.command, "target": self.path, "headers": self.headers.items()})
        return True

    def body(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while length := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        length = int(self.headers.get("content-length", 0))
        while length:
            piece = self.rfile.read(min(length, 1 << 20))
            if not piece:
                raise ConnectionError("the body ends early")
            length -= len(piece)
            yield piece

    def start(self, status, kind, length=None):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header(*(("transfer-encoding", "chunked") if length is None else ("content-length", str(length))))
        self.end_headers()

    def answer(self, status, body, kind="text/plain"):
        self.start(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        first, _, rest = self.path.lstrip("/").partition("/")
        if self.headers.get("upgrade"):
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        elif first == "hello":
            self.answer(200, b"hello from the origin\n")
        elif first in ("echo", "later"):
            self.echo()
        elif first == "next":
            turns.release()
            self.answer(200, b"")
        elif first == "pattern":
            self.start(200, "application/octet-stream", int(rest))
            for piece in pattern(int(rest)):
                self.wfile.write(piece)
        elif first == "events":
            self.events([{"n": number} for number in range(EVENTS)])
        elif self.path == "/v1/chat/completions":
            asked = json.loads(b"".join(self.body()))
            common = {"id": "chatcmpl-1", "created": 1, "model": asked["model"], "object": "chat.completion.chunk"}
            choices = ([{"index": 0, "delta": {"content": str(number)}}] for number in range(EVENTS))
            self.events([{**common, "choices": choice} for choice in choices], end=b"data: [DONE]\n\n")
        else:
            self.answer(404, b"no such thing\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def echo(self):
        digest, length = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            length += len(piece)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = {"method": self.command, "bytes": length, "sha256": digest.hexdigest(), "headers": headers, "port": self.client_address[1]}
        self.answer(200, json.dumps(seen).encode(), "application/json")

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def events(self, facts, end=b""):
        self.start(200, "text/event-stream")
        for number, fact in enumerate(facts):
            if number > 0:
                turns.acquire()
            self.chunk(b"data: " + json.dumps(fact).encode() + b"\n\n")
            self.wfile.flush()
        if end:
            self.chunk(end)
        self.chunk(b"")

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A peer that closes early is the test's business, not an error of the origin.
        print(f"{client_address}: {sys.exc_info()[1]!r}", file=sys.stderr)


def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    servers = []
    for port in (443, 8443, 80):
        server = Server(("0.0.0.0", port), Handler)
        server.tls = tls if port != 80 else None
        servers.append(server)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    say(ready=True)
    servers[0].serve_forever()


main()
