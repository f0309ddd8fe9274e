/** Models by name, from a local server that imitates the Hub and breaks connections. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import type { HubOptions } from '../core/hub.ts';
import type { JobOptions } from '../core/progress.ts';
import { fetchCheckpoint, parseHubReference } from './index.ts';
import { type HubDouble, startHubDouble } from './testing/server.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');
const read = (path: string) => readFileSync(join(fixtures, path));

const config = read('llama-variants/mistral-sharded/config.json');
const sharded = Object.fromEntries(
  readdirSync(join(fixtures, 'llama-variants/mistral-sharded'))
    // What tests know of a variant is no file of a repository.
    .filter((name) => !['expected.safetensors', 'variant.json'].includes(name))
    .map((name) => [name, read(`llama-variants/mistral-sharded/${name}`)]),
);
const shards = Object.keys(sharded).filter((name) => name.endsWith('.safetensors'));
const whole = read('llama-variants/attention-bias/model.safetensors');
const gguf = read('gguf/attention-bias.gguf');

const one = {
  'config.json': read('llama-variants/attention-bias/config.json'),
  'model.safetensors': whole,
  'pytorch_model.bin': Buffer.from('pickle'),
  'onnx/model.onnx': Buffer.from('other'),
  'README.md': Buffer.from('text'),
};
const large = ['model.safetensors', ...shards, 'a-Q4_K_M.gguf', 'a-Q8_0.gguf'];

const MODELS = {
  'org/one': { files: one, large },
  'org/thrice': { files: one, large, listing: 'thrice' },
  'org/sharded': { files: sharded, large },
  'org/gguf': { files: { 'a-Q8_0.gguf': gguf }, large },
  'org/ggufs': { files: { 'a-Q4_K_M.gguf': Buffer.from('other'), 'a-Q8_0.gguf': gguf }, large },
  'org/pickle': { files: { 'config.json': config, 'pytorch_model.bin': Buffer.from('pickle') }, large },
  'org/gated': { files: one, large, needsToken: 'secret' },
  'org/forged': { files: one, large, forged: { 'model.safetensors': Buffer.alloc(whole.length) } },
  'org/forged-config': { files: one, large, forged: { 'config.json': Buffer.alloc(one['config.json'].length) } },
  'org/endless': { files: one, large, listing: 'endless' },
  'org/silent': { files: one, large, listing: 'silent' },
  'org/large-config': { files: one, large, sizes: { 'config.json': 2 ** 40 } },
  'org/large-index': { files: sharded, large, sizes: { 'model.safetensors.index.json': 2 ** 40 } },
  'org/half': { files: { ...sharded, [shards[0]]: undefined as never }, large },
} as const;
const SILENT_MS = 200;

Reflect.deleteProperty(MODELS['org/half'].files, shards[0]);

let server: HubDouble;
let cacheFolder: string;
beforeEach(async () => {
  server = await startHubDouble(MODELS);
  cacheFolder = await mkdtemp(join(tmpdir(), 'lacuna-hub-'));
});
afterEach(async () => {
  await server.close();
  await rm(cacheFolder, { recursive: true });
});

async function fetched(name: string, options: Partial<HubOptions> = {}, job: JobOptions = {}): Promise<string> {
  const reference = parseHubReference(name);
  if (reference === undefined) throw new Error(`${name} is no reference`);
  return fetchCheckpoint(reference, { endpoint: server.endpoint, cacheFolder, retryDelayMs: 1, ...options }, job);
}

const asked = () =>
  server.requests
    .filter(({ path }) => path.includes('/resolve/'))
    .map(({ path, range }) => [path.split('/').pop(), range]);

test.each([
  ['org/name', { id: 'org/name', revision: 'main', gguf: undefined }],
  ['org/name@v1.0', { id: 'org/name', revision: 'v1.0', gguf: undefined }],
  ['org/name@refs/pr/1:Q4_K_M', { id: 'org/name', revision: 'refs/pr/1', gguf: 'Q4_K_M' }],
  ['name', undefined],
  ['./org/name', undefined],
  ['/org/name', undefined],
  ['../name', undefined],
  ['org/..', undefined],
  ['org/name@../x', undefined],
  ['org/name@a//b', undefined],
  ['org/name/more', undefined],
  ['org\\name', undefined],
])('the name %s', (text, reference) => {
  expect(parseHubReference(text)).toEqual(reference);
});

describe('a model', () => {
  test('in one file: what is needed comes, nothing else; and only once', async () => {
    const folder = await fetched('org/one');
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
    expect((await openCheckpoint(folder)).tensors.size).toBeGreaterThan(10);
    const before = asked().length;
    expect(await fetched('org/one@v1.0')).toBe(folder);
    expect(asked().length).toBe(before);
  });

  test('whose files are listed several times: each is fetched once', async () => {
    await fetched('org/thrice');
    expect(asked().map(([name]) => name)).toEqual(['config.json', 'model.safetensors']);
  });

  test('in shards: those that the index names', async () => {
    const checkpoint = await openCheckpoint(await fetched('org/sharded'));
    const local = await openCheckpoint(join(fixtures, 'llama-variants/mistral-sharded'));
    expect(checkpoint.fingerprint).toBe(local.fingerprint);
    expect(shards.length).toBeGreaterThan(1);
  });

  test('as the only GGUF file, or the one that is named', async () => {
    expect(await fetched('org/gguf')).toMatch(/a-Q8_0\.gguf$/);
    const path = await fetched('org/ggufs:q8_0');
    expect((await openCheckpoint(path)).config.model_type).toBe('llama');
    await expect(fetched('org/ggufs')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('a-Q4_K_M.gguf, a-Q8_0.gguf'),
      hint: expect.stringContaining('org/ggufs:a-Q4_K_M'),
    });
    await expect(fetched('org/ggufs:Q5')).rejects.toMatchObject({ code: 'usage', message: /no GGUF file named like/ });
  });

  test('tells how far it is, in bytes', async () => {
    let [total, done] = [0, 0];
    const progress = {
      stage: (_: string, bytes: number) => {
        total += bytes;
        return { advance: (count: number) => (done += count), done: () => {} };
      },
      note: () => {},
    };
    await fetched('org/sharded', {}, { progress });
    const bytes = Object.values(sharded).reduce((sum, { length }) => sum + length, 0);
    expect([total, done]).toEqual([bytes, bytes]);
  });
});

describe('a connection that breaks', () => {
  test('in the middle of a file goes on from there, at once', async () => {
    server.faults.push({ kind: 'drop', file: 'model.safetensors', after: 10_000 });
    server.faults.push({ kind: 'drop', file: 'model.safetensors', after: 20_000 });
    const folder = await fetched('org/one');
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
    expect(asked().slice(1)).toEqual([
      ['model.safetensors', undefined],
      ['model.safetensors', 'bytes=10000-'],
      ['model.safetensors', 'bytes=30000-'],
    ]);
  });

  test('for good leaves what came, and the next run goes on from it', async () => {
    const drop = { kind: 'drop', file: 'model.safetensors' } as const;
    server.faults.push({ ...drop, after: 30_000 }, ...Array.from({ length: 5 }, () => ({ ...drop, after: 0 })));
    await expect(fetched('org/one')).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining('Cannot download model.safetensors of org/one'),
      hint: expect.stringContaining('continues where it was'),
    });
    const [folder] = foldersIn(cacheFolder);
    expect(statSync(join(folder, 'model.safetensors.part')).size).toBe(30_000);
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(false);
    server.faults.length = 0;
    expect(await fetched('org/one')).toBe(folder);
    expect(asked().at(-1)).toEqual(['model.safetensors', 'bytes=30000-']);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  test('and comes back without ranges begins anew', async () => {
    server.faults.push({ kind: 'drop', file: 'model.safetensors', after: 5000 });
    server.faults.push({ kind: 'ignore-range', file: 'model.safetensors' });
    const folder = await fetched('org/one');
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
  });

  test('each time at the same place, and begins anew each time, is given up', async () => {
    for (let i = 0; i < 20; i++)
      server.faults.push({ kind: 'drop', file: 'model.safetensors', after: 10_000, anew: true });
    await expect(fetched('org/one')).rejects.toMatchObject({ code: 'io' });
    expect(asked().slice(1).length).toBe(5);
  });

  test('before anything was cached says so; after that, the copy is used', async () => {
    const folder = await fetched('org/one');
    await server.close();
    const notes: string[] = [];
    const progress = { stage: () => ({ advance: () => {}, done: () => {} }), note: (text: string) => notes.push(text) };
    expect(await fetched('org/one', {}, { progress })).toBe(folder);
    expect(notes.join()).toContain('cannot be reached');
    await expect(fetched('org/sharded')).rejects.toMatchObject({ code: 'io', message: /cannot be reached/ });
  });

  test('without breaking, as nothing comes any more: goes on from there', async () => {
    server.faults.push({ kind: 'stall', file: 'model.safetensors', after: 10_000 });
    const folder = await fetched('org/one', { stallMs: SILENT_MS });
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
    expect(asked().slice(1)).toEqual([
      ['model.safetensors', undefined],
      ['model.safetensors', 'bytes=10000-'],
    ]);
  });

  test('so for good ends, and leaves what came', async () => {
    const stall = { kind: 'stall', file: 'model.safetensors' } as const;
    server.faults.push({ ...stall, after: 30_000 }, ...Array.from({ length: 5 }, () => ({ ...stall, after: 0 })));
    await expect(fetched('org/one', { stallMs: SILENT_MS })).rejects.toMatchObject({
      code: 'io',
      message: `Cannot download model.safetensors of org/one: ${server.endpoint} sent nothing for 0.2 s`,
    });
    expect(statSync(join(foldersIn(cacheFolder)[0], 'model.safetensors.part')).size).toBe(30_000);
  });

  test('before the list of files comes', async () => {
    await expect(fetched('org/silent', { stallMs: SILENT_MS })).rejects.toMatchObject({
      code: 'io',
      message: `Cannot look up org/silent: ${server.endpoint} sent nothing for 0.2 s`,
    });
    expect(server.requests.length).toBe(5);
  });

  test('with 503 is tried again', async () => {
    server.faults.push({ kind: 'status', file: 'config.json', status: 503 });
    await fetched('org/one');
    expect(asked().filter(([name]) => name === 'config.json').length).toBe(2);
  });

  test('by the user stops at once and keeps what came', async () => {
    server.faults.push({ kind: 'drop', file: 'model.safetensors', after: 10_000 });
    const stop = new AbortController();
    let bytes = 0;
    const advance = (count: number) => {
      bytes += count;
      if (bytes > 5000) stop.abort();
    };
    const progress = { stage: () => ({ advance, done: () => {} }), note: () => {} };
    await expect(fetched('org/one', {}, { progress, signal: stop.signal })).rejects.toMatchObject({
      code: 'interrupted',
    });
    expect(statSync(join(foldersIn(cacheFolder)[0], 'model.safetensors.part')).size).toBeGreaterThan(0);
  });
});

function foldersIn(cache: string): string[] {
  const models = readdirSync(join(cache, 'hub')).map((name) => join(cache, 'hub', name));
  return models.flatMap((model) =>
    readdirSync(model, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(model, name)),
  );
}

describe('refused', () => {
  test.each([
    ['org/nothing', 'not-found', /no folder org\/nothing here and no model .*, or it is private/],
    ['org/one@v2', 'not-found', /has no revision "v2"/],
    ['org/pickle', 'not-found', /neither model.safetensors nor .* nor a GGUF file/],
    ['org/gated', 'io', /is gated/],
    ['org/half', 'not-found', new RegExp(`lacks files that its model.safetensors.index.json names: ${shards[0]}`)],
  ])('%s', async (name, code, message) => {
    await expect(fetched(name)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await expect(fetched(name)).rejects.toHaveProperty('hint', expect.stringMatching(/./));
  });

  test('a token opens what is gated, and is sent to nobody else', async () => {
    await expect(fetched('org/gated', { token: 'wrong' })).rejects.toMatchObject({ code: 'io', message: /gated/ });
    expect(await fetched('org/gated', { token: 'secret' })).toContain('org--gated');
    expect(new Set(server.requests.map(({ token }) => token))).toEqual(new Set(['Bearer wrong', 'Bearer secret']));
  });

  test.each(['org/forged', 'org/forged-config'])('content with another hash: %s', async (name) => {
    await expect(fetched(name)).rejects.toMatchObject({ code: 'bad-file', message: /came with the hash/ });
    expect(
      foldersIn(cacheFolder)
        .flatMap((folder) => readdirSync(folder))
        .filter((file) => file.endsWith('.part')),
    ).toEqual([]);
  });

  test('a damaged part is found out, and the next run downloads it anew', async () => {
    const folder = await fetched('org/one');
    await rm(join(folder, 'model.safetensors'));
    writeFileSync(join(folder, 'model.safetensors.part'), Buffer.alloc(4000, 1));
    await expect(fetched('org/one')).rejects.toMatchObject({ code: 'bad-file' });
    expect(await fetched('org/one')).toBe(folder);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
  });

  test('a list of files without end, at its limit', async () => {
    const before = process.memoryUsage().rss;
    await expect(fetched('org/endless')).rejects.toMatchObject({
      code: 'bad-file',
      message: expect.stringMatching(/sends a list of more than 67108864 bytes/),
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(512 << 20);
    expect(server.requests.length).toBe(1);
  });

  test.each([
    ['org/large-config', 'config.json', 256 << 20],
    ['org/large-index', 'model.safetensors.index.json', 100_000_000],
  ])('a small file that is large, before it is downloaded: %s', async (name, file, limit) => {
    await expect(fetched(name)).rejects.toMatchObject({
      code: 'bad-file',
      message: `${file} of ${name} has ${2 ** 40} bytes; the limit is ${limit}`,
    });
    expect(asked()).toEqual([]);
  });

  test.each([
    ['org/nothing', {}, 1],
    ['org/gated', { token: 'wrong' }, 1],
    ['org/one', { endpoint: 'nothing:at all' }, 0],
  ])('without trying again what cannot succeed: %s %j', async (name, options, requests) => {
    const started = performance.now();
    await expect(fetched(name, { ...options, retryDelayMs: 60_000 })).rejects.toHaveProperty('code');
    expect(server.requests.length).toBe(requests);
    // Less than the pause before a second attempt.
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  test('a second process, while one downloads into the same folder', async () => {
    server.faults.push({ kind: 'stall', file: 'model.safetensors', after: 10_000 });
    const first = fetched('org/one', { stallMs: 1000 });
    await expect.poll(() => asked().length).toBe(2);
    await expect(fetched('org/one')).rejects.toMatchObject({ code: 'exists', message: /is at work in/ });
    const folder = await first;
    expect(await fetched('org/one')).toBe(folder);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
  });

  test('an endpoint that is no Hub', async () => {
    await expect(fetched('org/one', { endpoint: `${server.endpoint}/elsewhere` })).rejects.toMatchObject({
      code: 'not-found',
    });
  });
});
