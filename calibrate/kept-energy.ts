/** How much of an FFN's output remains with the best share of neurons alone, by a perfect and by a cheap ranking. */
import { percent } from '../src/core/figures.ts';
import { sumData } from '../src/core/statistics.ts';
import { addSums, addToLayer, layerOf, zeros } from './exact-sum.ts';
import { bitsOf, emptyPairs, QUARTER_OCTAVE_SHIFT } from './float-bins.ts';
import type { Statistic } from './statistic.ts';

const DENSITIES = Float64Array.from({ length: 20 }, (_, i) => (i + 1) / 20);

/** Shares sum to at most the number of tokens: 2^-24 leaves room for 2^29 of them. */
const FRACTION_BITS = 24;

/** Bins are quarter octaves of the squared score: all that a float32 can be. */
const BINS = 2 ** (31 - QUARTER_OCTAVE_SHIFT);

/**
 * A neuron's energy is (act_j * up_j)^2 * ||down_j||^2, the squared length of what it adds to the output. Energies add
 * up only where down columns are orthogonal, so this ranks and compares, and the perplexity decides.
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
    oracle: zeros(layers, DENSITIES.length),
    gate: zeros(layers, DENSITIES.length),
    count: zeros(layers),
    densities: { shape: [DENSITIES.length], data: DENSITIES.slice() },
  }),

  add(sums, layer, { act, up }, { spec, tokens, downNorms }) {
    const neurons = spec.intermediateSize;
    const [byOracle, byGate] = [emptyCurve(), emptyCurve()];
    const norms = Float32Array.from(downNorms);
    const scores = new Float32Array(neurons);
    const energies = new Float32Array(neurons);
    for (let token = 0; token < tokens; token++) {
      scoreNeurons({ act, up, norms }, token * neurons, scores, energies);
      const total = binEnergies(energies, scores, byOracle, byGate);
      addShares(byOracle, neurons, total);
      addShares(byGate, neurons, total);
    }
    addToLayer(sums, 'oracle', layer, byOracle.shares, FRACTION_BITS);
    addToLayer(sums, 'gate', layer, byGate.shares, FRACTION_BITS);
    sumData(sums, 'count', 'float64', [-1])[layer] += tokens;
  },

  merge: (a, b) => addSums(a, b, ['densities']),

  finish(sums, layer) {
    const [layers] = sums.count.shape;
    const tokens = sumData(sums, 'count', 'float64', [layers])[layer];
    const shares = (name: 'oracle' | 'gate') => layerOf(sums, name, layer, [layers, DENSITIES.length]);
    const atHalf = (name: 'oracle' | 'gate') => shares(name)[DENSITIES.indexOf(0.5)] / tokens;
    return { oracleEnergyAtHalf: atHalf('oracle'), gateEnergyAtHalf: atHalf('gate') };
  },

  table: {
    columns: [
      { figure: 'oracleEnergyAtHalf', title: 'best half', unit: '%' },
      { figure: 'gateEnergyAtHalf', title: "gate's half", unit: '%' },
    ],
    follows: (layers) => {
      const lost = (figure: string) => layers.reduce((sum, { [figure]: kept }) => sum + 1 - kept, 0) / layers.length;
      const [best, gate] = ['oracleEnergyAtHalf', 'gateEnergyAtHalf'].map(lost);
      return (
        "best half, gate's half: energy of the FFN's output in half of its neurons, chosen by what they add, or by the gate. " +
        `On average ${percent(best)} is left out by the one and ${percent(gate)} by the other: what --measure product of ` +
        '--preset top-k can save.'
      );
    },
  },
};

interface Neurons {
  readonly act: Float32Array;
  readonly up: Float32Array;
  readonly norms: Float32Array;
}

/** A token's squared scores and energies. Its values begin at `start`. */
function scoreNeurons({ act, up, norms }: Neurons, start: number, scores: Float32Array, energies: Float32Array): void {
  for (let neuron = 0, i = start; neuron < norms.length; neuron++, i++) {
    const score = act[i] * norms[neuron];
    const term = score * up[i];
    scores[neuron] = score * score;
    energies[neuron] = term * term;
  }
}

/**
 * Puts a token's energies into the bins of both rankings, in one pass: the loop waits for stores to the same bins, and
 * two rankings have different ones. Returns the sum of the energies.
 */
function binEnergies(
  energies: Float32Array,
  scores: Float32Array,
  { bins: oracleBins }: Curve,
  { bins: gateBins }: Curve,
): number {
  const [energyBits, scoreBits] = [bitsOf(energies), bitsOf(scores)];
  const shift = QUARTER_OCTAVE_SHIFT;
  let total = 0;
  for (let i = 0; i < energies.length; i++) {
    const energy = energies[i];
    const oracle = 2 * (energyBits[i] >> shift);
    const gate = 2 * (scoreBits[i] >> shift);
    oracleBins[oracle] += 1;
    oracleBins[oracle + 1] += energy;
    gateBins[gate] += 1;
    gateBins[gate + 1] += energy;
    total += energy;
  }
  return total;
}

interface Curve {
  /** Of a token, by the squared score, which orders the neurons and is not negative: how many, and their energy. */
  readonly bins: Float64Array;
  /** What they add up to over tokens. */
  readonly shares: Float64Array;
}

function emptyCurve(): Curve {
  return { bins: emptyPairs(BINS), shares: new Float64Array(DENSITIES.length) };
}

/** Adds the share of energy that the token's best neurons hold at each density, and empties the bins. */
function addShares({ bins, shares }: Curve, neurons: number, total: number): void {
  const densities = DENSITIES;
  let bin = bins.length - 2;
  let count = 0;
  let energy = 0;
  for (let d = 0; d < densities.length; d++) {
    const wanted = densities[d] * neurons;
    while (bin > 0 && count + bins[bin] < wanted) {
      count += bins[bin];
      energy += bins[bin + 1];
      bin -= 2;
    }
    const inside = (wanted - count) / bins[bin];
    // A token whose FFN does nothing loses nothing.
    shares[d] += total === 0 ? 1 : (energy + inside * bins[bin + 1]) / total;
  }
  // At the last density, all neurons are counted. Lower bins are empty.
  bins.fill(0, bin);
}
