"""A client of the official SDK. Calls the server whose command or URL it is given, in the way of the given mode, and prints what came of each
call."""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.sse import sse_client


def say(name, **what):
    print(json.dumps({"step": name, **what}), flush=True)


async def attempt(name, call):
    """One call: what it gave, or the error that the SDK hands to its caller."""
    try:
        result = await asyncio.wait_for(call, 100)
    except MCPError as error:
        data = error.error.data or {}
        say(name, code=error.error.code, message=error.error.message, rule=data.get("rule"), decision=data.get("decision"))
        return None
    if isinstance(result, types.CallToolResult):
        say(name, text=result.content[0].text, is_error=result.is_error)
    return result


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///workspace")])


async def main():
    mode, command, *arguments = sys.argv[1:]
    over_http = command.startswith("http://")
    if command.endswith("/sse"):
        where = sse_client(command)
    elif over_http:
        where = command
    else:
        where = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    async with Client(where, mode=mode, cache=None, list_roots_callback=roots) as client:
        say("connected", version=client.protocol_version)
        tools = await client.list_tools()
        say("tools", names=sorted(tool.name for tool in tools.tools))
        resources = await client.list_resources()
        say("resources", names=sorted(str(each.uri) for each in resources.resources))
        await attempt("allowed", client.call_tool("read_file", {"path": "/workspace/a"}))
        await attempt("denied argument", client.call_tool("read_file", {"path": "/etc/passwd"}))
        await attempt("denied tool", client.call_tool("delete_file", {"path": "/workspace/a"}))
        await attempt("denied resource", client.read_resource("note://private/diary"))
        if mode == "legacy":
            await attempt("roots", client.call_tool("whose_roots", {}))
        note = await attempt("allowed resource", client.read_resource("note://workspace/today"))
        say("resource", text=note.contents[0].text if note else None)
        await attempt("allowed again", client.call_tool("read_file", {"path": "/workspace/b"}))


asyncio.run(main())
