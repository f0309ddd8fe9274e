/** GatedFFN on small random blocks: calls, what plain loops make of them, and how far float32 may be from that. */
import { CHOICES, type NeuronChoice } from '../src/core/choice.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { BLOCK_STORAGES, STORAGES, type Storage } from '../src/ops/gated-ffn/storages.ts';
import {
  type GatedFfnVariant,
  gatedFfnBody,
  gatedFfnNode,
  gatedFfnOutputs,
  isForStorage,
  recordedBy,
} from '../src/ops/gated-ffn.ts';
import { dot, type FfnWeights, gatedFfnToken, partsOf } from '../src/ops/testing/reference.ts';
import { seededFloats } from './random.ts';
import { calling, floats, type OneNode } from './run-body.ts';
import { int4Rows, planeWeights, storedWeights, withOneMatrix } from './stored-weights.ts';

export const EPSILON = 2 ** -23;
/** More than one block of 32 each, and no whole number of them. */
export const [H, D] = [40, 70];
/** Outputs where gate and up read parts of x. */
export const SPLIT_H = 75;

/** No choice, and every one that there is. */
export const ALL_CHOICES = [undefined, ...CHOICES] as const;

export const BY_ACTIVATION: NeuronChoice = { measure: 'activation', cut: 'absolute' };

/** Those that a choice is for. */
export function storagesOf(choice: NeuronChoice | undefined): readonly Storage[] {
  return STORAGES.filter((storage) => isForStorage(choice, storage));
}

export function variantOf(choice: NeuronChoice | undefined, rest: Partial<GatedFfnVariant> = {}): GatedFfnVariant {
  const biases = { gateBias: false, upBias: false, downBias: false, postNorm: false };
  return {
    choice,
    storage: storagesOf(choice)[0],
    split: false,
    masked: false,
    densePrefill: false,
    gather: true,
    normed: false,
    counted: true,
    activation: 'silu',
    ...biases,
    ...rest,
  };
}

/** How many entries of x a gate reads that does not read all: a block of 32 and some, and up reads no whole blocks. */
export const GATE_INPUTS = 35;

/** A block with random weights: what the loops and what the node take. */
export function randomBlock(seed: number, variant: GatedFfnVariant) {
  const next = seededFloats(seed);
  const h = variant.split ? SPLIT_H : H;
  const parts = variant.split ? { gate: GATE_INPUTS, up: h - GATE_INPUTS } : { gate: h, up: h };
  const sizes = { d: D, h, ...parts };
  const measure = variant.choice?.measure;
  const planes = measure === 'nested' ? planeWeights(sizes, next) : undefined;
  const stored = planes ?? storedWeights(variant.storage, sizes, recordedBy(variant.choice), next);
  const { rows } = stored;
  const tensors = variant.split ? stored.tensors : withOneMatrix(stored.tensors);
  const ffn: FfnWeights = {
    ...rows,
    ...(variant.gateBias && { gateBias: next(D) }),
    ...(variant.upBias && { upBias: next(D) }),
    ...(variant.downBias && { downBias: next(h) }),
    ...(variant.postNorm && { postNorm: { weight: next(h), epsilon: 1e-6 } }),
  };
  const scoreWeights = next(D).map(Math.abs);
  const predictor = measure === 'predicted' ? randomPredictor(next) : planes && { rows: planes.upper, tensors: {} };
  const norm = variant.normed ? normWeight(next, h) : undefined;
  return { ffn, tensors, storage: variant.storage, h, split: parts, scoreWeights, predictor, norm, next };
}

/** A power of 2 for each 32 entries: what is on a block's steps stays there when it is normed. */
function normWeight(next: (count: number) => Float32Array, h: number): Float32Array {
  const powers = next(Math.ceil(h / 32)).map((value) => 2 ** Math.round(2 * value));
  return Float32Array.from({ length: h }, (_, i) => powers[Math.floor(i / 32)]);
}

/** What measure `predicted` chooses by, as numbers and as inputs. */
function randomPredictor(next: (count: number) => Float32Array) {
  const { rows, codes, scales } = int4Rows(2 * D, H, next);
  const tensors = { predictor: codes, predictor_scales: scales };
  return { rows: { gate: rows.slice(0, D), up: rows.slice(D) }, tensors };
}

export type Block = ReturnType<typeof randomBlock>;

export interface Tokens {
  /** What is multiplied. */
  readonly x: Float32Array;
  /** The stream, of which a normed variant makes x. */
  readonly residual: Float32Array;
  readonly dims: readonly [number, number];
  readonly active?: readonly boolean[] | undefined;
}

/** The node that calls a variant on a block, its body, what it is fed, and the types of what it gives. */
export function callOf(variant: GatedFfnVariant, block: Block, tokens: Tokens, cut: number): OneNode {
  const { ffn, scoreWeights, norm } = block;
  const { gateBias, upBias, downBias, postNorm } = ffn;
  const matrix = (rows: FfnWeights['gate']) =>
    floats(
      rows.flatMap((row) => Array.from(row)),
      [D, rows[0].length],
    );
  // Floats are fed, so that tests can change them; nothing else can be fed to every host.
  const isFed = variant.storage === 'fp32';
  const vector = (data: ArrayLike<number> | undefined) => data && floats(data, [data.length]);
  const scored = variant.choice !== undefined && variant.choice.cut !== 'deviation';
  // Doubled and taken off once, the stream is what it was.
  const stream = (times: number) =>
    floats(
      tokens.residual.map((value) => times * value),
      [...tokens.dims, block.h],
    );
  const given: Record<string, RuntimeTensor | undefined> = {
    ...(isFed && { gate: matrix(ffn.gate), up: matrix(ffn.up), down: matrix(ffn.down) }),
    gate_bias: vector(gateBias),
    up_bias: vector(upBias),
    down_bias: vector(downBias),
    post_norm: vector(postNorm?.weight),
    threshold: scored ? floats([cut], []) : undefined,
    weights: scored ? vector(scoreWeights) : undefined,
    residual: variant.masked && !variant.normed ? stream(1) : undefined,
    skip: variant.normed ? stream(-1) : undefined,
    norm: vector(norm),
    active: tokens.active && { dtype: 'bool', dims: tokens.dims, data: Uint8Array.from(tokens.active, Number) },
  };
  const feeds = Object.entries(given).flatMap(([name, tensor]) =>
    tensor === undefined ? [] : [[name, tensor] as const],
  );
  const outputs = gatedFfnOutputs(variant);
  const constants = Object.entries({
    ...(!isFed && block.tensors),
    ...(variant.choice?.measure === 'predicted' && block.predictor?.tensors),
  }).map(([name, data]) => ({ name, data }));
  const names = {
    x: 'x',
    ...Object.fromEntries(feeds.map(([name]) => [name, name])),
    ...Object.fromEntries(constants.map(({ name }) => [name, name])),
  };
  const call = {
    node: 'ffn',
    inputs: names,
    outputs: Object.fromEntries(outputs.map((name) => [name, name])),
    quantile: cut,
    epsilon: NORM_EPSILON,
    postEpsilon: 1e-6,
    sizes: { hidden: block.h, neurons: D, gateInputs: GATE_INPUTS },
  };
  const types = Object.fromEntries(outputs.map((name) => [name, name === 'kept' ? 'int32' : 'float32'] as const));
  return {
    ...calling(gatedFfnBody(variant), (opType) => gatedFfnNode(variant, { ...call, opType })),
    feeds: {
      x: variant.normed ? stream(2) : floats(tokens.x, [...tokens.dims, block.h]),
      ...Object.fromEntries(feeds),
    },
    constants,
    outputs: types,
  };
}

export function reference(variant: GatedFfnVariant, block: Block, x: ArrayLike<number>, cut: number) {
  const { activation, choice } = variant;
  const predictor = block.predictor?.rows;
  const score = { threshold: cut, weights: block.scoreWeights, quantile: cut, ...(predictor && { predictor }) };
  return gatedFfnToken(x, block.ffn, { activation, choice, ...score });
}

/**
 * How far float32 may be from the loops. Every product is a sum of at most D terms of sums of H terms, each rounded to
 * eps; on absolute values, relu and no choice, the same loops give the sum of all magnitudes. Activations are at
 * most 1.13 steep. An RMS norm divides by the root mean square of what it normalises. Where weights are in blocks sums within one
 * are exact, so the same holds for two planes, whose sizes are together less than twice the matrix'.
 */
export function tolerances(block: Block, x: Float32Array, wanted: Wanted) {
  const { ffn } = block;
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
    { activation: 'relu', choice: undefined },
  ).y;
  // Gate and up are each made of entries that are off by what a norm's sum of squares is, by half.
  const normed = block.norm === undefined ? 0 : block.h + 16;
  const relative = 1.13 * (2 * block.h + D + 8 + normed) * EPSILON + narrowRoundings(block.storage);
  const product = relative * Math.max(...magnitudes) + roundedProducts(block, x, wanted);
  if (ffn.postNorm === undefined) return product;
  const rms = Math.sqrt(dot(wanted.raw, wanted.raw) / block.h);
  return (2 * product * Math.max(...abs(ffn.postNorm.weight))) / rms;
}

/**
 * What a body that multiplies in float16 may be off by, as a share of the sum of magnitudes: gate (1.13 by the activation),
 * up, their product and y are each rounded to 11 bits once, and a statistical cut is made of rounded gates. x is not
 * rounded by that: `randomTokens` takes it from numbers that float16 has.
 */
export function narrowRoundings(storage: Storage): number {
  return storage === 'fp16' ? 5 * NARROW_ROUNDING : 0;
}

/** Unit roundoff of float16. */
const NARROW_ROUNDING = 2 ** -11;

export type Wanted = Pick<ReturnType<typeof reference>, 'raw' | 'act'>;

/**
 * What a body adds where `down` is in blocks: MatMulNBits rounds what it is multiplied with, act * up, to steps of a 127th of
 * the largest in each 32 of them. x is not rounded by that: `randomTokens` takes it from the steps.
 */
function roundedProducts({ ffn, storage }: Block, x: Float32Array, { act }: Wanted): number {
  const { up } = partsOf(x, ffn);
  const products = act.map((value, j) => value * (dot(ffn.up[j], up) + (ffn.upBias?.[j] ?? 0)));
  return roundingOf(storage, products, ffn.down);
}

/** The same by the products themselves. */
export function roundingOf(storage: Storage, products: readonly number[], down: FfnWeights['down']): number {
  if (!BLOCK_STORAGES.some((name) => name === storage)) return 0;
  const halfSteps = products.map((_, j) => {
    const start = Math.floor(j / 32) * 32;
    return Math.max(...products.slice(start, start + 32).map(Math.abs)) / 254;
  });
  const errors = Array.from(down[0], (_, i) =>
    halfSteps.reduce((sum, half, j) => sum + half * Math.abs(down[j][i]), 0),
  );
  // The step itself is a rounded number.
  return 1.001 * Math.max(...errors);
}

/** Whether no neuron of the token is so near the cut that rounding could decide about it. */
export function isClear(variant: GatedFfnVariant, block: Block, x: Float32Array, cut: number): boolean {
  const margin = cutMargin(variant.storage, cut);
  const near = [cut - margin, cut + margin].map((other) => reference(variant, block, x, other).kept);
  return near[0] === near[1];
}

/**
 * How far a cut has to be from what it is compared with. In float16 a score is off by about two of its roundings, and by
 * one of the gate's where the activation is steeper than the score is large: eight of the cut and of 1.
 */
export function cutMargin(storage: Storage, cut: number): number {
  return storage === 'fp16' ? 8 * NARROW_ROUNDING * (1 + Math.abs(cut)) : 1e-4 * cut;
}

export function split(x: Float32Array, width = H): Float32Array[] {
  return Array.from({ length: x.length / width }, (_, token) => x.subarray(token * width, (token + 1) * width));
}

export function randomTokens(block: Block, dims: readonly [number, number], active?: readonly boolean[]): Tokens {
  const { next, storage, predictor, norm, h } = block;
  const count = dims[0] * dims[1] * h;
  const floating = next(count);
  const given = takesFloats(storage) && predictor === undefined ? floating : partsOnSteps(block, floating);
  const residual = norm === undefined ? next(count).map((value) => 4 * value) : given;
  const x = norm === undefined ? given : Float32Array.from(split(given, h).flatMap((row) => normedRow(row, norm)));
  return { x, residual, dims, ...(active && { active }) };
}

/** Where gate and up read parts of x, each part is rounded by itself. */
function partsOnSteps({ h, split: { gate } }: Block, x: Float32Array): Float32Array {
  const rows = split(x, h).flatMap((row) => [
    ...onSteps(row.subarray(0, gate), gate),
    ...(gate === h ? [] : onSteps(row.subarray(gate), h - gate)),
  ]);
  return Float32Array.from(rows);
}

const NORM_EPSILON = 1e-5;

function normedRow(row: Float32Array, weight: Float32Array): number[] {
  const scale = 1 / Math.sqrt(dot(row, row) / row.length + NORM_EPSILON);
  return Array.from(row, (value, i) => value * scale * weight[i]);
}

/** Whether products read x as it is; others round it, to blocks or to float16. */
export function takesFloats(storage: Storage): boolean {
  return storage === 'fp32' || storage === 'bf16';
}

/**
 * Entries as products with blocks take them, rounded to 127 steps of a block's largest: the largest is made 127 steps of
 * 1/128, so that no further rounding changes an entry. float16 has them all.
 */
export function onSteps(x: Float32Array, width = H): Float32Array {
  return x.map((value, at) =>
    (at % width) % 32 === 0 ? Math.sign(value) * (127 / 128) : Math.trunc(127 * value) / 128,
  );
}

/** Cuts that keep few, some and all neurons, as threshold and as quantile alike. */
export const CUTS = [0.02, 0.15, 0.5, 1.2];
