import { describe, expect, it } from 'vitest';
import type { Session } from '../core/session.ts';
import { judge, limitsOf, NO_ROWS, type PromptLogits, type RowTally, tallyPrompt } from './verify.ts';

const VOCAB = 4;

/** Logits that show which token was at which position. */
const rowAt = (position: number, token: number) => [position, token, 0.5, -position];

/** A model that gives `rowAt`, changed by `change`, and records how it was fed. */
function fakeSession(change: (row: number[], position: number) => number[] = (row) => row) {
  const calls: number[] = [];
  const session: Session = {
    extraOutputs: [],
    emptyCache: () => ({ length: 0, tensors: {} }),
    async step(tokens, cache, { logits = 'last' } = {}) {
      calls.push(tokens.length);
      const all = Array.from(tokens, (token, index) => {
        const position = cache.length + index;
        return change(rowAt(position, token), position);
      });
      const rows = logits === 'all' ? all : all.slice(-1);
      const next = { length: cache.length + tokens.length, tensors: {} };
      return { logits: Float32Array.from(rows.flat()), rows: rows.length, vocab: VOCAB, cache: next, extras: {} };
    },
    close: async () => {},
  };
  return { session, calls };
}

/** 300 tokens, three of which are compared, and two decoded after them. */
const ids = Array.from({ length: 300 }, (_, index) => index % 3);
const positions = [0, 256, 299];
const prompt: PromptLogits = {
  name: 'p',
  ids,
  positions,
  prefill: Float32Array.from(positions.flatMap((position) => rowAt(position, ids[position]))),
  tokens: [2, 1],
  decode: Float32Array.from([...rowAt(300, 2), ...rowAt(301, 1)]),
};

describe('tallyPrompt', () => {
  it('compares positions across chunks, then feeds the tokens of the reference one by one', async () => {
    const { session, calls } = fakeSession();
    const { prefill, decode } = await tallyPrompt(session, prompt);
    expect(calls).toEqual([256, 44, 1, 1]);
    expect(prefill).toEqual({ rows: 3, difference: 0, largest: 299, kl: 0, agreed: 3, lead: 0 });
    expect(decode).toEqual({ rows: 2, difference: 0, largest: 301, kl: 0, agreed: 2, lead: 0 });
  });

  it('finds the largest difference where it is, and what it costs in tokens', async () => {
    // At position 256 the first logit falls from 256 to 0, below the third, 0.5. The third then leads by 256 - 0.5 too
    // much.
    const { session } = fakeSession((row, position) => (position === 256 ? [0, 0, 0.5, -256] : row));
    const { prefill, decode } = await tallyPrompt(session, prompt);
    expect(prefill).toMatchObject({ rows: 3, difference: 256, agreed: 2, lead: 255.5 });
    // All of the reference's mass is on the first token, which now has e^0 of e^0 + e^0 + e^0.5: KL = ln(2 + e^0.5).
    expect(prefill.kl).toBeCloseTo(Math.log(2 + Math.exp(0.5)), 5);
    expect(decode.difference).toBe(0);
  });

  it.each([
    ['prefill', 299, /NaN at position 299 of the prompt "p"/],
    ['decoding', 301, /NaN at token 2 after the prompt "p"/],
  ])('refuses NaN in %s by its place', async (_, where, message) => {
    const { session } = fakeSession((row, position) => (position === where ? [0, Number.NaN, 0, 0] : row));
    await expect(tallyPrompt(session, prompt)).rejects.toThrow(message);
  });

  it('refuses another vocabulary', async () => {
    const { session } = fakeSession();
    const wider = { ...prompt, prefill: new Float32Array(3 * 5) };
    await expect(tallyPrompt(session, wider)).rejects.toThrow(/vocabulary of 4, .* one of 5/);
  });

  it('stops when told to', async () => {
    const { session } = fakeSession();
    await expect(tallyPrompt(session, prompt, AbortSignal.abort())).rejects.toThrow('Stopped.');
  });
});

describe('judge', () => {
  const tally = (changes: Partial<RowTally>): RowTally => ({
    ...NO_ROWS,
    rows: 10,
    largest: 10,
    agreed: 10,
    ...changes,
  });
  const fp32 = limitsOf('fp32', false);

  it('passes what is within the limits, with figures of both parts and of all', () => {
    const { passed, all, prefill } = judge({ prefill: tally({ difference: 1e-4, kl: 2 }), decode: tally({}) }, fp32);
    expect(passed).toBe(true);
    expect(prefill).toEqual({ rows: 10, relativeDifference: 1e-5, meanKl: 0.2, top1Agreement: 1 });
    expect(all).toEqual({ rows: 20, relativeDifference: 1e-5, meanKl: 0.1, top1Agreement: 1 });
  });

  it('names every limit that is broken', () => {
    const decode = tally({ difference: 1, kl: 30, agreed: 2, lead: 3 });
    const { passed, failures } = judge({ prefill: NO_ROWS, decode }, limitsOf('fp16', false));
    expect(passed).toBe(false);
    expect(failures).toEqual([
      'Logits differ by 0.10 of the largest, more than 0.010.',
      'The mean KL divergence is 3.0 nats, more than 0.00010.',
      'The likeliest token is the same at 20.0 % of the rows, fewer than 90.0 %.',
    ]);
  });

  it('takes two tokens that the limit does not tell apart for a tie, and no others', () => {
    // 2 * 2e-5 * 10 = 4e-4: both logits together may be off by this much.
    const lead = (by: number) => judge({ prefill: NO_ROWS, decode: tally({ agreed: 9, lead: by }) }, fp32).passed;
    expect([lead(3.9e-4), lead(4.1e-4)]).toEqual([true, false]);
  });

  it('wants bf16 to be exact where the checkpoint is', () => {
    expect(limitsOf('bf16', true)).toEqual(fp32);
    expect(limitsOf('bf16', false).relativeDifference).toBeGreaterThan(1e-3);
  });

  it('lets no figure pass that is not a number', () => {
    expect(judge({ prefill: NO_ROWS, decode: tally({ difference: Number.NaN }) }, fp32).passed).toBe(false);
  });
});
