/**
 * How much of an FFN's output remains when only the best share of neurons is kept, by a perfect and by a cheap ranking.
 */
import { sumData } from '../src/core/statistics.ts';
import { addExactly, addSums } from './exact-sum.ts';
import { bitsOf, QUARTER_OCTAVE_SHIFT } from './float-bins.ts';
import type { Statistic } from './statistic.ts';

const DENSITIES = Float64Array.from({ length: 20 }, (_, i) => (i + 1) / 20);

/** Shares sum to at most the number of tokens: 2^-24 leaves room for 2^29 of them. */
const FRACTION_BITS = 24;

/** Bins are quarter octaves of the squared score, counted down from a token's largest. 256 bins span 64 octaves. */
const BINS = 256;

/**
 * A neuron's energy is (act_j * up_j)^2 * ||down_j||^2, the squared length of what it adds to the output. Energies of
 * different neurons add up only where their down columns are orthogonal. So this ranks and compares, and the perplexity
 * decides.
 *
 * Ranking all neurons of each token would be a sort. Bins of an eighth of an octave of the score, and a straight line
 * inside the bin where the density falls, are as good to a part in a thousand and several times faster.
 */
export const keptEnergy: Statistic = {
  name: 'kept-energy',
  definition:
    "energy of neuron j: (act_j * up_j)^2 * ||down_j||^2. oracle, gate: sum over tokens of the share of the token's " +
    'energy in its best neurons, ranked by |act_j * up_j| * ||down_j|| and by |act_j| * ||down_j||, for each density ' +
    '(share of neurons kept) in densities; count: tokens',
  taps: ['act', 'up'],

  empty: ({ spec: { numHiddenLayers: layers } }) => ({
    oracle: { shape: [layers, DENSITIES.length], data: new Float64Array(layers * DENSITIES.length) },
    gate: { shape: [layers, DENSITIES.length], data: new Float64Array(layers * DENSITIES.length) },
    count: { shape: [layers], data: new Float64Array(layers) },
    densities: { shape: [DENSITIES.length], data: DENSITIES.slice() },
  }),

  add(sums, layer, { act, up }, { spec, tokens, downNorms }) {
    const neurons = spec.intermediateSize;
    const byOracle = energyCurve(neurons);
    const byGate = energyCurve(neurons);
    const norms = Float32Array.from(downNorms);
    const scores = new Float32Array(neurons);
    const energies = new Float32Array(neurons);
    for (let token = 0, i = 0; token < tokens; token++) {
      for (let neuron = 0; neuron < neurons; neuron++, i++) {
        const score = act[i] * norms[neuron];
        const term = score * up[i];
        scores[neuron] = score * score;
        energies[neuron] = term * term;
      }
      byOracle.addToken(energies, energies);
      byGate.addToken(scores, energies);
    }
    const row = layer * DENSITIES.length;
    addExactly(sumData(sums, 'oracle', 'float64', [-1, DENSITIES.length]), row, byOracle.shares, FRACTION_BITS);
    addExactly(sumData(sums, 'gate', 'float64', [-1, DENSITIES.length]), row, byGate.shares, FRACTION_BITS);
    sumData(sums, 'count', 'float64', [-1])[layer] += tokens;
  },

  merge: (a, b) => addSums(a, b, ['densities']),

  finish(sums) {
    const layers = sums.count.shape[0];
    const count = sumData(sums, 'count', 'float64', [layers]);
    const half = DENSITIES.indexOf(0.5);
    const at = (name: 'oracle' | 'gate') => {
      const shares = sumData(sums, name, 'float64', [layers, DENSITIES.length]);
      return Array.from(count, (tokens, layer) => shares[layer * DENSITIES.length + half] / tokens);
    };
    return { oracleEnergyAtHalf: at('oracle'), gateEnergyAtHalf: at('gate') };
  },
};

/** Sums, over tokens, the share of energy that the best neurons hold at each density, in bins that are used again. */
function energyCurve(neurons: number) {
  const shares = new Float64Array(DENSITIES.length);
  const counts = new Int32Array(BINS);
  const binEnergies = new Float64Array(BINS);
  const addShares = (total: number): void => {
    let bin = 0;
    let count = 0;
    let energy = 0;
    for (let d = 0; d < DENSITIES.length; d++) {
      const wanted = DENSITIES[d] * neurons;
      while (bin < BINS - 1 && count + counts[bin] < wanted) {
        count += counts[bin];
        energy += binEnergies[bin];
        bin += 1;
      }
      const inside = counts[bin] === 0 ? 0 : Math.min(1, (wanted - count) / counts[bin]);
      // A token whose FFN does nothing loses nothing.
      shares[d] += total === 0 ? 1 : (energy + inside * binEnergies[bin]) / total;
    }
  };
  /** `scores` order the neurons and are not negative. */
  const addToken = (scores: Float32Array, energies: Float32Array): void => {
    counts.fill(0);
    binEnergies.fill(0);
    const bits = bitsOf(scores);
    let top = 0;
    for (let i = 0; i < bits.length; i++) if (bits[i] > top) top = bits[i];
    top >>= QUARTER_OCTAVE_SHIFT;
    let total = 0;
    for (let i = 0; i < bits.length; i++) {
      const below = top - (bits[i] >> QUARTER_OCTAVE_SHIFT);
      const bin = below < BINS ? below : BINS - 1;
      counts[bin] += 1;
      binEnergies[bin] += energies[i];
      total += energies[i];
    }
    addShares(total);
  };
  return { shares, addToken };
}
