/** onnxruntime-genai (Python) loads our folders and generates what our own session does. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { bench, convert } from '../../src/index.ts';
import { root, temporaryFolder } from '../temporary.ts';
import { genai, hasPython, python } from './consumers.ts';
import { COUNT, convertSavedAnew, encode, KINDS, makeFolders, OTHER_PROMPT, PROMPT } from './folders.ts';
import { expectSame, greedy, TOLERANCE } from './greedy.ts';

const parent = temporaryFolder();
const folderOf = (name: string) => join(parent, name);

describe.runIf(hasPython)('onnxruntime-genai', { timeout: 120_000 }, () => {
  beforeAll(() => makeFolders(parent), 120_000);

  it.each(KINDS)('$name: the same logits and tokens', async ({ name, tolerance }) => {
    const folder = folderOf(name);
    const ours = await greedy(folder, await encode(folder, PROMPT), COUNT);
    expectSame(await genai({ folder, kind: 'ids', promptIds: ours.promptIds, count: COUNT }), ours, tolerance);
  });

  it.each(KINDS)('$name: the same tokens in each row of a batch, whatever its length', async ({ name, tolerance }) => {
    const folder = folderOf(name);
    const prompts = [PROMPT, OTHER_PROMPT];
    const { tokens } = await genai({ folder, kind: 'batch', prompts, count: 16 });
    for (const [row, prompt] of prompts.entries()) {
      const ours = await greedy(folder, await encode(folder, prompt), 16);
      expectSame({ tokens: tokens[row] }, ours, tolerance);
    }
  });

  it('writes the same text, and the same chat prompt, whichever Transformers saved the tokenizer', async () => {
    await convertSavedAnew(folderOf('saved-anew'));
    for (const folder of ['fp32', 'saved-anew'].map(folderOf)) {
      const tokenizer = await loadTokenizer(folder);
      const { promptIds, tokens, text } = await genai({ folder, kind: 'text', prompt: PROMPT, count: COUNT });
      expect(promptIds).toEqual(tokenizer.encode(PROMPT));
      expect(text).toBe(tokenizer.decode(tokens));
      const messages = [{ role: 'user', content: 'What is a database?' }];
      expect((await genai({ folder, kind: 'chat', messages })).text).toBe(
        tokenizer.chat(messages, { addGenerationPrompt: true }),
      );
    }
  });

  it('is timed by bench --peers', async () => {
    const counts = { promptTokens: 16, rounds: 1, stepsPerBlock: 8, threads: 1 };
    const data = [join(root, 'texts/test.txt')];
    const { peers } = await bench({ folder: folderOf('fp32'), data, peers: { python }, ...counts });
    expect(peers).toEqual([
      expect.objectContaining({ name: 'onnxruntime-genai', version: expect.stringMatching(/^\d/) }),
    ]);
    for (const peer of peers ?? []) {
      if ('failure' in peer) throw new Error(peer.failure);
      const figures = [peer.decodeTokensPerSecond.p10, peer.speedup.p10];
      expect(figures.every((figure) => figure > 0 && figure < Infinity)).toBe(true);
    }
  });

  // The fault is its own: folders of its own builder differ as much. When the first part fails, docs/consumers.md can lose it.
  it('loses the last token of a turn, unless it is fed again', async () => {
    const folder = folderOf('fp32');
    const [promptIds, nextIds] = [await encode(folder, PROMPT), await encode(folder, OTHER_PROMPT)];
    const job = { folder, kind: 'turns', promptIds, nextIds, count: 4 };
    const { first, second } = await genai({ ...job, feedLast: true });
    const ours = await greedy(folder, [...promptIds, ...first, ...nextIds], 4);
    expectSame({ tokens: second }, ours, TOLERANCE.fp32);
    expect((await genai({ ...job, feedLast: false })).second).not.toEqual(second);
  });

  it.each([
    'llama-variants/wide-heads',
    'llama-variants/mistral-window',
    'llama-variants/rope-llama3',
    'gemma-variants/gemma-legacy-gelu',
    'gemma-variants/gemma2-softcap',
    'gemma-variants/gemma3-pattern',
    'gemma-variants/gemma3-multimodal',
  ])('%s: the same logits', async (variant) => {
    const folder = folderOf(variant.replace('/', '-'));
    await convert({ checkpoint: join(root, 'fixtures', variant), output: folder });
    // Beyond the windows of those that have one (8 tokens).
    const promptIds = Array.from({ length: 20 }, (_, at) => 3 + ((at * 7) % 89));
    const ours = await greedy(folder, promptIds, 8);
    expectSame(await genai({ folder, kind: 'ids', promptIds, count: 8 }), ours, TOLERANCE.fp32);
  });
});
