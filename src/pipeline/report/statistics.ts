/** Statistics in numbers that a page can draw: sums are read a layer at a time, and none of them is kept. */
import { summarise } from '../../../calibrate/index.ts';
import { readStatistics, readSums } from '../../../formats/statistics.ts';
import { cosineOfLevel, innerLayers, readTrace, type SaturationTrace } from '../../core/saturation.ts';
import { layerSumsOf, type Statistics, sumData, sumsOf } from '../../core/statistics.ts';
import { findWarmUp, lossAt, readScoreCurves } from '../../plan/index.ts';
import {
  type ActivationFigures,
  INPUT_NAMES,
  type InputName,
  type KeptEnergyFigures,
  type ProductLossFigures,
  type SaturationFigures,
  type StatisticsFigures,
} from '../../report/data.ts';

/** Reads what a page shows of statistics. Throws as `readStatistics` does. */
export async function statisticsFigures(path: string): Promise<StatisticsFigures> {
  const statistics = await readStatistics(path);
  const has = (name: string) => Object.hasOwn(statistics.definitions, name);
  const { layers, saturated, warnings } = has('saturation') ? await summarise(statistics, readSums) : NO_SUMMARY;
  const { model, texts, tokens, sequenceLength, sequences, plannedSequences, definitions } = statistics;
  return {
    ...{ model, texts, tokens, sequenceLength, plannedSequences, definitions, warnings },
    sequences: sequences.length,
    saturation: saturated === undefined ? null : saturationFigures(statistics, layers, saturated),
    keptEnergy: has('kept-energy') ? keptEnergyFigures(statistics) : null,
    productLoss: has('product-scores') ? productLossFigures(statistics) : null,
    activations: has('activation-histogram') ? await activationFigures(statistics) : null,
    inputPeaks: has('input-moments') ? layers.map(peaksOf) : null,
  };
}

/** Sizes that a chart can show. Those of models lie far within; a damaged file may hold any. */
const [SMALLEST, LARGEST] = [1e-12, 1e12];

/** A number between limits; the lower one for what is no number. */
function within(value: number, least: number, most: number): number {
  return value > least ? Math.min(value, most) : least;
}

const NO_SUMMARY = { layers: [], saturated: undefined, warnings: [] } as const;

type Row = Readonly<Record<string, number>>;

function saturationFigures(
  statistics: Statistics,
  rows: readonly Row[],
  { start, end, spearman }: { readonly start: number; readonly end: number; readonly spearman: number | null },
): SaturationFigures {
  const trace = readTrace(statistics);
  const inner = innerLayers(trace.layers);
  return {
    layers: rows.map(({ meanCosine: mean, p05Cosine: p05, p95Cosine: p95 }) => ({ mean, p05, p95 })),
    positions: positionsOf(trace),
    region: { start, end },
    warmUp: findWarmUp(trace, inner.end > inner.start ? inner : { start: 0, end: trace.layers }),
    spearman,
  };
}

/** Ranges of positions, ever wider: the first tokens of a text differ most from each other. */
export function positionRanges(length: number): readonly { readonly from: number; readonly to: number }[] {
  const ranges: { readonly from: number; readonly to: number }[] = [];
  for (let from = 0; from < length; ) {
    // Widths are a quarter of what came before, so ranges double three times in ten.
    const to = Math.min(length, from + Math.max(1, Math.round(from / 4)));
    ranges.push({ from, to });
    from = to;
  }
  return ranges;
}

function positionsOf({ layers, tokens, levels, positions }: SaturationTrace) {
  const length = positions.reduce((most, position) => Math.max(most, position + 1), 0);
  const ranges = positionRanges(length);
  const rangeOf = Array.from({ length }, (_, position) => ranges.findIndex(({ to }) => position < to));
  const sums = ranges.map(() => new Float64Array(layers));
  const counts = new Float64Array(ranges.length);
  for (let token = 0; token < tokens; token++) {
    const range = rangeOf[positions[token]];
    counts[range] += 1;
    for (let layer = 0; layer < layers; layer++) sums[range][layer] += cosineOfLevel(levels[layer * tokens + token]);
  }
  return ranges.flatMap((range, at) =>
    counts[at] === 0 ? [] : [{ ...range, cosines: Array.from(sums[at], (sum) => sum / counts[at]) }],
  );
}

function keptEnergyFigures(statistics: Statistics): KeptEnergyFigures {
  const sums = sumsOf(statistics, 'kept-energy');
  const layers = statistics.model.numHiddenLayers;
  const densities = Array.from(sumData(sums, 'densities', 'float64', [-1]), (density) => within(density, 0, 1));
  const tokens = sumData(sums, 'count', 'float64', [layers]);
  const curves = (name: 'oracle' | 'gate') => {
    const data = sumData(sums, name, 'float64', [layers, densities.length]);
    return Array.from(tokens, (count, layer) =>
      densities.map((_, at) => within(data[layer * densities.length + at] / count, 0, 1)),
    );
  };
  return { densities, oracle: curves('oracle'), gate: curves('gate') };
}

/** Shares of neurons at which losses are read. */
const DENSITIES = Array.from({ length: 20 }, (_, at) => (at + 1) / 20);

function productLossFigures(statistics: Statistics): ProductLossFigures {
  const layers = Array.from({ length: statistics.model.numHiddenLayers }, (_, layer) =>
    readScoreCurves(statistics, layer),
  );
  const losses = (cut: 'absolute' | 'mean') =>
    layers.map((curves) => {
      const curve = curves.find((one) => one.cut === cut);
      return DENSITIES.map((density) => (curve === undefined ? 0 : within(lossAt(curve, density), 0, 1)));
    });
  return { densities: DENSITIES, absolute: losses('absolute'), mean: losses('mean') };
}

async function activationFigures(statistics: Statistics): Promise<readonly ActivationFigures[]> {
  const figures: ActivationFigures[] = [];
  const stored = layerSumsOf(statistics, 'activation-histogram');
  for (let layer = 0; layer < statistics.model.numHiddenLayers; layer++) {
    const sums = await readSums(stored[layer]);
    const edges = sumData(sums, 'edges', 'float64', [-1]);
    figures.push(quantilesOf(sumData(sums, 'counts', 'uint32', [-1, edges.length + 1]), edges));
  }
  return figures;
}

/** The nearest edges with such shares of all counts below them. */
function quantilesOf(counts: Uint32Array, edges: Float64Array): ActivationFigures {
  const bins = edges.length + 1;
  const pooled = new Float64Array(bins);
  for (let at = 0; at < counts.length; at++) pooled[at % bins] += counts[at];
  const total = pooled.reduce((sum, count) => sum + count, 0);
  const quantile = (share: number) => {
    let below = 0;
    const bin = pooled.findIndex((count) => {
      below += count;
      return below >= share * total;
    });
    return within(edges[Math.min(Math.max(0, bin), edges.length - 1)], SMALLEST, LARGEST);
  };
  return { p05: quantile(0.05), median: quantile(0.5), p95: quantile(0.95) };
}

function peaksOf(row: Row): Readonly<Record<InputName, number>> {
  const entries = INPUT_NAMES.map((name) => [name, within(row[`${name}Peak`], 1, LARGEST)] as const);
  return Object.fromEntries(entries) as Record<InputName, number>;
}
