/** The scores of measure `product` as calibration counted them: which cut keeps a share of a layer's neurons, and what the rest was worth. */
import { LacunaError } from '../core/errors.ts';
import { type Statistics, sumData, sumsOf } from '../core/statistics.ts';
import type { ScoreTail } from './score-tail.ts';

/** Cuts whose scores were counted. */
export const COUNTED_CUTS = ['absolute', 'mean'] as const;
export type CountedCut = (typeof COUNTED_CUTS)[number];

/** One layer's scores as a cut compares them. */
export interface ScoreCurve {
  readonly cut: CountedCut;
  readonly tail: ScoreTail;
  /** Share of the neurons below each edge, ascending, [edges]. */
  readonly below: Float64Array;
  /** What those would add, as a share of the residual stream's squared length, a token. */
  readonly lost: Float64Array;
}

/** A layer's curves, one for each cut. Throws `bad-file` where nothing was counted. */
export function readScoreCurves(statistics: Statistics, layer: number): readonly ScoreCurve[] {
  const sums = sumsOf(statistics, 'product-scores');
  const { numHiddenLayers: layers, intermediateSize: neurons } = statistics.model;
  const edges = sumData(sums, 'edges', 'float64', [-1]);
  const bins = edges.length + 1;
  const tokens = sumData(sums, 'count', 'float64', [layers])[layer];
  if (!(tokens > 0)) throw new LacunaError('bad-file', `The statistics counted no scores in layer ${layer}`);
  return COUNTED_CUTS.map((cut) => {
    const ofLayer = (name: string) =>
      sumData(sums, name, 'float64', [layers, bins]).subarray(layer * bins, (layer + 1) * bins);
    const counts = ofLayer(cut);
    const atLeast = new Float64Array(bins + 1);
    for (let bin = bins - 1; bin >= 0; bin--) atLeast[bin] = atLeast[bin + 1] + counts[bin];
    return {
      cut,
      // All neurons share a histogram, so there is one of weight 1, which sees a score of each.
      tail: { neurons: 1, tokens: tokens * neurons, edges, atLeast, weights: Float32Array.of(1) },
      below: runningShares(counts, tokens * neurons),
      lost: runningShares(ofLayer(`${cut}_energy`), tokens),
    };
  });
}

/** Sums of all bins up to each edge, over `whole`. */
function runningShares(bins: Float64Array, whole: number): Float64Array {
  let sum = 0;
  return bins.subarray(0, -1).map((value) => {
    sum += value;
    return sum / whole;
  });
}

/** What a layer does: its cut, and the share of its neurons that it keeps. */
export interface Kept {
  readonly cut: CountedCut;
  readonly density: number;
}

/** Halvings of the price's logarithm: from the smallest to the largest float64 that matters, to its last bits. */
const BISECTIONS = 60;
const LOG_PRICES = [-80, 20] as const;

/**
 * For each layer the cut and the density with which the streams lose least in all, where layers keep this share of neurons in the
 * mean: in all of them the last neuron kept is worth the same (Everett 1963). Between the two prices of a neuron that come
 * nearest, densities are mixed, so that the mean is the one asked for.
 */
export function allocateNeurons(layers: readonly (readonly ScoreCurve[])[], density: number): readonly Kept[] {
  let [low, high] = LOG_PRICES as readonly [number, number] as [number, number];
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (meanOf(keptAt(layers, 2 ** middle)) >= density) low = middle;
    else high = middle;
  }
  const [more, fewer] = [low, high].map((logPrice) => keptAt(layers, 2 ** logPrice));
  const [most, least] = [meanOf(more), meanOf(fewer)];
  const share = most === least ? 1 : (density - least) / (most - least);
  return more.map(({ cut, density }, layer) => ({
    cut,
    density: share * density + (1 - share) * fewer[layer].density,
  }));
}

function meanOf(layers: readonly Kept[]): number {
  return layers.reduce((sum, { density }) => sum + density, 0) / layers.length;
}

/** What each layer keeps where a neuron, as a share of the layer's, costs `price`: the edge with the least loss and cost. */
function keptAt(layers: readonly (readonly ScoreCurve[])[], price: number): readonly Kept[] {
  return layers.map((curves) => {
    let best: Kept & { readonly cost: number } = { cut: curves[0].cut, density: 1, cost: price };
    for (const { cut, below, lost } of curves)
      for (let edge = 0; edge < below.length; edge++) {
        const cost = lost[edge] + price * (1 - below[edge]);
        if (cost < best.cost) best = { cut, density: 1 - below[edge], cost };
      }
    return { cut: best.cut, density: best.density };
  });
}

/** What a layer's stream loses by keeping a share of neurons, linear between edges. */
export function lossAt({ below, lost }: ScoreCurve, density: number): number {
  const right = below.findIndex((share) => share >= 1 - density);
  if (right <= 0) return right === 0 ? lost[0] : lost[lost.length - 1];
  const share = (1 - density - below[right - 1]) / (below[right] - below[right - 1]);
  return lost[right - 1] + share * (lost[right] - lost[right - 1]);
}
