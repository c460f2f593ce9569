"""Uses MCP's reference server behind the command or URL it is given, and prints what came of each call."""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client


def say(name, **what):
    print(json.dumps({"step": name, **what}), flush=True)


async def attempt(name, call):
    try:
        result = await asyncio.wait_for(call, 60)
    except MCPError as error:
        say(name, code=error.error.code, message=error.error.message)
    else:
        say(name, text=result.content[0].text, is_error=result.is_error)


async def main():
    command, *arguments = sys.argv[1:]
    if command.endswith("/sse"):
        where = sse_client(command)
    elif command.startswith("http://"):
        where = command
    else:
        where = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    progress = []

    async def on_progress(done, total, _message):
        progress.append([done, total])

    async with Client(where, mode="legacy", cache=None) as client:
        tools = await client.list_tools()
        say("tools", names=sorted(tool.name for tool in tools.tools))
        await attempt("echo", client.call_tool("echo", {"message": "hello"}))
        await attempt("environment", client.call_tool("get-env", {}))
        await attempt("argument", client.call_tool("echo", {"message": "the secret is out"}))
        long = {"duration": 0.5, "steps": 4}
        await attempt("long", client.call_tool("trigger-long-running-operation", long, progress_callback=on_progress))
        say("progress", steps=progress)
        await attempt("echo again", client.call_tool("echo", {"message": "still here"}))


asyncio.run(main())
