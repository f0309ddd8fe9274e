/** Gemma-3-270M in fp32 against Transformers' numbers (fixtures/real/expected, made by fixtures/real/expect.py). */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Session } from '../../src/core/session.ts';
import { evaluate } from '../../src/index.ts';
import { generateRows, openSession } from '../../src/runtime/index.ts';
import { converted } from './converted.ts';
import { largestDifference, longPromptLogits, promptLogits, readExpected } from './expected.ts';
import { gemma, hasGemma, THREADS, testText } from './real-model.ts';

const expected = readExpected('gemma-3-270m');

/**
 * Largest absolute difference over largest absolute logit. 18 layers of float32 sums of up to 2048 terms, rounded in
 * another order than PyTorch's; its own two ways of attention differ by 1.7e-6. Ten times that is far from any fault:
 * an embedding scale rounded to bfloat16 makes 2.7e-3.
 */
const RELATIVE = 2e-5;

describe.runIf(hasGemma)('Gemma-3-270M in fp32', { timeout: 600_000 }, () => {
  let dense: string;
  let session: Session;

  beforeAll(async () => {
    dense = await converted(gemma, 'fp32');
    session = await openSession(dense, { threads: THREADS });
  }, 120_000);

  afterAll(() => session.close());

  it('encodes as the original tokenizer does', async () => {
    const tokenizer = await loadTokenizer(gemma);
    expect(tokenizer.encode('The capital of France is')).toEqual(expected.greedy.prompt_ids);
    expect(tokenizer.encode(readFileSync(testText, 'utf8')).slice(0, 512)).toEqual(expected.prompt_ids);
  });

  it.each([512, 64, 1])('gives the logits of Transformers, fed %i tokens at a time', async (chunk) => {
    const largest = await largestDifference(session, await promptLogits('gemma-3-270m'), chunk);
    console.log(`chunks of ${chunk}: ${(largest / expected.logits_absmax).toExponential(2)} relative`);
    expect(largest / expected.logits_absmax).toBeLessThanOrEqual(RELATIVE);
  });

  it.each([700, 100, 1])('keeps to its window of 512 in a longer prompt, fed %i tokens at a time', async (chunk) => {
    const largest = await largestDifference(session, await longPromptLogits('gemma-3-270m'), chunk);
    console.log(
      `beyond the window, chunks of ${chunk}: ${(largest / expected.logits_absmax).toExponential(2)} relative`,
    );
    expect(largest / expected.logits_absmax).toBeLessThanOrEqual(RELATIVE);
  });

  it.each(['greedy', 'greedy_long'] as const)('continues greedily with the same 64 tokens: %s', async (which) => {
    const { prompt_ids: prompt, tokens } = expected[which];
    const generated: number[] = [];
    for await (const { token } of generateRows(session, [prompt], { maxTokens: tokens.length, eosTokenIds: [] }))
      generated.push(token);
    expect(generated).toEqual(tokens);
  });

  it('has the perplexity of Transformers to one part in 10,000', async () => {
    const { scored_tokens: tokens, value, windows } = expected.perplexity;
    const { perplexity } = await evaluate({ folder: dense, data: [testText], tokens, threads: THREADS });
    expect(perplexity?.windows).toBe(windows);
    console.log(`perplexity: ${perplexity?.perplexity}, and ${value} in Transformers`);
    expect(Math.abs((perplexity?.perplexity ?? 0) / value - 1)).toBeLessThan(1e-4);
  });

  it('is as good in fp16, whose largest number its residual stream would exceed', async () => {
    const { modes } = await evaluate({
      folder: await converted(gemma, 'fp16'),
      against: dense,
      data: [testText],
      tokens: 500,
      modes: ['all'],
      threads: THREADS,
    });
    expect(modes[0].perplexityRatio.value).toBeGreaterThan(0.99);
    expect(modes[0].perplexityRatio.value).toBeLessThan(1.01);
  });
});
