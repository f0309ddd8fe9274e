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

/** A layer's curves, in the order of `COUNTED_CUTS`. Throws `bad-file` where nothing was counted. */
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

/**
 * The cut by which all layers together lose least of their streams, where each keeps this share of its neurons. One cut for
 * all, and one density: what a layer loses of its own stream does not say what that costs at the end (docs/plans.md).
 */
export function bestCut(layers: readonly (readonly ScoreCurve[])[], density: number): CountedCut {
  const lossBy = (cut: CountedCut) =>
    layers.reduce((sum, curves) => sum + lossAt(curves[COUNTED_CUTS.indexOf(cut)], density), 0);
  const [best] = COUNTED_CUTS.toSorted((one, other) => lossBy(one) - lossBy(other));
  return best;
}

/** What a layer's stream loses by keeping a share of neurons, linear between edges. */
export function lossAt({ below, lost }: ScoreCurve, density: number): number {
  const right = below.findIndex((share) => share >= 1 - density);
  if (right < 0) return lost[lost.length - 1];
  const [x0, y0] = right === 0 ? [0, 0] : [below[right - 1], lost[right - 1]];
  const share = below[right] === x0 ? 0 : (1 - density - x0) / (below[right] - x0);
  return y0 + share * (lost[right] - y0);
}
