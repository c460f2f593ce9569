"""The origins of the garden: each answers 200 to everything and writes what it received, one JSON line for each whole request.

Every origin is a server that people run, with its own parser; the applications below are only there to say what the parser made of the bytes.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve()


def say(method, target, body):
    digest = hashlib.sha256(body).hexdigest()[:16]
    line = json.dumps({"method": method, "target": target, "body": digest, "length": len(body)})
    with open(os.environ["GARDEN_LOG"], "a", encoding="utf-8") as out:
        out.write(line + "\n")


# ---- how each is started -----------------------------------------------------------------------------------------------------------------


def commands(bin_folder, work):
    """Those that can be had here: by name, a function of the port and the log that gives the command."""
    path = f"{bin_folder}:{os.environ['PATH']}:/usr/sbin"
    python = str(Path(bin_folder) / "python")
    tool = {name: shutil.which(name, path=path) for name in ("nginx", "node", "gunicorn", "uvicorn", "hypercorn", "waitress-serve")}
    has = {package: any(Path(bin_folder).parent.glob(f"lib/*/site-packages/{package}")) for package in ("aiohttp", "tornado")}

    def nginx(port, log):
        configuration = Path(work) / "nginx.conf"
        configuration.write_text(NGINX.format(port=port, log=log, work=work))
        return [tool["nginx"], "-c", str(configuration), "-e", str(Path(work) / "nginx.error")]

    def own(kind):
        return lambda port, log: [python, str(HERE), kind, str(port)]

    every = {
        "nginx": (tool["nginx"], nginx),
        "node": (tool["node"], lambda port, log: [tool["node"], str(HERE.with_name("origin.js")), str(port), log]),
        "gunicorn": (tool["gunicorn"], lambda port, log: [tool["gunicorn"], "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8", "--keep-alive", "60", "--chdir", str(HERE.parent), "origins:wsgi"]),
        "uvicorn": (tool["uvicorn"], lambda port, log: [tool["uvicorn"], "--host", "127.0.0.1", "--port", str(port), "--http", "h11", "--log-level", "error", "--app-dir", str(HERE.parent), "origins:asgi"]),
        "hypercorn": (tool["hypercorn"], lambda port, log: [python, str(HERE), "hypercorn", str(port)]),
        "waitress": (tool["waitress-serve"], own("waitress")),
        "aiohttp": (has["aiohttp"], own("aiohttp")),
        "tornado": (has["tornado"], own("tornado")),
    }
    return {name: command for name, (there, command) in every.items() if there}


NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-proxy; fastcgi_temp_path {work}/nginx-f;
  uwsgi_temp_path {work}/nginx-u; scgi_temp_path {work}/nginx-s; large_client_header_buffers 8 64k;
  log_format seen escape=json '{{"method":"$request_method","target":"$request_uri","status":$status,"completed":"$request_completion"}}';
  # The inner one only answers; the outer one has to have the whole body before it asks.
  server {{ listen unix:{work}/inner.sock; access_log off; location / {{ return 200 "ok"; }} }}
  server {{ listen 127.0.0.1:{port}; access_log {log} seen; keepalive_timeout 60; location / {{ proxy_pass http://unix:{work}/inner.sock:; }} }}
}}
"""

# ---- applications ------------------------------------------------------------------------------------------------------------------------


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    length = environ.get("CONTENT_LENGTH")
    if not length or int(length) == len(body):
        say(environ["REQUEST_METHOD"], environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"], body)
    start_response("200 OK", [("Content-Length", "2"), ("Content-Type", "text/plain")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    say(scope["method"], scope["raw_path"].decode("latin-1"), body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def serve_aiohttp(port):
    from aiohttp import web

    async def handle(request):
        body = await request.read()
        say(request.method, request.raw_path, body)
        return web.Response(text="ok")

    server = web.Application(client_max_size=1 << 30)
    server.router.add_route("*", "/{tail:.*}", handle)
    web.run_app(server, host="127.0.0.1", port=port, print=None)


def serve_tornado(port):
    import tornado.ioloop
    import tornado.web

    class Handler(tornado.web.RequestHandler):
        def handle(self, *_):
            say(self.request.method, self.request.uri, self.request.body)
            self.write("ok")

        get = head = post = put = delete = options = patch = handle

    tornado.web.Application([(r".*", Handler)]).listen(port, address="127.0.0.1")
    tornado.ioloop.IOLoop.current().start()


def serve_waitress(port):
    import waitress

    waitress.serve(wsgi, host="127.0.0.1", port=port, threads=8)


def serve_hypercorn(port):
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(serve(asgi, config))


if __name__ == "__main__":
    {"aiohttp": serve_aiohttp, "tornado": serve_tornado, "waitress": serve_waitress, "hypercorn": serve_hypercorn}[sys.argv[1]](int(sys.argv[2]))
