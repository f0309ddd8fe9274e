/** In Chromium: onnxruntime-web (WebAssembly) computes what onnxruntime-node does; transformers.js finds all it needs. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convert, run } from '../../src/index.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';
import { type Browser, openBrowser } from './browser.ts';
import { hasChromium } from './consumers.ts';
import { COUNT, encode, KINDS, makeFolders, PROMPT } from './folders.ts';
import { expectSame, greedy } from './greedy.ts';

const parent = temporaryFolder();

/** What the build of onnxruntime-web that can do WebGPU, which transformers.js always takes, cannot run on the CPU. */
const MISSING: Readonly<Record<string, string>> = {
  bf16: 'Cast',
  int8: 'GatherBlockQuantized',
  int4: 'GatherBlockQuantized',
};

describe.runIf(hasChromium)('in a browser', { timeout: 120_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    await makeFolders(parent);
    browser = await openBrowser(parent);
  }, 180_000);
  afterAll(() => browser.close());

  it.each(KINDS)('onnxruntime-web, $name: the same logits and tokens', async ({ name, tolerance }) => {
    const folder = join(parent, name);
    const ours = await greedy(folder, await encode(folder, PROMPT), COUNT);
    const theirs = await browser.generate<{ readonly tokens: number[]; readonly logits: number[][] }>(
      'onnxruntime-web.js',
      `/folders/${name}`,
      ours.promptIds,
      COUNT,
    );
    expect(theirs.logits).toHaveLength(COUNT);
    expectSame(theirs, ours, tolerance);
  });

  const inTransformersJs = (name: string, count = COUNT) =>
    browser.generate<string>('transformers-js.js', name, PROMPT, count);

  it.each(KINDS.filter(({ name }) => MISSING[name] === undefined))(
    'transformers.js, $name: the same text',
    async (kind) => {
      const before = browser.requests.length;
      const text = await inTransformersJs(kind.name);
      expect(text).toBe(
        (await run({ folder: join(parent, kind.name), prompt: PROMPT, maxTokens: COUNT, threads: 1, engine: 'stock' }))
          .text,
      );
      // Only what config.json names: the precision, and that there is external data.
      const asked = browser.requests.slice(before).filter((path) => path.includes('/onnx/'));
      expect(new Set(asked)).toEqual(
        new Set(['model.onnx', 'model.onnx_data'].map((file) => `/folders/${kind.name}/onnx/${file}`)),
      );
    },
  );

  it.each(['int8', 'int4'] as const)(
    'transformers.js, %s with a vocabulary of floats: the same text',
    async (dtype) => {
      const folder = join(parent, `${dtype}-floats`);
      await convert({ checkpoint: tinyLlama, output: folder, dtype, vocabulary: 'fp32' });
      // Fewer than elsewhere: activations that are rounded otherwise part texts sooner or later.
      const text = await inTransformersJs(`${dtype}-floats`, 12);
      expect(text).toBe((await run({ folder, prompt: PROMPT, maxTokens: 12, threads: 1, engine: 'stock' })).text);
    },
  );

  // Other builds have these kernels. When one of these fails it was mended, and docs/consumers.md can say so.
  it.each(Object.entries(MISSING))('transformers.js, %s: no kernel in WebAssembly: %s', async (name, operator) => {
    await expect(inTransformersJs(name)).rejects.toThrow(`Could not find an implementation for ${operator}`);
  });
});
