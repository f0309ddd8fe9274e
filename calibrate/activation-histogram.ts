/** How often each neuron's activation has which size. Thresholds for a wanted density are found from these counts. */
import { sumData } from '../src/core/statistics.ts';
import { addSums, indexReaching } from './exact-sum.ts';
import {
  BINS_PER_OCTAVE,
  binOfPower,
  bitsOf,
  MAGNITUDE_MASK,
  QUARTER_OCTAVE_SHIFT,
  quarterOctaveEdges,
} from './float-bins.ts';
import type { Statistic } from './statistic.ts';

/** From 2^-18, far below any useful threshold, to 2^10, larger than any activation seen. */
const LOWEST = -18;
const HIGHEST = 10;
/** Bin 0 is [0, first edge). The last bin is [last edge, infinity). */
const BINS = (HIGHEST - LOWEST) * BINS_PER_OCTAVE + 2;

/**
 * One histogram for each neuron, because a score weights each neuron by a number that is known only when all tokens
 * have passed. P(|act_j| * w_j >= t) is the tail of neuron j's histogram at t / w_j, for any w and t. Those of all
 * layers of a model of 70B take a gigabyte, so they are kept a layer each.
 */
export const activationHistogram: Statistic = {
  name: 'activation-histogram',
  definition:
    'counts of |act_j|, the size of the activated gate of neuron j, between fixed edges a quarter of an octave apart ' +
    '(1, 1.25, 1.5, 1.75 times powers of two, 2^-18 to 2^10); the first bin holds what is below, the last what is not',
  taps: ['act'],
  byLayer: true,

  empty: ({ spec: { intermediateSize: neurons } }) => ({
    counts: { shape: [neurons, BINS], data: new Uint32Array(neurons * BINS) },
    edges: { shape: [BINS - 1], data: quarterOctaveEdges(LOWEST, HIGHEST) },
  }),

  add(sums, _layer, { act }, { spec, tokens }) {
    const neurons = spec.intermediateSize;
    const counts = sumData(sums, 'counts', 'uint32', [neurons, BINS]);
    const bits = bitsOf(act);
    for (let token = 0; token < tokens; token++) countToken(counts, bits, token * neurons, neurons);
  },

  merge: (a, b) => addSums(a, b, ['edges']),

  finish(sums) {
    const counts = sumData(sums, 'counts', 'uint32', [-1, BINS]);
    return { medianAbsAct: medianOf(poolNeurons(counts), sumData(sums, 'edges', 'float64', [BINS - 1])) };
  },
};

const SHIFT = binOfPower(LOWEST) - 1;

/** Adds a token's activations, whose bits begin at `start`. */
function countToken(counts: Uint32Array, bits: Int32Array, start: number, neurons: number): void {
  const [bins, mask, bitShift, shift] = [BINS, MAGNITUDE_MASK, QUARTER_OCTAVE_SHIFT, SHIFT];
  for (let row = 0, i = start; i < start + neurons; row += bins, i++) {
    const bin = ((bits[i] & mask) >> bitShift) - shift;
    counts[row + Math.min(Math.max(bin, 0), bins - 1)] += 1;
  }
}

function poolNeurons(counts: Uint32Array): Float64Array {
  const pooled = new Float64Array(BINS);
  for (let i = 0; i < counts.length; i++) pooled[i % BINS] += counts[i];
  return pooled;
}

/** The nearest edge with half of the counts below it. */
function medianOf(counts: Float64Array, edges: Float64Array): number {
  const half = counts.reduce((sum, count) => sum + count, 0) / 2;
  return edges[Math.min(indexReaching(counts, half), edges.length - 1)];
}
