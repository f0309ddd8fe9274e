/** How large each input of the linear layers is: to first order, the cost of an error in a column of their weights. */
import { HEAD_WEIGHT } from '../src/core/model.ts';
import { type Statistics, type Sums, sumData, sumsOf } from '../src/core/statistics.ts';
import { type BytesTensor, float32Tensor } from '../src/core/tensor.ts';
import { wideValues } from '../src/core/wide-sums.ts';
import { addWide, addWideSums, emptyWide } from './exact-sum.ts';
import { LINEAR_INPUTS, type LinearInput, partsOf } from './linear-inputs.ts';
import type { Statistic } from './statistic.ts';

export const inputMoments: Statistic = {
  name: 'input-moments',
  definition:
    'sums over tokens of the square of each input of the linear layers. attn_in: of query, key and value; attended: of ' +
    "attention's output projection; ffn_in: of gate and up; down_in: of down, act * up; head_in: of the output head. " +
    'Each in two parts that add up: multiples of 2^16, and the rest',
  taps: LINEAR_INPUTS.flatMap(({ factors }) => factors),

  empty({ spec }) {
    const { numHiddenLayers: layers, hiddenSize } = spec;
    const sums = LINEAR_INPUTS.map(({ name, width }) => [name, emptyWide([layers, width(spec)])] as const);
    return { ...Object.fromEntries(sums), head_in: emptyWide([hiddenSize]) };
  },

  add(sums, layer, taps, { spec }) {
    for (const input of LINEAR_INPUTS) {
      const width = input.width(spec);
      const squares = new Float64Array(width);
      const [first, second] = input.factors.map((factor) => taps[factor]);
      if (second === undefined) addSquares(squares, first);
      else addSquaresOfProducts(squares, first, second);
      addWide(sumData(sums, input.name, 'float64', [2, -1, width]), layer * width, squares);
    }
  },

  addHead(sums, headIn, { spec: { hiddenSize } }) {
    const squares = new Float64Array(hiddenSize);
    addSquares(squares, headIn);
    addWide(sumData(sums, 'head_in', 'float64', [2, hiddenSize]), 0, squares);
  },

  merge: addWideSums,

  finish: (sums, layer) => ({
    attnInPeak: peak(sums, 'attn_in', layer),
    attendedPeak: peak(sums, 'attended', layer),
    ffnInPeak: peak(sums, 'ffn_in', layer),
    downInPeak: peak(sums, 'down_in', layer),
  }),

  table: {
    columns: [{ figure: 'downInPeak', title: 'down peak', unit: '' }],
    follows: (layers) => {
      const peaks = layers.map(({ downInPeak }) => downInPeak);
      const most = peaks.indexOf(Math.max(...peaks));
      return (
        'down peak: the largest input of down over the mean of all. ' +
        `In layer ${most} it is ${peaks[most].toPrecision(3)}. Rounding by a text (convert --data) spares such columns.`
      );
    },
  },
};

/**
 * Adds the squares of values [tokens, width] to sums by column. Four tokens at a time, because loading and storing the
 * sums takes long.
 */
function addSquares(squares: Float64Array, values: Float32Array): void {
  const width = squares.length;
  const inFours = values.length - (values.length % (4 * width));
  for (let start = 0; start < inFours; start += 4 * width)
    for (let column = 0, i = start; column < width; column++, i++) {
      const first = values[i];
      const second = values[i + width];
      const third = values[i + 2 * width];
      const fourth = values[i + 3 * width];
      squares[column] = squares[column] + first * first + second * second + third * third + fourth * fourth;
    }
  for (let start = inFours; start < values.length; start += width)
    for (let column = 0; column < width; column++) squares[column] += values[start + column] ** 2;
}

/** The same for the products of two inputs' values, rounded to float32 as in the graph. */
function addSquaresOfProducts(squares: Float64Array, a: Float32Array, b: Float32Array): void {
  const width = squares.length;
  const inFours = a.length - (a.length % (4 * width));
  for (let start = 0; start < inFours; start += 4 * width)
    for (let column = 0, i = start; column < width; column++, i++) {
      const first = Math.fround(a[i] * b[i]);
      const second = Math.fround(a[i + width] * b[i + width]);
      const third = Math.fround(a[i + 2 * width] * b[i + 2 * width]);
      const fourth = Math.fround(a[i + 3 * width] * b[i + 3 * width]);
      squares[column] = squares[column] + first * first + second * second + third * third + fourth * fourth;
    }
  for (let start = inFours; start < a.length; start += width)
    for (let column = 0, i = start; column < width; column++, i++) {
      const product = Math.fround(a[i] * b[i]);
      squares[column] += product * product;
    }
}

/** A layer's squares of an input, [width]. */
function layerSquares(sums: Sums, name: LinearInput['name'], layer: number): Float64Array {
  const parts = sumData(sums, name, 'float64', [2, -1, -1]);
  const [, layers, width] = sums[name].shape;
  return Float64Array.from({ length: width }, (_, i) => parts[layer * width + i] + parts[(layers + layer) * width + i]);
}

/** A layer's largest column, as a multiple of the mean of all columns. */
function peak(sums: Sums, name: LinearInput['name'], layer: number): number {
  const squares = layerSquares(sums, name, layer);
  const mean = squares.reduce((sum, square) => sum + square, 0) / squares.length;
  return mean === 0 ? 1 : squares.reduce((most, square) => Math.max(most, square), 0) / mean;
}

/**
 * By the weight's name in Transformers: the mean square of each of its inputs, float32 [columns], by which conversion weighs
 * rounding errors. Throws `bad-file` for statistics without input moments.
 */
export function importanceOf(statistics: Statistics): Map<string, BytesTensor> {
  const { tokens, model } = statistics;
  const moments = sumsOf(statistics, inputMoments.name);
  const importance = new Map<string, BytesTensor>();
  const mean = (squares: Float64Array) => float32Tensor(squares.map((square) => square / tokens));
  for (let layer = 0; layer < model.numHiddenLayers; layer++)
    for (const input of LINEAR_INPUTS) {
      const squares = layerSquares(moments, input.name, layer);
      for (const { readers, from, to } of partsOf(input, layer, model, squares.length)) {
        const tensor = mean(squares.subarray(from, to));
        for (const weight of readers) importance.set(weight, tensor);
      }
    }
  return importance.set(HEAD_WEIGHT, mean(wideValues(sumData(moments, 'head_in', 'float64', [2, model.hiddenSize]))));
}
