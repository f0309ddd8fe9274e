// Serves the page and a folder made by Lacuna: node examples/browser/serve.js DIR [PORT]
//
//     lacuna convert ./SmolLM2-135M -o ./web --dtype int4 --vocabulary fp32
//     node examples/browser/serve.js ./web
//
// In WebAssembly, transformers.js has no kernel for an embedding in blocks, so the vocabulary stays in floats.
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, resolve, sep } from 'node:path';

const [folder, port = '8080'] = process.argv.slice(2);
if (folder === undefined) {
  console.error('Which folder? node examples/browser/serve.js DIR [PORT]');
  process.exit(2);
}
const here = import.meta.dirname;
const served = { model: resolve(folder), node_modules: join(dirname(dirname(here)), 'node_modules') };
const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** The file of a path; undefined outside of what is served, and where the path can name nothing. */
function fileOf(url) {
  try {
    const [, first, ...rest] = decodeURIComponent(new URL(url, 'http://page').pathname).split('/');
    const base = Object.hasOwn(served, first) ? served[first] : here;
    const path = base === here ? join(here, first || 'index.html', ...rest) : join(base, ...rest);
    return path.startsWith(base + sep) && statSync(path).isFile() ? path : undefined;
  } catch {
    return undefined;
  }
}

const server = createServer(({ url }, response) => {
  const path = fileOf(url);
  if (path === undefined) return response.writeHead(404).end();
  response.writeHead(200, {
    'content-type': types[extname(path)] ?? 'application/octet-stream',
    'content-length': statSync(path).size,
    // Threads of WebAssembly need both.
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
  });
  createReadStream(path)
    .on('error', () => response.destroy())
    .pipe(response);
});
server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
