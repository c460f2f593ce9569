"""An HTTPS origin that says on stdout what it sees, in the order in which it sees it, and sends events only when told.

Usage: origin.py CERTIFICATE KEY GIT_FOLDER      serves on a free port of 127.0.0.1; the first line is {"port": N}
       origin.py --pattern BYTES                 writes the body that /pattern/BYTES serves to stdout

One JSON object a line on stdout:
    {"accepted": PEER_PORT}                      before TLS, in the order of accept
    {"request": {"peer", "method", "target", "headers"}}   before the body is read and before an answer is sent
    {"closed": PEER_PORT}

A line on stdin, `next`, lets an event stream send one more event. The first is sent unasked.
"""

import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

BLOCK_BYTES = 64 * 1024
EVENTS = 5

said = threading.Lock()
turns = threading.Semaphore(0)


def say(**fact):
    with said:
        print(json.dumps(fact), flush=True)


def noise():
    """The tail of every block, from xorshift64, so that no two offsets within a block look alike."""
    words, state = [], 0x9E3779B97F4A7C15
    for _ in range(BLOCK_BYTES // 8 - 1):
        state ^= (state << 13) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 7
        state ^= (state << 17) & 0xFFFFFFFFFFFFFFFF
        words.append(state.to_bytes(8, "big"))
    return b"".join(words)


def pattern(length):
    """Blocks that start with their own number: a lost, doubled or swapped one changes the digest."""
    tail, number = noise(), 0
    while length > 0:
        blocks = b"".join((number + more).to_bytes(8, "big") + tail for more in range(16))
        yield memoryview(blocks)[:length]
        number, length = number + 16, length - len(blocks)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self):
        # The handshake belongs to this connection's thread; the accept loop must not wait for it.
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self):
        super().finish()
        self.request.close()

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def parse_request(self):
        if not super().parse_request():
            return False
        seen = {"peer": self.client_address[1], "method": self.command, "target": self.path, "headers": self.headers.items()}
        say(request=seen)
        return True

    def body(self):
        """The request body, piece by piece, whatever its framing."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while length := int(self.rfile.readline().split(b";")[0], 16):
                yield from self.read_exactly(length)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self.read_exactly(int(self.headers.get("content-length", 0)))

    def read_exactly(self, length):
        while length:
            piece = self.rfile.read(min(length, 1 << 20))
            if not piece:
                raise ConnectionError("the body ends early")
            length -= len(piece)
            yield piece

    def start(self, status, kind, length=None):
        self.send_response(status)
        self.send_header("content-type", kind)
        if length is not None:
            self.send_header("content-length", str(length))
        elif status == 200:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n" % len(piece))
        self.wfile.write(piece)
        self.wfile.write(b"\r\n")

    def answer(self, status, kind, body):
        self.start(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        path, _, query = self.path.partition("?")
        first, _, rest = path.lstrip("/").partition("/")
        if first == "echo":
            self.echo()
        elif first == "pattern":
            self.start(200, "application/octet-stream", int(rest))
            for piece in pattern(int(rest)) if self.command != "HEAD" else ():
                self.wfile.write(piece)
        elif first == "chunked":
            self.start(200, "application/octet-stream")
            for piece in pattern(int(rest)):
                for at in range(0, len(piece), 10_007):
                    self.chunk(piece[at : at + 10_007])
            self.chunk(b"")
        elif first == "events":
            self.events([{"n": number} for number in range(EVENTS)])
        elif path == "/v1/chat/completions":
            self.complete(json.loads(b"".join(self.body())))
        elif first == "git":
            self.git("/" + rest, query)
        else:
            self.answer(404, "text/plain", b"no such thing\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def echo(self):
        digest, length = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            length += len(piece)
        seen = {"method": self.command, "target": self.path, "bytes": length, "sha256": digest.hexdigest()}
        self.answer(200, "application/json", json.dumps(seen).encode())

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

    def complete(self, asked):
        """The chat completions endpoint, as the SDK of its vendor expects it."""
        common = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": asked["messages"][-1]["content"][::-1]}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**common, "object": "chat.completion", "choices": [choice]}
            return self.answer(200, "application/json", json.dumps(whole).encode())
        pieces = [
            {**common, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": str(number)}}]}
            for number in range(EVENTS)
        ]
        self.events(pieces, end=b"data: [DONE]\n\n")

    def git(self, path, query):
        """git's own CGI program, git-http-backend(1)."""
        body = b"".join(self.body())
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.server.git_folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=variables, stdout=subprocess.PIPE, check=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n"))
        self.answer(int(fields.get("Status", "200").split()[0]), fields.get("Content-Type", "text/plain"), answer)

    def log_message(self, *_):
        pass


class Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        connection, peer = super().get_request()
        say(accepted=peer[1])
        return connection, peer

    def process_request_thread(self, request, client_address):
        super().process_request_thread(request, client_address)
        say(closed=client_address[1])

    def handle_error(self, request, client_address):
        # A peer that closes early is the test's business, not an error of the origin.
        print(f"{client_address}: {sys.exc_info()[1]!r}", file=sys.stderr)


def take_turns():
    for line in sys.stdin:
        if line == "next\n":
            turns.release()
    os._exit(0)  # the test is gone


def main():
    if sys.argv[1] == "--pattern":
        for piece in pattern(int(sys.argv[2])):
            sys.stdout.buffer.write(piece)
        return
    server = Server(("127.0.0.1", 0), Handler)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(sys.argv[1], sys.argv[2])
    server.tls.set_alpn_protocols(["http/1.1"])
    server.git_folder = sys.argv[3]
    say(port=server.server_address[1])
    threading.Thread(target=take_turns, daemon=True).start()
    server.serve_forever()


main()
