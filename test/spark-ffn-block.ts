/** SparkFFN on small random blocks: calls, what plain loops make of them, and how far float32 may be from that. */
import {
  SPARK_RECORDED,
  type SparkFfnVariant,
  sparkFfnFunction,
  sparkFfnNode,
  type TopKMode,
} from '../src/ops/index.ts';
import { dot, sparkFfnToken } from '../src/ops/reference.ts';
import { cutMargin, EPSILON, narrowRoundings, onSteps, roundingOf, takesFloats } from './gated-ffn-block.ts';
import { seededFloats } from './random.ts';
import { floats, type OneNode } from './run-body.ts';
import { type FfnSizes, storedWeights } from './stored-weights.ts';

/** Of x, the gate reads a block of 32 and some, and up what is left. */
export const SPARK: FfnSizes = { d: 72, h: 75, gate: 35, up: 40 };

const NORM_EPSILON = 1e-6;

export function sparkVariant(mode: TopKMode, rest: Partial<SparkFfnVariant> = {}): SparkFfnVariant {
  return { storage: 'fp32', mode, activation: 'gelu_tanh', postNorm: false, ...rest };
}

export function sparkBlock(seed: number, { storage, postNorm }: SparkFfnVariant) {
  const next = seededFloats(seed);
  const { rows, tensors } = storedWeights(storage, SPARK, SPARK_RECORDED, next);
  const norm = postNorm ? { postNorm: { weight: next(SPARK.h), epsilon: NORM_EPSILON } } : {};
  return { ffn: { ...rows, ...norm }, tensors, next };
}

export type SparkBlock = ReturnType<typeof sparkBlock>;

/** Tokens row by row; where products would round entries, these are whole steps, of which none is rounded. */
export function sparkTokens({ next }: SparkBlock, { storage }: SparkFfnVariant, count: number): Float32Array[] {
  return Array.from({ length: count }, () => {
    const x = next(SPARK.h);
    if (takesFloats(storage)) return x;
    return Float32Array.from([...onSteps(x.subarray(0, SPARK.gate)), ...onSteps(x.subarray(SPARK.gate))]);
  });
}

/** `shape` is [b, s]. */
export function sparkCall(
  variant: SparkFfnVariant,
  { ffn, tensors }: SparkBlock,
  tokens: readonly Float32Array[],
  shape: readonly [number, number],
  quantile: number,
): OneNode {
  const constants = Object.entries(tensors).map(([name, data]) => ({ name, data }));
  const weights = {
    gate: 'gate',
    up: 'up',
    ...Object.fromEntries(constants.map(({ name }) => [name, name])),
  };
  const norm = ffn.postNorm && floats(ffn.postNorm.weight, [SPARK.h]);
  const node = sparkFfnNode(variant, {
    node: 'ffn',
    inputs: { x: 'x', ...weights, ...(norm && { post_norm: 'post_norm' }) },
    outputs: { y: 'y', kept: 'kept' },
    quantile,
    sizes: { hidden: SPARK.h, gateInputs: SPARK.gate, neurons: SPARK.d },
    ...(norm && { epsilon: NORM_EPSILON }),
  });
  const x = floats(
    tokens.flatMap((token) => Array.from(token)),
    [...shape, SPARK.h],
  );
  return {
    node,
    body: sparkFfnFunction(variant),
    feeds: { x, ...(norm && { post_norm: norm }) },
    constants,
    outputs: { y: 'float32', kept: 'int32' },
  };
}

export function sparkReference(variant: SparkFfnVariant, { ffn }: SparkBlock, x: Float32Array, quantile: number) {
  return sparkFfnToken(x, ffn, { activation: variant.activation, mode: variant.mode, quantile });
}

/** As GatedFFN's: sums of sums, each rounded, against the same sums of magnitudes; and what a product with blocks rounds. */
export function sparkTolerance(variant: SparkFfnVariant, block: SparkBlock, x: Float32Array, quantile: number): number {
  const { ffn } = block;
  const abs = (values: ArrayLike<number>) => Array.from(values, Math.abs);
  const [first, rest] = [abs(x.subarray(0, SPARK.gate)), abs(x.subarray(SPARK.gate))];
  const sizes = ffn.up.map((row, j) => dot(abs(ffn.gate[j]), first) * dot(abs(row), rest));
  const magnitudes = abs(x).map((_, i) =>
    dot(
      sizes,
      ffn.down.map((row) => Math.abs(row[i])),
    ),
  );
  const { act, raw } = sparkReference(variant, block, x, quantile);
  const products = act.map((value, j) => value * dot(ffn.up[j], x.subarray(SPARK.gate)));
  const tolerance =
    (1.13 * (2 * SPARK.h + SPARK.d + 8) * EPSILON + narrowRoundings(variant.storage)) * Math.max(...magnitudes) +
    roundingOf(variant.storage, products, ffn.down);
  if (ffn.postNorm === undefined) return tolerance;
  const rms = Math.sqrt(dot(raw, raw) / SPARK.h);
  return (2 * tolerance * Math.max(...abs(ffn.postNorm.weight))) / rms;
}

/** Whether no neuron is so near the cut that rounding could decide about it. */
export function isSparkClear(variant: SparkFfnVariant, block: SparkBlock, x: Float32Array, quantile: number): boolean {
  const margin = cutMargin(variant.storage, quantile);
  const [under, over] = [-margin, margin].map((by) => sparkReference(variant, block, x, quantile + by).kept);
  return under === over;
}
