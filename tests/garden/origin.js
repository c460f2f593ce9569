// Node's own server, as an origin of the garden: node origin.js PORT LOG
const http = require('http');
const fs = require('fs');
const crypto = require('crypto');
const [port, log] = process.argv.slice(2);

http.createServer({ keepAliveTimeout: 60000, maxHeaderSize: 65536 }, (request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  // Without an end the body is not whole, and nothing is said.
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const hash = crypto.createHash('sha1').update(body).digest('hex');
    fs.appendFileSync(log, JSON.stringify({ method: request.method, target: request.url, body: hash, length: body.length }) + '\n');
    response.end('ok');
  });
  request.on('error', () => {});
}).listen(Number(port), '127.0.0.1');
