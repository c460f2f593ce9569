"""A server that writes down what it executes: `python3 server.py LOG`. It believes whatever it is asked."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes")


@server.tool()
def read_note(path: str) -> str:
    """Reads a note."""
    with open(sys.argv[1], "a") as log:
        print("read_note", path, file=log)
    return f"the content of {path}"


server.run("stdio")
