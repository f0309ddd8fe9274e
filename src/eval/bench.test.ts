import { describe, expect, it } from 'vitest';
import type { Session } from '../core/session.ts';
import { bench, spread } from './bench.ts';

/** A machine whose clock moves only when a model works: `cost` milliseconds a token at a cache of that length. */
function machine() {
  let time = 0;
  const calls: string[] = [];
  const model = (name: string, cost: (past: number, at: number) => number): Session => ({
    extraOutputs: [],
    emptyCache: () => ({ length: 0, tensors: {} }),
    async step(tokens, cache) {
      calls.push(`${name}${cache.length}+${tokens.length}:${tokens[0]}`);
      time += tokens.length * cost(cache.length, time);
      return {
        logits: new Float32Array(1),
        rows: 1,
        vocab: 1,
        cache: { length: cache.length + tokens.length, tensors: {} },
        extras: {},
      };
    },
    close: async () => {},
  });
  return { now: () => time, calls, model };
}

const TOKENS = Array.from({ length: 100 }, (_, index) => index);
const SMALL = { promptTokens: 4, rounds: 2, stepsPerBlock: 2 };

describe('bench', () => {
  it('reports rates and the ratio of two models', async () => {
    const { now, model } = machine();
    const a = {
      name: 'dense',
      session: model('a', (past) => (past === 0 ? 1 : 10)),
      ffnBytesPerToken: 100,
      weightBytesPerToken: 500,
    };
    const b = { name: 'sparse', session: model('b', (past) => (past === 0 ? 2 : 4)) };
    const flat = (value: number) => ({ median: value, p10: value, p90: value });
    const unknown = { ffnBytesPerToken: null, weightBytesPerToken: null, bandwidthShare: null };
    const known = { ffnBytesPerToken: 100, weightBytesPerToken: 500, bandwidthShare: 0.25 };
    expect(await bench([a, b], TOKENS, { ...SMALL, now, threads: 2, memoryBandwidth: 200_000 })).toEqual({
      ...SMALL,
      threads: 2,
      memoryBandwidth: 200_000,
      subjects: [
        { name: 'dense', decodeTokensPerSecond: flat(100), prefillTokensPerSecond: flat(1000), ...known },
        { name: 'sparse', decodeTokensPerSecond: flat(250), prefillTokensPerSecond: flat(500), ...unknown },
      ],
      speedup: flat(2.5),
      prefillSpeedup: flat(0.5),
    });
  });

  it('alternates blocks a b b a over the same tokens, and goes on from round to round', async () => {
    const { now, model, calls } = machine();
    const subjects = [
      { name: 'a', session: model('a', () => 1) },
      { name: 'b', session: model('b', () => 1) },
    ] as const;
    await bench(subjects, TOKENS, { ...SMALL, now });
    const reads = ['a0+4:0', 'b0+4:0', 'b0+4:0', 'a0+4:0'];
    expect(calls.slice(0, 16)).toEqual([...reads, ...reads, ...reads, ...reads]);
    const round = (from: number) =>
      ['a', 'b', 'b', 'a'].flatMap((name) => [`${name}${from}+1:${from}`, `${name}${from + 1}+1:${from + 1}`]);
    expect(calls.slice(16)).toEqual([...round(4), ...round(6), ...round(8)]);
  });

  it('is not misled by a machine that slows down steadily', async () => {
    const { now, model } = machine();
    // Speed falls with time itself; timing all of a first would make b look slower.
    const cost = (_: number, at: number) => 1 + at / 1000;
    const subjects = [
      { name: 'a', session: model('a', cost) },
      { name: 'b', session: model('b', cost) },
    ] as const;
    const { speedup } = await bench(subjects, TOKENS, { ...SMALL, now });
    // Cost grows by a factor of 1.001 a token: a has tokens 1 2 7 8 of a round, b has 3 4 5 6, so sums differ in second order.
    const g = 1.001;
    expect(speedup?.median).toBeCloseTo((1 + g + g ** 6 + g ** 7) / (g ** 2 + g ** 3 + g ** 4 + g ** 5), 12);
    expect(Math.abs((speedup?.median ?? 0) - 1)).toBeLessThan(1e-5);
  });

  it('times one model alone', async () => {
    const { now, model, calls } = machine();
    const result = await bench([{ name: 'a', session: model('a', () => 2) }], TOKENS, { ...SMALL, now });
    expect(result.subjects[0].decodeTokensPerSecond.median).toBe(500);
    expect(result).toMatchObject({ speedup: null, prefillSpeedup: null, threads: null });
    expect(calls).toHaveLength(8 + 3 * 2 * 2);
  });

  it('refuses a text too short for its rounds, and counts of 0', async () => {
    const { now, model } = machine();
    const subject = [{ name: 'a', session: model('a', () => 1) }] as const;
    // 4 of the prompt, 2 rounds and one that is not counted, 2 tokens each
    await expect(bench(subject, TOKENS.slice(0, 9), { ...SMALL, now })).rejects.toMatchObject({
      code: 'usage',
      message: 'Expected a text of at least 10 tokens for the benchmark, but it has 9',
    });
    await expect(bench(subject, TOKENS.slice(0, 10), { ...SMALL, now })).resolves.toBeDefined();
    await expect(bench(subject, TOKENS, { ...SMALL, rounds: 0, now })).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('spread', () => {
  it('is linear between neighbours', () => {
    expect(spread([3, 1, 2])).toEqual({ median: 2, p10: 1.2, p90: 2.8 });
    expect(spread([5])).toEqual({ median: 5, p10: 5, p90: 5 });
  });
});
