// A server on the official SDK for TypeScript that notes what it executes: LOG [http]. What `../server.py` is on the one for Python.

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The packages lie below the target, and this file does not.
const packages = createRequire(`${process.env.MCP_NPM}/package.json`);
const sdk = (name) => import(pathToFileURL(packages.resolve(`@modelcontextprotocol/sdk/${name}.js`)).href);
const { McpServer } = await sdk('server/mcp');
const { StdioServerTransport } = await sdk('server/stdio');
const { StreamableHTTPServerTransport } = await sdk('server/streamableHttp');
const { z } = await import(pathToFileURL(packages.resolve('zod')).href);

const [log, way] = process.argv.slice(2);
const note = (what) => appendFileSync(log, `${what}\n`);
const text = (words) => ({ content: [{ type: 'text', text: words }] });

function files() {
  const server = new McpServer({ name: 'files', version: '1' });
  const at = { path: z.string() };
  server.registerTool('read_file', { description: 'Reads a file.', inputSchema: at }, ({ path }) => {
    note(`read_file ${path}`);
    return text(`content of ${path}`);
  });
  server.registerTool('delete_file', { description: 'Deletes a file.', inputSchema: at }, ({ path }) => {
    note(`delete_file ${path}`);
    return text(`deleted ${path}`);
  });
  server.registerTool('whose_roots', { description: 'Asks the client something first.' }, async () => {
    const { roots } = await server.server.listRoots();
    note('whose_roots');
    return text(`[${roots.map(({ uri }) => `'${uri}'`).join(', ')}]`);
  });
  const note_of = (words) => (uri) => ({ contents: [{ uri: uri.href, text: words }] });
  server.registerResource('today', 'note://workspace/today', {}, note_of('today'));
  server.registerResource('diary', 'note://private/diary', {}, (uri) => {
    note('diary');
    return note_of('dear diary')(uri);
  });
  return server;
}

// As an express application would have it, without one.
async function over_http() {
  const sessions = new Map();
  const listener = createServer(async (request, response) => {
    let transport = sessions.get(request.headers['mcp-session-id']);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (id) => sessions.set(id, transport),
      });
      await files().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  listener.listen(0, '127.0.0.1', () => console.log(listener.address().port));
}

if (way === 'http') {
  await over_http();
} else {
  await files().connect(new StdioServerTransport());
}
