/** Blocks fitted to tokens that are made up: the near ones lie on a map of low rank, the far ones on none. */
import { describe, expect, it } from 'vitest';
import type { ArrivingTokens, Products } from '../core/arriving.ts';
import type { AimedPlan, BlockPlan } from '../core/plan.ts';
import { thresholdAt } from './error-gate.ts';
import { refitter } from './index.ts';
import { type RepairedBlock, refitBlock } from './refit.ts';
import { normal, seeded } from './testing/statistics.ts';

const [HIDDEN, RANK, LENGTH, SEQUENCES] = [8, 2, 100, 12];
const COUNT = LENGTH * SEQUENCES;

const PRODUCTS: Products = {
  async square(x, width) {
    const result = new Float32Array(width * width);
    for (let start = 0; start < x.length; start += width)
      for (let i = 0; i < result.length; i++) result[i] += x[start + Math.floor(i / width)] * x[start + (i % width)];
    return result;
  },
  async times(x, m, width) {
    const [n, rows] = [x.length / width, m.length / width];
    return Float32Array.from({ length: n * rows }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += x[Math.floor(i / rows) * width + k] * m[(i % rows) * width + k];
      return sum;
    });
  },
};

/** Two of three tokens are near. */
const isFar = (token: number) => token % 3 === 2;

/** Rank 2: the first two inputs, doubled, and a constant. */
const onMap = (x: Float32Array) => x.map((value, i) => (i < RANK ? 2 * value : 0) + 0.5);

/** `far`: what is wanted of far tokens. */
function tokensOf(far: (x: Float32Array) => Float32Array): ArrivingTokens {
  const next = seeded(11);
  const [x, wanted] = [new Float32Array(COUNT * HIDDEN), new Float32Array(COUNT * HIDDEN)];
  for (let token = 0; token < COUNT; token++) {
    const size = isFar(token) ? 4 : 1;
    const row = Float32Array.from({ length: HIDDEN }, () => size * normal(next));
    x.set(row, token * HIDDEN);
    wanted.set(isFar(token) ? far(row) : onMap(row), token * HIDDEN);
  }
  const positions = Uint32Array.from({ length: COUNT }, (_, token) => token % LENGTH);
  return { positions, x, wanted, factors: new Float64Array(COUNT).fill(0.1) };
}

const bent = (x: Float32Array) => x.map((value, i) => 3 * Math.abs(x[(i + 3) % HIDDEN]) - value);

function blockOf(skipped: number, gate = true): RepairedBlock {
  return {
    block: 'layers.2.ffn',
    repair: {
      rank: RANK,
      tensors: { reduce: 'reduce', expand: 'expand', offset: 'offset' },
      ...(gate && {
        gate: { threshold: 0, curvature: 0, intercept: 0, tensors: { slope: 'slope', quantiles: 'quantiles' } },
      }),
    },
    expected: { skipped, bytesPerToken: 7 },
    why: 'planned',
  };
}

const NO_GATE = { slope: new Float32Array(0), quantiles: new Float32Array(0) };

const skipping = ({ skips }: { skips: Uint8Array }) => [...skips.keys()].filter((token) => skips[token] === 1);

describe('refitting a block', () => {
  it('fits the map to the tokens that take it, and lets as many skip as was planned', async () => {
    const tokens = tokensOf(bent);
    const made = await refitBlock(blockOf(0.4), tokens, 1, PRODUCTS);
    const skips = skipping(made.standIn);
    expect(skips).toHaveLength(Math.round(0.4 * COUNT));
    // The gate tells far tokens by their length; those of eight inputs overlap a little.
    expect(skips.filter(isFar).length).toBeLessThan(0.02 * skips.length);
    for (const token of skips) expect(tokens.positions[token]).toBeGreaterThan(0);
    let [wrong, all] = [0, 0];
    for (const token of skips)
      for (let i = token * HIDDEN; i < (token + 1) * HIDDEN; i++) {
        wrong += (tokens.wanted[i] - made.standIn.rows[i]) ** 2;
        all += tokens.wanted[i] ** 2;
      }
    // A map of all tokens would be wrong by a third and more; the ridge takes a hundredth, squared, and what far tokens
    // near the threshold bend.
    expect(wrong / all).toBeLessThan(0.05);
    expect(made.block).toMatchObject({ block: 'layers.2.ffn', expected: { skipped: 0.4, bytesPerToken: 7 } });
    expect(made.block.why).toContain('earlier maps');
  });

  it('sets a threshold that parts those that skip from the others', async () => {
    const tokens = tokensOf(bent);
    const {
      block,
      gate: { slope, quantiles } = NO_GATE,
      standIn,
    } = await refitBlock(blockOf(0.4), tokens, 1, PRODUCTS);
    const { threshold, curvature, intercept } = block.repair.gate ?? { threshold: 0, curvature: 0, intercept: 0 };
    for (let token = 0; token < COUNT; token++) {
      if (tokens.positions[token] < 1) continue;
      let expected = intercept;
      for (let i = 0; i < HIDDEN; i++) {
        const value = tokens.x[token * HIDDEN + i];
        expected += (slope[i] + curvature * value) * value;
      }
      expect(expected <= threshold).toBe(standIn.skips[token] === 1);
    }
    // 40 of the 99 tokens of a sequence that are past the warm-up.
    expect(thresholdAt(quantiles, 40 / 99) / threshold).toBeCloseTo(1, 1);
  });

  it('without a gate is fitted to all, those in the warm-up too', async () => {
    const tokens = tokensOf(onMap);
    const { standIn, gate } = await refitBlock(blockOf(1, false), tokens, 1, PRODUCTS);
    expect(skipping(standIn)).toHaveLength(COUNT);
    expect(gate).toBeUndefined();
    const worst = standIn.rows.reduce((most, value, i) => Math.max(most, Math.abs(value - tokens.wanted[i])), 0);
    // The ridge draws to the mean by a hundredth of the mean variance, of inputs up to 4 times 4 long.
    expect(worst).toBeLessThan(2 * 0.01 * 16);
  });

  it('is refused where fewer tokens are past the warm-up than are to skip', async () => {
    const made = refitBlock(blockOf(0.5), tokensOf(bent), LENGTH / 2 + 1, PRODUCTS);
    await expect(made).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('layers.2.ffn') });
    const none = refitBlock(blockOf(0), tokensOf(bent), 1, PRODUCTS);
    await expect(none).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('refitting a plan', () => {
  const plan = (preset: string, blocks: readonly BlockPlan[] = [blockOf(0.4)]) =>
    ({ preset, blocks, skipping: { warmUpTokens: 1, reArm: true }, notes: ['first'] }) as unknown as AimedPlan;

  it('collects blocks and tensors', async () => {
    const named = (name: string, shape: number[]) => [name, { shape, data: new Float32Array(shape[0]) }] as const;
    const fitting = refitter(plan('replace'), new Map([named('reduce', [1]), named('other', [3])]));
    expect(fitting.layers).toEqual([2]);
    await fitting.standInFor(2, tokensOf(bent), PRODUCTS);
    const { plan: made, tensors } = fitting.refitted(COUNT);
    const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual({ reduce: [2, 8], expand: [8, 2], offset: [8], slope: [8], quantiles: [65], other: [3] });
    expect(made.notes).toEqual(['first', expect.stringContaining(`${COUNT} tokens`)]);
    expect(made.blocks[0].repair?.gate?.threshold).not.toBe(0);
  });

  it.each(['top-k', 'ffn-skip'])('is refused for %s', (preset) => {
    expect(() => refitter(plan(preset), new Map())).toThrow('has nothing that is fitted');
  });
});
