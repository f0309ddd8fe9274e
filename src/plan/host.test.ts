import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byActivation } from '../../test/ffn-plan.ts';
import { GATHER_SHARE } from '../core/choice.ts';
import type { HostCosts, StorageCosts } from '../core/host-costs.ts';
import type { BlockPlan, Host } from '../core/plan.ts';
import { HOST_DTYPES, type HostDtype } from '../core/precision.ts';
import { DEFAULT_COSTS } from './default-costs.ts';
import { checkTarget, forHost, payingTargets, withTimes } from './host.ts';
import type { PresetPlan } from './preset.ts';

const SMALL = { hiddenSize: 576, intermediateSize: 1536 };
const LARGE = { hiddenSize: 2048, intermediateSize: 8192 };
const model = (shape: typeof SMALL) => ({ ...shape, modelType: 'llama', fingerprint: 'f', numHiddenLayers: 30 });
const stock = (dtype: HostDtype): Host => ({ kind: 'stock', dtype });

/** In microseconds: times are shares of others. A weight takes 120e-6 in fp32, 45e-6 in int8, 28e-6 in int4. */
const costsOfWeight = (product: number): StorageCosts => ({
  ...{ step: 0, head: 0, layer: 0, cache: 0, block: 20, product },
  ...{ choose: 30, scan: product, gather: 30, row: 3 * product, test: 60, skipped: 16 },
});
// bf16 has those of fp32: none are measured of it.
const COSTS: HostCosts = {
  ...DEFAULT_COSTS.stock,
  precisions: {
    fp32: costsOfWeight(120e-6 / 4),
    int8: costsOfWeight(45e-6 / (1 + 2 / 32)),
    int4: costsOfWeight(28e-6 / (1 / 2 + 2 / 32)),
  },
};

/** The time of a block as a share of the dense block's. */
function stockTime(shape: typeof SMALL, dtype: HostDtype, block: BlockPlan, costs = COSTS): number {
  const [{ expected }] = withTimes([block], stock(dtype), shape, costs);
  return expected.time ?? Number.NaN;
}

const keeping = (density: number, layer = 0): BlockPlan => ({
  block: `layers.${layer}.ffn`,
  choice: byActivation(0.1),
  expected: { density, bytesPerToken: 0 },
  why: 'made up',
});
const skipping = (skipped: number, layer = 0): BlockPlan => ({
  block: `layers.${layer}.ffn`,
  skip: { threshold: 0.9, runLength: 1 },
  expected: { skipped, bytesPerToken: 0 },
  why: 'made up',
});

const topK = (...densities: number[]): PresetPlan['parts'] => ({
  target: { kind: 'density', value: densities[0] },
  skipping: null,
  blocks: densities.map(keeping),
});
const ffnSkip = (...skipped: number[]): PresetPlan['parts'] => ({
  target: { kind: 'skipped-blocks', value: 0.1 },
  skipping: { warmUpTokens: 0, reArm: true },
  blocks: skipped.map(skipping),
});

const shapes = fc.record({
  hiddenSize: fc.integer({ min: 8, max: 8192 }),
  intermediateSize: fc.integer({ min: 8, max: 32768 }),
});
const dtypes = fc.constantFrom(...HOST_DTYPES);
const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('the time of a block in stock ONNX Runtime', () => {
  // Dense time over each row's, of the table in docs/operators.md. Blocks alone are timed there, whose operators stay in the
  // caches: up to a fifth less than what is reckoned with at the small size.
  it.each([
    [SMALL, 0.05, 1.66],
    [SMALL, 0.15, 1.34],
    [SMALL, 0.25, 1.09],
    [LARGE, 0.05, 1.96],
    [LARGE, 0.15, 1.35],
    [LARGE, 0.25, 1.1],
  ])('is near what was measured, and not below by more than noise: %j at %s', (shape, density, measured) => {
    const relative = stockTime(shape, 'fp32', keeping(density), DEFAULT_COSTS.stock) * measured;
    expect(relative).toBeGreaterThan(0.85);
    expect(relative).toBeLessThan(1.2);
  });

  // Microseconds by docs/plans.md: a dense block is 20 and three products, of 106.17 for the small shape in fp32, 39.81 in int8.
  const [float, byte] = [120e-6 * 576 * 1536, 45e-6 * 576 * 1536];
  it.each<[string, HostDtype, BlockPlan, number, number]>([
    ['gathered rows', 'fp32', keeping(0.1), 20 + 60 + 1.6 * float, 20 + 3 * float],
    ['gathered rows of bf16', 'bf16', keeping(0.2), 20 + 60 + 2.2 * float, 20 + 3 * float],
    ['all rows, where gathering takes longer', 'fp32', keeping(0.9), 50 + 3 * float, 20 + 3 * float],
    [
      'all rows, where the measure reads all of up',
      'fp32',
      { ...keeping(0.1), choice: { ...byActivation(0.1), measure: 'product' } },
      50 + 3 * float,
      20 + 3 * float,
    ],
    ['all rows in blocks', 'int8', keeping(0.1), 50 + 3 * byte, 20 + 3 * byte],
    ['a skipped block', 'int8', skipping(0.5), 0.6 * (80 + 3 * byte) + 0.4 * 16, 20 + 3 * byte],
    [
      'another block in its place, of a tenth of the weights',
      'fp32',
      { block: 'layers.0.ffn', expected: { skipped: 1, bytesPerToken: 0.3 * 4 * 576 * 1536 }, why: 'made up' },
      20 + 0.3 * float,
      20 + 3 * float,
    ],
    ['no skips', 'fp32', skipping(0), 80 + 3 * float, 20 + 3 * float],
    [
      'both',
      'fp32',
      { ...keeping(0.1), ...skipping(0.5), expected: { density: 0.1, skipped: 0.5, bytesPerToken: 0 } },
      0.6 * (20 + 60 + 1.6 * float + 60) + 0.4 * 16,
      20 + 3 * float,
    ],
  ])('is the sum of its parts: %s', (_, dtype, block, time, dense) => {
    expect(stockTime(SMALL, dtype, block)).toBeCloseTo(time / dense, 12);
  });

  it('takes what a plan does not expect as whole: all neurons, no skips', () => {
    const { expected: _, ...kept } = keeping(1);
    const { expected: __, ...skipped } = skipping(0);
    expect(stockTime(SMALL, 'fp32', { ...kept, expected: { bytesPerToken: 0 } })).toBe(
      stockTime(SMALL, 'fp32', keeping(1)),
    );
    expect(stockTime(SMALL, 'fp32', { ...skipped, expected: { bytesPerToken: 0 } })).toBe(
      stockTime(SMALL, 'fp32', skipping(0)),
    );
  });

  it('is more than the dense time wherever all rows are multiplied', () => {
    for (const dtype of ['int8', 'int4'] as const)
      for (const density of [0.01, 0.5]) expect(stockTime(LARGE, dtype, keeping(density))).toBeGreaterThan(1);
    expect(stockTime(LARGE, 'fp32', keeping(0.5))).toBeGreaterThan(1);
    expect(stockTime(SMALL, 'fp32', skipping(0))).toBeGreaterThan(1);
  });

  it('grows with the neurons kept and falls with the tokens skipped', () => {
    fc.assert(
      fc.property(shapes, dtypes, share, share, (shape, dtype, one, other) => {
        const [less, more] = [Math.min(one, other), Math.max(one, other)];
        const time = (block: BlockPlan) => stockTime(shape, dtype, block);
        // Where bodies stop to gather, the time of a small block may fall: gathering alone takes longer than its products.
        if (less < GATHER_SHARE === more < GATHER_SHARE)
          expect(time(keeping(less))).toBeLessThanOrEqual(time(keeping(more)));
        expect(time(skipping(more))).toBeLessThanOrEqual(time(skipping(less)));
      }),
    );
  });
});

describe('forHost', () => {
  it('leaves plans for the native kernels as they are where they do not say how weights are stored', () => {
    const parts = topK(0.9);
    expect(forHost(parts, { kind: 'native' }, model(SMALL), COSTS)).toEqual(parts);
  });

  it('keeps all blocks of plans for the native kernels, with their times', () => {
    const { blocks } = forHost(topK(0.9, 0.1), { kind: 'native', dtype: 'int4' }, model(SMALL), COSTS);
    const weight = 28e-6 * 576 * 1536;
    const dense = 20 + 3 * weight;
    expect(blocks.map(({ expected }) => expected.time)).toEqual(
      [0.9, 0.1].map((density) => expect.closeTo((50 + (1 + 6 * density) * weight) / dense, 12)),
    );
  });

  it('keeps blocks that pay, and says by how much', () => {
    const { blocks } = forHost(topK(0.1, 0.9, 0.1), stock('fp32'), model(SMALL), COSTS);
    expect(blocks.map(({ block }) => block)).toEqual(['layers.0.ffn', 'layers.2.ffn']);
    for (const { expected } of blocks) expect(expected.time).toBe(stockTime(SMALL, 'fp32', keeping(0.1)));
  });

  it('keeps blocks that may be skipped together, the first of which never is', () => {
    const { blocks } = forHost(ffnSkip(0, 0.7, 0.7), stock('fp32'), model(SMALL), COSTS);
    expect(blocks.map(({ expected }) => (expected.time ?? 0) > 1)).toEqual([true, false, false]);
    expect(() => forHost(ffnSkip(0, 0.7, 0), stock('fp32'), model(SMALL), COSTS)).toThrowError(
      expect.objectContaining({ code: 'usage' }),
    );
  });

  it.each<[string, PresetPlan['parts'], HostDtype, RegExp, RegExp]>([
    ['too many neurons', topK(0.5), 'fp32', /576x1536 in fp32 .* 109 % .* at most 80 %/, /at most --keep 0\.13/],
    [
      'neurons in blocks',
      topK(0.05),
      'int4',
      /in int4 .* 132 %/,
      /No --keep .* in int4.*other options or another preset,/,
    ],
    ['too few skips', ffnSkip(0, 0.2), 'int8', /in int8/, /at least --skip 0\.\d\d/],
  ])('refuses a plan of %s, with what would pay', (_, parts, dtype, message, hint) => {
    expect(() => forHost(parts, stock(dtype), model(SMALL), COSTS)).toThrowError(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      }),
    );
  });

  it('is asked before anything is measured, and refuses what no statistics could make pay', () => {
    const small = { ...SMALL, numHiddenLayers: 30 };
    const keep = (value: number, host: Host) => () => checkTarget({ kind: 'density', value }, host, small, COSTS);
    const skip = (shape: typeof SMALL) => () =>
      checkTarget({ kind: 'skipped-blocks', value: 0.25 }, stock('fp32'), { ...shape, numHiddenLayers: 30 }, COSTS);
    expect(keep(0.99, { kind: 'native' })).not.toThrow();
    // 0.13 is the most that pays of these blocks.
    expect(keep(0.13, stock('fp32'))).not.toThrow();
    expect(keep(0.14, stock('fp32'))).toThrowError(/to take 8\d % .*at most 80 %/);
    expect(keep(0.5, stock('fp32'))).toThrowError(/109 %/);
    // At best 80 % of the tokens skip each block: (0.2 (338.5 + 60) + 0.8 * 16) / 338.5.
    expect(skip(SMALL)).not.toThrow();
    expect(skip({ hiddenSize: 8, intermediateSize: 8 })).toThrowError(/8x8 in fp32 .* 144 %/);
  });

  it('takes the targets that it proposes, and none that is less', () => {
    fc.assert(
      fc.property(shapes, dtypes, fc.integer({ min: 2, max: 30 }), (shape, dtype, count) => {
        const pays = (parts: PresetPlan['parts']) => {
          try {
            return forHost(parts, stock(dtype), model(shape), COSTS).blocks.length > 0;
          } catch {
            return false;
          }
        };
        const { density, skips: least } = payingTargets(model(shape), count, stock(dtype), COSTS);
        if (density !== undefined) expect(pays(topK(density))).toBe(true);
        expect(pays(topK((density ?? 0) + 0.011))).toBe(false);
        // Of all 30 layers, the share that `count` of them skip alike.
        const skips = (target: number) => ffnSkip(...new Array(count).fill(Math.min(1, (target * 30) / count)));
        if (least === undefined) return;
        // A share of all layers that is rounded up may be more than these layers have.
        expect(pays(skips(least))).toBe(true);
        if (least > 0.02) expect(pays(skips(least - 0.011))).toBe(false);
      }),
    );
  });
});
