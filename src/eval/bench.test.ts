import { describe, expect, it } from 'vitest';
import type { Session } from '../core/session.ts';
import { type BenchSubject, bench, meanCachedTokens, type OpenSubject, spread } from './bench.ts';

/**
 * What a token takes in milliseconds, for a length of the cache, a time of the clock, and the number of the session's
 * model.
 */
type Cost = (past: number, at: number, opening: number) => number;

/** A machine whose clock moves only when a model works. */
function machine() {
  let time = 0;
  const calls: string[] = [];
  const model = (name: string, cost: Cost, known: Partial<BenchSubject> = {}): OpenSubject => {
    let openings = 0;
    return async () => {
      const opening = openings++;
      calls.push(`open ${name}`);
      const session: Session = {
        extraOutputs: [],
        emptyCache: () => ({ length: 0, tensors: {} }),
        async step(tokens, cache) {
          calls.push(`${name}${cache.length}+${tokens.length}:${tokens[0]}`);
          time += tokens.length * cost(cache.length, time, opening);
          return {
            logits: new Float32Array(1),
            rows: 1,
            vocab: 1,
            cache: { length: cache.length + tokens.length, tensors: {} },
            extras: {},
          };
        },
        close: async () => void calls.push(`close ${name}`),
      };
      return { name, session, ...known };
    };
  };
  return { now: () => time, calls, model };
}

const TOKENS = Array.from({ length: 100 }, (_, index) => index);
const SMALL = { promptTokens: 4, repeats: 1, rounds: 2, stepsPerBlock: 2 };

describe('bench', () => {
  it('reports rates and the ratio of two models', async () => {
    const { now, model } = machine();
    const bytes = { ffnBytesPerToken: 100, weightBytesPerToken: 500 };
    const unexpected = { expectedTokensPerSecond: null, expectedError: null };
    const dense = model('dense', (past) => (past === 0 ? 1 : 10), { engine: 'stock', ...bytes });
    const sparse = model('sparse', (past) => (past === 0 ? 2 : 4));
    const flat = (value: number) => ({ median: value, p10: value, p90: value });
    const unbounded = { lowerBound: null, upperBound: null };
    const unknown = {
      engine: null,
      ffnBytesPerToken: null,
      weightBytesPerToken: null,
      bandwidthShare: null,
      ...unexpected,
    };
    const known = { engine: 'stock', ...bytes, bandwidthShare: 0.25, ...unexpected };
    expect(await bench([dense, sparse], TOKENS, { ...SMALL, now, threads: 2, memoryBandwidth: 200_000 })).toEqual({
      ...SMALL,
      threads: 2,
      memoryBandwidth: 200_000,
      subjects: [
        { name: 'dense', decodeTokensPerSecond: flat(100), prefillTokensPerSecond: flat(1000), ...known },
        { name: 'sparse', decodeTokensPerSecond: flat(250), prefillTokensPerSecond: flat(500), ...unknown },
      ],
      speedup: { ...flat(2.5), ...unbounded },
      prefillSpeedup: { ...flat(0.5), ...unbounded },
      expectedSpeedup: null,
    });
  });

  it('says how far the expected times are off', async () => {
    const { now, model } = machine();
    // 10 ms and 4 ms.
    const dense = model('dense', (past) => (past === 0 ? 1 : 10), { expectedStep: 12.5e-3 });
    const sparse = model('sparse', (past) => (past === 0 ? 2 : 4), { expectedStep: 3e-3 });
    const { subjects, expectedSpeedup } = await bench([dense, sparse], TOKENS, { ...SMALL, now });
    expect(subjects.map((subject) => subject.expectedTokensPerSecond)).toEqual([80, expect.closeTo(1000 / 3, 9)]);
    expect(subjects.map((subject) => subject.expectedError)).toEqual([0.25, expect.closeTo(-0.25, 12)]);
    expect(expectedSpeedup).toBeCloseTo(12.5 / 3, 12);
  });

  it('counts tokens in the cache from the second block on, as it times them', () => {
    // The two timed blocks of two tokens begin at 6 and end at 10.
    expect(meanCachedTokens(SMALL)).toBe(8);
  });

  it('warms up with a block each, alternates blocks a b b a over the same tokens, and goes on from round to round', async () => {
    const { now, model, calls } = machine();
    await bench([model('a', () => 1), model('b', () => 1)], TOKENS, { ...SMALL, now });
    const decode = (from: number, order: readonly string[]) =>
      order.flatMap((name) => [`${name}${from}+1:${from}`, `${name}${from + 1}+1:${from + 1}`]);
    expect(calls).toEqual([
      ...['open a', 'open b'],
      ...['a0+4:0', 'b0+4:0'],
      ...['a0+4:0', 'b0+4:0', 'b0+4:0', 'a0+4:0'],
      ...decode(4, ['a', 'b']),
      ...decode(6, ['a', 'b', 'b', 'a']),
      ...decode(8, ['a', 'b', 'b', 'a']),
      ...['close a', 'close b'],
    ]);
  });

  it('opens sessions anew for each repeat, beginning with the other, when those of the last are closed', async () => {
    const { now, model, calls } = machine();
    await bench([model('a', () => 1), model('b', () => 1)], TOKENS, { ...SMALL, repeats: 3, now });
    const closed = ['close a', 'close b'];
    expect(calls.filter((call) => /^open|^close/.test(call))).toEqual([
      ...['open a', 'open b', ...closed],
      ...['open b', 'open a', ...closed],
      ...['open a', 'open b', ...closed],
    ]);
    // All read and decode the same tokens.
    const fed = calls.filter((call) => !/^open|^close/.test(call));
    expect(fed).toHaveLength(3 * (6 + 2 * 2 + 2 * 8));
    expect(fed.slice(0, 26)).toEqual(fed.slice(26, 52));
  });

  it('has what opening changes in its median and its spread', async () => {
    const { now, model } = machine();
    const lucky = [1, 1.25, 0.8, 1, 1.25];
    const subjects = [model('a', () => 1), model('b', (_past, _at, opening) => lucky[opening])] as const;
    const once = await bench(subjects, TOKENS, { ...SMALL, now, repeats: 1, rounds: 10 });
    // Ten rounds of one opening say nothing of the next.
    expect(once.speedup).toEqual({ median: 1, p10: 1, p90: 1, lowerBound: null, upperBound: null });
    const again = [model('a', () => 1), model('b', (_past, _at, opening) => lucky[opening])] as const;
    const { repeats, rounds, speedup, prefillSpeedup } = await bench(again, TOKENS, { ...SMALL, now, repeats: 5 });
    expect([repeats, rounds]).toEqual([5, 2]);
    // Ratios 0.8 0.8 0.8 0.8 1 1 1 1 1.25 1.25. Their deciles lie at places 0.9 and 8.1. Of prompts, one of each.
    expect(speedup).toMatchObject({ median: 1, p10: expect.closeTo(0.8), p90: expect.closeTo(1.25) });
    // 0.8 0.8 1 1 1.25 at places 0.4 and 3.6
    expect(prefillSpeedup).toMatchObject({ median: 1, p10: expect.closeTo(0.8), p90: expect.closeTo(1 + 0.6 * 0.25) });
    // Logarithms 0, -l, l, 0, -l with l = ln 1.25: mean -l / 5, variance (14 / 5) l^2 / 4; t of 4 degrees is 2.1318.
    const [centre, margin] = [-Math.log(1.25) / 5, 2.1318 * Math.log(1.25) * Math.sqrt(14 / 5 / 4 / 5)];
    for (const { lowerBound, upperBound } of [speedup, prefillSpeedup].filter((one) => one !== null)) {
      expect(lowerBound).toBeCloseTo(Math.exp(centre - margin), 3);
      expect(upperBound).toBeCloseTo(Math.exp(centre + margin), 3);
    }
  });

  it('is not misled by a machine that slows down steadily', async () => {
    const { now, model } = machine();
    // Speed falls with time itself. Timing all of a first would make b look slower.
    const cost = (_: number, at: number) => 1 + at / 1000;
    const { speedup } = await bench([model('a', cost), model('b', cost)], TOKENS, { ...SMALL, now });
    // Cost grows by a factor of 1.001 a token. a has tokens 1 2 7 8 of a round and b has 3 4 5 6, so sums differ in
    // second order.
    const g = 1.001;
    expect(speedup?.median).toBeCloseTo((1 + g + g ** 6 + g ** 7) / (g ** 2 + g ** 3 + g ** 4 + g ** 5), 12);
    expect(Math.abs((speedup?.median ?? 0) - 1)).toBeLessThan(1e-5);
  });

  it('times one model alone', async () => {
    const { now, model, calls } = machine();
    const result = await bench([model('a', () => 2)], TOKENS, { ...SMALL, now });
    expect(result.subjects[0].decodeTokensPerSecond.median).toBe(500);
    expect(result).toMatchObject({ speedup: null, prefillSpeedup: null, threads: null });
    // Opened; a prompt and two tokens; a block of two and two rounds of two blocks; closed.
    expect(calls).toHaveLength(1 + 3 + 2 + 2 * 2 * 2 + 1);
  });

  it('closes what it opened when one cannot be opened or fails, and when it is stopped', async () => {
    const broken = new Error('broken');
    const failing = () => {
      throw broken;
    };
    const { now, model, calls } = machine();
    const good = model('a', () => 1);
    await expect(bench([good, async () => failing()], TOKENS, { ...SMALL, now })).rejects.toBe(broken);
    expect(calls).toEqual(['open a', 'close a']);
    await expect(bench([good, model('b', failing)], TOKENS, { ...SMALL, now })).rejects.toBe(broken);
    expect(calls.slice(-2)).toEqual(['close a', 'close b']);

    const stop = new AbortController();
    const stopping = model('c', (past) => {
      if (past > 0) stop.abort();
      return 1;
    });
    await expect(bench([good, stopping], TOKENS, { ...SMALL, now, signal: stop.signal })).rejects.toMatchObject({
      code: 'interrupted',
    });
    // After the block in which it was stopped.
    expect(calls.slice(-4)).toEqual(['c4+1:4', 'c5+1:5', 'close a', 'close c']);
  });

  it('repeats until it is sure which is faster, by more than a bound of 95 %', async () => {
    const repeatsOf = async (scatter: readonly number[], gain: number, options = {}) => {
      const { now, model } = machine();
      const subjects = [
        model('a', () => 1),
        model('b', (_past, _at, opening) => scatter[opening % scatter.length] / gain),
      ] as const;
      const { repeats, speedup } = await bench(subjects, TOKENS, { ...SMALL, repeats: undefined, now, ...options });
      return { repeats, isSure: (speedup?.lowerBound ?? 0) > 1 };
    };
    const wide = [0.8, 1, 1.25];
    expect(await repeatsOf(wide, 1.3)).toEqual({ repeats: 5, isSure: true });
    expect(await repeatsOf([1], 1.3, { untilSure: 1e3 })).toEqual({ repeats: 8, isSure: true });
    expect(await repeatsOf([1], 1 / 1.3, { untilSure: 1e3 })).toEqual({ repeats: 8, isSure: false });
    // Deviations l, 0, -l with l = ln 1.25, so the deviation is l sqrt(2 / 3 n / (n - 1)). Of ln 1.13 = 0.122, a bound of 99.9 %
    // wants n above (3.5 x 0.19 / 0.122)^2, about 28; one of 95 % about 7.
    const { repeats, isSure } = await repeatsOf(wide, 1.13, { untilSure: 1e3 });
    expect(isSure).toBe(true);
    expect(repeats).toBeGreaterThan(22);
    expect(repeats).toBeLessThan(34);
    expect(await repeatsOf(wide, 1, { untilSure: 1e3 })).toEqual({ repeats: 50, isSure: false });
    expect(await repeatsOf(wide, 1, { untilSure: 1e3, repeats: 12 })).toMatchObject({ repeats: 12 });
    // A repeat takes some 24 ms for each model: it ends with the one in which time is up.
    expect(await repeatsOf(wide, 1, { untilSure: 0.1 })).toMatchObject({ repeats: 3 });
  });

  it('refuses a text too short for its rounds before it opens anything', async () => {
    const { now, model, calls } = machine();
    const subject = [model('a', () => 1)] as const;
    // 4 of the prompt; 2 rounds and one that does not count, 2 tokens each
    await expect(bench(subject, TOKENS.slice(0, 9), { ...SMALL, now })).rejects.toMatchObject({
      code: 'usage',
      message: 'Expected a text of at least 10 tokens for the benchmark, but it has 9',
    });
    expect(calls).toEqual([]);
    await expect(bench(subject, TOKENS.slice(0, 10), { ...SMALL, now })).resolves.toBeDefined();
  });
});

describe('spread', () => {
  it('is linear between neighbours', () => {
    expect(spread([3, 1, 2])).toEqual({ median: 2, p10: 1.2, p90: 2.8 });
    expect(spread([5])).toEqual({ median: 5, p10: 5, p90: 5 });
  });
});
