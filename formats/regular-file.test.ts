/** Things in place of a file cost neither memory nor time. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { platform } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder, tinyLlama } from '../test/temporary.ts';
import { openCheckpoint } from './checkpoint.ts';
import { readGguf } from './gguf/read.ts';
import { readJsonObject } from './json-file.ts';
import { readOnnx } from './onnx/index.ts';
import { readPlan } from './plan.ts';
import { readBounded } from './regular-file.ts';
import { readSafetensors } from './safetensors/index.ts';
import { openModelFiles, readSmallText } from './small-files.ts';
import { readStatistics } from './statistics.ts';
import { readTextFile } from './texts/index.ts';
import { loadTokenizer } from './tokenizer/index.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

test('a file of just the limit is read; one of a byte more is refused', async () => {
  writeFileSync(at('four'), 'four');
  expect((await readBounded(at('four'), 4)).toString()).toBe('four');
  await expect(readBounded(at('four'), 3)).rejects.toMatchObject({
    code: 'bad-file',
    message: `${at('four')} has 4 bytes; the limit is 3, far above any real one`,
  });
});

test('an empty file, and a link to a file', async () => {
  writeFileSync(at('empty'), '');
  writeFileSync(at('target'), 'text');
  symlinkSync(at('target'), at('link'));
  expect((await readBounded(at('empty'), 4)).length).toBe(0);
  expect((await readBounded(at('link'), 4)).toString()).toBe('text');
});

test('a size is looked at before anything is read', async () => {
  writeFileSync(at('huge'), '');
  // It has no blocks on the disk. Reading it would take minutes and all memory.
  truncateSync(at('huge'), 2 ** 40);
  await expect(readBounded(at('huge'), 1000)).rejects.toMatchObject({ code: 'bad-file' });
});

describe.runIf(platform() === 'linux')('on Linux', () => {
  test('a file that does not tell its size is read up to the limit', async () => {
    // The kernel says that it has 0 bytes.
    expect((await readBounded('/proc/self/stat', 10_000)).toString()).toMatch(/^\d+ \(/);
    await expect(readBounded('/proc/self/stat', 3)).rejects.toMatchObject({ message: /more than 3 bytes/ });
  });

  const pipe = (path: string) => execFileSync('mkfifo', [path]);
  const others: [string, (path: string) => void, RegExp][] = [
    ['an endless device', (path) => symlinkSync('/dev/zero', path), /is a device, not a regular file/],
    ['a pipe without a writer', pipe, /is a pipe, not a regular file/],
    ['a folder', (path) => mkdirSync(path), /is a folder, not a regular file/],
  ];

  /** Readers of small files, by the file's name. Each gets the path of what is in its place. */
  const readers: [string, (path: string) => Promise<unknown>][] = [
    ['any.json', (path) => readJsonObject(path, 1000)],
    ['text.txt', readTextFile],
    ['plan.json', readPlan],
    ['statistics.json', readStatistics],
    ['model.onnx', readOnnx],
    ['model.gguf', (path) => readGguf(path)],
    ['model.safetensors', (path) => readSafetensors(path)],
    ['config.json', () => openCheckpoint(folder)],
    ['generation_config.json', () => openCheckpoint(folder)],
    ['tokenizer.json', () => loadTokenizer(folder)],
    ['tokenizer_config.json', () => loadTokenizer(folder)],
    ['chat_template.jinja', async () => readSmallText(await openModelFiles(folder), 'chat_template.jinja', 1000)],
  ];

  const cases = others.flatMap(([what, put, message]) =>
    readers.map(([name, read]) => ({ what, name, put, read, message })),
  );

  test.each(cases)(
    '$what as $name is refused at once',
    async ({ name, put, read, message }) => {
      cpSync(tinyLlama, folder, { recursive: true });
      rmSync(at(name), { force: true });
      put(at(name));
      try {
        await expect(read(at(name))).rejects.toMatchObject({
          code: 'bad-file',
          message: expect.stringMatching(message),
        });
      } finally {
        rmSync(at(name), { recursive: true });
      }
    },
    5000,
  );

  test('a socket is refused', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
    await expect(readBounded(at('socket'), 10)).rejects.toMatchObject({ name: 'LacunaError' });
    server.close();
  });
});

describe('JSON of many levels', () => {
  /** `levels` objects in all. */
  const nested = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
  const limit = 100;

  test('is read up to the limit', async () => {
    writeFileSync(at('deep.json'), nested(limit));
    await readJsonObject(at('deep.json'), 1000);
    writeFileSync(at('deep.json'), nested(limit + 1));
    await expect(readJsonObject(at('deep.json'), 1000)).rejects.toMatchObject({
      code: 'bad-file',
      message: `${at('deep.json')} nests objects and arrays deeper than 100 levels`,
    });
  });

  test.each([
    ['brackets in a string', JSON.stringify({ a: '['.repeat(500) })],
    ['behind a quote in a string', JSON.stringify({ a: `"${'{'.repeat(500)}\\` })],
    ['one after the other', JSON.stringify({ a: Array.from({ length: 500 }, () => [{}]) })],
  ])('is not: %s', async (_, text) => {
    writeFileSync(at('flat.json'), text);
    await readJsonObject(at('flat.json'), 10_000);
  });

  test('in the header of a safetensors file', async () => {
    const header = Buffer.from(nested(20_000));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(at('deep.safetensors'), Buffer.concat([length, header]));
    await expect(readSafetensors(at('deep.safetensors'))).rejects.toMatchObject({
      code: 'bad-file',
      message: /deeper/,
    });
  });

  test('in a line of JSONL', async () => {
    const message = `{"role": "user", "content": "text", "more": ${nested(20_000)}}`;
    writeFileSync(at('deep.jsonl'), `{"text": "fine"}\n{"messages": [${message}]}\n`);
    await expect(readTextFile(at('deep.jsonl'))).rejects.toMatchObject({
      code: 'bad-file',
      message: `${at('deep.jsonl')}:2 nests objects and arrays deeper than 100 levels`,
    });
  });

  test.each(['plan.json', 'statistics.json'])('as %s', async (name) => {
    writeFileSync(at(name), nested(20_000));
    const read = name === 'plan.json' ? readPlan : readStatistics;
    await expect(read(at(name))).rejects.toMatchObject({ code: 'bad-file', message: /deeper than 100 levels/ });
  });
});
