import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Block,
  CHOICES,
  CUTS,
  callOf,
  D,
  EPSILON,
  H,
  isClear,
  randomBlock,
  randomTokens,
  reference,
  split,
  storagesOf,
  type Tokens,
  tolerances,
  variantOf,
} from '../../test/gated-ffn-block.ts';
import { numbers, runBody } from '../../test/run-body.ts';
import { ACTIVATIONS } from './activations.ts';
import { GATHER_PERCENT } from './gated-ffn/neurons.ts';
import { SELECTORS, type SelectorChoice } from './gated-ffn/selectors.ts';
import { type GatedFfnVariant, gatedFfnFunction, gatedFfnNode, gatedFfnOpType, gatedFfnOutputs } from './gated-ffn.ts';
import { activationOf, dot, type FfnWeights, neuronScores, saturationOf } from './reference.ts';

function run(variant: GatedFfnVariant, block: Block, tokens: Tokens, cut: number) {
  return runBody(callOf(variant, block, tokens, cut));
}

async function checkTokens(variant: GatedFfnVariant, block: Block, tokens: Tokens, cut: number): Promise<void> {
  const rows = split(tokens.x);
  fc.pre(rows.every((x) => isClear(variant, block, x, cut)));
  const got = await run(variant, block, tokens, cut);
  const residuals = split(tokens.residual);
  rows.forEach((x, token) => {
    const active = tokens.active?.[token] ?? true;
    const wanted = reference(variant, block, x, cut);
    const y = numbers(got.y).slice(token * H, (token + 1) * H);
    const tolerance = tolerances(block, x, wanted);
    y.forEach((entry, i) => {
      expect(Math.abs(entry - (active ? wanted.y[i] : 0))).toBeLessThanOrEqual(active ? tolerance : 0);
    });
    if (gatedFfnOutputs(variant).includes('kept')) expect(got.kept.data[token]).toBe(active ? wanted.kept : 0);
    if (!variant.masked) return;
    const saturation = active ? saturationOf(residuals[token], wanted.y) : 0;
    const after = Math.sqrt(dot(residuals[token], residuals[token]));
    // The cosine moves by at most |dy| / |h| and the rounding of three sums of H terms.
    const slack = (2 * Math.sqrt(H) * tolerance) / after + 4 * H * EPSILON;
    expect(Math.abs(Number(got.saturation.data[token]) - saturation)).toBeLessThanOrEqual(active ? slack : 0);
  });
}

describe('GatedFFN', () => {
  const shapes = fc.constantFrom<readonly [number, number]>([1, 1], [1, 3], [2, 2]);
  const casesOf = (selector: SelectorChoice) =>
    fc.record({
      storage: fc.constantFrom(...storagesOf(selector)),
      seed: fc.integer({ min: 1, max: 1e6 }),
      shape: shapes,
      cut: fc.constantFrom(...CUTS),
      counted: fc.boolean(),
      normed: fc.boolean(),
      activation: fc.constantFrom(...ACTIVATIONS.map(({ name }) => name)),
      gateBias: fc.boolean(),
      upBias: fc.boolean(),
      downBias: fc.boolean(),
      postNorm: fc.boolean(),
    });

  it.each(CHOICES)('agrees with the plain loops: %j', async (selector) => {
    await fc.assert(
      fc.asyncProperty(casesOf(selector), async ({ seed, shape, cut, ...rest }) => {
        const variant = variantOf(selector, rest);
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape), cut);
      }),
      { numRuns: 30, seed: 2 },
    );
  });

  it.each(CHOICES)('gives inactive tokens zeros and the others their saturation: %j', async (selector) => {
    const masks = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(casesOf(selector), masks, async ({ seed, shape, cut, ...rest }, mask) => {
        const variant = variantOf(selector, { ...rest, masked: true });
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape, mask.slice(0, shape[0] * shape[1])), cut);
      }),
      { numRuns: 24, seed: 3 },
    );
  });

  // Rounding of act * up moves single entries by several per cent. It takes no side, so a factor on all of them shows.
  const inBlocks = (['int8', 'int4'] as const).flatMap((storage) =>
    CHOICES.filter((selector) => storagesOf(selector).includes(storage)).map((selector) => ({ storage, selector })),
  );
  it.each(inBlocks)('is off by no factor: %j', async ({ storage, selector }) => {
    const variant = variantOf(selector, { storage });
    const block = randomBlock(11, variant);
    const tokens = randomTokens(block, [1, 64]);
    const wanted = split(tokens.x).flatMap((x) => reference(variant, block, x, 0.02).y);
    const got = numbers((await run(variant, block, tokens, 0.02)).y);
    expect(Math.abs(dot(got, wanted) / dot(wanted, wanted) - 1)).toBeLessThan(0.002);
  });

  it.each([1, 3])('is zero when no neuron is chosen: %i tokens', async (tokens) => {
    const variant = variantOf({ kind: 'threshold', scale: 'absolute' });
    const block = randomBlock(5, variant);
    const { y, kept } = await run(variant, block, randomTokens(block, [1, tokens]), 1e6);
    expect(new Set(numbers(y))).toEqual(new Set([0]));
    expect(numbers(kept)).toEqual(new Array(tokens).fill(0));
  });

  it.each([0, 0.3])('lets neurons of weight 0 pass a threshold of 0 alone: %d', async (cut) => {
    const variant = variantOf({ kind: 'threshold', scale: 'absolute' });
    const block = randomBlock(5, variant);
    const scoreWeights = block.scoreWeights.map((weight, j) => (j % 2 === 0 ? 0 : weight));
    await checkTokens(variant, { ...block, scoreWeights }, randomTokens(block, [1, 3]), cut);
  });

  it('computes nothing when no token is active', async () => {
    const variant = variantOf({ kind: 'none' }, { masked: true });
    const block = randomBlock(6, variant);
    const { ffn } = block;
    // Any use of the weights would show: 0 * NaN is NaN.
    const poisoned = { ...block, ffn: { ...ffn, down: ffn.down.map((row) => Array.from(row, () => Number.NaN)) } };
    const { y, saturation } = await run(variant, poisoned, randomTokens(block, [2, 2], new Array(4).fill(false)), 0);
    expect(new Set([...numbers(y), ...numbers(saturation)])).toEqual(new Set([0]));
  });

  it('reads only chosen rows while they are few, and gives the same when they are not', async () => {
    const variant = variantOf({ kind: 'threshold', scale: 'absolute' });
    const block = randomBlock(7, variant);
    const tokens = randomTokens(block, [1, 1]);
    const act = block.ffn.gate.map((row) => activationOf('silu', dot(row, tokens.x)));
    const scores = neuronScores(act, block.scoreWeights).sort((a, b) => b - a);
    const few = Math.floor((D * GATHER_PERCENT) / 100) - 1;
    const between = (count: number) => (scores[count - 1] + scores[count]) / 2;
    // The weakest neuron's row is poisoned: the dense product reads it, the gathered one does not.
    const weakest = neuronScores(act, block.scoreWeights).indexOf(scores[D - 1]);
    const poison = (rows: FfnWeights['down']) =>
      rows.map((row, j) => (j === weakest ? Array.from(row, () => Number.NaN) : row));
    const poisoned = { ...block, ffn: { ...block.ffn, up: poison(block.ffn.up) } };
    const poisonShows = async (cut: number) =>
      numbers((await run(variant, poisoned, tokens, cut)).y).some(Number.isNaN);
    expect(await poisonShows(between(few))).toBe(false);
    expect(await poisonShows(between(few + 1))).toBe(true);
    await checkTokens(variant, block, tokens, between(few));
    await checkTokens(variant, block, tokens, between(few + 1));
  });

  it('gives the same without a gather, under a name of its own', async () => {
    for (const selector of CHOICES) {
      const variant = { ...variantOf(selector), gather: false };
      const block = randomBlock(9, variant);
      await checkTokens(variant, block, randomTokens(block, [2, 3]), 0.3);
      expect(gatedFfnOpType(variant).includes('_whole')).toBe(!['none', 'product', 'nested'].includes(selector.kind));
    }
  });

  it('decides for each token alone', async () => {
    for (const selector of CHOICES) {
      const variant = variantOf(selector);
      const block = randomBlock(8, variant);
      const tokens = randomTokens(block, [2, 3]);
      const together = await run(variant, block, tokens, 0.3);
      for (const [token, x] of split(tokens.x).entries()) {
        const alone = await run(variant, block, { ...tokens, x, dims: [1, 1] }, 0.3);
        const tolerance = 2 * tolerances(block, x, reference(variant, block, x, 0.3));
        alone.y.data.forEach((entry, i) => {
          expect(Math.abs(Number(entry) - Number(together.y.data[token * H + i]))).toBeLessThanOrEqual(tolerance);
        });
      }
    }
  });

  it.each(CHOICES.slice(1))(
    'computes everything for several tokens a row in its decode variant: %j',
    async (selector) => {
      for (const masked of [false, true]) {
        const variant = variantOf(selector, { decode: true, masked });
        const block = randomBlock(9, variant);
        const active = masked ? [true, false, true] : undefined;
        const several = randomTokens(block, [1, 3], active);
        const dense = await run(variantOf({ kind: 'none' }), block, { ...several, active: undefined }, 0.5);
        const got = await run(variant, block, several, 0.5);
        expect(numbers(got.kept)).toEqual(active === undefined ? [D, D, D] : [D, 0, D]);
        split(several.x).forEach((x, token) => {
          const tolerance = 2 * tolerances(block, x, reference(variantOf({ kind: 'none' }), block, x, 0.5));
          for (let i = token * H; i < (token + 1) * H; i++) {
            const wanted = active?.[token] === false ? 0 : Number(dense.y.data[i]);
            expect(Math.abs(Number(got.y.data[i]) - wanted)).toBeLessThanOrEqual(tolerance);
          }
        });
        await checkTokens(variant, block, randomTokens(block, [2, 1], masked ? [true, false] : undefined), 0.5);
      }
    },
  );
});

describe('variants', () => {
  it('have op types that tell their bodies apart', () => {
    const flags = [false, true].flatMap((masked) =>
      [false, true].flatMap((decode) => [false, true].map((counted) => ({ masked, decode, counted }))),
    );
    const variants = CHOICES.flatMap((selector) =>
      flags.map((flag) => variantOf(selector, flag)).filter(({ counted }) => !counted || selector.kind !== 'none'),
    );
    expect(new Set(variants.map(gatedFfnOpType)).size).toBe(variants.length);
    const threshold: SelectorChoice = { kind: 'threshold', scale: 'absolute' };
    expect(gatedFfnOpType(variantOf(threshold, { counted: false }))).toBe('GatedFFN_threshold_fp32');
    expect(gatedFfnOpType(variantOf({ kind: 'statistical', mode: 'hard' }, { masked: true, decode: true }))).toBe(
      'GatedFFN_statistical_fp32_hard_masked_decode_counted',
    );
  });

  it('cover every selector', () => {
    expect(new Set(CHOICES.map(({ kind }) => kind))).toEqual(new Set(SELECTORS.map(({ kind }) => kind)));
  });

  it('take no branch in fp16, whose weights are for GPUs', () => {
    const flags = [false, true];
    const settings = flags.flatMap((masked) =>
      flags.flatMap((decode) => flags.map((gather) => ({ masked, decode, gather }))),
    );
    for (const selector of CHOICES.filter((choice) => storagesOf(choice).includes('fp16'))) {
      const variants = settings.map((setting) => variantOf(selector, { storage: 'fp16', ...setting }));
      const used = variants.flatMap((variant) => gatedFfnFunction(variant).nodes.map(({ opType }) => opType));
      // Branches and the lengths of lists are what a host waits for.
      expect(used.filter((opType) => ['If', 'Loop', 'NonZero'].includes(opType))).toEqual([]);
      expect(variants.map(gatedFfnOpType).filter((opType) => opType.includes('whole'))).toEqual([]);
    }
  });

  it('refuse a storage that has no such selector', () => {
    const variant = variantOf({ kind: 'nested', scale: 'absolute' }, { storage: 'bf16' });
    expect(() => gatedFfnFunction(variant)).toThrow('Selector nested is for storage int8, not for bf16');
  });

  it('refuse a call that lacks what they read', () => {
    const inputs = { x: 'x', gate: 'g', up: 'u', down: 'd' };
    const call = { node: 'ffn', inputs, outputs: { y: 'y' } };
    expect(() => gatedFfnNode(variantOf({ kind: 'none' }, { masked: true }), call)).toThrow(
      'GatedFFN_none_fp32_masked lacks input active',
    );
    expect(() => gatedFfnNode(variantOf({ kind: 'none' }), { ...call, inputs: { ...inputs, up_bias: 'b' } })).toThrow(
      'GatedFFN_none_fp32 does not read input up_bias',
    );
  });
});
