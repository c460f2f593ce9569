"""An MCP server made with the official SDK, on standard streams, or over HTTP in the newer or the older way (`sse`) on a port that it prints. Each execution of a tool is a line
in the file it is given."""

import sys

from mcp.server.mcpserver import Context, MCPServer

LOG, DESCRIPTION = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "Reads a file."
OVER_HTTP = sys.argv[3:4] in (["http"], ["sse"])
server = MCPServer("files")


def note(text):
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(text + "\n")


@server.tool(description=DESCRIPTION)
def read_file(path: str) -> str:
    note(f"read_file {path}")
    return f"content of {path}"


@server.tool()
def delete_file(path: str) -> str:
    note(f"delete_file {path}")
    return f"deleted {path}"


@server.tool()
async def whose_roots(ctx: Context) -> str:
    """Asks the client something first."""
    roots = await ctx.session.list_roots()
    note("whose_roots")
    return str([str(root.uri) for root in roots.roots])


@server.resource("note://workspace/today")
def today() -> str:
    return "today"


@server.resource("note://private/diary")
def diary() -> str:
    note("diary")
    return "dear diary"


@server.prompt()
def greet(name: str) -> str:
    return f"hello {name}"


def serve_http():
    import socket

    import uvicorn
    from mcp.server.transport_security import TransportSecuritySettings

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    # Its name is one that the client's side gives it.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    way = server.sse_app if sys.argv[3] == "sse" else server.streamable_http_app
    app = way(transport_security=security)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if OVER_HTTP:
    serve_http()
else:
    server.run("stdio")
