/** Statistics as figures to read: one row for each layer, and warnings about what plans should not take for granted. */
import {
  meanCosines,
  type Region,
  readTrace,
  risesWithDepth,
  saturatedRegion,
  spearman,
} from '../src/core/saturation.ts';
import { layerSumsOf, type ReadSums, type Statistics, sumsOf } from '../src/core/statistics.ts';
import { USUAL_STATISTICS } from './list.ts';
import type { Statistic } from './statistic.ts';

export interface StatisticsSummary {
  /** Figures by layer, as `{ layer: 0, meanCosine: 0.06, … }`. Names include the unit. */
  readonly layers: readonly Readonly<Record<string, number>>[];
  /** The layers that stand out as saturated, and Spearman's rank of their mean cosines (null if all are equal). */
  readonly saturated: Region & { readonly spearman: number | null };
  readonly warnings: readonly string[];
}

/** FFN-SkipLLM was shown on 32 layers and more. The fewer layers there are, the more each one counts. */
const SHALLOW_LAYERS = 24;

/** Figures of the usual statistics. Throws as `readSums` does. */
export async function summarise(statistics: Statistics, readSums: ReadSums): Promise<StatisticsSummary> {
  const held = USUAL_STATISTICS.filter(({ name }) => Object.hasOwn(statistics.definitions, name));
  const layers: StatisticsSummary['layers'][number][] = [];
  for (let layer = 0; layer < statistics.model.numHiddenLayers; layer++) {
    const row = { layer };
    for (const statistic of held) Object.assign(row, await figuresOf(statistic, statistics, layer, readSums));
    layers.push(row);
  }
  const cosines = meanCosines(readTrace(statistics));
  const region = saturatedRegion(cosines);
  const rank = spearman(cosines.slice(region.start, region.end)) ?? null;
  return { layers, saturated: { ...region, spearman: rank }, warnings: warningsOf(statistics, region, rank) };
}

/** Of sums that are kept by layer, only this layer's are read. */
async function figuresOf(
  { name, byLayer, finish }: Statistic,
  statistics: Statistics,
  layer: number,
  readSums: ReadSums,
): Promise<Readonly<Record<string, number>>> {
  return finish(byLayer ? await readSums(layerSumsOf(statistics, name)[layer]) : sumsOf(statistics, name), layer);
}

function warningsOf(statistics: Statistics, region: Region, rank: number | null): string[] {
  const { model, sequences, plannedSequences } = statistics;
  const warnings: string[] = [];
  if (sequences.length < plannedSequences)
    warnings.push(`${sequences.length} of ${plannedSequences} sequences were measured: shards must still be merged.`);
  if (model.numHiddenLayers < SHALLOW_LAYERS)
    warnings.push(
      `The model has ${model.numHiddenLayers} layers; skipping FFN blocks was shown to be harmless on models of 32 and ` +
        `more, and below ${SHALLOW_LAYERS} each block counts for much.`,
    );
  if (!risesWithDepth(rank ?? undefined))
    warnings.push(
      `Mean cosines do not rise over layers ${region.start} to ${region.end - 1} (Spearman ` +
        `${rank === null ? 'undefined' : rank.toFixed(2)}): the rule that skips the next blocks untested assumes they do. ` +
        'Plans skip as few in a row as reach their target.',
    );
  return warnings;
}
