"""A third reader of the same bytes: which body stands behind each request that names itself, when nothing is forgiven.

Not a server: it looks for request lines wherever they stand, also in what another reader takes for a body, because what matters is only what
came of each where it was believed.
"""

import hashlib
import re

# From the blank behind the method, which many octets could be: looking for its beginning would be quadratic.
LINE = re.compile(rb" (/[gs]/\d+)(?:[/?][!-~]*)? HTTP/1\.[01]\r\n")
SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")


def digests(message):
    """By the name of each request, the SHA-1 of its body."""
    found = {}
    for match in LINE.finditer(message):
        end = message.find(b"\r\n\r\n", match.end() - 2)
        body = None if end < 0 else body_of(message[match.end() : end + 2], message[end + 4 :])
        if body is not None:
            found[match.group(1).decode()] = hashlib.sha1(body).hexdigest()
    return found


def body_of(fields, rest):
    """The body at the start of `rest`; `None` where it is not whole, or not framed in one way."""
    lengths, codings = [], []
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif name.lower() == b"transfer-encoding":
            codings.append(value.strip(b" \t").lower())
    if codings == [b"chunked"] and not lengths:
        return unchunked(rest)
    if len(lengths) == 1 and not codings and lengths[0].isdigit() and len(rest) >= int(lengths[0]):
        return rest[: int(lengths[0])]
    return b"" if not lengths and not codings else None


def unchunked(rest):
    body = b""
    while match := SIZE.match(rest):
        size = int(match.group(1), 16)
        rest = rest[match.end() :]
        if size == 0:
            return body
        if len(rest) < size + 2 or rest[size : size + 2] != b"\r\n":
            return None
        body, rest = body + rest[:size], rest[size + 2 :]
    return None
