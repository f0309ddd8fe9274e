import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_CHOICES,
  type Block,
  BY_ACTIVATION,
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
import { expectWithin } from '../../test/within.ts';
import { CHOICES, GATHER_PERCENT, MEASURES, type NeuronChoice } from '../core/choice.ts';
import { type Attribute, attr } from '../core/graph.ts';
import { ACTIVATIONS } from './activations.ts';
import { Bodies } from './bodies.ts';
import { BLOCK_STORAGES } from './gated-ffn/storages.ts';
import { type GatedFfnVariant, gatedFfnBody, gatedFfnNode, gatedFfnOutputs, variantOfNode } from './gated-ffn.ts';
import { activationOf, dot, type FfnWeights, neuronScores, saturationOf } from './testing/reference.ts';

function run(variant: GatedFfnVariant, block: Block, tokens: Tokens, cut: number) {
  return runBody(callOf(variant, block, tokens, cut));
}

async function checkTokens(variant: GatedFfnVariant, block: Block, tokens: Tokens, cut: number): Promise<void> {
  const { h } = block;
  const rows = split(tokens.x, h);
  fc.pre(rows.every((x) => isClear(variant, block, x, cut)));
  const got = await run(variant, block, tokens, cut);
  const residuals = split(tokens.residual, h);
  rows.forEach((x, token) => {
    const active = tokens.active?.[token] ?? true;
    const wanted = reference(variant, block, x, cut);
    const y = numbers(got.y).slice(token * h, (token + 1) * h);
    const tolerance = tolerances(block, x, wanted);
    expectWithin(y, active ? wanted.y : y.map(() => 0), active ? tolerance : 0);
    if (gatedFfnOutputs(variant).includes('kept')) expect(got.kept.data[token]).toBe(active ? wanted.kept : 0);
    if (!variant.masked) return;
    const saturation = active ? saturationOf(residuals[token], wanted.y) : 0;
    const after = Math.sqrt(dot(residuals[token], residuals[token]));
    // The cosine moves by at most |dy| / |h| and the rounding of three sums of h terms.
    const slack = (2 * Math.sqrt(h) * tolerance) / after + 4 * h * EPSILON;
    expect(Math.abs(Number(got.saturation.data[token]) - saturation)).toBeLessThanOrEqual(active ? slack : 0);
  });
}

describe('GatedFFN', () => {
  const shapes = fc.constantFrom<readonly [number, number]>([1, 1], [1, 3], [2, 2]);
  const casesOf = (choice: NeuronChoice | undefined) =>
    fc.record({
      storage: fc.constantFrom(...storagesOf(choice)),
      seed: fc.integer({ min: 1, max: 1e6 }),
      shape: shapes,
      cut: fc.constantFrom(...CUTS),
      counted: fc.boolean(),
      normed: fc.boolean(),
      activation: fc.constantFrom(...ACTIVATIONS),
      gateBias: fc.boolean(),
      upBias: fc.boolean(),
      downBias: fc.boolean(),
      postNorm: fc.boolean(),
      split: choice?.measure === 'gate' ? fc.boolean() : fc.constant(false),
      gather: fc.boolean(),
    });

  it.each(ALL_CHOICES)('agrees with the plain loops: %j', async (choice) => {
    await fc.assert(
      fc.asyncProperty(casesOf(choice), async ({ seed, shape, cut, ...rest }) => {
        const variant = variantOf(choice, rest);
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape), cut);
      }),
      { numRuns: 30, seed: 2 },
    );
  });

  it.each(ALL_CHOICES)('gives inactive tokens zeros and the others their saturation: %j', async (choice) => {
    const masks = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(casesOf(choice), masks, async ({ seed, shape, cut, ...rest }, mask) => {
        const variant = variantOf(choice, { ...rest, masked: true });
        const block = randomBlock(seed, variant);
        await checkTokens(variant, block, randomTokens(block, shape, mask.slice(0, shape[0] * shape[1])), cut);
      }),
      { numRuns: 24, seed: 3 },
    );
  });

  // Rounding of act * up moves single entries by several per cent. It takes no side, so a factor on all of them shows.
  const inBlocks = BLOCK_STORAGES.flatMap((storage) =>
    ALL_CHOICES.filter((choice) => storagesOf(choice).includes(storage)).map((choice) => ({ storage, choice })),
  );
  it.each(inBlocks)('is off by no factor: %j', async ({ storage, choice }) => {
    const variant = variantOf(choice, { storage });
    const block = randomBlock(11, variant);
    const tokens = randomTokens(block, [1, 64]);
    const wanted = split(tokens.x).flatMap((x) => reference(variant, block, x, 0.02).y);
    const got = numbers((await run(variant, block, tokens, 0.02)).y);
    expect(Math.abs(dot(got, wanted) / dot(wanted, wanted) - 1)).toBeLessThan(0.002);
  });

  it.each([1, 3])('is zero when no neuron is chosen: %i tokens', async (tokens) => {
    const variant = variantOf(BY_ACTIVATION);
    const block = randomBlock(5, variant);
    const { y, kept } = await run(variant, block, randomTokens(block, [1, tokens]), 1e6);
    expect(new Set(numbers(y))).toEqual(new Set([0]));
    expect(numbers(kept)).toEqual(new Array(tokens).fill(0));
  });

  it.each([0, 0.3])('lets neurons of weight 0 pass a threshold of 0 alone: %d', async (cut) => {
    const variant = variantOf(BY_ACTIVATION);
    const block = randomBlock(5, variant);
    const scoreWeights = block.scoreWeights.map((weight, j) => (j % 2 === 0 ? 0 : weight));
    await checkTokens(variant, { ...block, scoreWeights }, randomTokens(block, [1, 3]), cut);
  });

  it('computes nothing when no token is active', async () => {
    const variant = variantOf(undefined, { masked: true });
    const block = randomBlock(6, variant);
    const { ffn } = block;
    // Any use of the weights would show: 0 * NaN is NaN.
    const poisoned = { ...block, ffn: { ...ffn, down: ffn.down.map((row) => Array.from(row, () => Number.NaN)) } };
    const { y, saturation } = await run(variant, poisoned, randomTokens(block, [2, 2], new Array(4).fill(false)), 0);
    expect(new Set([...numbers(y), ...numbers(saturation)])).toEqual(new Set([0]));
    // Zeros replace what was computed, so the result alone does not show that nothing was.
    const weights = ['gate', 'up', 'down'];
    const readers = gatedFfnBody(variant).nodes.filter(({ inputs }) => inputs.some((input) => weights.includes(input)));
    expect(new Set(readers.map(({ opType }) => opType))).toEqual(new Set(['Shape']));
  });

  it('reads only chosen rows while they are few, and gives the same when they are not', async () => {
    const variant = variantOf(BY_ACTIVATION);
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

  it('decides for each token alone', async () => {
    for (const choice of CHOICES) {
      const variant = variantOf(choice);
      const block = randomBlock(8, variant);
      const tokens = randomTokens(block, [2, 3]);
      const together = await run(variant, block, tokens, 0.3);
      for (const [token, x] of split(tokens.x).entries()) {
        const alone = await run(variant, block, { ...tokens, x, dims: [1, 1] }, 0.3);
        const tolerance = 2 * tolerances(block, x, reference(variant, block, x, 0.3));
        expectWithin(alone.y.data, numbers(together.y).slice(token * H, (token + 1) * H), tolerance);
      }
    }
  });

  it.each(CHOICES)('computes everything for several tokens a row where prefill is dense: %j', async (choice) => {
    for (const masked of [false, true]) {
      const variant = variantOf(choice, { densePrefill: true, masked });
      const block = randomBlock(9, variant);
      const active = masked ? [true, false, true] : undefined;
      const several = randomTokens(block, [1, 3], active);
      const dense = await run(variantOf(undefined), block, { ...several, active: undefined }, 0.5);
      const got = await run(variant, block, several, 0.5);
      expect(numbers(got.kept)).toEqual(active === undefined ? [D, D, D] : [D, 0, D]);
      split(several.x).forEach((x, token) => {
        const tolerance = 2 * tolerances(block, x, reference(variantOf(undefined), block, x, 0.5));
        const [ours, whole] = [got, dense].map(({ y }) => numbers(y).slice(token * H, (token + 1) * H));
        expectWithin(ours, active?.[token] === false ? whole.map(() => 0) : whole, tolerance);
      });
      await checkTokens(variant, block, randomTokens(block, [2, 1], masked ? [true, false] : undefined), 0.5);
    }
  });
});

describe('variants', () => {
  it('are what a node says of them', () => {
    const flags = ['masked', 'densePrefill', 'gather', 'normed', 'counted', 'split'] as const;
    const any = fc.record({
      choice: fc.constantFrom(...ALL_CHOICES),
      activation: fc.constantFrom(...ACTIVATIONS),
      flags: fc.subarray([...flags]),
      biases: fc.subarray(['gateBias', 'upBias', 'downBias', 'postNorm'] as const),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(any, ({ choice, activation, flags, biases, seed }) => {
        const set = Object.fromEntries([...flags, ...biases].map((flag) => [flag, true]));
        const storages = storagesOf(choice);
        const variant = {
          ...variantOf(choice, { counted: false, gather: false, storage: storages[seed % storages.length] }),
          ...{ ...set, activation, split: flags.includes('split') && choice?.measure === 'gate' },
        };
        // Without a choice there is nothing to gather or to count.
        const meant = choice === undefined ? { ...variant, gather: false, counted: false } : variant;
        const block = randomBlock(1, meant);
        const active = meant.masked ? [true] : undefined;
        expect(variantOfNode(callOf(meant, block, randomTokens(block, [1, 1], active), 0.3).node)).toEqual(meant);
      }),
      { numRuns: 200, seed: 4 },
    );
  });

  it.each<[string, Readonly<Record<string, Attribute>>, RegExp]>([
    ['a measure', { measure: attr.string('luck') }, /chooses by measure luck, cut absolute/],
    ['a cut', { cut: attr.string('deviation') }, /cut deviation/],
    ['a storage', { storage: attr.string('int2') }, /but found int2/],
    ['an activation', { activation: attr.int(1) }, /but found undefined/],
    ['parts of x', { gate_inputs: attr.int(3) }, /for measure gate alone/],
  ])('of a node with %s of no meaning are refused', (_, changed, message) => {
    const variant = variantOf(BY_ACTIVATION);
    const block = randomBlock(1, variant);
    const { node } = callOf(variant, block, randomTokens(block, [1, 1]), 0.3);
    const unsound = { ...node, attributes: { ...node.attributes, ...changed } };
    expect(() => variantOfNode(unsound)).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringMatching(message) }),
    );
  });

  it('cover every measure', () => {
    expect(new Set(CHOICES.map(({ measure }) => measure))).toEqual(new Set(MEASURES.map(({ name }) => name)));
  });

  it('take no branch in fp16, whose weights are for GPUs', () => {
    const flags = [false, true];
    const settings = flags.flatMap((masked) =>
      flags.flatMap((densePrefill) => flags.map((gather) => ({ masked, densePrefill, gather }))),
    );
    for (const choice of ALL_CHOICES.filter((one) => storagesOf(one).includes('fp16'))) {
      const variants = settings.map((setting) => variantOf(choice, { storage: 'fp16', ...setting }));
      const used = variants.flatMap((variant) => gatedFfnBody(variant).nodes.map(({ opType }) => opType));
      // Branches and the lengths of lists are what a host waits for.
      expect(used.filter((opType) => ['If', 'Loop', 'NonZero'].includes(opType))).toEqual([]);
    }
  });

  it('refuse a storage that has no such measure, a cut that a measure has not, and parts of x for others than gate', () => {
    const nested = variantOf({ measure: 'nested', cut: 'absolute' }, { storage: 'bf16' });
    expect(() => gatedFfnBody(nested)).toThrow('Measure nested is for storage int8, not for bf16');
    expect(() => gatedFfnBody(variantOf({ measure: 'gate', cut: 'mean' }))).toThrow('Measure gate has no cut mean');
    expect(() => gatedFfnBody(variantOf(BY_ACTIVATION, { split: true }))).toThrow('for measure gate alone');
  });

  it('refuse a call that lacks what they read', () => {
    const inputs = { x: 'x', gate: 'g', up: 'u', down: 'd' };
    const call = { node: 'ffn', opType: 'GatedFFN_2_0', inputs, outputs: { y: 'y' }, sizes: { hidden: H, neurons: D } };
    expect(() => gatedFfnNode(variantOf(undefined, { masked: true }), call)).toThrow('GatedFFN lacks input active');
    expect(() => gatedFfnNode(variantOf(undefined), { ...call, inputs: { ...inputs, up_bias: 'b' } })).toThrow(
      'GatedFFN does not read input up_bias',
    );
    const split = variantOf({ measure: 'gate', cut: 'deviation', mode: 'soft' }, { split: true });
    const sizes = { hidden: H, neurons: D, gateInputs: H };
    expect(() => gatedFfnNode(split, { ...call, quantile: 1, sizes })).toThrow(`Expected 1 to ${H - 1} entries`);
  });
});

describe('the bodies of a model', () => {
  it('have one op type each, whatever asks for them, and no more than there are names', () => {
    const bodies = new Bodies([]);
    const [first, second] = [BY_ACTIVATION, undefined].map((choice) => gatedFfnBody(variantOf(choice)));
    expect([first, second, first].map((body) => bodies.opTypeOf(body))).toEqual([
      'GatedFFN_2_0',
      'GatedFFN_2_1',
      'GatedFFN_2_0',
    ]);
    expect(new Bodies(bodies.functions).opTypeOf(second)).toBe('GatedFFN_2_1');
    const doc = (number: number) => ({ ...first, doc: `${number}` });
    for (let number = 2; number < 16; number++) bodies.opTypeOf(doc(number));
    expect(bodies.functions).toHaveLength(16);
    expect([bodies.hasRoom(doc(16)), bodies.hasRoom(doc(15))]).toEqual([false, true]);
    expect(() => bodies.opTypeOf(doc(16))).toThrow('at most 16 different bodies of GatedFFN');
  });
});
