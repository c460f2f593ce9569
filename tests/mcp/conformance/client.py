"""What the conformance suite asks a client to do, on the official SDK: the scenario stands in the environment, the server's URL is the argument."""

import turn  # noqa: F401, before what takes long to load

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlparse

import httpx2
from mcp import Client, MCPError, types
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
VERSION = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
CALLBACK = "http://localhost:3000/callback"


class Kept:
    """Tokens and registrations, for as long as this runs."""

    def __init__(self, client=None):
        self.tokens, self.client = None, client

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class User:
    """Follows the link to the authorization server, and comes back with its code."""

    def __init__(self):
        self.answer = None

    async def redirect(self, url):
        async with httpx2.AsyncClient() as browser:
            response = await browser.get(url, follow_redirects=False)
        query = parse_qs(urlparse(response.headers["location"]).query)
        first = {name: values[0] for name, values in query.items()}
        self.answer = AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))

    async def callback(self):
        return self.answer


def credentials(url):
    """What proves who is calling, in the way of the scenario."""
    if SCENARIO == "auth/client-credentials-jwt":
        signed = SignedJWTParameters(
            issuer=CONTEXT["client_id"],
            subject=CONTEXT["client_id"],
            signing_algorithm=CONTEXT.get("signing_algorithm", "ES256"),
            signing_key=CONTEXT["private_key_pem"],
        )
        return PrivateKeyJWTOAuthProvider(
            server_url=url, storage=Kept(), client_id=CONTEXT["client_id"], assertion_provider=signed.create_assertion_provider())
    if SCENARIO == "auth/client-credentials-basic":
        return ClientCredentialsOAuthProvider(
            server_url=url,
            storage=Kept(),
            client_id=CONTEXT["client_id"],
            client_secret=CONTEXT["client_secret"],
            token_endpoint_auth_method="client_secret_basic",
        )
    known, user = None, User()
    if "client_id" in CONTEXT:
        secret = CONTEXT.get("client_secret")
        known = OAuthClientInformationFull(
            client_id=CONTEXT["client_id"],
            client_secret=secret,
            redirect_uris=[CALLBACK],
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
        )
    about = OAuthClientMetadata(
        client_name="conformance", redirect_uris=[CALLBACK], grant_types=["authorization_code", "refresh_token"], response_types=["code"])
    return OAuthClientProvider(
        server_url=url,
        client_metadata=about,
        storage=Kept(known),
        redirect_handler=user.redirect,
        callback_handler=user.callback,
        client_metadata_url="https://conformance-test.local/client-metadata.json",
    )


async def elicited(_context, params):
    """Accepts, with what the form has for defaults; where it has none, with yes."""
    properties = params.requested_schema.get("properties", {})
    content = {name: each["default"] for name, each in properties.items() if "default" in each}
    return types.ElicitResult(action="accept", content=content or {name: True for name in properties})


async def sampled(_context, _params):
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="ok"), model="none")


async def rooted(_context):
    return types.ListRootsResult(roots=[])


def connected(where):
    # One scenario has a server of the older kind for every version, and the suite says so nowhere.
    legacy = VERSION < "2026-07-28" or SCENARIO == "json-schema-ref-no-deref"
    able = {"elicitation_callback": elicited}
    if SCENARIO == "request-metadata":
        able |= {"sampling_callback": sampled, "list_roots_callback": rooted}
    return Client(where, mode="legacy" if legacy else "auto", **able)


async def call(client, name, arguments):
    try:
        return await client.call_tool(name, arguments)
    except MCPError as error:
        print(name, error, file=sys.stderr)


async def all_tools(client):
    """Every tool that is listed, with arguments of the types that its schema wants."""
    values = {"string": "test", "integer": 1, "number": 1.5, "boolean": True, "object": {}, "array": []}
    for tool in (await client.list_tools()).tools:
        properties = tool.input_schema.get("properties", {})
        await call(client, tool.name, {name: values.get(each.get("type"), "test") for name, each in properties.items()})


async def scenario(client):
    match SCENARIO:
        case "tools_call":
            await client.list_tools()
            await call(client, "add_numbers", {"a": 5, "b": 3})
        case "sep-2322-client-request-state":
            await client.list_tools()
            for name in ["echo_state", "unrelated", "no_state", "no_result_type"]:
                await call(client, f"test_mrtr_{name}", {})
        case "http-custom-headers":
            await client.list_tools()
            for each in CONTEXT["toolCalls"]:
                await call(client, each["name"], each.get("arguments") or {})
        case "json-schema-2020-12-preservation":
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            await call(client, "json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})
        case "initialize" | "json-schema-ref-no-deref":
            await client.list_tools()
        case _:
            await all_tools(client)


async def main():
    url = sys.argv[1]
    if SCENARIO.startswith("auth/"):
        where = streamable_http_client(url=url, http_client=httpx2.AsyncClient(auth=credentials(url), timeout=30))
    else:
        where = url
    async with connected(where) as client:
        await scenario(client)


asyncio.run(main())
