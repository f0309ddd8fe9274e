import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, runBody } from '../../test/run-body.ts';
import type { RuntimeTensor } from '../core/runner.ts';
import { ACTIVATIONS } from './activations.ts';
import { GATHER_PERCENT } from './gated-ffn/neurons.ts';
import { SELECTORS, type SelectorChoice } from './gated-ffn/selectors.ts';
import { type GatedFfnVariant, gatedFfnFunction, gatedFfnNode, gatedFfnOpType, gatedFfnOutputs } from './gated-ffn.ts';
import { activationOf, dot, type FfnWeights, gatedFfnToken, neuronScores, saturationOf } from './reference.ts';

const EPSILON = 2 ** -23;
const [H, D] = [12, 24];

const CHOICES: readonly SelectorChoice[] = [
  { kind: 'none' },
  { kind: 'threshold', scale: 'absolute' },
  { kind: 'threshold', scale: 'token-mean' },
  { kind: 'statistical', mode: 'soft' },
  { kind: 'statistical', mode: 'hard' },
];

function variantOf(selector: SelectorChoice, rest: Partial<GatedFfnVariant> = {}): GatedFfnVariant {
  const biases = { gateBias: false, upBias: false, downBias: false, postNorm: false };
  return {
    selector,
    storage: 'fp32',
    masked: false,
    decode: false,
    gather: true,
    activation: 'silu',
    ...biases,
    ...rest,
  };
}

/** A block with random weights: what the loops and what the node take. */
function randomBlock(seed: number, variant: GatedFfnVariant) {
  const next = seededFloats(seed);
  const rows = () => Array.from({ length: D }, () => next(H));
  const ffn: FfnWeights = {
    gate: rows(),
    up: rows(),
    down: rows(),
    ...(variant.gateBias && { gateBias: next(D) }),
    ...(variant.upBias && { upBias: next(D) }),
    ...(variant.downBias && { downBias: next(H) }),
    ...(variant.postNorm && { postNorm: { weight: next(H), epsilon: 1e-6 } }),
  };
  return { ffn, scoreWeights: next(D).map(Math.abs), next };
}

type Block = ReturnType<typeof randomBlock>;

interface Tokens {
  readonly x: Float32Array;
  readonly residual: Float32Array;
  readonly dims: readonly [number, number];
  readonly active?: readonly boolean[] | undefined;
}

async function run(variant: GatedFfnVariant, { ffn, scoreWeights }: Block, tokens: Tokens, cut: number) {
  const { gateBias, upBias, downBias, postNorm } = ffn;
  const matrix = (rows: FfnWeights['gate']) =>
    floats(
      rows.flatMap((row) => Array.from(row)),
      [D, H],
    );
  const vector = (data: ArrayLike<number> | undefined) => data && floats(data, [data.length]);
  const threshold = variant.selector.kind === 'threshold';
  const given: Record<string, RuntimeTensor | undefined> = {
    gate: matrix(ffn.gate),
    up: matrix(ffn.up),
    down: matrix(ffn.down),
    gate_bias: vector(gateBias),
    up_bias: vector(upBias),
    down_bias: vector(downBias),
    post_norm: vector(postNorm?.weight),
    threshold: threshold ? floats([cut], []) : undefined,
    weights: threshold ? vector(scoreWeights) : undefined,
    residual: variant.masked ? floats(tokens.residual, [...tokens.dims, H]) : undefined,
    active: tokens.active && { dtype: 'bool', dims: tokens.dims, data: Uint8Array.from(tokens.active, Number) },
  };
  const feeds = Object.entries(given).flatMap(([name, tensor]) =>
    tensor === undefined ? [] : [[name, tensor] as const],
  );
  const outputs = gatedFfnOutputs(variant);
  const names = {
    x: 'x',
    gate: 'gate',
    up: 'up',
    down: 'down',
    ...Object.fromEntries(feeds.map(([name]) => [name, name])),
  };
  const node = gatedFfnNode(variant, {
    node: 'ffn',
    inputs: names,
    outputs: Object.fromEntries(outputs.map((name) => [name, name])),
    quantile: cut,
    epsilon: 1e-6,
  });
  const types = Object.fromEntries(outputs.map((name) => [name, name === 'kept' ? 'int32' : 'float32'] as const));
  return runBody(
    node,
    gatedFfnFunction(variant),
    { x: floats(tokens.x, [...tokens.dims, H]), ...Object.fromEntries(feeds) },
    types,
  );
}

function reference(variant: GatedFfnVariant, { ffn, scoreWeights }: Block, x: ArrayLike<number>, cut: number) {
  const { activation, selector } = variant;
  return gatedFfnToken(x, ffn, { activation, selector, threshold: cut, weights: scoreWeights, quantile: cut });
}

/**
 * How far float32 may be from the loops. Every product is a sum of at most D terms of sums of H terms, each rounded to
 * eps; on absolute values, relu and no selector, the same loops give the sum of all magnitudes. Activations are at
 * most 1.13 steep. An RMS norm divides by the root mean square of what it normalises.
 */
function tolerances({ ffn }: Block, x: Float32Array, raw: readonly number[]) {
  const abs = (values: ArrayLike<number>) => Array.from(values, Math.abs);
  const rows = (matrix: FfnWeights['gate']) => matrix.map(abs);
  const magnitudes = gatedFfnToken(
    abs(x),
    {
      gate: rows(ffn.gate),
      up: rows(ffn.up),
      down: rows(ffn.down),
      gateBias: ffn.gateBias && abs(ffn.gateBias),
      upBias: ffn.upBias && abs(ffn.upBias),
      downBias: ffn.downBias && abs(ffn.downBias),
    },
    { activation: 'relu', selector: { kind: 'none' } },
  ).y;
  const product = 1.13 * (2 * H + D + 8) * EPSILON * Math.max(...magnitudes);
  if (ffn.postNorm === undefined) return product;
  const rms = Math.sqrt(dot(raw, raw) / H);
  return (2 * product * Math.max(...abs(ffn.postNorm.weight))) / rms;
}

/** Whether no neuron of the token is so near the cut that rounding could decide about it. */
function isClear(variant: GatedFfnVariant, block: Block, x: Float32Array, cut: number): boolean {
  const near = [cut * (1 - 1e-4), cut * (1 + 1e-4)].map((other) => reference(variant, block, x, other).kept);
  return near[0] === near[1];
}

function split(x: Float32Array): Float32Array[] {
  return Array.from({ length: x.length / H }, (_, token) => x.subarray(token * H, (token + 1) * H));
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
    const tolerance = tolerances(block, x, wanted.raw);
    y.forEach((entry, i) => {
      expect(Math.abs(entry - (active ? wanted.y[i] : 0))).toBeLessThanOrEqual(active ? tolerance : 0);
    });
    if (variant.selector.kind !== 'none') expect(got.kept.data[token]).toBe(active ? wanted.kept : 0);
    if (!variant.masked) return;
    const saturation = active ? saturationOf(residuals[token], wanted.y) : 0;
    const after = Math.sqrt(dot(residuals[token], residuals[token]));
    // The cosine moves by at most |dy| / |h| and the rounding of three sums of H terms.
    const slack = (2 * Math.sqrt(H) * tolerance) / after + 4 * H * EPSILON;
    expect(Math.abs(Number(got.saturation.data[token]) - saturation)).toBeLessThanOrEqual(active ? slack : 0);
  });
}

function randomTokens({ next }: Block, dims: readonly [number, number], active?: readonly boolean[]): Tokens {
  const count = dims[0] * dims[1] * H;
  return { x: next(count), residual: next(count).map((value) => 4 * value), dims, ...(active && { active }) };
}

/** Cuts that keep few, some and all neurons, as threshold and as quantile alike. */
const CUTS = [0.02, 0.15, 0.5, 1.2];

describe('GatedFFN', () => {
  const shapes = fc.constantFrom<readonly [number, number]>([1, 1], [1, 3], [2, 2]);
  const cases = fc.record({
    seed: fc.integer({ min: 1, max: 1e6 }),
    shape: shapes,
    cut: fc.constantFrom(...CUTS),
    activation: fc.constantFrom(...ACTIVATIONS.map(({ name }) => name)),
    gateBias: fc.boolean(),
    upBias: fc.boolean(),
    downBias: fc.boolean(),
    postNorm: fc.boolean(),
  });

  it.each(CHOICES)('agrees with the plain loops: %j', async (selector) => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ seed, shape, cut, ...rest }) => {
        const variant = variantOf(selector, rest);
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape), cut);
      }),
      { numRuns: 10, seed: 2 },
    );
  });

  it.each(CHOICES)('gives inactive tokens zeros and the others their saturation: %j', async (selector) => {
    const masks = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(cases, masks, async ({ seed, shape, cut, ...rest }, mask) => {
        const variant = variantOf(selector, { ...rest, masked: true });
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape, mask.slice(0, shape[0] * shape[1])), cut);
      }),
      { numRuns: 8, seed: 3 },
    );
  });

  it.each([1, 3])('is zero when no neuron is chosen: %i tokens', async (tokens) => {
    const variant = variantOf({ kind: 'threshold', scale: 'absolute' });
    const block = randomBlock(5, variant);
    const { y, kept } = await run(variant, block, randomTokens(block, [1, tokens]), 1e6);
    expect(new Set(numbers(y))).toEqual(new Set([0]));
    expect(numbers(kept)).toEqual(new Array(tokens).fill(0));
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
      expect(gatedFfnOpType(variant).endsWith('_whole')).toBe(selector.kind !== 'none');
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
        const tolerance = tolerances(block, x, numbers(alone.y));
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
          const tolerance = tolerances(block, x, []);
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
    const flags = [false, true].flatMap((masked) => [false, true].map((decode) => ({ masked, decode })));
    const variants = CHOICES.flatMap((selector) => flags.map((flag) => variantOf(selector, flag)));
    expect(new Set(variants.map(gatedFfnOpType)).size).toBe(variants.length);
    expect(gatedFfnOpType(variantOf({ kind: 'threshold', scale: 'absolute' }))).toBe('GatedFFN_threshold_fp32');
    expect(gatedFfnOpType(variantOf({ kind: 'statistical', mode: 'hard' }, { masked: true, decode: true }))).toBe(
      'GatedFFN_statistical_fp32_hard_masked_decode',
    );
  });

  it('cover every selector', () => {
    expect(new Set(CHOICES.map(({ kind }) => kind))).toEqual(new Set(SELECTORS.map(({ kind }) => kind)));
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
