/**
 * Spark Transformer's attention (2506.06644, section 3) in standard operators, for converters, which write it into a
 * model, and for the operator that takes its place.
 *
 * A token with n visible keys has for each head the scores s = r^-1/2 (q[:r] . k[:r]), softly capped if the model is. It
 * attends to keys with s >= mean + deviation * Q(1 - k / n), of the n scores and with the population's deviation; to all
 * while n <= k, and always to the one with the largest score. These get softmax(s), which no shift by the threshold
 * would change, times softplus((d - r)^-1/2 (q[r:] . k[r:])). Rotary positions turn the two parts of a head apart.
 */
import { attr } from './graph.ts';
import { entries, type GraphBuilder } from './graph-builder.ts';
import { normalQuantile, normalShare } from './normal-quantile.ts';
import { float32Tensor, type TensorExpr } from './tensor.ts';

export interface SparkAttentionSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** r: entries of a head that score keys. */
  readonly predictorSize: number;
  /** c, if c tanh(s / c) replaces a score s. */
  readonly softcap: number | undefined;
  /** Of keys, values and what is projected. What decides is float32. */
  readonly floats: 'float32' | 'float16';
}

/**
 * - projected float [b, s, (heads + 2 kv heads) * head]: queries, keys and values, without positions
 * - past_key, past_value float [b, kv heads, past, head]: the cache, which may have room for more tokens
 * - seqlens_k int32 [b], total_sequence_length int32 []: as GroupQueryAttention's
 * - quantiles float32 [positions]: Q(1 - k / n) for n = 1 ... (`attentionQuantiles`)
 * - cosines, sines float [positions, r / 2], other_cosines, other_sines float [positions, (head - r) / 2]
 */
export const SPARK_ATTENTION_INPUTS = [
  'projected',
  'past_key',
  'past_value',
  'seqlens_k',
  'total_sequence_length',
  'quantiles',
  'cosines',
  'sines',
  'other_cosines',
  'other_sines',
] as const;

export type SparkAttentionInputs = Readonly<Record<(typeof SPARK_ATTENTION_INPUTS)[number], string>>;

/**
 * - y float [b, s, heads * head]
 * - present_key, present_value float [b, kv heads, max(past, total), head]
 * - attended int32 [b, s], if wanted: keys that the token's heads attend to, all heads together
 */
export interface SparkAttentionOutputs {
  readonly y: string;
  readonly present_key: string;
  readonly present_value: string;
  readonly attended?: string;
}

/** The prefix of a layer's nodes, by which a rewrite finds them. */
export function sparkAttentionScope(layer: number): string {
  return `layers.${layer}.attention`;
}

/** The least float32: as a quantile it lets all pass, as a score none. */
const LEAST = -3.4028234663852886e38;

/** Q(1 - k / n) for n = 1 to `positions`, float32; the least float32 where n <= k. Within one unit in float32's last place. */
export function attentionQuantiles(attendedTokens: number, positions: number): TensorExpr {
  const table = new Float32Array(positions).fill(LEAST);
  let z: number | undefined;
  for (let n = attendedTokens + 1; n <= positions; n++) {
    const share = 1 - attendedTokens / n;
    z = z === undefined ? normalQuantile(share) : refined(z, share);
    table[n - 1] = z;
  }
  return float32Tensor(table);
}

/** Newton's steps to Q(share) from a number near it. Neighbours are near. */
function refined(z: number, share: number): number {
  let at = z;
  for (let step = 0; step < 4; step++)
    at -= ((normalShare(at) - share) * Math.sqrt(2 * Math.PI)) / Math.exp((-at * at) / 2);
  return Math.abs(normalShare(at) - share) < 1e-9 ? at : normalQuantile(share);
}

/** Adds the nodes from projections and caches to what is attended to, and the new caches. */
export function writeSparkAttention(
  g: GraphBuilder,
  inputs: SparkAttentionInputs,
  outputs: SparkAttentionOutputs,
  sizes: SparkAttentionSizes,
): void {
  const { heads, kvHeads, headDim, predictorSize } = sizes;
  const slots = slotsOf(g, inputs);
  const apart = turned(g, g.op('Reshape', [inputs.projected, g.int64(0, 0, heads + 2 * kvHeads, headDim)]));
  const toTurn = entries(g, apart, 0, heads + kvHeads, HEADS);
  const turn = (x: string, cosines: string, sines: string) => g.contrib('RotaryEmbedding', [x, slots, cosines, sines]);
  const first = turn(entries(g, toTurn, 0, predictorSize), inputs.cosines, inputs.sines);
  const rest = turn(entries(g, toTurn, predictorSize, headDim), inputs.other_cosines, inputs.other_sines);
  const keysOf = (part: string) => entries(g, part, heads, heads + kvHeads, HEADS);
  const key = g.op('Concat', [keysOf(first), keysOf(rest)], { attributes: { axis: attr.int(-1) } });
  const value = entries(g, apart, heads + kvHeads, heads + 2 * kvHeads, HEADS);
  const total = g.op('Reshape', [g.cast(inputs.total_sequence_length, 'int64'), g.int64(1)]);
  const cache = { slots, total, isLonger: spareRoom(g, inputs.past_key, total) };
  const keys = appended(g, inputs.past_key, key, cache, outputs.present_key);
  const values = appended(g, inputs.past_value, value, cache, outputs.present_value);
  const products = (part: string, from: number, to: number) =>
    scaledProducts(g, entries(g, part, 0, heads, HEADS), entries(g, keys, from, to), to - from, sizes);
  const scores = softCapped(g, products(first, 0, predictorSize), sizes.softcap);
  const { weights, chosen } = chosenWeights(g, scores, slots, total, inputs.quantiles);
  const others = g.op('Softplus', [products(rest, predictorSize, headDim)]);
  const mixed = inFloats(g, g.op('Mul', [weights, others]), sizes);
  const attended = g.op('MatMul', [g.op('Reshape', [mixed, g.int64(0, kvHeads, -1, 0)]), values]);
  const byToken = turned(g, g.op('Reshape', [attended, g.int64(0, heads, -1, headDim)]));
  g.op('Reshape', [byToken, g.int64(0, 0, heads * headDim)], { outputs: [outputs.y] });
  if (outputs.attended !== undefined) countChosen(g, chosen, outputs.attended);
}

/** The axis of heads in [b, heads, s, head]. */
const HEADS = 1;
const TOKENS = 2;

/** [b, s, heads, head] <-> [b, heads, s, head]. */
function turned(g: GraphBuilder, x: string): string {
  return g.op('Transpose', [x], { attributes: { perm: attr.ints([0, 2, 1, 3]) } });
}

/** int64 [b, s]: where each token is in the cache. A prompt starts from nothing, even if its row is padded on the right. */
function slotsOf(g: GraphBuilder, { projected, seqlens_k, total_sequence_length }: SparkAttentionInputs): string {
  const tokens = g.op('Gather', [g.op('Shape', [projected]), g.int64Scalar(1)]);
  const isPrompt = g.op('Equal', [tokens, g.cast(total_sequence_length, 'int64')]);
  const ends = g.op('Add', [g.cast(seqlens_k, 'int64'), g.int64Scalar(1)]);
  const before = g.op('Where', [isPrompt, g.int64Scalar(0), g.op('Sub', [ends, tokens])]);
  const range = g.op('Range', [g.int64Scalar(0), tokens, g.int64Scalar(1)]);
  return g.op('Add', [g.op('Unsqueeze', [before, g.int64(1)]), range]);
}

/** int64 [8], Pad's: how much longer the cache has to become. */
function spareRoom(g: GraphBuilder, past: string, total: string): string {
  const length = g.op('Shape', [past], { attributes: { start: attr.int(TOKENS), end: attr.int(TOKENS + 1) } });
  const missing = g.op('Max', [g.op('Sub', [total, length]), g.int64(0)]);
  return g.op('Concat', [g.int64(0, 0, 0, 0, 0, 0), missing, g.int64(0)], { attributes: { axis: attr.int(0) } });
}

interface CacheEnds {
  readonly slots: string;
  readonly total: string;
  readonly isLonger: string;
}

/** The cache with `added` [b, kv heads, s, head] in it, called `present`; returns its part without spare room. */
function appended(
  g: GraphBuilder,
  past: string,
  added: string,
  { slots, total, isLonger }: CacheEnds,
  present: string,
): string {
  const at = g.op('Expand', [g.op('Unsqueeze', [slots, g.int64(1, 3)]), g.op('Shape', [added])]);
  g.op('ScatterElements', [g.op('Pad', [past, isLonger]), at, added], {
    attributes: { axis: attr.int(TOKENS) },
    outputs: [present],
  });
  return g.op('Slice', [present, g.int64(0), total, g.int64(TOKENS)]);
}

/** query [b, heads, s, w] keyᵀ [b, kv heads, t, w] / sqrt(w) -> float32 [b, heads, s, t]. */
function scaledProducts(
  g: GraphBuilder,
  query: string,
  key: string,
  width: number,
  { heads, kvHeads, floats }: SparkAttentionSizes,
): string {
  // Heads that share a key head stand under each other, so that one product takes them together.
  const grouped = g.op('Reshape', [query, g.int64(0, kvHeads, -1, width)]);
  const apart = (x: string) => g.op('Reshape', [x, g.int64(0, heads, -1, 0)]);
  const scale = width ** -0.5;
  if (floats === 'float32') {
    const attributes = { transB: attr.int(1), alpha: attr.float(scale) };
    return apart(g.contrib('FusedMatMul', [grouped, key], { attributes }));
  }
  // Not every runtime has FusedMatMul in float16.
  const turnedKey = g.op('Transpose', [key], { attributes: { perm: attr.ints([0, 1, 3, 2]) } });
  const scores = g.cast(g.op('MatMul', [grouped, turnedKey]), 'float32');
  return apart(g.op('Mul', [scores, g.float(scale)]));
}

function softCapped(g: GraphBuilder, scores: string, cap: number | undefined): string {
  if (cap === undefined) return scores;
  return g.op('Mul', [g.op('Tanh', [g.op('Div', [scores, g.float(cap)])]), g.float(cap)]);
}

/** Scores [b, heads, s, t] -> softmax over those that are chosen, and which these are, bool. */
function chosenWeights(g: GraphBuilder, scores: string, slots: string, total: string, quantiles: string) {
  const end = g.op('Squeeze', [total]);
  const positions = g.op('Range', [g.int64Scalar(0), end, g.int64Scalar(1)]);
  const at = g.op('Unsqueeze', [slots, g.int64(1, 3)]);
  const visible = g.op('LessOrEqual', [positions, at]);
  const counts = g.cast(g.op('Add', [at, g.int64Scalar(1)]), 'float32');
  const overVisible = (opType: string, x: string, otherwise: number) =>
    g.op(opType, [g.op('Where', [visible, x, g.float(otherwise)]), g.int64(-1)]);
  // Around the mean, the variance does not cancel.
  const centred = g.op('Sub', [scores, g.op('Div', [overVisible('ReduceSum', scores, 0), counts])]);
  // The deviation is the length of what is centred by sqrt(n).
  const factor = g.op('Div', [g.op('Gather', [quantiles, at]), g.op('Sqrt', [counts])]);
  const cut = g.op('Mul', [overVisible('ReduceL2', centred, 0), factor]);
  const limit = g.op('Min', [cut, overVisible('ReduceMax', centred, LEAST)]);
  const chosen = g.op('And', [visible, g.op('GreaterOrEqual', [centred, limit])]);
  return { weights: g.op('Softmax', [g.op('Where', [chosen, centred, g.float(LEAST)])]), chosen };
}

function inFloats(g: GraphBuilder, x: string, { floats }: SparkAttentionSizes): string {
  return floats === 'float32' ? x : g.cast(x, floats);
}

/** bool [b, heads, s, t] -> int32 [b, s]. */
function countChosen(g: GraphBuilder, chosen: string, output: string): void {
  const attributes = { keepdims: attr.int(0) };
  g.op('ReduceSum', [g.cast(chosen, 'int32'), g.int64(1, 3)], { attributes, outputs: [output] });
}
