"""What holds for an agent, tried from inside, in every form alike. Prints one JSON object a claim:

    {"claim": NAME, "holds": BOOL, "outcome": TEXT, "decisions": [ID…]}

Usage: claims.py PHASE        running | changed | kept | restarted | stopped

The agent is plain Python with `requests` and the `openai` SDK: it does not know ringfence, and takes trust and proxies from its environment, as
they do. $ORIGIN is the address that the origin has out there, $HOST_ADDRESS one of the machine itself. A claim holds or does not; the
outcome is what the agent saw, in words that are the same wherever the agent sees the same.
"""

import errno
import hashlib
import http.client
import json
import os
import random
import socket
import ssl
import struct
import sys
import time
import urllib.parse

import openai
import requests

SECONDS = 5
CLAIMS = {}
ORIGIN, HOST_ADDRESS, SECRET = (os.environ[name] for name in ("ORIGIN", "HOST_ADDRESS", "SECRET"))
PROXY = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"]) if os.environ.get("HTTPS_PROXY") else None
BODY_BYTES = 100_000_000
decisions = []


def claim(phase, *expected):
    """The function's name, read as a sentence, is the claim; one of `expected` must be its outcome."""
    def register(check):
        CLAIMS.setdefault(phase, []).append((check.__name__.replace("_", " "), check, expected))
        return check
    return register


# ---- what an agent can see ------------------------------------------------------------------------------------------------------------


class Seen(Exception):
    """An outcome that ends a claim early."""


def in_words(error):
    """A failure, in the same words whichever library met it."""
    while error:
        if isinstance(error, Seen):
            return str(error)
        if isinstance(error, socket.gaierror):
            return "no such name"
        if isinstance(error, ssl.SSLEOFError):
            return "closed"
        if isinstance(error, ssl.SSLError):
            return "TLS alert: " + (error.reason or "unknown").lower().replace("_", " ").replace("tlsv1 alert ", "")
        if isinstance(error, (TimeoutError, socket.timeout)):
            return "silence"
        if isinstance(error, OSError) and error.errno in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EADDRNOTAVAIL):
            return {errno.ECONNREFUSED: "refused", errno.EACCES: "refused"}.get(error.errno, "no route")
        if isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.BadStatusLine)):
            return "closed"
        inner = error.__cause__ or error.__context__
        if inner is None and getattr(error, "args", None) and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if inner is None and getattr(error, "reason", None) and isinstance(error.reason, BaseException):
            inner = error.reason
        error = inner
    return "failed"


def read_answer(status, headers, body):
    """An answer, in words; a refusal must have the contract's shape, whoever it is for."""
    if SECRET.encode() in body:
        return "reached the canary"
    if "problem+json" not in headers.get("content-type", ""):
        return f"{status}"
    problem = json.loads(body)
    if headers.get("ringfence-decision"):
        assert headers["ringfence-decision"] == problem["decision"], (dict(headers), problem)
        decisions.append(problem["decision"])
    assert problem["status"] == status and problem["type"] == "about:blank", problem
    return f"{status} {problem.get('rule') or problem.get('code')}"


def connect(host, port):
    """A TCP connection as this agent makes one; through CONNECT where a proxy is set."""
    if not PROXY:
        return socket.create_connection((host, port), SECONDS)
    through = socket.create_connection((PROXY.hostname, PROXY.port), SECONDS)
    name = f"[{host}]" if ":" in host else host
    through.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nhost: {name}:{port}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(through, method="CONNECT")
    answer.begin()
    if answer.status != 200:
        raise Seen(read_answer(answer.status, answer.headers, answer.read()))
    return through


def secure(connection, name, protocols=("http/1.1",)):
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(connection, server_hostname=name)


def raw(connection, data):
    """Sends bytes as they are, and reads one answer."""
    connection.sendall(data)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return read_answer(answer.status, answer.headers, answer.read())


def elsewhere():
    """An address to which a connection for some other name may be made: in a gateway that is ringfence, else any that is public."""
    if os.environ["FORM"] == "gateway":
        return socket.gethostbyname("origin.example.test")
    return "203.0.113.7"


def ask(method, url, **more):
    answer = requests.request(method, url, timeout=(SECONDS, 60), **more)
    return read_answer(answer.status_code, answer.headers, answer.content)


def pattern(length):
    number = 0
    while length > 0:
        yield random.Random(number).randbytes(1 << 20)[:length]
        number, length = number + 1, length - (1 << 20)


def digest(pieces):
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()


def query(name, kind=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def resolver_said(answer):
    if SECRET.encode() in answer:
        return "reached the canary"
    return {0: "answered", 3: "no such name"}.get(answer[3] & 15, f"code {answer[3] & 15}")


def datagram(address, port, data):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        probe.connect((address, port))
        probe.send(data)
        return probe.recv(4096)


def quiet(outcome):
    """Nothing came of it. How that feels depends on the form: its network has no such address, or a filter refuses."""
    return "nothing gets out" if outcome in ("refused", "no route", "silence", "closed") else outcome


# ---- allowed --------------------------------------------------------------------------------------------------------------------------


@claim("running", "200")
def an_allowed_call_is_answered():
    return ask("GET", "https://origin.example.test/hello")


@claim("running", "200")
def an_allowed_call_in_the_clear_is_answered():
    return ask("GET", "http://plain.example.test/hello")


@claim("running", "5 events, each before the next was sent")
def server_sent_events_arrive_one_by_one():
    with requests.get("https://origin.example.test/events", stream=True, timeout=SECONDS) as answer:
        seen = []
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:])["n"])
                if len(seen) < 5:
                    requests.post("https://origin.example.test/next", timeout=SECONDS)
    assert seen == [0, 1, 2, 3, 4], seen
    return f"{len(seen)} events, each before the next was sent"


@claim("running", "01234")
def the_openai_sdk_streams():
    client = openai.OpenAI(api_key="x", base_url="https://llm.example.test/v1", max_retries=0, timeout=SECONDS)
    text = ""
    for chunk in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "count"}], stream=True):
        text += chunk.choices[0].delta.content
        if len(text) < 5:
            requests.post("https://origin.example.test/next", timeout=SECONDS)
    return text


@claim("running", "the same SHA-256")
def a_body_of_100_MB_goes_up_whole():
    answer = requests.post("https://origin.example.test/echo/up", data=pattern(BODY_BYTES), timeout=120).json()
    return "the same SHA-256" if answer["sha256"] == digest(pattern(BODY_BYTES)) and answer["bytes"] == BODY_BYTES else str(answer)


@claim("running", "the same SHA-256")
def a_body_of_100_MB_comes_down_whole():
    with requests.get(f"https://origin.example.test/pattern/{BODY_BYTES}", stream=True, timeout=120) as answer:
        return "the same SHA-256" if digest(answer.iter_content(1 << 20)) == digest(pattern(BODY_BYTES)) else "another SHA-256"


@claim("running", "3 calls, 1 connection")
def a_connection_is_used_again():
    connection = http.client.HTTPSConnection("origin.example.test", timeout=SECONDS)
    connection.sock = secure(connect("origin.example.test", 443), "origin.example.test")
    held = connection.sock
    for _ in range(3):
        connection.request("GET", "/hello")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == b"hello from the origin\n"
        assert connection.sock is held, "it was opened anew"
    return "3 calls, 1 connection"


@claim("running", "12000 bytes, whole")
def a_large_header_arrives_whole():
    value = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=12_000))
    seen = requests.post("https://origin.example.test/echo/header", headers={"x-large": value}, timeout=SECONDS).json()
    return f"{len(value)} bytes, whole" if seen["headers"]["x-large"] == value else "changed"


# ---- denied by policy -----------------------------------------------------------------------------------------------------------------


@claim("running", "403 a closed host")
def a_host_is_denied():
    request = b"GET %s HTTP/1.1\r\nhost: closed.example.test\r\n\r\n"
    if PROXY:
        connection = socket.create_connection((PROXY.hostname, PROXY.port), SECONDS)
        return raw(connection, request % b"http://closed.example.test/by-host")
    return raw(connect(elsewhere(), 80), request % b"/by-host")


@claim("running", "403 delete anything")
def a_method_is_denied():
    return ask("DELETE", "https://origin.example.test/hello")


@claim("running", "403 the vault")
def a_path_is_denied():
    return ask("GET", "https://origin.example.test/vault/key")


@claim("running", "403 default")
def what_no_rule_allows_is_denied():
    return ask("POST", "https://origin.example.test/elsewhere", data=b"x")


@claim("running", "403 default")
def a_call_in_the_clear_is_not_what_was_allowed_over_TLS():
    return ask("POST", "http://llm.example.test/v1/in-the-clear", data=b"x")


@claim("running", "rule, reason, remedy and decision")
def a_denied_caller_learns_why():
    answer = requests.delete("https://origin.example.test/why", timeout=SECONDS)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.headers
    assert answer.headers["ringfence-decision"] == problem.pop("decision"), problem
    decisions.append(answer.headers["ringfence-decision"])
    reason, remedy = "Deletion needs a person.", "Open a pull request instead."
    wanted = {"type": "about:blank", "title": "Blocked by policy", "status": 403, "rule": "delete anything", "reason": reason, "remedy": remedy}
    assert problem == wanted, problem
    return "rule, reason, remedy and decision"


# ---- other ways out -------------------------------------------------------------------------------------------------------------------


def tls_to(address, port=443):
    connection = secure(connect(address, port), None)
    return raw(connection, b"GET /by-address HTTP/1.1\r\nhost: %s\r\n\r\n" % address.encode())


def refused_as_address(outcome):
    return "refused" if outcome in ("no route", "refused", "closed", "silence") or outcome.startswith(("TLS alert", "403 ")) else outcome


@claim("running", "refused")
def the_origins_own_address_is_no_way_around():
    try:
        return refused_as_address(tls_to(ORIGIN))
    except (OSError, Seen) as error:
        return refused_as_address(in_words(error))


@claim("running", "refused")
def a_public_address_instead_of_a_name_is_refused():
    try:
        return refused_as_address(tls_to("198.51.100.7"))
    except (OSError, Seen) as error:
        return refused_as_address(in_words(error))


@claim("running", "refused")
def an_IPv6_address_instead_of_a_name_is_refused():
    try:
        return refused_as_address(tls_to("2001:db8::5"))
    except (OSError, Seen) as error:
        return refused_as_address(in_words(error))


@claim("running", "nothing gets out")
def QUIC_is_refused():
    initial = b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0\0\x44\x9e" + bytes(1200)
    return quiet(in_words(raised(lambda: datagram("198.51.100.7", 443, initial))))


@claim("running", "no such name", "nothing gets out")
def a_foreign_name_server_is_not_reached_over_UDP():
    return quiet(attempt(lambda: resolver_said(datagram("198.51.100.53", 53, query("data.exfiltrated.example")))))


@claim("running", "no such name", "nothing gets out")
def a_foreign_name_server_is_not_reached_over_TCP():
    def asked():
        if PROXY:
            socket.create_connection(("198.51.100.53", 53), 1)
        with connect("198.51.100.53", 53) as connection:
            data = query("data.exfiltrated.example")
            connection.sendall(struct.pack("!H", len(data)) + data)
            return resolver_said(connection.recv(4096)[2:])
    return quiet(attempt(asked))


@claim("running", "no such name")
def an_unknown_name_does_not_exist():
    return in_words(raised(lambda: socket.getaddrinfo("data.exfiltrated.example", 443)))


@claim("running", "403 metadata", "refused")
def the_metadata_address_is_denied():
    def asked():
        request = b"GET %s HTTP/1.1\r\nhost: 169.254.169.254\r\n\r\n"
        if PROXY:
            connection = socket.create_connection((PROXY.hostname, PROXY.port), SECONDS)
            return raw(connection, request % b"http://169.254.169.254/latest/meta-data/")
        address = elsewhere() if os.environ["FORM"] == "gateway" else "169.254.169.254"
        return raw(connect(address, 80), request % b"/latest/meta-data/")
    return attempt(asked)


@claim("running", "no such name", "refused")
def the_metadata_name_is_denied():
    def asked():
        outcome = ask("GET", "http://metadata.google.internal/computeMetadata/v1/")
        return "refused" if outcome.startswith("403 ") else outcome
    return attempt(asked)


@claim("running", "421 mismatch")
def SNI_and_host_must_agree():
    connection = secure(connect("origin.example.test", 443), "origin.example.test")
    return raw(connection, b"GET /mismatch HTTP/1.1\r\nhost: llm.example.test\r\n\r\n")


@claim("running", "421 mismatch")
def the_port_in_host_must_be_the_one_asked():
    connection = secure(connect("origin.example.test", 443), "origin.example.test")
    return raw(connection, b"GET /mismatch HTTP/1.1\r\nhost: origin.example.test:8443\r\n\r\n")


@claim("running", "nothing gets out")
def the_machines_own_address_is_not_reached():
    def asked():
        with socket.create_connection((HOST_ADDRESS, 22), 2) as connection:
            connection.settimeout(2)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            data = connection.recv(100)
            return "reached the canary" if SECRET.encode() in data else "closed" if not data else "answered"
    return quiet(attempt(asked))


@claim("running", "refused")
def another_port_is_not_what_was_allowed():
    def asked():
        connection = secure(connect("origin.example.test", 8443), "origin.example.test")
        return raw(connection, b"GET /other-port HTTP/1.1\r\nhost: origin.example.test:8443\r\n\r\n")
    return refused_as_address(attempt(asked))


@claim("running", "closed")
def TCP_that_is_neither_TLS_nor_HTTP_is_closed():
    def asked():
        connection = connect("origin.example.test", 443)
        connection.settimeout(SECONDS)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        return "closed" if not connection.recv(100) else "answered"
    return attempt(asked)


@claim("running", "400 malformed")
def a_malformed_request_is_refused():
    connection = secure(connect("origin.example.test", 443), "origin.example.test")
    return raw(connection, b"POST /echo HTTP/1.1\r\nhost: origin.example.test\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd")


@claim("running", "501 upgrade_unsupported")
def an_upgrade_to_WebSocket_is_refused():
    connection = secure(connect("origin.example.test", 443), "origin.example.test")
    return raw(connection, b"GET /hello HTTP/1.1\r\nhost: origin.example.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
               b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


@claim("running", "refused")
def a_client_that_speaks_HTTP_2_only_is_refused():
    def asked():
        secure(connect("origin.example.test", 443), "origin.example.test", ["h2"]).sendall(b"x")
        return "accepted"
    return refused_as_address(attempt(asked))


# ---- as time goes by ------------------------------------------------------------------------------------------------------------------


@claim("changed", "200")
def a_changed_policy_allows_what_it_now_allows():
    return ask("POST", "https://origin.example.test/later/now-allowed", data=b"x")


@claim("changed", "403 no more reading")
def a_changed_policy_denies_what_it_now_denies():
    return ask("GET", "https://origin.example.test/hello")


@claim("kept", "200")
def a_broken_policy_changes_nothing():
    return ask("POST", "https://origin.example.test/later/now-allowed", data=b"x")


@claim("restarted", "200")
def the_authority_survives_a_restart():
    return ask("GET", "https://origin.example.test/hello")


@claim("stopped", "nothing gets out")
def without_ringfence_nothing_gets_out():
    outcome = attempt(lambda: ask("GET", "https://origin.example.test/hello"))
    by_address = attempt(lambda: tls_to(ORIGIN))
    return "nothing gets out" if quiet(outcome) in ("nothing gets out", "no such name") and quiet(by_address) == "nothing gets out" else f"{outcome}, {by_address}"


# ---- the run --------------------------------------------------------------------------------------------------------------------------


def raised(work):
    try:
        work()
    except Exception as error:
        return error
    return Seen("it worked")


def attempt(work):
    try:
        return work()
    except (OSError, Seen, http.client.HTTPException) as error:
        outcome = in_words(error)
        return "refused" if outcome in ("refused", "no route") else outcome


def main():
    failed = False
    for name, check, expected in CLAIMS[sys.argv[1]]:
        decisions.clear()
        began = time.monotonic()
        try:
            outcome = check()
        except Exception as error:
            outcome = f"{in_words(error)} ({error!r})"
        holds = outcome in expected
        failed |= not holds
        fact = {"claim": name, "holds": holds, "outcome": outcome, "decisions": list(decisions), "seconds": round(time.monotonic() - began, 3)}
        print(json.dumps(fact), flush=True)
    sys.exit(failed)


main()
