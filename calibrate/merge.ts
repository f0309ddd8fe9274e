/** Joins the statistics of shards into what one run over all their sequences would have measured, bit for bit. */
import { LacunaError } from '../src/core/errors.ts';
import {
  checkMeasured,
  type LayerSums,
  layerSumsOf,
  type ReadSums,
  type Statistics,
  type Sums,
  sumsOf,
} from '../src/core/statistics.ts';
import { STATISTICS } from './list.ts';
import type { Statistic } from './statistic.ts';

export interface MergeOptions {
  readonly readSums: ReadSums;
  /** What remains of a layer's sums. */
  readonly keep: (sums: Sums) => Promise<LayerSums>;
}

/**
 * Merges in any order. Of parts whose sums are in files, memory holds one statistic of one part (one layer of it, if it
 * is kept `byLayer`) beside what was merged, however many parts there are. Throws `mismatch` when parts differ in model,
 * texts, sequence length or definitions, or share a sequence; `bad-file` when one lacks a statistic of another.
 */
export async function mergeStatistics(parts: readonly Part[], options: MergeOptions): Promise<Statistics> {
  const held = heldByAll(parts);
  const facts = parts.reduce(mergeFacts);
  const sums: Record<string, Sums> = {};
  for (const { name, merge } of held.filter(({ byLayer = false }) => !byLayer)) {
    const ofParts = parts.map((part) => sumsOf(part, name));
    sums[name] = await mergeSums(ofParts, merge, options.readSums);
  }
  const layerSums: Record<string, readonly LayerSums[]> = {};
  for (const statistic of held.filter(({ byLayer = false }) => byLayer))
    layerSums[statistic.name] = await mergeLayers(parts, statistic, options);
  return { ...facts, file: undefined, sums, layerSums };
}

type Part = Statistics<LayerSums>;

/** The statistics of a part. All parts have the same. */
function heldByAll(parts: readonly Part[]): readonly Statistic[] {
  for (const name of new Set(parts.flatMap(({ definitions }) => Object.keys(definitions)))) {
    if (!STATISTICS.some((statistic) => statistic.name === name))
      throw unlike(`hold ${name}, which this version does not know`, 'Merge with the version that measured them.');
  }
  const held = STATISTICS.filter(({ name }) => parts.some(({ definitions }) => Object.hasOwn(definitions, name)));
  for (const { name, byLayer, onRequest } of held)
    for (const part of parts)
      if (byLayer) layerSumsOf(part, name, onRequest ? [name] : []);
      else checkMeasured(part, name, onRequest ? [name] : []);
  return held;
}

async function mergeLayers(
  parts: readonly Part[],
  { name, merge }: Statistic,
  { readSums, keep }: MergeOptions,
): Promise<LayerSums[]> {
  const merged: LayerSums[] = [];
  for (let layer = 0; layer <= parts[0].model.numHiddenLayers; layer++) {
    const ofParts = parts.map((part) => layerSumsOf(part, name)[layer]);
    merged.push(await keep(await mergeSums(ofParts, merge, readSums)));
  }
  return merged;
}

async function mergeSums(
  [first, ...others]: readonly LayerSums[],
  merge: Statistic['merge'],
  readSums: ReadSums,
): Promise<Sums> {
  let sums = await readSums(first);
  for (const other of others) sums = merge(sums, await readSums(other));
  return sums;
}

/** Everything but the sums. */
function mergeFacts(a: Part, b: Part): Part {
  checkAlike(a, b);
  const sequences = [...a.sequences, ...b.sequences].sort((x, y) => x - y);
  const twice = sequences.find((sequence, i) => i > 0 && sequence === sequences[i - 1]);
  if (twice !== undefined) throw unlike(`share sequence ${twice}`, 'Merge each shard once.');
  return {
    ...a,
    texts: a.texts.map((text, i) => ({ ...text, tokens: together(text.tokens, b.texts[i].tokens) })),
    sequences,
    tokens: together(a.tokens, b.tokens),
  };
}

function together(tokens: number, others: number): number {
  const sum = tokens + others;
  if (Number.isSafeInteger(sum)) return sum;
  throw unlike(`count ${tokens} and ${others} tokens, more than anyone measured`, 'Measure the shards again.');
}

const OF_ONE_CALIBRATION = 'Merge only shards of one calibration: same checkpoint, texts, --tokens and version.';

function checkAlike(a: Part, b: Part): void {
  const compared: readonly (readonly [string, (part: Part) => unknown])[] = [
    ['model', ({ model }) => sorted(model)],
    ['texts', ({ texts }) => texts.map(({ sha256 }) => sha256)],
    ['sequence length', ({ sequenceLength }) => sequenceLength],
    ['number of sequences planned', ({ plannedSequences }) => plannedSequences],
  ];
  for (const [what, read] of compared)
    if (JSON.stringify(read(a)) !== JSON.stringify(read(b)))
      throw unlike(`differ in ${what}: ${JSON.stringify(read(a))} and ${JSON.stringify(read(b))}`, OF_ONE_CALIBRATION);
  const names = [...new Set([a, b].flatMap(({ definitions }) => Object.keys(definitions)))];
  const differing = names.filter((name) => a.definitions[name] !== b.definitions[name]);
  if (differing.length > 0)
    throw unlike(
      `differ in the definitions of ${differing.slice(0, STATISTICS.length).join(', ')}`,
      OF_ONE_CALIBRATION,
    );
  for (const { name, definition } of STATISTICS)
    if (Object.hasOwn(a.definitions, name) && a.definitions[name] !== definition)
      throw unlike(`define ${name} otherwise than this version`, 'Merge with the version that measured them.');
}

function sorted(object: object): unknown {
  return Object.entries(object).sort(([x], [y]) => (x < y ? -1 : 1));
}

function unlike(what: string, hint: string): LacunaError {
  return new LacunaError('mismatch', `The statistics to merge ${what}`, { hint });
}
