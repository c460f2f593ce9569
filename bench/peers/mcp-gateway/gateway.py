"""FastMCP's own proxy server (`create_proxy`) over Streamable HTTP, with a middleware that allows tools by rule and writes a line for each call."""

import fnmatch
import logging
import ssl
import sys
import time
from pathlib import Path

import httpx2
import uvicorn
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp.server import create_proxy
from fastmcp.server.middleware import Middleware
from starlette.responses import PlainTextResponse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

terms = peer.Terms()


class Rules(Middleware):
    """As many rules as the others have: two denials, the load's tool, and tools of services that are not asked for."""

    def __init__(self):
        self.denied = ["delete_*", "admin_*"]
        self.allowed = ["echo"] + [f"service{number}_*" for number in range(3, terms.rules)]
        self.log = open(terms.folder / "calls.log", "w", buffering=65536)

    async def on_call_tool(self, context, call_next):
        tool = context.message.name
        denied = any(fnmatch.fnmatchcase(tool, rule) for rule in self.denied)
        allowed = not denied and any(fnmatch.fnmatchcase(tool, rule) for rule in self.allowed)
        self.log.write(f"{time.time():.6f} {tool} {'allow' if allowed else 'deny'}\n")
        if not allowed:
            raise ToolError(f"the tool {tool} is not allowed")
        return await call_next(context)


async def by_name(request):
    """The origin is known by its name, in `Host` and under TLS, wherever it listens."""
    request.headers["Host"] = terms.host
    if terms.tls:
        request.extensions["sni_hostname"] = terms.host


def to_origin(headers=None, timeout=None, auth=None, **_):
    trust = ssl.create_default_context(cafile=terms.authority) if terms.tls else True
    hooks = {"request": [by_name]}
    return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=trust, event_hooks=hooks)


async def refuse(_):
    return PlainTextResponse("only MCP is spoken here", status_code=403)


def main():
    logging.disable(logging.INFO)
    scheme = "https" if terms.tls else "http"
    transport = StreamableHttpTransport(f"{scheme}://{terms.origin}/mcp", httpx_client_factory=to_origin)
    gateway = create_proxy(Client(transport), name="bench")
    gateway.add_middleware(Rules())
    application = gateway.http_app(path=peer.LOAD_EXACT, json_response=True)
    application.add_route("/{anything:path}", refuse, methods=["GET", "POST", "PUT", "DELETE"])
    tls = {"ssl_certfile": terms.leaf, "ssl_keyfile": terms.leaf_key} if terms.tls else {}
    uvicorn.run(
        application, host=terms.address, port=int(terms.port), log_level="critical", access_log=False, timeout_keep_alive=3600, **tls
    )


main()
