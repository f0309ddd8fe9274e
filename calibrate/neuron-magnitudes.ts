/** The effect of a neuron's activation: the mean size of its up projection and the norm of its down column. */
import { sumData } from '../src/core/statistics.ts';
import { addExactly, addSums } from './exact-sum.ts';
import type { Statistic } from './statistic.ts';

/** A sequence's sum of |up| is of the order of its tokens (10^2 to 10^4): 2^-20 is a relative 10^-9. */
const FRACTION_BITS = 20;

export const neuronMagnitudes: Statistic = {
  name: 'neuron-magnitudes',
  definition:
    'up_abs: sum over tokens of |up_j| for each neuron j; count: tokens. down_norm: L2 norm of column j of down_proj ' +
    '[hidden, intermediate], from the weights',
  taps: ['up'],

  empty: ({ spec: { numHiddenLayers: layers, intermediateSize: neurons } }) => ({
    up_abs: { shape: [layers, neurons], data: new Float64Array(layers * neurons) },
    count: { shape: [layers], data: new Float64Array(layers) },
    down_norm: { shape: [layers, neurons], data: new Float64Array(layers * neurons) },
  }),

  add(sums, layer, { up }, { spec, tokens, downNorms }) {
    const neurons = spec.intermediateSize;
    const terms = new Float64Array(neurons);
    for (let token = 0, i = 0; token < tokens; token++)
      for (let neuron = 0; neuron < neurons; neuron++, i++) terms[neuron] += Math.abs(up[i]);
    addExactly(sumData(sums, 'up_abs', 'float64', [-1, neurons]), layer * neurons, terms, FRACTION_BITS);
    sumData(sums, 'count', 'float64', [-1])[layer] += tokens;
    sumData(sums, 'down_norm', 'float64', [-1, neurons]).set(downNorms, layer * neurons);
  },

  merge: (a, b) => addSums(a, b, ['down_norm']),

  finish(sums) {
    const [layers, neurons] = sums.up_abs.shape;
    const upAbs = sumData(sums, 'up_abs', 'float64', [layers, neurons]);
    const downNorm = sumData(sums, 'down_norm', 'float64', [layers, neurons]);
    const count = sumData(sums, 'count', 'float64', [layers]);
    const mean = (data: Float64Array, layer: number) =>
      data.subarray(layer * neurons, (layer + 1) * neurons).reduce((sum, value) => sum + value, 0) / neurons;
    return {
      meanAbsUp: Array.from(count, (tokens, layer) => mean(upAbs, layer) / tokens),
      meanDownNorm: Array.from(count, (_, layer) => mean(downNorm, layer)),
    };
  },
};
