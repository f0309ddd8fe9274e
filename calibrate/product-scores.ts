/** The size of what each neuron adds to the output of its FFN, and its share of the stream. Cuts of `product` are found from it. */
import { percent } from '../src/core/figures.ts';
import { sumData } from '../src/core/statistics.ts';
import { addSums, addToLayer, indexReaching, layerOf, zeros } from './exact-sum.ts';
import { binOfPower, bitsOf, COUNT, ENERGY, emptyPairs, octaveEdges, partOf } from './float-bins.ts';
import type { Statistic } from './statistic.ts';

/** From 2^-32 to 2^16: a score, and a score over the token's mean, of any model seen; what lies outside is counted at the ends. */
const LOWEST = -32;
const HIGHEST = 16;

/** Scores of all neurons share a histogram, so nothing averages out inside a bin: its width, 3 to 6 %, has to be small. */
const BINS_PER_OCTAVE = 16;
/** Of a float32's 23 bits of mantissa, 4 remain. */
const SHIFT = 19;
/** Bin 0 is [0, first edge). The last bin is [last edge, infinity). */
const BINS = (HIGHEST - LOWEST) * BINS_PER_OCTAVE + 2;

/** A token's energies sum to at most 1: room for 2^23 tokens, and for shares of 10^-9 of a sequence's. */
const FRACTION_BITS = 30;

/** The two ways to compare a score with others: with those of all tokens, or with the mean of its own. */
const KINDS = ['absolute', 'mean'] as const;

/**
 * The score is the size of what neuron j adds to the FFN's output, and the weights of the score are known beforehand, so one
 * histogram serves all neurons of a layer. Energies add up only where down columns are orthogonal, so a sum of them ranks cuts
 * and layers, and the perplexity decides.
 */
export const productScores: Statistic = {
  name: 'product-scores',
  definition:
    'score_j = |act_j * up_j| * ||down_j||, by neuron j and token. absolute, mean: counts of the score, and of the score over ' +
    "its token's mean, between edges a sixteenth of an octave apart (2^-32 to 2^16); the first bin holds what is below, the " +
    'last what is not. absolute_energy, mean_energy: sums of score_j^2 in the same bins, each as a share of the squared ' +
    "length of the residual stream: over that of the FFN's own output, times that of what the block adds, over that of the " +
    'stream with it; where those of a token sum to more than 1, over that sum. count: tokens',
  taps: ['act', 'up', 'ffn_residual', 'ffn_out', 'down'],

  empty: ({ spec: { numHiddenLayers: layers } }) => ({
    absolute: zeros(layers, BINS),
    absolute_energy: zeros(layers, BINS),
    mean: zeros(layers, BINS),
    mean_energy: zeros(layers, BINS),
    count: zeros(layers),
    edges: { shape: [BINS - 1], data: octaveEdges(LOWEST, HIGHEST, BINS_PER_OCTAVE) },
  }),

  add(sums, layer, { act, up, ffn_residual: residual, ffn_out: added, down = added }, { spec, tokens, downNorms }) {
    const { hiddenSize: hidden, intermediateSize: neurons } = spec;
    const bins = { absolute: emptyPairs(BINS), mean: emptyPairs(BINS) };
    const norms = Float32Array.from(downNorms);
    const [scores, overMean] = [new Float32Array(neurons), new Float32Array(neurons)];
    for (let token = 0; token < tokens; token++) {
      const { total, energy } = scoreNeurons({ act, up, norms }, token * neurons, scores);
      const ofStream = shareOfStream(token * hidden, hidden, residual, added, down);
      // Neurons that cancel each other out may be larger than the stream. No more than all of it can be lost.
      const share = energy * ofStream > 1 ? 1 / energy : ofStream;
      // A token of which every score is 0 keeps its zeros.
      scaleScores(scores, total === 0 ? 1 : neurons / total, overMean);
      binScores(scores, overMean, share, bins);
    }
    for (const kind of KINDS) {
      addToLayer(sums, kind, layer, partOf(bins[kind], COUNT), 0);
      addToLayer(sums, `${kind}_energy`, layer, partOf(bins[kind], ENERGY), FRACTION_BITS);
    }
    sumData(sums, 'count', 'float64', [-1])[layer] += tokens;
  },

  merge: (a, b) => addSums(a, b, ['edges']),

  finish(sums, layer) {
    const [layers] = sums.count.shape;
    const edges = sumData(sums, 'edges', 'float64', [BINS - 1]);
    const counts = layerOf(sums, 'mean', layer, [layers, BINS]);
    const half = counts.reduce((sum, count) => sum + count, 0) / 2;
    const middle = indexReaching(counts, half);
    const below = layerOf(sums, 'mean_energy', layer, [layers, BINS]).slice(0, middle + 1);
    const tokens = sumData(sums, 'count', 'float64', [layers])[layer];
    return {
      medianScoreOverMean: edges[Math.min(middle, edges.length - 1)],
      streamLostAtHalf: below.reduce((sum, energy) => sum + energy, 0) / tokens,
    };
  },

  table: {
    columns: [{ figure: 'streamLostAtHalf', title: 'stream lost', unit: '%' }],
    follows: (layers) => {
      const lost = layers.map(({ streamLostAtHalf }) => streamLostAtHalf);
      const most = lost.indexOf(Math.max(...lost));
      return (
        "stream lost: energy of the residual stream that half of a layer's neurons add, those that add least. " +
        `Layer ${most} loses most, ${percent(lost[most], 2)}, if --keep 0.5 chooses by --measure product.`
      );
    },
  },
};

interface Neurons {
  readonly act: Float32Array;
  readonly up: Float32Array;
  readonly norms: Float32Array;
}

/** Writes a token's scores. Returns their sum, and that of their squares. Its values begin at `start`. */
function scoreNeurons({ act, up, norms }: Neurons, start: number, scores: Float32Array) {
  let total = 0;
  let energy = 0;
  for (let neuron = 0, i = start; neuron < norms.length; neuron++, i++) {
    const score = Math.abs(act[i] * up[i]) * norms[neuron];
    const rounded = Math.fround(score);
    scores[neuron] = rounded;
    total += score;
    energy += rounded * rounded;
  }
  return { total, energy };
}

function scaleScores(scores: Float32Array, factor: number, scaled: Float32Array): void {
  for (let i = 0; i < scores.length; i++) scaled[i] = scores[i] * factor;
}

const FIRST_BIN = binOfPower(LOWEST, BINS_PER_OCTAVE) - 1;

/** Puts a token's scores into the bins of both kinds, with their squares times `share`. */
function binScores(
  scores: Float32Array,
  overMean: Float32Array,
  share: number,
  { absolute, mean }: Readonly<Record<(typeof KINDS)[number], Float64Array>>,
): void {
  const [bits, meanBits] = [bitsOf(scores), bitsOf(overMean)];
  const [shift, first, last] = [SHIFT, FIRST_BIN, BINS - 1];
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i];
    const energy = score * score * share;
    const at = 2 * Math.min(Math.max((bits[i] >> shift) - first, 0), last);
    const meanAt = 2 * Math.min(Math.max((meanBits[i] >> shift) - first, 0), last);
    absolute[at] += 1;
    absolute[at + 1] += energy;
    mean[meanAt] += 1;
    mean[meanAt + 1] += energy;
  }
}

/** What the square of a score is multiplied by to be a share of the residual stream's squared length. */
function shareOfStream(
  start: number,
  hidden: number,
  residual: Float32Array,
  added: Float32Array,
  own: Float32Array,
): number {
  let [stream, block, output] = [0, 0, 0];
  for (let i = start; i < start + hidden; i++) {
    stream += (residual[i] + added[i]) ** 2;
    block += added[i] * added[i];
    output += own[i] * own[i];
  }
  return stream === 0 || output === 0 ? 0 : block / output / stream;
}
