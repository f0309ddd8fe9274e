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
    for (let token = 0; token < tokens; token++) addMagnitudes(terms, up, token * neurons);
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

/** Adds a token's magnitudes, which begin at `start`. */
function addMagnitudes(terms: Float64Array, up: Float32Array, start: number): void {
  for (let neuron = 0; neuron < terms.length; neuron++) terms[neuron] += Math.abs(up[start + neuron]);
}
