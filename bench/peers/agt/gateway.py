"""AGT has no proxy of its own for HTTP. This is the least there can be around its evaluator: aiohttp, which AGT itself depends on, passes bytes on;
`agent_os.policies.PolicyEvaluator` decides each request; `agent_os.audit_logger` writes each decision."""

import re
import ssl
import sys
import time
from pathlib import Path

from agent_os.audit_logger import GovernanceAuditLogger, JsonlFileBackend
from agent_os.policies import PolicyDocument, PolicyEvaluator
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

terms = peer.Terms()
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "host"}


def document():
    """A condition of AGT has one field, so that method, host and path are one text, and a rule a pattern over it."""
    rules = [
        rule("delete anything", f"^{peer.DENIED_METHOD} ", "deny", 100),
        rule("administration", f"^[A-Z]+ [^/]+{peer.DENIED_PREFIX}", "deny", 100),
        rule("the load", pattern(peer.LOAD_METHODS, re.escape(terms.host), load_paths()), "allow", 10),
    ]
    for number, service in enumerate(terms.services()):
        host = f"({re.escape(service.exact)}|.+\\.{re.escape(service.suffix)})"
        paths = f"({service.prefix}/.*|{service.items}/[^/]+)"
        rules.append(rule(f"service {number}", pattern(service.methods, host, paths), "allow", 10))
    return PolicyDocument(version="1.0", name="bench", rules=rules, defaults={"action": "deny"})


def load_paths():
    return f"({'|'.join(f'{prefix}/.*' for prefix in peer.LOAD_PREFIXES)}|{peer.LOAD_EXACT})"


def pattern(methods, host, paths):
    return f"^({'|'.join(methods)}) {host}(:[0-9]+)?{paths}$"


def rule(name, matches, action, priority):
    condition = {"field": "request", "operator": "matches", "value": matches}
    return {"name": name, "condition": condition, "action": action, "priority": priority}


class Gateway:
    def __init__(self):
        self.evaluator = PolicyEvaluator(policies=[document()])
        self.audit = GovernanceAuditLogger()
        self.audit.add_backend(JsonlFileBackend(terms.folder / "audit.jsonl"))
        self.session = None

    async def open(self, _):
        context = ssl.create_default_context(cafile=terms.authority) if terms.tls else None
        connector = TCPConnector(limit=0, ssl=context) if terms.tls else TCPConnector(limit=0)
        # Bytes as they come: nothing is decoded, and an event may take its time.
        self.session = ClientSession(connector=connector, auto_decompress=False, timeout=ClientTimeout(total=None))

    async def close(self, _):
        await self.session.close()
        self.audit.flush()

    async def handle(self, request):
        asked = f"{request.method} {request.host}{request.path}"
        started = time.perf_counter()
        decision = self.evaluator.evaluate({"request": asked})
        self.audit.log_decision(
            agent_id="bench",
            action=asked,
            decision="allow" if decision.allowed else "deny",
            reason=decision.reason,
            latency_ms=(time.perf_counter() - started) * 1e3,
        )
        if not decision.allowed:
            return web.Response(status=403, text=decision.reason)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        headers["Host"] = request.headers["Host"]
        url = f"{'https' if terms.tls else 'http'}://{terms.origin}{request.path_qs}"
        body = await request.read() if request.can_read_body else None
        name = terms.host if terms.tls else None
        async with self.session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False, server_hostname=name
        ) as got:
            if (length := got.content_length) is not None and length <= 65536:
                return web.Response(status=got.status, body=await got.read(), headers=end_to_end(got))
            answer = web.StreamResponse(status=got.status, headers=end_to_end(got))
            answer.content_length = got.content_length
            await answer.prepare(request)
            async for part in got.content.iter_any():
                await answer.write(part)
            await answer.write_eof()
            return answer


def end_to_end(response):
    return {
        name: value
        for name, value in response.headers.items()
        if name.lower() not in HOP_BY_HOP and name.lower() != "content-length"
    }


def main():
    gateway = Gateway()
    application = web.Application(client_max_size=1 << 30)
    application.on_startup.append(gateway.open)
    application.on_cleanup.append(gateway.close)
    application.router.add_route("*", "/{anything:.*}", gateway.handle)
    context = None
    if terms.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(terms.leaf, terms.leaf_key)
    web.run_app(
        application, host=terms.address, port=int(terms.port), ssl_context=context, access_log=None, print=None, keepalive_timeout=3600
    )


main()
