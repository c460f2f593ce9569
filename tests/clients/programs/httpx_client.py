"""httpx, as anyone would call it: `call METHOD URL [FILE]` or `events URL`."""

import json
import sys

import httpx

if sys.argv[1] == "events":
    with httpx.stream("GET", sys.argv[2], timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                print(line[6:], flush=True)
else:
    method, url, *file = sys.argv[2:]
    with httpx.stream(method, url, content=open(file[0], "rb") if file else None, timeout=60) as answer:
        with open("body", "wb") as body:
            for piece in answer.iter_raw():
                body.write(piece)
        print(json.dumps({"status": answer.status_code, "headers": dict(answer.headers)}))
