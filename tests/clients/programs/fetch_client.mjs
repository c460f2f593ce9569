// Node's own fetch, as anyone would call it: `call METHOD URL [FILE]` or `events URL`.

import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const [how, ...rest] = process.argv.slice(2);
if (how === "events") {
  const answer = await fetch(rest[0]);
  const text = new TextDecoder();
  let unread = "";
  for await (const piece of answer.body) {
    const lines = (unread + text.decode(piece, { stream: true })).split("\n");
    unread = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) console.log(line.slice(6));
  }
} else {
  const [method, url, file] = rest;
  const body = file && createReadStream(file);
  const answer = await fetch(url, { method, body, duplex: "half" });
  await pipeline(answer.body ? Readable.fromWeb(answer.body) : Readable.from([]), createWriteStream("body"));
  console.log(JSON.stringify({ status: answer.status, headers: Object.fromEntries(answer.headers) }));
}
