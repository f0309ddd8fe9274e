/** optimum's ORTModelForCausalLM loads our folders and generates what our own session does, where it can feed the cache. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { convert } from '../../src/index.ts';
import { root, temporaryFolder } from '../temporary.ts';
import { hasPython, optimum } from './consumers.ts';
import { COUNT, convertSavedAnew, encode, KINDS, makeFolders, PROMPT } from './folders.ts';
import { expectSame, greedy, TOLERANCE } from './greedy.ts';

const parent = temporaryFolder();

/** Its empty cache has the heads and widths that it takes for these architectures', not those that the graph names. */
const NOT_FED = [
  ['llama-variants/wide-heads', 'index: 3 Got: 16 Expected: 24'],
  ['llama-variants/mistral-window', 'index: 3 Got: 12 Expected: 16'],
  ['gemma-variants/gemma2-softcap', 'index: 1 Got: 4 Expected: 2'],
] as const;

const FED = ['gemma-variants/gemma-legacy-gelu', 'gemma-variants/gemma3-narrow-heads', 'llama-variants/gqa-tied-bf16'];

const promptIds = Array.from({ length: 20 }, (_, at) => 3 + ((at * 7) % 89));

describe.runIf(hasPython)('optimum', () => {
  let answers: ReadonlyMap<string, Awaited<ReturnType<typeof optimum>>[number]>;
  const answerOf = (name: string) => answers.get(name) ?? expect.fail(`no answer to ${name}`);

  beforeAll(async () => {
    await makeFolders(parent);
    await convertSavedAnew(join(parent, 'saved-anew'));
    const variants = [...FED, ...NOT_FED.map(([variant]) => variant)];
    for (const variant of variants)
      await convert({ checkpoint: join(root, 'fixtures', variant), output: join(parent, variant) });
    const names = [...KINDS.map(({ name }) => name), 'saved-anew'];
    const jobs = [
      ...names.map((name) => ({ name, prompt: PROMPT, count: COUNT })),
      ...variants.map((name) => ({ name, prompt: promptIds, count: 8 })),
    ];
    const given = await optimum(jobs.map(({ name, prompt, count }) => ({ folder: join(parent, name), prompt, count })));
    answers = new Map(jobs.map(({ name }, at) => [name, given[at]]));
  }, 300_000);

  it.each([...KINDS, { name: 'saved-anew', tolerance: TOLERANCE.fp32 }])(
    '$name: the same tokens',
    async ({ name, tolerance }) => {
      const folder = join(parent, name);
      const ours = await greedy(folder, await encode(folder, PROMPT), COUNT);
      const answer = answerOf(name);
      expect(answer.error).toBeUndefined();
      expect(answer.promptIds).toEqual(ours.promptIds);
      expectSame(answer, ours, tolerance);
    },
  );

  it.each(FED)('%s: the same tokens', async (variant) => {
    expect(answerOf(variant).error).toBeUndefined();
    expectSame(answerOf(variant), await greedy(join(parent, variant), promptIds, 8), TOLERANCE.fp32);
  });

  // Its faults: when one of these fails, it was mended, and docs/consumers.md can say so.
  it.each(NOT_FED)('%s: cannot be fed: %s', (variant, problem) => {
    expect(answerOf(variant).error).toContain('Got invalid dimensions for input: past_key_values');
    expect(answerOf(variant).error).toContain(problem);
  });
});
