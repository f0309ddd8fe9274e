import { describe, expect, it } from 'vitest';
import type { Session } from '../core/session.ts';
import { type GenerateOptions, generateRows, type StopReason } from './generate.ts';

/** After token n comes n + 1 of 1000. `fed` records the sizes of the calls. */
function counting(): { session: Session; fed: number[]; tokens: number[] } {
  const fed: number[] = [];
  const tokens: number[] = [];
  const session: Session = {
    extraOutputs: [],
    emptyCache: () => ({ length: 0, tensors: {} }),
    async step(chunk, cache) {
      expect(cache.length).toBe(tokens.length);
      fed.push(chunk.length);
      tokens.push(...Array.from(chunk));
      const logits = new Float32Array(1000);
      logits[tokens[tokens.length - 1] + 1] = 1;
      return { logits, rows: 1, vocab: 1000, cache: { length: tokens.length, tensors: {} }, extras: {} };
    },
    close: async () => {},
  };
  return { session, fed, tokens };
}

async function collect(session: Session, prompt: number[], options: Partial<GenerateOptions>) {
  const made: number[] = [];
  const running = generateRows(session, [prompt], { maxTokens: 5, eosTokenIds: [], ...options });
  let next = await running.next();
  for (; !next.done; next = await running.next()) made.push(next.value.token);
  const [reason] = next.value satisfies readonly StopReason[];
  return { made, reason };
}

describe('generateRows', () => {
  it('stops after the tokens asked for, and feeds none that nobody reads', async () => {
    const { session, fed } = counting();
    expect(await collect(session, [4, 5], {})).toEqual({ made: [6, 7, 8, 9, 10], reason: 'length' });
    expect(fed).toEqual([2, 1, 1, 1, 1]);
    expect(await collect(counting().session, [1], { maxTokens: 0 })).toEqual({ made: [], reason: 'length' });
  });

  it('stops at an end token and keeps it back', async () => {
    expect(await collect(counting().session, [4], { eosTokenIds: [99, 7] })).toEqual({ made: [5, 6], reason: 'eos' });
  });

  it('stops when the context is full', async () => {
    // Three tokens of context: 1, 2 and the fed 3. The 4 that follows is the last that can be known.
    expect(await collect(counting().session, [1, 2], { contextLength: 3 })).toEqual({
      made: [3, 4],
      reason: 'context',
    });
  });

  it('reads a long prompt in even chunks of at most 512', async () => {
    const { session, fed, tokens } = counting();
    const prompt = Array.from({ length: 1100 }, (_, index) => index % 900);
    expect((await collect(session, prompt, { maxTokens: 1 })).made).toEqual([200]);
    expect(fed).toEqual([367, 367, 366]);
    expect(tokens).toEqual(prompt);
  });

  it('refuses an empty prompt and one beyond the context', async () => {
    await expect(collect(counting().session, [], {})).rejects.toMatchObject({ code: 'usage' });
    await expect(collect(counting().session, [1, 2, 3, 4], { contextLength: 3 })).rejects.toMatchObject({
      code: 'usage',
      message: "Expected a prompt of at most 3 tokens, the model's context, but it has 4",
    });
  });

  it('stops where it is when aborted', async () => {
    const { session, fed } = counting();
    const controller = new AbortController();
    const made: number[] = [];
    const reading = (async () => {
      const options = { maxTokens: 9, eosTokenIds: [], signal: controller.signal };
      for await (const { token } of generateRows(session, [[1]], options)) {
        made.push(token);
        if (token === 3) controller.abort();
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
    expect(made).toEqual([2, 3]);
    expect(fed).toEqual([1, 1]);
  });
});
