/** How large each input of the linear layers is: to first order, the cost of an error in a column of their weights. */
import { type Sums, sumData } from '../src/core/statistics.ts';
import { addWide, addWideSums, emptyWide, wideValues } from './exact-sum.ts';
import { inputOf, LINEAR_INPUTS, type LinearInput } from './linear-inputs.ts';
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
      const squares = columnSquares(inputOf(input, taps), width);
      addWide(sumData(sums, input.name, 'float64', [2, -1, width]), layer * width, squares);
    }
  },

  addHead(sums, headIn, { spec: { hiddenSize } }) {
    addWide(sumData(sums, 'head_in', 'float64', [2, hiddenSize]), 0, columnSquares(headIn, hiddenSize));
  },

  merge: addWideSums,

  finish: (sums) => ({
    attnInPeak: peaks(sums, 'attn_in'),
    attendedPeak: peaks(sums, 'attended'),
    ffnInPeak: peaks(sums, 'ffn_in'),
    downInPeak: peaks(sums, 'down_in'),
  }),
};

/** The sum of each column's squares, over rows of `width`. */
function columnSquares(values: Float32Array, width: number): Float64Array {
  const squares = new Float64Array(width);
  for (let start = 0; start < values.length; start += width)
    for (let column = 0; column < width; column++) squares[column] += values[start + column] ** 2;
  return squares;
}

/** Each layer's largest column, as a multiple of the mean of all columns. */
function peaks(sums: Sums, name: LinearInput['name']): number[] {
  const data = wideValues(sumData(sums, name, 'float64', [2, -1, -1]));
  const [, layers, width] = sums[name].shape;
  return Array.from({ length: layers }, (_, layer) => {
    const row = data.subarray(layer * width, (layer + 1) * width);
    const mean = row.reduce((sum, square) => sum + square, 0) / width;
    return mean === 0 ? 1 : row.reduce((most, square) => Math.max(most, square), 0) / mean;
  });
}
