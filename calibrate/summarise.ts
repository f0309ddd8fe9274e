/** Statistics as figures to read: one row for each layer, and warnings about what plans should not take for granted. */
import {
  meanCosines,
  type Region,
  readTrace,
  saturatedRegion,
  skippingDoubts,
  spearman,
} from '../src/core/saturation.ts';
import { layerSumsOf, type ReadSums, type Statistics, sumsOf } from '../src/core/statistics.ts';
import { USUAL_STATISTICS } from './list.ts';
import type { Column, Figures, Statistic } from './statistic.ts';

export interface StatisticsSummary {
  /** Figures by layer, as `{ layer: 0, meanCosine: 0.06, … }`. */
  readonly layers: readonly Figures[];
  /** Those that people read first. */
  readonly columns: readonly Column[];
  /** What follows from them, a paragraph for each statistic. */
  readonly follows: readonly string[];
  /** The layers that stand out as saturated, and Spearman's rank of their mean cosines (null if all are equal). */
  readonly saturated: Region & { readonly spearman: number | null };
  readonly warnings: readonly string[];
}

const FEW_IN_A_ROW = 'Plans skip as few in a row as reach their target.';

/** Figures of the usual statistics. Throws as `readSums` does. */
export async function summarise(statistics: Statistics, readSums: ReadSums): Promise<StatisticsSummary> {
  const held = USUAL_STATISTICS.filter(({ name }) => Object.hasOwn(statistics.definitions, name));
  const layers: Figures[] = [];
  for (let layer = 0; layer < statistics.model.numHiddenLayers; layer++) {
    const row = { layer };
    for (const statistic of held) Object.assign(row, await figuresOf(statistic, statistics, layer, readSums));
    layers.push(row);
  }
  const cosines = meanCosines(readTrace(statistics));
  const region = saturatedRegion(cosines);
  const rank = spearman(cosines.slice(region.start, region.end)) ?? null;
  const tables = held.flatMap(({ table = [] }) => table);
  return {
    layers,
    columns: tables.flatMap(({ columns }) => columns),
    follows: tables.map(({ follows }) => follows(layers)),
    saturated: { ...region, spearman: rank },
    warnings: warningsOf(statistics, region, rank),
  };
}

/** Of sums that are kept by layer, only this layer's are read. */
async function figuresOf(
  { name, byLayer, finish }: Statistic,
  statistics: Statistics,
  layer: number,
  readSums: ReadSums,
): Promise<Figures> {
  return finish(byLayer ? await readSums(layerSumsOf(statistics, name)[layer]) : sumsOf(statistics, name), layer);
}

function warningsOf({ model, sequences, plannedSequences }: Statistics, region: Region, rank: number | null): string[] {
  const unmerged = `${sequences.length} of ${plannedSequences} sequences were measured: shards must still be merged.`;
  const doubts = skippingDoubts(model.numHiddenLayers, region, rank ?? undefined, FEW_IN_A_ROW);
  return sequences.length < plannedSequences ? [unmerged, ...doubts] : doubts;
}
