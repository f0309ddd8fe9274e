/** transformers.js in Node loads our folders from local files and writes what our own session does. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { convert, run } from '../../src/index.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';
import { textGeneration, transformersJs } from './consumers.ts';
import { COUNT, convertSavedAnew, KINDS, makeFolders, OTHER_PROMPT, PROMPT } from './folders.ts';

const parent = temporaryFolder();
const folderOf = (name: string) => join(parent, name);

describe('transformers.js in Node', { timeout: 60_000 }, () => {
  beforeAll(() => makeFolders(parent), 120_000);

  // The same onnxruntime-node, so that even what lies within rounding comes out the same.
  it.each(KINDS)('$name: the same text', async ({ name }) => {
    const folder = folderOf(name);
    for (const prompt of [PROMPT, OTHER_PROMPT])
      expect(await transformersJs(folder, prompt, COUNT)).toBe(
        (await run({ folder, prompt, maxTokens: COUNT, threads: 1, engine: 'stock' })).text,
      );
  });

  it('the same answer in a chat, whichever Transformers saved the tokenizer', async () => {
    await convertSavedAnew(folderOf('saved-anew'));
    const prompt = 'What is a database?';
    for (const folder of ['fp32', 'saved-anew'].map(folderOf)) {
      const generator = await textGeneration(folder);
      const messages = [{ role: 'user', content: prompt }];
      const [answer] = await generator(messages, { max_new_tokens: COUNT, do_sample: false });
      await generator.dispose();
      const ours = await run({ folder, prompt, maxTokens: COUNT, chat: true, threads: 1, engine: 'stock' });
      expect(ours.text).not.toBe('');
      expect(answer.generated_text.at(-1)).toEqual({ role: 'assistant', content: ours.text });
    }
  });

  it('opens each precision of a folder by its dtype', async () => {
    const folder = folderOf('several');
    await convert({ checkpoint: tinyLlama, output: folder, dtype: ['fp32', 'int8', 'int4'] });
    for (const [dtype, named] of [
      ['int8', 'int8'],
      ['q4', 'int4'],
    ] as const) {
      const generator = await textGeneration(folder, { dtype });
      const [answer] = await generator(PROMPT, { max_new_tokens: COUNT, do_sample: false, return_full_text: false });
      await generator.dispose();
      const ours = await run({ folder, dtype: named, prompt: PROMPT, maxTokens: COUNT, threads: 1, engine: 'stock' });
      expect(answer.generated_text).toBe(ours.text);
    }
  });

  it('the same text in each row of a batch of equal lengths', async () => {
    const folder = folderOf('skip-and-select');
    const tokenizer = await loadTokenizer(folder);
    const prompts = [PROMPT, OTHER_PROMPT].map((prompt) => tokenizer.decode(tokenizer.encode(prompt).slice(0, 8)));
    expect(prompts.map((prompt) => tokenizer.encode(prompt).length)).toEqual([8, 8]);
    const generator = await textGeneration(folder);
    const answers = await generator(prompts, { max_new_tokens: 16, do_sample: false, return_full_text: false });
    await generator.dispose();
    const ours = await Promise.all(
      prompts.map((prompt) => run({ folder, prompt, maxTokens: 16, threads: 1, engine: 'stock' })),
    );
    expect(answers.map(([{ generated_text: text }]) => text)).toEqual(ours.map(({ text }) => text));
  });
});
