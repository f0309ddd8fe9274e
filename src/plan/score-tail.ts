/** Which share of a layer's neurons scores at least a threshold, from its neurons' histograms; and the way back. */
import { LacunaError } from '../core/errors.ts';
import { layerSumsOf, type ReadSums, type Statistics, type Sums, sumData } from '../core/statistics.ts';

/** One layer's |act_j| histograms, summed from the top, with the weights that make scores of them. */
export interface ScoreTail {
  readonly neurons: number;
  readonly tokens: number;
  /** Bin 0 is [0, edges[0]), bin i [edges[i - 1], edges[i]), the last one what is not below the last edge. */
  readonly edges: Float64Array;
  /** [neurons, bins + 1]: tokens in this bin and those above; the last is 0. */
  readonly atLeast: Float64Array;
  /** score_j = |act_j| * weights[j]. */
  readonly weights: Float32Array;
}

/** Reads a layer's histograms, and no other's; throws `bad-file` when they do not fit the weights. */
export async function readScoreTail(
  statistics: Statistics,
  layer: number,
  weights: Float32Array,
  readSums: ReadSums,
): Promise<ScoreTail> {
  return scoreTailOf(await readSums(layerSumsOf(statistics, 'activation-histogram')[layer]), layer, weights);
}

export function scoreTailOf(sums: Sums, layer: number, weights: Float32Array): ScoreTail {
  const neurons = weights.length;
  const edges = sumData(sums, 'edges', 'float64', [-1]);
  const bins = edges.length + 1;
  const counts = sumData(sums, 'counts', 'uint32', [neurons, bins]);
  const atLeast = new Float64Array(neurons * (bins + 1));
  for (let neuron = 0; neuron < neurons; neuron++) {
    const from = neuron * bins;
    const row = neuron * (bins + 1);
    for (let bin = bins - 1; bin >= 0; bin--) atLeast[row + bin] = atLeast[row + bin + 1] + counts[from + bin];
  }
  const tokens = atLeast[0];
  if (!(tokens > 0)) throw new LacunaError('bad-file', `The activation histogram of layer ${layer} is empty`);
  return { neurons, tokens, edges, atLeast, weights };
}

/**
 * Mean over neurons of P(|act_j| * weights_j >= threshold), linear inside a bin. Neurons of different weights meet the
 * threshold at different places of their bins, so the error averages out to well under half a point of density.
 */
export function densityAt(tail: ScoreTail, threshold: number): number {
  if (threshold <= 0) return 1;
  const bins = tail.edges.length + 1;
  let kept = 0;
  for (let neuron = 0; neuron < tail.neurons; neuron++) {
    const weight = tail.weights[neuron];
    if (weight > 0) kept += tokensAtLeast(tail, neuron * (bins + 1), threshold / weight);
  }
  return kept / (tail.neurons * tail.tokens);
}

function tokensAtLeast({ edges, atLeast }: ScoreTail, row: number, magnitude: number): number {
  const bin = firstEdgeAbove(edges, magnitude);
  // Nothing says how far the last bin reaches; thresholds do not lie there.
  if (bin === edges.length) return atLeast[row + bin];
  const low = bin === 0 ? 0 : edges[bin - 1];
  const above = (edges[bin] - magnitude) / (edges[bin] - low);
  return atLeast[row + bin + 1] + above * (atLeast[row + bin] - atLeast[row + bin + 1]);
}

/** The bin that a magnitude falls into: the number of edges not above it. */
function firstEdgeAbove(edges: Float64Array, magnitude: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= magnitude) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Halvings of the logarithm's interval: 60 octaves down to float32's own resolution. */
const BISECTIONS = 40;

/**
 * The threshold whose density is `density`, to float32 as the model holds it. 0 keeps all; where ties (as of neurons
 * that are exactly zero) jump over the density, the threshold lies at the jump.
 */
export function thresholdFor(tail: ScoreTail, density: number): number {
  if (density >= 1) return 0;
  const top = tail.edges[tail.edges.length - 1] * tail.weights.reduce((most, weight) => Math.max(most, weight), 0);
  if (top === 0) return 0;
  let high = Math.log2(top);
  let low = high - 60;
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (densityAt(tail, 2 ** middle) >= density) low = middle;
    else high = middle;
  }
  return Math.fround(2 ** low);
}
