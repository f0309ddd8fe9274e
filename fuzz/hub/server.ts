/** A local server in place of the Hub. It answers, wrongly if told to. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Random } from '../harness/random.ts';
import { mutateBytes } from '../inputs/bytes.ts';
import { mutateJson } from '../inputs/json.ts';

export type Content = ReadonlyMap<string, Uint8Array>;

/** The way of giving one answer. The correct one is `honest`. */
type Answer = (request: IncomingMessage, response: ServerResponse, content: Uint8Array) => void;

/** What a server does in one case: the way of giving the listing and each file. */
export interface Behaviour {
  readonly listing: { readonly name: string; readonly answer: Answer };
  readonly files: { readonly name: string; readonly answer: Answer };
  readonly list: (entries: Listing) => Uint8Array;
}

export interface Listing {
  readonly sha: string;
  readonly siblings: readonly object[];
}

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** Serves `content` in the way of `behaviour()`. Returns the address. */
export async function startServer(content: Content, behaviour: () => Behaviour): Promise<string> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://hub').pathname);
    const now = behaviour();
    if (path.startsWith('/api/')) return now.listing.answer(request, response, now.list(listingOf(content)));
    const file = content.get(path.replace(/^.*\/resolve\/[0-9a-f]*\//, ''));
    if (file === undefined) response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    else now.files.answer(request, response, file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function listingOf(content: Content): Listing {
  const siblings = [...content].map(([rfilename, bytes]) => {
    const blobId = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
    const lfs = { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
    return { rfilename, size: bytes.length, blobId, ...(rfilename.endsWith('.safetensors') && { lfs }) };
  });
  return { sha: COMMIT, siblings };
}

/** Sends all of it, or the requested range. */
const honest: Answer = (request, response, content) => {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': content.length - start }).end(content.subarray(start));
};

/** Sends blocks until nobody listens. */
function endless(response: ServerResponse, block: Uint8Array): void {
  const more = () => {
    while (!response.destroyed && response.write(block));
  };
  response.on('drain', more);
  more();
}

const BLOCK = new Uint8Array(1 << 16).fill(0x20);

function status(code: number): Answer {
  return (_, response) => response.writeHead(code).end('no');
}

/** Wrong the first time, then right. */
function once(wrong: Answer): Answer {
  let isFirst = true;
  return (...args) => {
    (isFirst ? wrong : honest)(...args);
    isFirst = false;
  };
}

const truncated: Answer = (_, response, content) => {
  response.writeHead(200, { 'content-length': content.length });
  response.write(content.subarray(0, content.length >> 1), () => setImmediate(() => response.destroy()));
};

const ANSWERS: Readonly<Record<string, (random: Random) => Answer>> = {
  honest: () => honest,
  'endless body': () => (_, response) => endless(response.writeHead(200), BLOCK),
  'no answer': () => () => {},
  'stalled body': () => (_, response, content) => {
    response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, content.length >> 1));
  },
  'truncated body': () => truncated,
  'truncated once': () => once(truncated),
  'ended early': () => (_, response, content) => response.writeHead(200).end(content.subarray(0, content.length >> 1)),
  'one byte too many': () => (_, response, content) => response.writeHead(200).end(Buffer.concat([content, BLOCK])),
  'empty body': () => (_, response) => response.writeHead(200).end(),
  'other bytes': (random) => (_, response, content) => response.writeHead(200).end(mutateBytes(content, random)),
  'range ignored': () => (_, response, content) => response.writeHead(200).end(content),
  'other range': () => (_, response, content) =>
    response.writeHead(206, { 'content-range': 'bytes 0-0/1' }).end(content.subarray(1)),
  'zipped bomb': () => (_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(new Uint8Array(64 << 20))),
  'redirect to itself': () => (request, response) => response.writeHead(302, { location: request.url }).end(),
  'redirects without end': () => (request, response) =>
    response.writeHead(302, { location: `${request.url}${request.url?.includes('?') ? '' : '?'}x` }).end(),
  'redirect elsewhere': () => (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
  'hostile error': () => (_, response) =>
    response.writeHead(400, 'x'.repeat(9000), { 'x-error-code': 'RepoNotFound' }).end('\u001b[2J'.repeat(10_000)),
  '401': () => status(401),
  '404': () => status(404),
  '429': () => status(429),
  '500': () => status(500),
  '500 once': () => once(status(500)),
  'broken connection': () => (request) => request.socket.destroy(),
};

const NAMES = [
  '../../../../escaped',
  '/tmp/escaped',
  '..\\..\\escaped',
  'config.json',
  'a/../../../../../escaped',
  '',
  'x'.repeat(5000),
  'a\0b',
  '\u001b[2J',
];
const SIZES = [0, -1, 1, 0.5, 2 ** 31, 2 ** 53, 1e308];

const LISTINGS: readonly ((random: Random, listing: Listing) => string)[] = [
  (random, listing) => mutateJson(JSON.stringify(listing), random) ?? '',
  (random, listing) => mutateJson(JSON.stringify(listing), random) ?? '',
  (random, listing) => withSome(random, listing, () => ({ rfilename: random.pick(NAMES) })),
  (random, listing) => withSome(random, listing, () => ({ size: random.pick(SIZES) })),
  (random, listing) => withSome(random, listing, () => ({ lfs: { sha256: '0'.repeat(64), size: 9 } })),
  (_, { siblings, ...rest }) =>
    JSON.stringify({ ...rest, siblings: Array.from({ length: 20_000 }, () => siblings).flat() }),
  () => '[',
  () => '['.repeat(1_000_000),
  () => `{"sha":"${'a'.repeat(80 << 20)}"}`,
  () => '\ud800',
];

/** The listing with a change of some of its files. */
function withSome(random: Random, { siblings, ...rest }: Listing, change: () => object): string {
  const some = siblings.map((one) => {
    const changed = { ...one, ...change() };
    return random.chance(0.5) ? changed : one;
  });
  return JSON.stringify({ ...rest, siblings: some });
}

/** A Hub that is wrong in one or two ways. */
export function chooseBehaviour(random: Random): Behaviour {
  const answer = (isWrong: boolean) => {
    const name = isWrong ? random.pick(Object.keys(ANSWERS)) : 'honest';
    return { name, answer: ANSWERS[name](random) };
  };
  const where = random.int(3);
  const list = random.pick(LISTINGS);
  return {
    listing: answer(where === 0),
    files: answer(where !== 0),
    list: (listing) => Buffer.from(where === 2 ? list(random, listing) : JSON.stringify(listing)),
  };
}
