"""The addon: sends the origin's name to the origin, refuses what no rule allows, and writes a line for each request."""

import re
import sys
from pathlib import Path

from mitmproxy import http

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

terms = peer.Terms()
ITEMS = re.compile(r"/[^/]+")


class Rules:
    def __init__(self):
        self.services = terms.services()
        # Buffered, as the other peers' logs are.
        self.log = open(terms.folder / "access.log", "w", buffering=65536)

    def server_connect(self, data):
        # Of a CONNECT. (In the clear a connection with another address than its request asks for would never be used again.)
        if terms.tls and data.server.address[0] == terms.host:
            data.server.address = (terms.origin_address, int(terms.origin_port))
            data.server.sni = terms.host

    def request(self, flow):
        if not self.allows(flow.request):
            flow.response = http.Response.make(403)
        elif not terms.tls and flow.request.host == terms.host:
            asked = flow.request.host_header
            flow.request.host, flow.request.port = terms.origin_address, int(terms.origin_port)
            flow.request.host_header = asked

    def responseheaders(self, flow):
        if flow.response.headers.get("content-type", "").startswith("text/event-stream"):
            flow.response.stream = True

    def response(self, flow):
        request = flow.request
        status = flow.response.status_code
        self.log.write(f"{flow.timestamp_start:.6f} {request.method} {request.pretty_host} {request.path} {status}\n")

    def done(self):
        self.log.close()

    def allows(self, request):
        host, method, path = request.pretty_host, request.method, request.path.partition("?")[0]
        if method == peer.DENIED_METHOD or path.startswith(peer.DENIED_PREFIX):
            return False
        if host == terms.host:
            begins = any(path.startswith(f"{prefix}/") for prefix in peer.LOAD_PREFIXES)
            return method in peer.LOAD_METHODS and (begins or path == peer.LOAD_EXACT)
        for service in self.services:
            if host == service.exact or host.endswith(f".{service.suffix}"):
                items = path.startswith(service.items) and ITEMS.fullmatch(path[len(service.items) :])
                return method in service.methods and (path.startswith(f"{service.prefix}/") or bool(items))
        return False


addons = [Rules()]
