/** How the gate's pre-activations are distributed. A cut by deviation (Spark Transformer) takes them for normal. */
import { addSums, addToLayer, layerOf, zeros } from './exact-sum.ts';
import type { Statistic } from './statistic.ts';

/** Standardised gates are binned from -8 to 8 deviations, 16 bins for each. The end bins take what is beyond. */
const Z_BINS_PER_UNIT = 16;
const Z_LIMIT = 8;
const Z_BINS = 2 * Z_LIMIT * Z_BINS_PER_UNIT;

/** Raw gates from -32 to 32, 8 bins for each unit. SiLU and GELU are linear or zero long before the ends. */
const GATE_BINS_PER_UNIT = 8;
const GATE_LIMIT = 32;
const GATE_BINS = 2 * GATE_LIMIT * GATE_BINS_PER_UNIT;

/** A sequence's moments are of the order of its elements (10^6): 2^-12 is far below their own rounding. */
const FRACTION_BITS = 12;

const MOMENTS = ['elements', 'sum', 'squares', 'tokens', 'tokenMeans', 'tokenStds'] as const;

export const gateMoments: Statistic = {
  name: 'gate-moments',
  definition:
    'g = gate projection before its activation. moments: count, sum and sum of squares of g; count of tokens and sums ' +
    "of each token's mean and population standard deviation of g over neurons. standardised: counts of (g - token mean) " +
    '/ token std in bins of 1/16 from -8 to 8, whose upper tail at Q is the density that mean + std * Q keeps. gate: ' +
    'counts of g in bins of 1/8 from -32 to 32. End bins hold what is beyond',
  taps: ['gate'],

  empty: ({ spec: { numHiddenLayers: layers } }) => ({
    moments: zeros(layers, MOMENTS.length),
    standardised: zeros(layers, Z_BINS),
    gate: zeros(layers, GATE_BINS),
  }),

  add(sums, layer, { gate }, { spec, tokens }) {
    const neurons = spec.intermediateSize;
    const moments = new Float64Array(MOMENTS.length);
    const zCounts = new Float64Array(Z_BINS);
    const gateCounts = new Float64Array(GATE_BINS);
    for (let token = 0; token < tokens; token++) {
      const row = gate.subarray(token * neurons, (token + 1) * neurons);
      const [sum, squares] = momentsOf(row);
      const mean = sum / neurons;
      const std = Math.sqrt(Math.max(0, squares / neurons - mean * mean));
      binGates(row, gateCounts, { mean, std, zCounts });
      [neurons, sum, squares, 1, mean, std].forEach((term, i) => {
        moments[i] += term;
      });
    }
    addToLayer(sums, 'moments', layer, moments, FRACTION_BITS);
    addToLayer(sums, 'standardised', layer, zCounts, 0);
    addToLayer(sums, 'gate', layer, gateCounts, 0);
  },

  merge: (a, b) => addSums(a, b),

  finish(sums, layer) {
    const [elements, sum, squares, tokens, , stds] = layerOf(sums, 'moments', layer, [-1, MOMENTS.length]);
    const counts = layerOf(sums, 'gate', layer, [-1, GATE_BINS]);
    const mean = sum / elements;
    return {
      gateMean: mean,
      gateStd: Math.sqrt(Math.max(0, squares / elements - mean * mean)),
      gateTokenStd: stds / tokens,
      gateP05: gateQuantile(counts, 0.05),
      gateMedian: gateQuantile(counts, 0.5),
      gateP95: gateQuantile(counts, 0.95),
    };
  },
};

/** The sum of a token's gates, and the sum of their squares. */
function momentsOf(row: Float32Array): [number, number] {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < row.length; i++) {
    const gate = row[i];
    sum += gate;
    squares += gate * gate;
  }
  return [sum, squares];
}

/** Counts a token's gates as they are and standardised. In one pass, neither waits for the other's stores. */
function binGates(
  row: Float32Array,
  counts: Float64Array,
  { mean, std, zCounts }: { readonly mean: number; readonly std: number; readonly zCounts: Float64Array },
): void {
  const scale = std === 0 ? 0 : Z_BINS_PER_UNIT / std;
  const shift = Z_BINS / 2 - mean * scale;
  const [gateScale, gateShift, lastGate, lastZ] = [GATE_BINS_PER_UNIT, GATE_BINS / 2, GATE_BINS - 1, Z_BINS - 1];
  for (let i = 0; i < row.length; i++) {
    const gate = row[i];
    counts[clampBin(gate * gateScale + gateShift, lastGate)] += 1;
    zCounts[clampBin(gate * scale + shift, lastZ)] += 1;
  }
}

/** The bin of a scaled value. The end bins take what is beyond. */
function clampBin(scaled: number, last: number): number {
  return Math.min(Math.max(scaled, 0), last) | 0;
}

/** The gate that `share` of the counted ones do not exceed, linear inside its bin. */
function gateQuantile(counts: Float64Array, share: number): number {
  const wanted = share * counts.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  const bin = counts.findIndex((count) => {
    seen += count;
    return seen >= wanted && count > 0;
  });
  const into = 1 - (seen - wanted) / counts[bin];
  return (bin + into) / GATE_BINS_PER_UNIT - GATE_LIMIT;
}
