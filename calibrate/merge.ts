/** Joins the statistics of shards into what one run over all their sequences would have measured, bit for bit. */
import { invalidArgument, LacunaError } from '../src/core/errors.ts';
import type { Statistics } from '../src/core/statistics.ts';
import { STATISTICS } from './list.ts';

/**
 * Merges in any order. Throws `mismatch` when parts differ in model, texts, sequence length or definitions, or share
 * a sequence. Shards that are missing show in `plannedSequences`, and `summarise` warns of them.
 */
export function mergeStatistics(parts: readonly Statistics[]): Statistics {
  if (parts.length === 0) throw invalidArgument('parts', 'at least one file of statistics', 'none');
  return parts.reduce(mergeTwo);
}

function mergeTwo(a: Statistics, b: Statistics): Statistics {
  checkAlike(a, b);
  const sequences = [...a.sequences, ...b.sequences].sort((x, y) => x - y);
  const twice = sequences.find((sequence, i) => i > 0 && sequence === sequences[i - 1]);
  if (twice !== undefined) throw unlike(`share sequence ${twice}`, 'Merge each shard once.');
  return {
    ...a,
    texts: a.texts.map((text, i) => ({ ...text, tokens: together(text.tokens, b.texts[i].tokens) })),
    sequences,
    tokens: together(a.tokens, b.tokens),
    sums: Object.fromEntries(STATISTICS.map(({ name, merge }) => [name, merge(a.sums[name], b.sums[name])])),
  };
}

function together(tokens: number, others: number): number {
  const sum = tokens + others;
  if (Number.isSafeInteger(sum)) return sum;
  throw unlike(`count ${tokens} and ${others} tokens, more than anyone measured`, 'Measure the shards again.');
}

function checkAlike(a: Statistics, b: Statistics): void {
  const compared: readonly (readonly [string, (statistics: Statistics) => unknown])[] = [
    ['model', ({ model }) => sorted(model)],
    ['texts', ({ texts }) => texts.map(({ sha256 }) => sha256)],
    ['sequence length', ({ sequenceLength }) => sequenceLength],
    ['number of sequences planned', ({ plannedSequences }) => plannedSequences],
    ['definitions of statistics', ({ definitions }) => sorted(definitions)],
    ['statistics held', ({ sums }) => Object.keys(sums).sort()],
  ];
  for (const [what, read] of compared)
    if (JSON.stringify(read(a)) !== JSON.stringify(read(b)))
      throw unlike(
        `differ in ${what}: ${JSON.stringify(read(a))} and ${JSON.stringify(read(b))}`,
        'Merge only shards of one calibration: same checkpoint, texts, --tokens and version.',
      );
  for (const { name, definition } of STATISTICS)
    if (a.definitions[name] !== definition)
      throw unlike(`define ${name} otherwise than this version`, 'Merge with the version that measured them.');
}

function sorted(object: object): unknown {
  return Object.entries(object).sort(([x], [y]) => (x < y ? -1 : 1));
}

function unlike(what: string, hint: string): LacunaError {
  return new LacunaError('mismatch', `The statistics to merge ${what}`, { hint });
}
