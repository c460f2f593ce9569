"""The OpenAI SDK, as its documentation calls it: `call BASE_URL MODEL`, `events BASE_URL MODEL`."""

import json
import sys

import openai

how, base_url, model = sys.argv[1:]
client = openai.OpenAI(api_key="none", base_url=base_url, max_retries=0, timeout=60)
messages = [{"role": "user", "content": "desserts"}]
try:
    if how == "events":
        for piece in client.chat.completions.create(model=model, messages=messages, stream=True):
            print(piece.choices[0].delta.content, flush=True)
    else:
        answer = client.chat.completions.with_raw_response.create(model=model, messages=messages)
        with open("body", "w") as body:
            body.write(answer.parse().choices[0].message.content)
        print(json.dumps({"status": answer.http_response.status_code, "headers": dict(answer.headers)}))
except openai.APIStatusError as refusal:
    with open("body", "wb") as body:
        body.write(refusal.response.content)
    print(json.dumps({"status": refusal.status_code, "headers": dict(refusal.response.headers)}))
