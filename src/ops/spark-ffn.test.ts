import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { numbers, runBody } from '../../test/run-body.ts';
import {
  isSparkClear,
  SPARK,
  sparkBlock,
  sparkCall,
  sparkReference,
  sparkTokens,
  sparkTolerance,
  sparkVariant,
} from '../../test/spark-ffn-block.ts';
import { ACTIVATIONS } from './activations.ts';
import { STORAGES } from './gated-ffn/storages.ts';
import { dot } from './reference.ts';
import { sparkFfnNode, sparkFfnOpType } from './spark-ffn.ts';
import { TOP_K_MODES } from './statistical-top-k.ts';

describe('SparkFFN', () => {
  const cases = fc.record({
    seed: fc.integer({ min: 1, max: 1e6 }),
    shape: fc.constantFrom<readonly [number, number]>([1, 1], [1, 3], [2, 2]),
    quantile: fc.constantFrom(-0.5, 0.3, 1.2),
    activation: fc.constantFrom(...ACTIVATIONS.map(({ name }) => name)),
    storage: fc.constantFrom(...STORAGES),
    postNorm: fc.boolean(),
  });

  it.each(TOP_K_MODES)('agrees with the plain loops: %s', async (mode) => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ seed, shape, quantile, ...rest }) => {
        const variant = sparkVariant(mode, rest);
        const block = sparkBlock(seed, variant);
        const tokens = sparkTokens(block, variant, shape[0] * shape[1]);
        fc.pre(tokens.every((x) => isSparkClear(variant, block, x, quantile)));
        const got = await runBody(sparkCall(variant, block, tokens, shape, quantile));
        const y = numbers(got.y);
        tokens.forEach((x, token) => {
          const wanted = sparkReference(variant, block, x, quantile);
          const tolerance = sparkTolerance(variant, block, x, quantile);
          expect(got.kept.data[token]).toBe(wanted.kept);
          wanted.y.forEach((entry, i) => {
            expect(Math.abs(y[token * SPARK.h + i] - entry)).toBeLessThanOrEqual(tolerance);
          });
        });
      }),
      { numRuns: 40, seed: 4 },
    );
  });

  // Rounding of act * up moves single entries by several per cent. It takes no side, so a factor on all of them shows.
  it.each(['int8', 'int4'] as const)('is off by no factor in %s', async (storage) => {
    const variant = sparkVariant('hard', { storage });
    const block = sparkBlock(5, variant);
    const tokens = sparkTokens(block, variant, 64);
    const wanted = tokens.flatMap((x) => sparkReference(variant, block, x, 0.3).y);
    const got = numbers((await runBody(sparkCall(variant, block, tokens, [1, 64], 0.3))).y);
    expect(Math.abs(dot(got, wanted) / dot(wanted, wanted) - 1)).toBeLessThan(0.002);
  });

  it('chooses by the first entries alone, and multiplies by the others', async () => {
    const variant = sparkVariant('soft', { activation: 'relu' });
    const block = sparkBlock(3, variant);
    const [x] = sparkTokens(block, variant, 1);
    // relu and top-k are linear in the size of x[:r] where its mean and deviation grow with it; up is linear anyway.
    const doubled = x.map((value) => 2 * value);
    const half = Float32Array.from([...x.subarray(0, SPARK.gate), ...doubled.subarray(SPARK.gate)]);
    const run = (token: Float32Array) => runBody(sparkCall(variant, block, [token], [1, 1], 0.3));
    const [once, upDoubled, allDoubled] = [await run(x), await run(half), await run(doubled)];
    expect(upDoubled.kept).toEqual(once.kept);
    expect(allDoubled.kept).toEqual(once.kept);
    const tolerance = 8 * sparkTolerance(variant, block, x, 0.3);
    numbers(once.y).forEach((entry, i) => {
      expect(Math.abs(numbers(upDoubled.y)[i] - 2 * entry)).toBeLessThanOrEqual(tolerance);
      expect(Math.abs(numbers(allDoubled.y)[i] - 4 * entry)).toBeLessThanOrEqual(tolerance);
    });
  });

  it('names variants apart and refuses a split that leaves nothing', () => {
    expect(
      STORAGES.flatMap((storage) => TOP_K_MODES.map((mode) => sparkFfnOpType(sparkVariant(mode, { storage })))),
    ).toEqual(STORAGES.flatMap((storage) => [`SparkFFN_${storage}`, `SparkFFN_${storage}_hard`]));
    const call = { node: 'n', inputs: { x: 'x', gate: 'g', up: 'u', down: 'd' }, outputs: { y: 'y' }, quantile: 1 };
    for (const gateInputs of [0, 8])
      expect(() =>
        sparkFfnNode(sparkVariant('soft'), { ...call, sizes: { hidden: 8, gateInputs, neurons: 4 } }),
      ).toThrow(`Expected 1 to 7 entries for SparkFFN's gate but received ${gateInputs}`);
  });
});
