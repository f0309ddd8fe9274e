/** GatedFFN on small random blocks: calls, what plain loops make of them, and how far float32 may be from that. */
import type { RuntimeTensor } from '../src/core/runner.ts';
import type { SelectorChoice } from '../src/ops/gated-ffn/selectors.ts';
import { type GatedFfnVariant, gatedFfnFunction, gatedFfnNode, gatedFfnOutputs } from '../src/ops/gated-ffn.ts';
import { dot, type FfnWeights, gatedFfnToken } from '../src/ops/reference.ts';
import { seededFloats } from './random.ts';
import { floats, type OneNode } from './run-body.ts';

export const EPSILON = 2 ** -23;
export const [H, D] = [12, 24];

export const CHOICES: readonly SelectorChoice[] = [
  { kind: 'none' },
  { kind: 'threshold', scale: 'absolute' },
  { kind: 'threshold', scale: 'token-mean' },
  { kind: 'statistical', mode: 'soft' },
  { kind: 'statistical', mode: 'hard' },
];

export function variantOf(selector: SelectorChoice, rest: Partial<GatedFfnVariant> = {}): GatedFfnVariant {
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
export function randomBlock(seed: number, variant: GatedFfnVariant) {
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

export type Block = ReturnType<typeof randomBlock>;

export interface Tokens {
  readonly x: Float32Array;
  readonly residual: Float32Array;
  readonly dims: readonly [number, number];
  readonly active?: readonly boolean[] | undefined;
}

/** The node that calls a variant on a block, its body, what it is fed, and the types of what it gives. */
export function callOf(variant: GatedFfnVariant, { ffn, scoreWeights }: Block, tokens: Tokens, cut: number): OneNode {
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
  return {
    node,
    body: gatedFfnFunction(variant),
    feeds: { x: floats(tokens.x, [...tokens.dims, H]), ...Object.fromEntries(feeds) },
    outputs: types,
  };
}

export function reference(variant: GatedFfnVariant, { ffn, scoreWeights }: Block, x: ArrayLike<number>, cut: number) {
  const { activation, selector } = variant;
  return gatedFfnToken(x, ffn, { activation, selector, threshold: cut, weights: scoreWeights, quantile: cut });
}

/**
 * How far float32 may be from the loops. Every product is a sum of at most D terms of sums of H terms, each rounded to
 * eps; on absolute values, relu and no selector, the same loops give the sum of all magnitudes. Activations are at
 * most 1.13 steep. An RMS norm divides by the root mean square of what it normalises.
 */
export function tolerances({ ffn }: Block, x: Float32Array, raw: readonly number[]) {
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
export function isClear(variant: GatedFfnVariant, block: Block, x: Float32Array, cut: number): boolean {
  const near = [cut * (1 - 1e-4), cut * (1 + 1e-4)].map((other) => reference(variant, block, x, other).kept);
  return near[0] === near[1];
}

export function split(x: Float32Array): Float32Array[] {
  return Array.from({ length: x.length / H }, (_, token) => x.subarray(token * H, (token + 1) * H));
}

export function randomTokens({ next }: Block, dims: readonly [number, number], active?: readonly boolean[]): Tokens {
  const count = dims[0] * dims[1] * H;
  return { x: next(count), residual: next(count).map((value) => 4 * value), dims, ...(active && { active }) };
}

/** Cuts that keep few, some and all neurons, as threshold and as quantile alike. */
export const CUTS = [0.02, 0.15, 0.5, 1.2];
