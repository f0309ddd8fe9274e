import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../formats/onnx/index.ts';
import { openBytes } from '../../test/open-bytes.ts';
import { type Toy, toyDecoder, toyLogits } from '../../test/toy-decoder.ts';
import type { Session } from '../core/session.ts';
import { type CompareOptions, type Comparison, compare } from './compare.ts';
import { measurePerplexity } from './perplexity.ts';
import { countStep, measureRealised, mergeCounts, realisedSparsity } from './realised-sparsity.ts';

/** P(next | token) by rows. */
const logs = (rows: readonly (readonly number[])[]) => rows.map((row) => row.map(Math.log));
const DENSE: Toy = {
  table: logs([
    [1 / 2, 1 / 2],
    [3 / 4, 1 / 4],
  ]),
};
const SPARSE: Toy = {
  table: logs([
    [1 / 4, 3 / 4],
    [3 / 4, 1 / 4],
  ]),
  counts: true,
};
const FFN = { numHiddenLayers: 1, intermediateSize: 4 };

/** Logits are rounded to float32 once (2^-24 relative, of at most log 4), and once more after an addition. */
const ROUNDING = 2 ** -22;

async function withSessions<T>(toys: readonly Toy[], use: (...sessions: Session[]) => Promise<T>): Promise<T> {
  const sessions = await Promise.all(toys.map(async (toy) => openBytes(await encodeModel(toyDecoder(toy)))));
  try {
    return await use(...sessions);
  } finally {
    for (const session of sessions) await session.close();
  }
}

function expectClose(actual: number, expected: number): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(ROUNDING * Math.max(1, Math.abs(expected)));
}

describe('measurePerplexity', () => {
  it('is the perplexity worked out by hand', async () => {
    // 0 1 1 0: P(1|0) P(1|1) P(0|1) = 1/2 1/4 3/4; 1 0 0 1: P(0|1) P(0|0) P(1|0) = 3/4 1/2 1/2
    const result = await withSessions([DENSE], (dense) =>
      measurePerplexity(dense, [
        [0, 1, 1, 0],
        [1, 0, 0, 1],
      ]),
    );
    const meanNll = -Math.log((1 / 2) * (1 / 4) * (3 / 4) * (3 / 4) * (1 / 2) * (1 / 2)) / 6;
    expect(result).toMatchObject({ windows: 2, windowLength: 4, scoredTokens: 6 });
    expectClose(result.meanNll, meanNll);
    expectClose(result.perplexity, Math.exp(meanNll));
  });

  it('starts each window with an empty cache', async () => {
    const toy: Toy = { ...DENSE, weight: [1, 2], direction: [1, 0] };
    const windows = [
      [0, 1, 1, 0],
      [1, 1, 1, 1],
    ];
    const nll = (tokens: number[]) =>
      toyLogits(toy, tokens.slice(0, -1)).reduce(
        (sum, [a, b], at) => sum + Math.log(Math.exp(a) + Math.exp(b)) - [a, b][tokens[at + 1]],
        0,
      );
    const { meanNll } = await withSessions([toy], (session) => measurePerplexity(session, windows));
    expectClose(meanNll, (nll(windows[0]) + nll(windows[1])) / 6);
  });

  it('refuses logits that are not finite', async () => {
    const table = [
      [Number.NaN, 0],
      [0, 0],
    ];
    const measured = withSessions([{ table }], (session) => measurePerplexity(session, [[0, 1, 1, 0]]));
    await expect(measured).rejects.toMatchObject({ code: 'non-finite' });
  });
});

const run = (windows: readonly (readonly number[])[], options: Pick<CompareOptions, 'mode'>, toys = [DENSE, SPARSE]) =>
  withSessions(toys, (dense, sparse) => compare(dense, sparse, windows, { ...options, ffn: FFN }));

describe('compare', () => {
  const windows = [
    [0, 1, 1, 0, 0, 1],
    [1, 1, 0, 0, 0, 0],
  ];
  // After token 0: 1/2 log 2 + 1/2 log 2/3. After token 1 the models are equal.
  const KL_AFTER_0 = Math.log(2) / 2 + Math.log(2 / 3) / 2;

  it('in mode all scores every token but the first', async () => {
    const result = await run(windows, { mode: 'all' });
    // Ratios dense / sparse after token 0: 0→1 (1/2)/(3/4), 0→0 (1/2)/(1/4). First window 0→1 0→0 0→1, second 0→0 three times.
    const logRatios = [2 * Math.log(2 / 3) + Math.log(2), 3 * Math.log(2)];
    expect(result).toMatchObject({ mode: 'all', windows: 2, windowLength: 6, scoredTokens: 10 });
    expectClose(result.perplexityRatio.value, Math.exp((logRatios[0] + logRatios[1]) / 10));
    expectClose(result.model.perplexity / result.baseline.perplexity, result.perplexityRatio.value);
    expect(result.rounded).toBeNull();
    expectClose(result.meanKl, (6 * KL_AFTER_0) / 10);
    // After 0, dense gives 0, the first of two equals, and sparse gives 1. After 1 both give 0.
    expect(result.top1Agreement).toBe(4 / 10);
    // For two values a and b, the standard error of the mean is |a - b| / 2.
    const error = Math.abs(logRatios[0] - logRatios[1]) / 5 / 2;
    const { value, standardError } = result.perplexityRatio;
    expectClose(standardError ?? Number.NaN, value * error);
  });

  it('in mode decode scores the second half after a dense first half', async () => {
    const result = await run(windows, { mode: 'decode' });
    // Halves 0 0 1 and 0 0 0: scored are 0→0 0→1 and 0→0 0→0.
    expect(result).toMatchObject({ mode: 'decode', scoredTokens: 4 });
    expectClose(result.perplexityRatio.value, Math.exp((3 * Math.log(2) + Math.log(2 / 3)) / 4));
    expectClose(result.meanKl, KL_AFTER_0);
    expect(result.top1Agreement).toBe(0);
  });

  it('mode decode continues from the cache of the dense model, not of the sparse one', async () => {
    const dense: Toy = { ...DENSE, weight: [1, 2], direction: [1, 0] };
    // The same logits for the same past, but its own tokens have no weight: only the dense part of the cache shows.
    const sparse: Toy = { ...dense, weight: [0, 0] };
    const window = [1, 1, 0, 1, 1, 0];
    const nll = ([a, b]: number[], target: number) => Math.log(Math.exp(a) + Math.exp(b)) - [a, b][target];
    const [, , third, fourth, fifth] = toyLogits(dense, window);
    const past = third[0] - DENSE.table[0][0];
    const expected = [3, 4].map((at) =>
      nll([DENSE.table[window[at]][0] + past, DENSE.table[window[at]][1]], window[at + 1]),
    );
    const result = await run([window], { mode: 'decode' }, [dense, sparse]);
    expectClose(result.model.meanNll, (expected[0] + expected[1]) / 2);
    expectClose(result.baseline.meanNll, (nll(fourth, 1) + nll(fifth, 0)) / 2);
    expect(result.perplexityRatio).toMatchObject({ standardError: null, upperBound: null });
    expect(result.realised).toBeNull();
  });

  it('counts what was left out over the scored positions', async () => {
    // Token 0 is skipped, token 1 keeps one neuron of 4. Fed: 0 1 1 0 0 and 1 1 0 0 0, so 4 of 10 ran.
    const { realised } = await run(windows, { mode: 'all' });
    expect(realised).toEqual({
      tokens: 10,
      skippedBlocks: 6,
      skippedShare: 0.6,
      density: 0.25,
      computedShare: 0.1,
      attendedKeys: null,
      layers: [
        {
          layer: 0,
          activeTokens: 4,
          skippedTokens: 6,
          skippedShare: 0.6,
          keptNeurons: 4,
          density: 0.25,
          attendedKeys: null,
        },
      ],
    } satisfies Comparison['realised']);
  });

  it('counts the keys of heads in layers that choose them', () => {
    const int32 = (...values: number[]) => ({ dtype: 'int32', dims: [1, 2], data: Int32Array.from(values) }) as const;
    const shape = { numHiddenLayers: 2, intermediateSize: 4, numAttentionHeads: 4 };
    // Of two tokens in two windows, 4 heads attend to 8, 20, 12 and 24 keys together.
    const windows = [int32(8, 20), int32(12, 24)].map((keys) =>
      countStep({ 'layers.1.attended_keys': keys }, 2, shape),
    );
    const { attendedKeys, layers } = realisedSparsity(windows.reduce(mergeCounts), shape);
    expect([attendedKeys, ...layers.map((layer) => layer.attendedKeys)]).toEqual([4, null, 4]);
  });

  it('measures the same without a baseline', async () => {
    const { realised } = await run(windows, { mode: 'all' });
    const alone = await withSessions([SPARSE], (sparse) => measureRealised(sparse, windows, FFN));
    expect(alone).toEqual(realised);
  });

  it('counts a layer without outputs as run whole, and one that never ran as of no density', async () => {
    const toys = [DENSE, SPARSE];
    const result = await withSessions(toys, (dense, sparse) =>
      compare(dense, sparse, [[0, 0, 0, 1]], {
        mode: 'all',
        ffn: { numHiddenLayers: 2, intermediateSize: 4 },
      }),
    );
    expect(result.realised).toMatchObject({ skippedBlocks: 3, skippedShare: 0.5, density: 1, computedShare: 0.5 });
    expect(result.realised?.layers.map(({ density }) => density)).toEqual([null, 1]);
  });

  it('finds no difference between a model and itself', async () => {
    const result = await run(windows, { mode: 'all' }, [DENSE, DENSE]);
    expect(result).toMatchObject({
      perplexityRatio: { value: 1, standardError: 0, upperBound: 1 },
      meanKl: 0,
      top1Agreement: 1,
    });
  });

  it.each(['all', 'decode'] as const)('tells rounding apart where it is given the floats, in mode %s', async (mode) => {
    // A third model: every token's negative log-likelihood is its place in the window.
    const floats = { windows: windows.map((window) => window.slice(1).map((_, place) => place)) };
    const alone = await run(windows, { mode });
    const toys = [DENSE, SPARSE];
    const result = await withSessions(toys, (dense, sparse) =>
      compare(dense, sparse, windows, { mode, ffn: FFN, floats }),
    );
    const meanOfPlaces = mode === 'all' ? (0 + 1 + 2 + 3 + 4) / 5 : (3 + 4) / 2;
    expectClose(result.baseline.meanNll, meanOfPlaces);
    expectClose(result.perplexityRatio.value, Math.exp(alone.model.meanNll - meanOfPlaces));
    expectClose(result.rounded?.meanNll ?? Number.NaN, alone.baseline.meanNll);
    expectClose(result.rounded?.rounding.value ?? Number.NaN, Math.exp(alone.baseline.meanNll - meanOfPlaces));
    expect(result.rounded?.leavingOut).toEqual(alone.perplexityRatio);
    expect([result.meanKl, result.top1Agreement]).toEqual([alone.meanKl, alone.top1Agreement]);
  });

  it('refuses models of different vocabularies', async () => {
    const wider: Toy = {
      table: [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
      ],
    };
    await expect(run(windows, { mode: 'all' }, [DENSE, wider])).rejects.toMatchObject({
      code: 'mismatch',
      message: "Expected the baseline's vocabulary of 2, but it is 3",
    });
  });

  it('reports its progress in tokens and stops when told', async () => {
    let done = 0;
    const controller = new AbortController();
    const progress = {
      stage: (_: string, total: number) => {
        expect(total).toBe(12);
        return {
          advance: (count: number) => {
            done += count;
            controller.abort();
          },
          done: () => {},
        };
      },
      note: () => {},
    };
    const comparing = withSessions([DENSE, SPARSE], (dense, sparse) =>
      compare(dense, sparse, windows, { mode: 'all', ffn: FFN, progress, signal: controller.signal }),
    );
    await expect(comparing).rejects.toMatchObject({ code: 'interrupted' });
    expect(done).toBe(6);
  });
});
