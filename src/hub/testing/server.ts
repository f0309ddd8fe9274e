/** A local server that answers as the Hub does, as far as the tests need it, and fails on request. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HubDouble {
  readonly endpoint: string;
  /** Requests so far: method, path and range. */
  readonly requests: {
    readonly path: string;
    readonly range: string | undefined;
    readonly token: string | undefined;
  }[];
  /** What happens to the next requests, first to last. Each is used once. */
  readonly faults: Fault[];
  close(): Promise<void>;
}

export type Fault =
  /** The connection breaks after `after` bytes of the requested range, or of the whole file if `anew`. */
  | { readonly kind: 'drop'; readonly file: string; readonly after: number; readonly anew?: true }
  /** After this number of bytes nothing more comes, and the connection stays open. */
  | { readonly kind: 'stall'; readonly file: string; readonly after: number }
  /** The whole file comes, whatever range was asked for. */
  | { readonly kind: 'ignore-range'; readonly file: string }
  | { readonly kind: 'status'; readonly file: string; readonly status: number; readonly code?: string };

export interface HubModel {
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Stored as Git LFS does it, by sha256. */
  readonly large: readonly string[];
  /** Sent in place of the content. The hash is that of the content. */
  readonly forged?: Readonly<Record<string, Uint8Array>>;
  readonly needsToken?: string;
  /** Reported in place of the true sizes. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** The list of files never ends, never begins, or names each of them three times. */
  readonly listing?: 'endless' | 'silent' | 'thrice';
}

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const REVISIONS = ['main', 'v1.0', COMMIT];

/** Serves `models` by id, each with one commit. `main` and `v1.0` are names of it. */
export async function startHubDouble(models: Readonly<Record<string, HubModel>>): Promise<HubDouble> {
  const requests: HubDouble['requests'] = [];
  const faults: Fault[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://hub').pathname);
    const token = request.headers.authorization;
    requests.push({ path, range: request.headers.range, token });
    const [, id, rest] = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(.*)$/.exec(path) ?? [];
    const model = models[id];
    if (model === undefined) return refuse(response, 401, 'RepoNotFound');
    if (model.needsToken !== undefined && token !== `Bearer ${model.needsToken}`)
      return refuse(response, token === undefined ? 401 : 403, 'GatedRepo');
    if (path.startsWith('/api/')) {
      const known = REVISIONS.includes(rest.replace('revision/', ''));
      return known ? list(response, model) : refuse(response, 404, 'RevisionNotFound');
    }
    const file = rest.replace(`resolve/${COMMIT}/`, '');
    const next = faults.findIndex((fault) => fault.file === file);
    const [fault] = next < 0 ? [] : faults.splice(next, 1);
    if (fault?.kind === 'status') return refuse(response, fault.status, fault.code);
    const content = model.forged?.[file] ?? model.files[file];
    if (content === undefined) return refuse(response, 404, 'EntryNotFound');
    send(request, response, content, fault);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function refuse(response: ServerResponse, status: number, code?: string): void {
  response.writeHead(status, code === undefined ? {} : { 'x-error-code': code }).end();
}

function list(response: ServerResponse, { files, large, sizes = {}, listing }: HubModel): void {
  if (listing === 'endless') sendWithoutEnd(response);
  if (listing === 'endless' || listing === 'silent') return;
  const siblings = Object.entries(files).map(([rfilename, content]) => {
    const git = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
    const lfs = {
      sha256: createHash('sha256').update(content).digest('hex'),
      size: sizes[rfilename] ?? content.length,
      pointerSize: 134,
    };
    return {
      rfilename,
      size: sizes[rfilename] ?? content.length,
      blobId: git,
      ...(large.includes(rfilename) && { lfs }),
    };
  });
  const told = listing === 'thrice' ? [siblings, siblings, siblings].flat() : siblings;
  response.end(JSON.stringify({ id: 'x', sha: COMMIT, siblings: told }));
}

function send(request: IncomingMessage, response: ServerResponse, content: Uint8Array, fault: Fault | undefined): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const beginsAnew = fault?.kind === 'ignore-range' || (fault?.kind === 'drop' && fault.anew);
  const start = beginsAnew ? 0 : from;
  const status = start > 0 ? 206 : 200;
  response.writeHead(status, { 'content-length': content.length - start });
  switch (fault?.kind) {
    case 'drop':
      response.write(content.subarray(start, start + fault.after), () => setImmediate(() => response.destroy()));
      break;
    case 'stall':
      response.write(content.subarray(start, start + fault.after));
      break;
    default:
      response.end(content.subarray(start));
  }
}

function sendWithoutEnd(response: ServerResponse): void {
  const block = Buffer.alloc(1 << 20, ' ');
  const send = () => {
    while (!response.destroyed && response.write(block));
  };
  response.on('drain', send);
  send();
}
