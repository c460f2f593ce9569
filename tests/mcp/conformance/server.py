"""What the conformance suite asks a server to offer, on the official SDK. Its names, texts and addresses are the suite's.

Prints the port it listens on, or is given one."""

import asyncio
import base64
import json
import socket
import sys

import uvicorn
from mcp import types
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

PICTURE = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6360000000020001e221bc33"
    "0000000049454e44ae426082")).decode()
SOUND = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0").decode()

suite = MCPServer("conformance", version="1", request_state_security=RequestStateSecurity(keys=[b"k" * 32]))


def text(words):
    return types.TextContent(type="text", text=words)


def picture():
    return types.ImageContent(type="image", data=PICTURE, mime_type="image/png")


def embedded(uri, words, kind="text/plain"):
    return types.EmbeddedResource(type="resource", resource=types.TextResourceContents(uri=uri, mime_type=kind, text=words))


def described(register):
    """The suite wants a description of everything; a name says as much here."""
    return lambda function: register(description=function.__name__.replace("_", " "))(function)


def tool(name, answer):
    """A tool that always gives this."""
    suite.add_tool(lambda: answer, name=name, description=name, structured_output=False)


tool("test_simple_text", [text("This is a simple text response for testing.")])
tool("test_image_content", [picture()])
tool("test_audio_content", [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")])
tool("test_embedded_resource", [embedded("test://embedded-resource", "This is an embedded resource content.")])
tool("test_multiple_content_types", [
    text("Multiple content types test:"),
    picture(),
    embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
])


@described(suite.tool)
def test_error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


@described(suite.tool)
async def test_tool_with_logging(ctx: Context) -> str:
    for line in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
        await ctx.info(line)
        await asyncio.sleep(0.05)
    return "logged"


@described(suite.tool)
async def test_tool_with_progress(ctx: Context) -> str:
    for done in [0, 50, 100]:
        await ctx.report_progress(progress=done, total=100, message=f"Completed step {done} of 100")
        await asyncio.sleep(0.05)
    return "done"


@described(suite.tool)
async def test_reconnection(ctx: Context) -> str:
    await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    return "Reconnection test completed successfully"


@described(suite.tool)
async def test_sampling(prompt: str, ctx: Context) -> str:
    result = await ctx.session.create_message(
        messages=[types.SamplingMessage(role="user", content=text(prompt))], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {result.content.text}"


# ---- what is asked of the user ---------------------------------------------------------------------------------------------------


class Reply(BaseModel):
    response: str = Field(description="User's response")


class Defaults(BaseModel):
    name: str = Field(default="John Doe")
    age: int = Field(default=30)
    score: float = Field(default=95.5)
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = Field(default=True)


def titled(**all):
    return [{"const": const, "title": title} for const, title in all.items()]


class Choices(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})
    titledSingle: str = Field(json_schema_extra={"oneOf": titled(value1="First", value2="Second", value3="Third")})
    legacyEnum: str = Field(json_schema_extra={"enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]})
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": ["option1", "option2", "option3"]}})
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": titled(value1="First", value2="Second", value3="Third")}})


async def elicit(ctx, message, schema):
    result = await ctx.elicit(message=message, schema=schema)
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return f"action={result.action}, content={content}"


@described(suite.tool)
async def test_elicitation(message: str, ctx: Context) -> str:
    return "User response: " + await elicit(ctx, message, Reply)


@described(suite.tool)
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    return "Elicitation completed: " + await elicit(ctx, "Please review and update the form fields with defaults", Defaults)


@described(suite.tool)
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    return "Elicitation completed: " + await elicit(ctx, "Please select options from the enum fields", Choices)


# ---- what is asked inside of answers (2026-07-28) --------------------------------------------------------------------------------


def form(message, name="name", kind="string"):
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(words):
    message = types.SamplingMessage(role="user", content=text(words))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))


def filled(ctx, name, field):
    """What the user has filled in, or nothing where that was not asked yet."""
    answer = (ctx.input_responses or {}).get(name)
    return answer.content.get(field) if isinstance(answer, types.ElicitResult) and answer.content else None


def ask(state=None, **requests):
    return types.InputRequiredResult(input_requests=requests, request_state=state)


Either = str | types.InputRequiredResult


@described(suite.tool)
async def test_input_required_result_elicitation(ctx: Context) -> Either:
    name = filled(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else ask(user_name=form("What is your name?"))


@described(suite.tool)
async def test_input_required_result_sampling(ctx: Context) -> Either:
    answer = (ctx.input_responses or {}).get("capital_question")
    return answer.content.text if answer else ask(capital_question=sample("What is the capital of France?"))


@described(suite.tool)
async def test_input_required_result_list_roots(ctx: Context) -> Either:
    answer = (ctx.input_responses or {}).get("client_roots")
    return f"{len(answer.roots)} roots" if answer else ask(client_roots=types.ListRootsRequest())


@described(suite.tool)
async def test_input_required_result_request_state(ctx: Context) -> Either:
    if "confirm" in (ctx.input_responses or {}) and ctx.request_state == "kept":
        return "state-ok"
    return ask("kept", confirm=form("Please confirm", "ok", "boolean"))


@described(suite.tool)
async def test_input_required_result_tampered_state(ctx: Context) -> Either:
    # The SDK holds the state against its seal before this is called.
    return "state-ok" if ctx.request_state else ask("kept", confirm=form("Please confirm", "ok", "boolean"))


@described(suite.tool)
async def test_input_required_result_multiple_inputs(ctx: Context) -> Either:
    wanted = {"user_name": form("What is your name?"), "greeting": sample("Generate a greeting"), "client_roots": types.ListRootsRequest()}
    return "All of it came." if wanted.keys() <= (ctx.input_responses or {}).keys() else ask("several", **wanted)


@described(suite.tool)
async def test_input_required_result_multi_round(ctx: Context) -> Either:
    name, color = filled(ctx, "step1", "name"), filled(ctx, "step2", "color")
    state = json.loads(ctx.request_state or "{}")
    if state and color:
        return f"{state['name']} likes {color}."
    if name:
        return ask(json.dumps({"round": 2, "name": name}), step2=form("Step 2: What is your favorite color?", "color"))
    return ask(json.dumps({"round": 1, "name": ""}), step1=form("Step 1: What is your name?"))


@described(suite.tool)
async def test_input_required_result_capabilities(ctx: Context) -> types.InputRequiredResult:
    able = ctx.client_capabilities
    wanted = {}
    if able is None or able.sampling is not None:
        wanted["sample"] = sample("Say hello")
    if able is None or able.elicitation is not None:
        wanted["ask"] = form("What is your name?")
    return ask("able", **wanted)


@described(suite.tool)
async def test_missing_capability(ctx: Context) -> str:
    able = ctx.session.client_capabilities
    if able is None or able.sampling is None:
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=types.MISSING_REQUIRED_CLIENT_CAPABILITY, message="sampling is needed", data=data)
    return "able"


@described(suite.prompt)
async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | types.InputRequiredResult:
    context = filled(ctx, "user_context", "context")
    if context is None:
        return ask(user_context=form("What context should the prompt use?", "context"))
    return [UserMessage(role="user", content=text(f"Use this context: {context}"))]


# ---- schemas and lists -----------------------------------------------------------------------------------------------------------


@described(suite.tool)
def test_x_mcp_header(region: str = Field(default="none", json_schema_extra={"x-mcp-header": "Region"})) -> str:
    return region


@described(suite.tool)
def json_schema_2020_12_tool() -> str:
    return "ok"


suite._tool_manager._tools["json_schema_2020_12_tool"].parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {
        "$anchor": "addressDef",
        "type": "object",
        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
    }},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def passing():
    return "gone in a moment"


@described(suite.tool)
async def test_trigger_tool_change(ctx: Context) -> str:
    suite.add_tool(passing, name="test_dynamic_tool")
    suite.remove_tool("test_dynamic_tool")
    await ctx.notify_tools_changed()
    return "changed"


@described(suite.tool)
async def test_trigger_prompt_change(ctx: Context) -> str:
    suite.add_prompt(Prompt.from_function(passing, name="test_dynamic_prompt"))
    suite.remove_prompt("test_dynamic_prompt")
    await ctx.notify_prompts_changed()
    return "changed"


# ---- resources and prompts -------------------------------------------------------------------------------------------------------


@suite.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@suite.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PICTURE)


@suite.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@suite.resource("test://watched-resource")
def watched() -> str:
    return "watched"


@described(suite.prompt)
def test_simple_prompt() -> list[UserMessage]:
    return [UserMessage(role="user", content=text("This is a simple prompt for testing."))]


@described(suite.prompt)
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    return [UserMessage(role="user", content=text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@described(suite.prompt)
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    resource = embedded(resourceUri, "Embedded resource content for testing.")
    return [UserMessage(role="user", content=resource), UserMessage(role="user", content=text("Please process it."))]


@described(suite.prompt)
def test_prompt_with_image() -> list[UserMessage]:
    return [UserMessage(role="user", content=picture()), UserMessage(role="user", content=text("Please analyze it."))]


@suite.completion()
async def complete(_ref, _argument, _context) -> types.Completion:
    return types.Completion(values=["paris", "park", "party"], total=3, has_more=False)


async def nothing(_ctx, _params) -> types.EmptyResult:
    return types.EmptyResult()


for method, params in [
    ("logging/setLevel", types.SetLevelRequestParams),
    ("resources/subscribe", types.SubscribeRequestParams),
    ("resources/unsubscribe", types.UnsubscribeRequestParams),
]:
    suite._lowlevel_server.add_request_handler(method, params, nothing)


class Events(EventStore):
    """Keeps what was sent, so that a stream that was closed can be read on."""

    def __init__(self):
        self.sent = []

    async def store_event(self, stream_id, message):
        self.sent.append((stream_id, message))
        return str(len(self.sent))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream = self.sent[last - 1][0]
        for number, (owner, message) in enumerate(self.sent[last:], last + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
print(listener.getsockname()[1], flush=True)
app = suite.streamable_http_app(event_store=Events(), retry_interval=100)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
