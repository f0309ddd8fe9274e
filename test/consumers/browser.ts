/** A headless Chromium with a page of a loopback server: onnxruntime-web, transformers.js and model folders are there to load. */
import { createReadStream, statSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, sep } from 'node:path';
import { chromium as browsers, type Page } from 'playwright-core';
import { root } from '../temporary.ts';
import { chromium } from './consumers.ts';

const modules = join(root, 'node_modules');

/** What packages are called in pages, as a bundler would have it. */
const IMPORTS = {
  'onnxruntime-common': '/onnxruntime-common/index.js',
  'onnxruntime-web/wasm': '/onnxruntime-web/ort.wasm.bundle.min.mjs',
  'onnxruntime-web/webgpu': '/onnxruntime-web/ort.webgpu.bundle.min.mjs',
  '@huggingface/transformers': '/transformers/transformers.web.js',
};

const PAGE = `<!doctype html><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`;

/** Chromium compiles WebAssembly and runs modules only of these types. */
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

export interface Browser {
  /** What `generate` of a module in browser/ answers, in the module's page: a page for each call would compile the runtime anew. */
  generate<Answer>(module: string, folder: string, prompt: string | readonly number[], count: number): Promise<Answer>;
  /** Paths asked for so far, in order. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/** Serves the folders in `parent` as /folders/NAME. */
export async function openBrowser(parent: string): Promise<Browser> {
  const requests: string[] = [];
  const served: Readonly<Record<string, string>> = {
    folders: parent,
    pages: join(import.meta.dirname, 'browser'),
    'onnxruntime-common': join(modules, 'onnxruntime-common/dist/esm'),
    'onnxruntime-web': join(modules, 'onnxruntime-web/dist'),
    transformers: join(modules, '@huggingface/transformers/dist'),
  };
  const server = createServer(({ url = '/' }, response) => {
    requests.push(url);
    if (url === '/') response.setHeader('content-type', 'text/html').end(PAGE);
    else {
      const [, name, ...rest] = url.split('/');
      serve(response, served[name], rest.join(sep));
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  // As root, which continuous integration is, Chromium has no sandbox.
  const browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox'] });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const pages = new Map<string, Page>();
  const pageOf = async (module: string) => {
    const page = pages.get(module) ?? (await browser.newPage());
    if (!pages.has(module)) await page.goto(origin);
    pages.set(module, page);
    return page;
  };
  return {
    requests,
    async generate(module, ...args) {
      const page = await pageOf(module);
      // As text: what the test runner makes of an import() means nothing in a page.
      const call = `import('/pages/${module}').then(({ generate }) => generate(...${JSON.stringify(args)}))`;
      return page.evaluate<never>(call).catch(async (error) => {
        // The runtime answers later calls with this error, too.
        pages.delete(module);
        await page.close();
        throw error;
      });
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

function serve(response: ServerResponse, folder: string | undefined, file: string): void {
  const path = join(folder ?? '', file);
  const inside = folder !== undefined && path.startsWith(folder + sep);
  const found = inside ? statSync(path, { throwIfNoEntry: false }) : undefined;
  if (!found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  response.writeHead(200, { 'content-type': type, 'content-length': found.size });
  createReadStream(path).pipe(response);
}
