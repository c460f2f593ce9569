"""The origins of the garden: each answers 200 to everything and writes what it received, one JSON line for each whole request.

Every origin is a server that people run, with its own parser; the applications below are only there to say what the parser made of the bytes.
Those that people run in front of others (nginx, Apache, lighttpd, HAProxy, Varnish) have an inner origin, which says what came out of them.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
# Varnish 7.1 hands on a body that broke off, by a reset even, as a whole one: as much of it as had come. Nothing in front of it can help that
# but holding the body back; what the proxy cut is therefore not held against it.
COMPLETES_WHAT_IS_CUT = {"varnish"}


def say(method, target, body):
    digest = hashlib.sha1(body).hexdigest()
    line = json.dumps({"method": method, "target": target, "body": digest, "length": len(body)})
    with open(os.environ["GARDEN_LOG"], "a", encoding="utf-8") as out:
        out.write(line + "\n")


# ---- how each is started -----------------------------------------------------------------------------------------------------------------


def commands(bin_folder, work):
    """Those that can be had here: by name, a function of the port, the log and the inner origin's port (None without one) that gives the
    command, and whether it needs the inner one, whose command stands under None."""
    path = f"{bin_folder}:{os.environ['PATH']}:/usr/sbin"
    python = str(Path(bin_folder) / "python")
    tool = {name: shutil.which(name, path=path) for name in ("nginx", "node", "gunicorn", "uvicorn", "hypercorn", "waitress-serve", "apache2", "lighttpd", "haproxy", "varnishd")}
    has = {package: any(Path(bin_folder).parent.glob(f"lib/*/site-packages/{package}")) for package in ("aiohttp", "tornado")}

    def written(name, text, **values):
        configuration = Path(work) / f"{name}.conf"
        configuration.write_text(text.format(work=work, **values))
        return str(configuration)

    def nginx(port, log, inner):
        return [tool["nginx"], "-c", written("nginx", NGINX, port=port, inner=inner), "-e", str(Path(work) / "nginx.error")]

    def apache2(port, log, inner):
        return [tool["apache2"], "-X", "-f", written("apache2", APACHE, port=port, inner=inner)]

    def lighttpd(port, log, inner):
        return [tool["lighttpd"], "-D", "-f", written("lighttpd", LIGHTTPD, port=port, inner=inner)]

    def haproxy(port, log, inner):
        return [tool["haproxy"], "-db", "-f", written("haproxy", HAPROXY, port=port, inner=inner)]

    def varnish(port, log, inner):
        vcl = written("varnish", VARNISH, inner=inner)
        return [tool["varnishd"], "-F", "-a", f"127.0.0.1:{port}", "-f", vcl, "-n", str(Path(work) / "varnish"), "-s", "malloc,64m", "-T", "none"]

    def own(kind):
        return lambda port, log, _: [python, str(HERE), kind, str(port)]

    def uvicorn(port, log, _):
        return [tool["uvicorn"], "--host", "127.0.0.1", "--port", str(port), "--http", "h11", "--log-level", "error", "--app-dir", str(HERE.parent), "origins:asgi"]

    # An inner origin is asked by the outer one alone: any that says what it received will do.
    inner = tool["uvicorn"]
    every = {
        "nginx": (tool["nginx"] and inner, nginx, True),
        "apache2": (tool["apache2"] and inner, apache2, True),
        "lighttpd": (tool["lighttpd"] and inner, lighttpd, True),
        "haproxy": (tool["haproxy"] and inner, haproxy, True),
        "varnish": (tool["varnishd"] and inner, varnish, True),
        "node": (tool["node"], lambda port, log, _: [tool["node"], str(HERE.with_name("origin.js")), str(port), log], False),
        "gunicorn": (tool["gunicorn"], lambda port, log, _: [tool["gunicorn"], "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8", "--keep-alive", "60", "--chdir", str(HERE.parent), "origins:wsgi"], False),
        "uvicorn": (tool["uvicorn"], uvicorn, False),
        "hypercorn": (tool["hypercorn"], lambda port, log, _: [python, str(HERE), "hypercorn", str(port)], False),
        "waitress": (tool["waitress-serve"], own("waitress"), False),
        "aiohttp": (has["aiohttp"], own("aiohttp"), False),
        "tornado": (has["tornado"], own("tornado"), False),
    }
    return {None: uvicorn} | {name: (command, inside) for name, (there, command, inside) in every.items() if there}


NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-proxy; fastcgi_temp_path {work}/nginx-f;
  uwsgi_temp_path {work}/nginx-u; scgi_temp_path {work}/nginx-s; large_client_header_buffers 8 64k; access_log off;
  server {{ listen 127.0.0.1:{port}; keepalive_timeout 60; location / {{ proxy_pass http://127.0.0.1:{inner}; }} }}
}}
"""

APACHE = """
ServerName garden
Listen 127.0.0.1:{port}
PidFile {work}/apache2.pid
ErrorLog {work}/apache2.error
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
User nobody
Group nogroup
KeepAliveTimeout 60
MaxKeepAliveRequests 0
LimitRequestLine 65536
LimitRequestFieldSize 65536
AllowEncodedSlashes NoDecode
ProxyPass / http://127.0.0.1:{inner}/ nocanon
"""

LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{work}"
server.errorlog = "{work}/lighttpd.error"
server.modules = ( "mod_proxy" )
server.stream-request-body = 0
server.max-keep-alive-requests = 100000
server.max-keep-alive-idle = 60
server.http-parseopts = ( "url-normalize" => "disable" )
proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {inner} )) )
"""

HAPROXY = """
global
  tune.bufsize 131072
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 20s
  timeout http-request 20s
frontend garden
  bind 127.0.0.1:{port}
  default_backend inner
backend inner
  server inner 127.0.0.1:{inner}
"""

VARNISH = """
vcl 4.1;
backend inner {{ .host = "127.0.0.1"; .port = "{inner}"; }}
sub vcl_recv {{ return (pass); }}
# Its own takes the body off a GET.
sub vcl_backend_fetch {{ return (fetch); }}
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
