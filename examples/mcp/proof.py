"""Proves that an argument that the policy denies never arrives: `cd examples/mcp && python3 proof.py`, with `ringfence` in PATH and `pip install mcp`.

Starts the server as any client would, by what `client.json` says, asks for a note that the policy allows and for two files that it does not,
and then reads what the server has written down. That, and not what the client was told, is the proof."""

import asyncio
import json
import os
import sys
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters

ALLOWED = "/notes/monday"
DENIED = ["/etc/passwd", "/notes/../etc/passwd"]


async def main():
    log = Path("executed.log")
    log.unlink(missing_ok=True)
    notes = json.loads(Path("client.json").read_text())["mcpServers"]["notes"]
    async with Client(StdioServerParameters(**notes, env=dict(os.environ)), mode="legacy") as client:
        for path in [ALLOWED, *DENIED]:
            try:
                result = await client.call_tool("read_note", {"path": path})
                print(f"{path}: {result.content[0].text}")
            except MCPError as error:
                print(f"{path}: {error.error.message} (decision {error.error.data['decision']})")
    executed = log.read_text().splitlines()
    print("the server has executed:", ", ".join(executed))
    return executed == [f"read_note {ALLOWED}"]


proven = asyncio.run(main())
print("PROVEN: no denied argument has arrived" if proven else "NOT PROVEN: the server has executed something else")
sys.exit(not proven)
