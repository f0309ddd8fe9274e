/**
 * The Gram matrix of each input of the linear layers, H = sum over tokens of a x xᵀ. An error e in a row of a weight
 * costs eᵀ H e, in which errors of columns add up or cancel; a is the cost of an error at that token.
 */
import { HEAD_WEIGHT, type ModelSpec, specOfLayer } from '../src/core/model.ts';
import { type Sums, sumData } from '../src/core/statistics.ts';
import { fillSymmetric, triangleSize } from '../src/core/wide-sums.ts';
import { addWide, addWideSums, emptyWide } from './exact-sum.ts';
import { inputOf, LINEAR_INPUTS, type LinearInput, partsOf } from './linear-inputs.ts';
import type { HeadContext, OpenSums, Statistic, TapValues } from './statistic.ts';

/**
 * The factor of a sequence's first token in the matrix of query, key and value. Models use it as a sink (Xiao et al.
 * 2024, "Efficient Streaming Language Models with Attention Sinks"): a large share of all later attention goes there,
 * so an error in its key or value is one of all later tokens. As one token of many it would have no effect.
 */
const SINK_FACTOR = 64;

/** Added to a mean square. If the mean square is smaller, the norm's own epsilon counts. */
const EPSILON = 1e-6;

const HEAD_INPUT = 'head_in';

export const inputGrams: Statistic = {
  name: 'input-grams',
  definition:
    'H = sum over tokens of a x xᵀ for each input x of the linear layers, named as in input-moments; of a symmetric matrix ' +
    `the rows of its lower triangle. a: for attn_in ${SINK_FACTOR} for the first token of a sequence and 1 for the others; for ` +
    'attended and down_in one over the mean square (+ 1e-6) of what the next norm reads: the residual stream, or the ' +
    "block's own output where that is normed; else 1. Each in two parts that add up: multiples of 2^16, and the rest",
  taps: [...LINEAR_INPUTS.flatMap(({ factors }) => factors), 'ffn_residual', 'ffn_out', 'projected', 'down'],
  byLayer: true,
  onRequest: true,
  usesRuntime: true,

  empty: () => ({}),

  async add(sums, _layer, taps, context) {
    for (const input of LINEAR_INPUTS)
      await addGram(sums, input.name, weighed(input, taps, context.tokens), input.width(context.spec), context);
  },

  addHead: (sums, headIn, context) => addGram(sums, HEAD_INPUT, headIn, context.spec.hiddenSize, context),

  merge: addWideSums,

  finish: () => ({}),
};

async function addGram(
  sums: OpenSums,
  name: string,
  x: Float32Array,
  width: number,
  { square }: HeadContext,
): Promise<void> {
  const matrix = await square(x, width);
  sums[name] ??= emptyWide([triangleSize(width)]);
  const triangle = sumData(sums, name, 'float64', [2, triangleSize(width)]);
  for (let row = 0; row < width; row++)
    addWide(triangle, triangleSize(row), matrix.subarray(row * width, row * width + row + 1));
}

/** An input's values, each token's multiplied by the square root of its factor. */
function weighed(input: LinearInput, taps: TapValues, tokens: number): Float32Array {
  const x = inputOf(input, taps);
  const { ffn_residual: residual, ffn_out: added, projected = residual, down } = taps;
  switch (input.name) {
    case 'attn_in':
      return scaleRows(x, tokens, (token) => (token === 0 ? Math.sqrt(SINK_FACTOR) : 1));
    case 'attended':
      return scaleRows(x, tokens, belowNorm(projected, tokens));
    case 'ffn_in':
      return x;
    case 'down_in':
      return scaleRows(x, tokens, belowNorm(down ?? residual.map((h, i) => h + added[i]), tokens));
  }
}

/** 1 / rms(y) of each token: the norm that follows divides what is added to `y` by rms(y). */
function belowNorm(y: Float32Array, tokens: number): (token: number) => number {
  const width = y.length / tokens;
  return (token) => {
    let squares = 0;
    for (let i = token * width; i < (token + 1) * width; i++) squares += y[i] * y[i];
    return 1 / Math.sqrt(squares / width + EPSILON);
  };
}

function scaleRows(x: Float32Array, tokens: number, scaleOf: (token: number) => number): Float32Array {
  const width = x.length / tokens;
  const scaled = new Float32Array(x.length);
  for (let token = 0; token < tokens; token++) {
    const scale = scaleOf(token);
    for (let i = token * width; i < (token + 1) * width; i++) scaled[i] = x[i] * scale;
  }
  return scaled;
}

export interface InputGram {
  /** Names of the weights that multiply the input. */
  readonly readers: readonly string[];
  readonly width: number;
  /** [width, width], symmetric. Its scale is that of the factors and has no meaning. */
  readonly gram: Float32Array;
}

/** The matrices of a layer, or of the head (layer `numHiddenLayers`), one at a time: each is as large as its sums. */
export function* gramsOf(sums: Sums, layer: number, spec: ModelSpec): Generator<InputGram> {
  const gram = (name: string, width: number) => {
    const triangle = sumData(sums, name, 'float64', [2, triangleSize(width)]);
    return fillSymmetric(new Float32Array(width * width), triangle, width);
  };
  if (layer === spec.numHiddenLayers) {
    const width = spec.hiddenSize;
    yield { readers: [HEAD_WEIGHT], width, gram: gram(HEAD_INPUT, width) };
    return;
  }
  const own = specOfLayer(spec, layer);
  for (const input of LINEAR_INPUTS) {
    const width = input.width(own);
    const whole = gram(input.name, width);
    for (const { readers, from, to } of partsOf(input, layer, spec, width))
      yield { readers, width: to - from, gram: to - from === width ? whole : blockOf(whole, width, from, to) };
  }
}

/** Rows and columns `from` to before `to` of a square matrix. */
function blockOf(matrix: Float32Array, width: number, from: number, to: number): Float32Array {
  const size = to - from;
  const block = new Float32Array(size * size);
  for (let row = 0; row < size; row++) {
    const start = (from + row) * width;
    block.set(matrix.subarray(start + from, start + to), row * size);
  }
  return block;
}
