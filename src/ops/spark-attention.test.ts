/** SparkAttention's body against plain loops, and the table of its thresholds. */
import { describe, expect, it } from 'vitest';
import { seededFloats } from '../../test/random.ts';
import { calling, floats, numbers, oneNodeGraph, runGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import { value } from '../core/graph-builder.ts';
import { normalQuantile } from '../core/normal-quantile.ts';
import type { RuntimeTensor } from '../core/runner.ts';
import { attentionQuantiles } from '../core/spark-attention.ts';
import { readFloats } from '../tensors/index.ts';
import {
  type SparkAttentionVariant,
  sparkAttentionBody,
  sparkAttentionNode,
  sparkVariantOf,
} from './spark-attention.ts';
import { sparkAttentionHead } from './testing/reference.ts';

const POSITIONS = 24;
const ATTENDED = 3;

interface Call {
  readonly variant: SparkAttentionVariant;
  /** Tokens of each row that were seen before, and new ones. */
  readonly seen: readonly number[];
  readonly tokens: number;
  /** Room of the past's tensor. */
  readonly capacity: number;
  readonly seed: number;
}

const int32 = (data: readonly number[], dims: readonly number[]): RuntimeTensor => ({
  dtype: 'int32',
  dims,
  data: Int32Array.from(data),
});

/** Positions turn nothing: the loops know none. What turns is held by the models' tests. */
function tables(width: number) {
  const dims = [POSITIONS, width / 2];
  return [
    floats(new Float32Array((POSITIONS * width) / 2).fill(1), dims),
    floats(new Float32Array((POSITIONS * width) / 2), dims),
  ];
}

async function run({ variant, seen, tokens, capacity, seed }: Call) {
  const { heads, kvHeads, headDim, predictorSize } = variant;
  const rows = seen.length;
  const make = seededFloats(seed);
  const random = (...dims: number[]) =>
    floats(
      make(dims.reduce((a, b) => a * b, 1)).map((one) => 2 * one),
      dims,
    );
  const total = Math.max(...seen) + tokens;
  const [cosines, sines] = tables(predictorSize);
  const [other_cosines, other_sines] = tables(headDim - predictorSize);
  const feeds = {
    projected: random(rows, tokens, (heads + 2 * kvHeads) * headDim),
    past_key: random(rows, kvHeads, capacity, headDim),
    past_value: random(rows, kvHeads, capacity, headDim),
    seqlens_k: int32(
      seen.map((one) => one + tokens - 1),
      [rows],
    ),
    total_sequence_length: int32([total], []),
    quantiles: floats(await readFloats(attentionQuantiles(ATTENDED, POSITIONS)), [POSITIONS]),
    cosines,
    sines,
    other_cosines,
    other_sines,
  };
  const names = Object.fromEntries(Object.keys(feeds).map((name) => [name, name])) as never;
  const outputs = { y: 'y', present_key: 'present_key', present_value: 'present_value', attended: 'attended' };
  const node = (opType: string) => sparkAttentionNode(variant, { node: 'attention', opType, inputs: names, outputs });
  const graph = oneNodeGraph({ ...calling(sparkAttentionBody(variant), node), feeds, outputs: {} });
  const cache = ['rows', kvHeads, 'present', headDim];
  const made = await runGraph(
    {
      ...graph,
      outputs: [
        value('y', 'float32', ['rows', 'tokens', heads * headDim]),
        value('present_key', 'float32', cache),
        value('present_value', 'float32', cache),
        value('attended', 'int32', ['rows', 'tokens']),
      ],
    },
    feeds,
  );
  return { feeds, made, total };
}

/** Products of a few entries of size 2, in float32, and sums over a few keys. */
const TOLERANCE = 2e-5;

async function check(call: Call) {
  const { feeds, made, total } = await run(call);
  const { variant, seen, tokens, capacity } = call;
  const { heads, kvHeads, headDim, predictorSize, softcap = 0 } = variant;
  const present = Math.max(capacity, total);
  const quantiles = numbers(feeds.quantiles);
  const wanted: { y: number[]; attended: number[] } = { y: [], attended: [] };
  const [projected, key, cached] = [numbers(feeds.projected), numbers(made.present_key), numbers(made.present_value)];
  let margin = Number.POSITIVE_INFINITY;
  for (const [row, before] of seen.entries())
    for (let token = 0; token < tokens; token++) {
      const start = (row * tokens + token) * (heads + 2 * kvHeads) * headDim;
      const headOf = (head: number) => projected.slice(start + head * headDim, start + (head + 1) * headDim);
      const visible = before + token + 1;
      let attended = 0;
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kvHeads) / heads);
        const rowsOf = (all: number[]) =>
          Array.from({ length: visible }, (_, at) => {
            const from = ((row * kvHeads + kvHead) * present + at) * headDim;
            return all.slice(from, from + headDim);
          });
        const query = { query: headOf(head), keys: rowsOf(key), values: rowsOf(cached) };
        const found = sparkAttentionHead({ ...query, predictorSize, quantile: quantiles[visible - 1], softcap });
        wanted.y.push(...found.y);
        attended += found.attended;
        margin = Math.min(margin, found.margin);
      }
      wanted.attended.push(attended);
      // The new key and value are where the token is.
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        const place = ((row * kvHeads + kvHead) * present + before + token) * headDim;
        expectWithin(key.slice(place, place + headDim), headOf(heads + kvHead), 0);
        expectWithin(cached.slice(place, place + headDim), headOf(heads + kvHeads + kvHead), 0);
      }
    }
  expect(margin).toBeGreaterThan(TOLERANCE);
  expectWithin(numbers(made.y), wanted.y, TOLERANCE);
  expect(numbers(made.attended)).toEqual(wanted.attended);
  expect(made.present_key.dims).toEqual([seen.length, kvHeads, present, headDim]);
}

const VARIANT = { heads: 4, kvHeads: 2, headDim: 10, predictorSize: 4, softcap: undefined, counted: true };

describe('SparkAttention', () => {
  it.each([
    ['a prompt', { seen: [0], tokens: 9, capacity: 0 }],
    ['a prompt into a cache with room', { seen: [0], tokens: 9, capacity: 20 }],
    ['one token after others', { seen: [12], tokens: 1, capacity: 12 }],
    ['several tokens after others, with room', { seen: [7], tokens: 4, capacity: 16 }],
    ['rows of several lengths', { seen: [12, 3, 7], tokens: 1, capacity: 12 }],
  ])('agrees with plain loops: %s', async (_, call) => {
    await check({ variant: VARIANT, seed: 3, ...call });
    await check({ variant: { ...VARIANT, heads: 2, kvHeads: 1, softcap: 2 }, seed: 5, ...call });
  });

  it('says in its attributes what its body has', () => {
    const call = { node: 'n', opType: 'SparkAttention_2_0', inputs: {} as never, outputs: { y: 'y', attended: 'a' } };
    for (const variant of [VARIANT, { ...VARIANT, softcap: 3 }])
      expect(sparkVariantOf(sparkAttentionNode(variant, call), VARIANT.headDim)).toEqual(variant);
  });
});

describe('attentionQuantiles', () => {
  it('is Q(1 - k / n), and lets all pass while n <= k', async () => {
    const table = await readFloats(attentionQuantiles(256, 8192));
    expect(new Set(table.subarray(0, 256))).toEqual(new Set([-3.4028234663852886e38]));
    for (const n of [257, 258, 300, 511, 513, 1000, 4096, 8192])
      expect(table[n - 1]).toBe(Math.fround(normalQuantile(1 - 256 / n)));
    // Half of 512 keys are above the mean.
    expect(Math.abs(table[511])).toBeLessThan(1e-15);
  });

  it('is near the ends what bisection finds', async () => {
    const table = await readFloats(attentionQuantiles(1, 100_000));
    for (const n of [2, 3, 10, 1000, 99_999, 100_000])
      expect(Math.abs(table[n - 1] - normalQuantile(1 - 1 / n))).toBeLessThan(3e-7);
  });
});
