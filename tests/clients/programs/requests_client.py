"""requests, as anyone would call it: `call METHOD URL [FILE]` or `events URL`."""

import json
import sys

import requests

if sys.argv[1] == "events":
    with requests.get(sys.argv[2], stream=True, timeout=60) as answer:
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                print(line[6:].decode(), flush=True)
else:
    method, url, *file = sys.argv[2:]
    with requests.request(method, url, data=open(file[0], "rb") if file else None, stream=True, timeout=60) as answer:
        with open("body", "wb") as body:
            for piece in answer.iter_content(1 << 20):
                body.write(piece)
        print(json.dumps({"status": answer.status_code, "headers": {k.lower(): v for k, v in answer.headers.items()}}))
