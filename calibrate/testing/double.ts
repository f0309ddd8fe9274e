/**
 * A stand-in for a converted model and its runtime, for tests of arithmetic and order alone: layers without attention.
 * Their FFN is computed here in plain loops, so the inputs of calibration are known.
 */
import type { Graph } from '../../src/core/graph.ts';
import { BASE_OPSETS } from '../../src/core/graph.ts';
import { value } from '../../src/core/graph-builder.ts';
import {
  EMBEDDING_WEIGHT,
  ffnWeightName,
  HEAD_TAP,
  hiddenName,
  type ModelPieces,
  type ModelSpec,
  TAPS,
  tapName,
} from '../../src/core/model.ts';
import type { OpenGraph, RuntimeTensor } from '../../src/core/runner.ts';
import { float32Tensor, type TensorExpr } from '../../src/core/tensor.ts';

export const SPEC: ModelSpec = {
  modelType: 'double',
  architecture: 'DoubleForTests',
  numHiddenLayers: 5,
  hiddenSize: 6,
  intermediateSize: 10,
  vocabSize: 32,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 3,
  contextLength: 64,
  hiddenAct: 'silu',
  bosTokenId: undefined,
  eosTokenIds: [0],
};

/** A linear congruential generator (Numerical Recipes' constants): numbers in [-1, 1) from a seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

export function seededFloats(seed: number, length: number): Float32Array {
  const next = seeded(seed);
  return Float32Array.from({ length }, next);
}

const weightOf = {
  gate_proj: (layer: number) => seededFloats(100 + layer, SPEC.intermediateSize * SPEC.hiddenSize),
  up_proj: (layer: number) => seededFloats(200 + layer, SPEC.intermediateSize * SPEC.hiddenSize),
  down_proj: (layer: number) => seededFloats(300 + layer, SPEC.hiddenSize * SPEC.intermediateSize),
};

function embeddings(): Float32Array {
  const rows = Array.from({ length: SPEC.vocabSize }, (_, id) => [...seededFloats(1000 + id, SPEC.hiddenSize)]);
  return Float32Array.from(rows.flat());
}

export const downWeight = weightOf.down_proj;

function graphOf(
  name: string,
  inputs: readonly string[],
  made: readonly string[],
  weights: Graph['initializers'],
): Graph {
  const float = (input: string) => value(input, 'float32', ['any']);
  const node = { name, opType: 'Double', domain: '', inputs, outputs: made, attributes: {} };
  const outputs = made.slice(0, 1).map(float);
  const inputInfos = inputs.map(float);
  return {
    name,
    inputs: inputInfos,
    outputs,
    initializers: weights,
    nodes: [node],
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
}

export const PIECES: ModelPieces = {
  spec: SPEC,
  embed: () =>
    graphOf(
      'embed',
      ['input_ids', 'attention_mask'],
      [hiddenName(0), 'seqlens_k'],
      [{ name: EMBEDDING_WEIGHT, data: float32Tensor(embeddings(), [SPEC.vocabSize, SPEC.hiddenSize]) }],
    ),
  layer: (i) =>
    graphOf(
      `layer${i}`,
      [hiddenName(i), 'seqlens_k', `past_key_values.${i}.key`, `past_key_values.${i}.value`],
      [hiddenName(i + 1), ...TAPS.map((tap) => tapName(i, tap))],
      [
        {
          name: ffnWeightName(i, 'down_proj'),
          data: float32Tensor(weightOf.down_proj(i), [SPEC.hiddenSize, SPEC.intermediateSize]),
        },
      ],
    ),
  head: () => graphOf('head', [hiddenName(SPEC.numHiddenLayers)], ['logits', HEAD_TAP], []),
  weight: (name) => {
    throw new RangeError(`The double has no weight ${name} by name`);
  },
};

export async function readFloats(expr: TensorExpr): Promise<Float32Array> {
  if (expr.kind !== 'bytes') throw new Error(`The double reads bytes, not ${expr.kind}`);
  return new Float32Array(expr.bytes.slice().buffer);
}

/** Opens the pieces above. `log` records what is opened and closed. */
export function openDouble(
  log: string[] = [],
  change: (hidden: Float32Array, layer: number) => void = () => {},
): OpenGraph {
  return async (graph) => {
    log.push(`open ${graph.name}`);
    return {
      run: async (feeds) => {
        if (graph.name === 'embed') return embed(feeds, graph.initializers[0].data);
        if (graph.name === 'square') return { square: await square(feeds.x) };
        if (graph.name === 'product') return { product: times(feeds.x, feeds.m) };
        if (graph.name === 'head') return head(feeds[hiddenName(SPEC.numHiddenLayers)]);
        return runLayer(Number(graph.name.slice(5)), feeds, change);
      },
      close: async () => {
        log.push(`close ${graph.name}`);
      },
    };
  };
}

/** Of two sequences, in place of the divergence of their logits, `apart` of each position. */
function head(rows: RuntimeTensor): Record<string, RuntimeTensor> {
  const [batch, positions, width] = rows.dims;
  if (batch === 1) return { [HEAD_TAP]: rows };
  const values = Float32Array.from(rows.data, Number);
  const divergence = Float32Array.from({ length: positions }, (_, i) => {
    const [p, q] = [0, positions].map((first) => values.subarray((first + i) * width, (first + i + 1) * width));
    return apart(p, q);
  });
  return { divergence: { dtype: 'float32', dims: [positions], data: divergence } };
}

/** ‖p - q‖² / (‖p‖² + ‖q‖²) */
export function apart(p: Float32Array, q: Float32Array): number {
  const square = (at: (i: number) => number) => p.reduce((sum, _, i) => sum + at(i) ** 2, 0);
  return square((i) => p[i] - q[i]) / (square((i) => p[i]) + square((i) => q[i]));
}

/** What the FFN of a layer adds to these rows of the stream. */
export function ffnOut(layer: number, hidden: Float32Array): Float32Array {
  return ffn(layer, hidden, hidden.length / SPEC.hiddenSize).out;
}

/** The stream before the first layer. */
export function embedded(ids: readonly number[]): Float32Array {
  return Float32Array.from(ids.flatMap((id) => [...seededFloats(1000 + id, SPEC.hiddenSize)]));
}

/** Looks up ids in the graph's table, which has some rows of the model's. */
function embed(feeds: Readonly<Record<string, RuntimeTensor>>, table: TensorExpr): Record<string, RuntimeTensor> {
  if (table.kind !== 'rows') throw new Error(`The double looks up some rows, not ${table.kind}`);
  const ids = Array.from(feeds.input_ids.data, Number);
  const rowOf = (id: number) => [...seededFloats(1000 + table.rows[id], SPEC.hiddenSize)];
  const data = Float32Array.from(ids.flatMap(rowOf));
  return {
    [hiddenName(0)]: tensor(data, ids.length, SPEC.hiddenSize),
    seqlens_k: { dtype: 'int32', dims: [1], data: Int32Array.of(ids.length - 1) },
  };
}

function runLayer(
  layer: number,
  feeds: Readonly<Record<string, RuntimeTensor>>,
  change: (hidden: Float32Array, layer: number) => void,
): Record<string, RuntimeTensor> {
  const cache = feeds[`past_key_values.${layer}.key`];
  if (String(cache.dims) !== String([1, SPEC.numKeyValueHeads, 0, SPEC.headDim]))
    throw new Error(`cache ${cache.dims}`);
  const hidden = Float32Array.from(feeds[hiddenName(layer)].data, Number);
  const tokens = hidden.length / SPEC.hiddenSize;
  const { gate, up, act, out } = ffn(layer, hidden, tokens);
  const next = hidden.map((h, i) => h + out[i]);
  change(next, layer);
  return {
    [hiddenName(layer + 1)]: tensor(next, tokens, SPEC.hiddenSize),
    [tapName(layer, 'attn_in')]: tensor(hidden, tokens, SPEC.hiddenSize),
    [tapName(layer, 'attended')]: tensor(hidden, tokens, SPEC.hiddenSize),
    [tapName(layer, 'ffn_in')]: tensor(hidden, tokens, SPEC.hiddenSize),
    [tapName(layer, 'ffn_residual')]: tensor(hidden, tokens, SPEC.hiddenSize),
    [tapName(layer, 'gate')]: tensor(gate, tokens, SPEC.intermediateSize),
    [tapName(layer, 'up')]: tensor(up, tokens, SPEC.intermediateSize),
    [tapName(layer, 'act')]: tensor(act, tokens, SPEC.intermediateSize),
    [tapName(layer, 'ffn_out')]: tensor(out, tokens, SPEC.hiddenSize),
  };
}

function ffn(layer: number, hidden: Float32Array, tokens: number) {
  const gate = product(weightOf.gate_proj(layer), hidden, tokens, SPEC.intermediateSize, SPEC.hiddenSize);
  const up = product(weightOf.up_proj(layer), hidden, tokens, SPEC.intermediateSize, SPEC.hiddenSize);
  const act = gate.map((g) => g / (1 + Math.exp(-g)));
  const inner = act.map((a, i) => a * up[i]);
  const out = product(weightOf.down_proj(layer), inner, tokens, SPEC.hiddenSize, SPEC.intermediateSize);
  return { gate, up, act, out };
}

/** xᵀ x, as `HeadContext` has it. */
export async function squareOf(x: Float32Array, width: number): Promise<Float32Array> {
  const matrix = new Float32Array(width * width);
  for (let start = 0; start < x.length; start += width)
    for (let i = 0; i < matrix.length; i++) matrix[i] += x[start + Math.floor(i / width)] * x[start + (i % width)];
  return matrix;
}

async function square({ dims: [, width], data }: RuntimeTensor): Promise<RuntimeTensor> {
  return { dtype: 'float32', dims: [width, width], data: await squareOf(Float32Array.from(data, Number), width) };
}

/** x mᵀ, as `Products` has it. */
function times(x: RuntimeTensor, m: RuntimeTensor): RuntimeTensor {
  const [[n, width], [rows]] = [x.dims, m.dims];
  const data = product(Float32Array.from(m.data, Number), Float32Array.from(x.data, Number), n, rows, width);
  return { dtype: 'float32', dims: [n, rows], data };
}

/** weight [rows, columns] times each token's vector. */
function product(
  weight: Float32Array,
  input: Float32Array,
  tokens: number,
  rows: number,
  columns: number,
): Float32Array {
  return Float32Array.from({ length: tokens * rows }, (_, i) => {
    const row = i % rows;
    const token = Math.floor(i / rows);
    let sum = 0;
    for (let column = 0; column < columns; column++)
      sum += weight[row * columns + column] * input[token * columns + column];
    return sum;
  });
}

function tensor(data: Float32Array, tokens: number, width: number): RuntimeTensor {
  return { dtype: 'float32', dims: [1, tokens, width], data };
}
