/** SmolLM2-135M in fp32 against Transformers' numbers (fixtures/real/expected, made by fixtures/real/expect.py). */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Session } from '../../src/core/session.ts';
import { evaluate } from '../../src/index.ts';
import { generateRows, openSession } from '../../src/runtime/index.ts';
import { converted } from './converted.ts';
import { largestDifference, promptLogits, readExpected } from './expected.ts';
import { hasSmollm2, smollm2, THREADS, testText } from './real-model.ts';

const expected = readExpected('smollm2-135m');

/**
 * Largest absolute difference over largest absolute logit. 30 layers of float32 sums of up to 1536 terms, rounded in
 * another order than PyTorch's: good exporters measure 3e-6 to 4e-6; five times that is still far from any real fault.
 */
const RELATIVE = 2e-5;

describe.runIf(hasSmollm2)('SmolLM2-135M in fp32', { timeout: 600_000 }, () => {
  let dense: string;
  let session: Session;

  beforeAll(async () => {
    dense = await converted(smollm2, 'fp32');
    session = await openSession(dense, { threads: THREADS });
  }, 120_000);

  afterAll(() => session.close());

  it('encodes as the original tokenizer does', async () => {
    const tokenizer = await loadTokenizer(smollm2);
    expect(tokenizer.encode('The capital of France is')).toEqual([504, 3575, 282, 4649, 314]);
    expect(tokenizer.encode(readFileSync(testText, 'utf8'), { addSpecialTokens: false }).slice(0, 512)).toEqual(
      expected.prompt_ids,
    );
  });

  it.each([512, 64, 1])('gives the logits of Transformers, fed %i tokens at a time', async (chunk) => {
    const largest = await largestDifference(session, await promptLogits('smollm2-135m'), chunk);
    console.log(`chunks of ${chunk}: ${(largest / expected.logits_absmax).toExponential(2)} relative`);
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
});
