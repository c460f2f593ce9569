// A client on the official SDK for TypeScript: MODE URL, or MODE COMMAND…. Prints what came of each call, as `../client.py` does.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const packages = createRequire(`${process.env.MCP_NPM}/package.json`);
const sdk = (name) => import(pathToFileURL(packages.resolve(`@modelcontextprotocol/sdk/${name}.js`)).href);
const { Client } = await sdk('client/index');
const { StdioClientTransport } = await sdk('client/stdio');
const { StreamableHTTPClientTransport } = await sdk('client/streamableHttp');
const { ListRootsRequestSchema, McpError } = await sdk('types');

const say = (step, what) => console.log(JSON.stringify({ step, ...what }));
const [, command, ...args] = process.argv.slice(2);
const transport = command.startsWith('http://')
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
const client = new Client({ name: 'peer', version: '1' }, { capabilities: { roots: {} } });
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///workspace' }] }));

// What a call gave, or the error that the SDK hands to its caller.
async function attempt(step, call, shown) {
  try {
    say(step, { text: shown(await call) });
  } catch (error) {
    if (!(error instanceof McpError)) throw error;
    const data = error.data ?? {};
    say(step, { code: error.code, message: error.message.replace(/^MCP error -?\d+: /, ''), rule: data.rule, decision: data.decision });
  }
}

const call = (step, name, args) => attempt(step, client.callTool({ name, arguments: args }), (result) => result.content[0].text);
const read = (step, uri) => attempt(step, client.readResource({ uri }), (result) => result.contents[0].text);

await client.connect(transport);
// Over HTTP the transport knows what was agreed on; elsewhere nobody asks for it.
say('connected', { version: transport.protocolVersion ?? '2025-11-25' });
say('tools', { names: (await client.listTools()).tools.map(({ name }) => name).sort() });
say('resources', { names: (await client.listResources()).resources.map(({ uri }) => uri).sort() });
await call('allowed', 'read_file', { path: '/workspace/a' });
await call('denied argument', 'read_file', { path: '/etc/passwd' });
await call('denied tool', 'delete_file', { path: '/workspace/a' });
await read('denied resource', 'note://private/diary');
await call('roots', 'whose_roots', {});
await read('resource', 'note://workspace/today');
await call('allowed again', 'read_file', { path: '/workspace/b' });
await client.close();
