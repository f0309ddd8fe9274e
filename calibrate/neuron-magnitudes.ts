/** The effect of a neuron's activation: the mean size of its up projection and the norm of its down column. */
import { sumData } from '../src/core/statistics.ts';
import { addSums, addToLayer, layerOf, zeros } from './exact-sum.ts';
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
    up_abs: zeros(layers, neurons),
    count: zeros(layers),
    down_norm: zeros(layers, neurons),
  }),

  add(sums, layer, { up }, { spec, tokens, downNorms }) {
    const neurons = spec.intermediateSize;
    const terms = new Float64Array(neurons);
    addMagnitudes(terms, up);
    addToLayer(sums, 'up_abs', layer, terms, FRACTION_BITS);
    sumData(sums, 'count', 'float64', [-1])[layer] += tokens;
    layerOf(sums, 'down_norm', layer, [-1, neurons]).set(downNorms);
  },

  merge: (a, b) => addSums(a, b, ['down_norm']),

  finish(sums, layer) {
    const [layers, neurons] = sums.up_abs.shape;
    const tokens = sumData(sums, 'count', 'float64', [layers])[layer];
    const mean = (name: string) =>
      layerOf(sums, name, layer, [layers, neurons]).reduce((sum, value) => sum + value, 0) / neurons;
    return { meanAbsUp: mean('up_abs') / tokens, meanDownNorm: mean('down_norm') };
  },
};

/** Adds the magnitudes of values [tokens, neurons] by neuron, token after token. Four at a time: see `addSquares`. */
function addMagnitudes(terms: Float64Array, up: Float32Array): void {
  const neurons = terms.length;
  const inFours = up.length - (up.length % (4 * neurons));
  for (let start = 0; start < inFours; start += 4 * neurons)
    for (let neuron = 0, i = start; neuron < neurons; neuron++, i++) {
      const [two, three, four] = [i + neurons, i + 2 * neurons, i + 3 * neurons];
      terms[neuron] = terms[neuron] + Math.abs(up[i]) + Math.abs(up[two]) + Math.abs(up[three]) + Math.abs(up[four]);
    }
  for (let start = inFours; start < up.length; start += neurons)
    for (let neuron = 0; neuron < neurons; neuron++) terms[neuron] += Math.abs(up[start + neuron]);
}
