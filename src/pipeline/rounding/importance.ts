/** What rounding errors in each column of a weight cost, from statistics or measured on texts while converting. */
import { importanceOf, inputMoments } from '../../../calibrate/index.ts';
import { openModel } from '../../../converters/index.ts';
import { readStatistics } from '../../../formats/statistics.ts';
import type { Checkpoint } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import { FLOATS } from '../../core/precision.ts';
import type { Statistics, TextIdentity } from '../../core/statistics.ts';
import type { TensorExpr } from '../../core/tensor.ts';
import { type MeasureOptions, measureOn } from '../calibrate.ts';
import { checkTokens, STATISTICS, type Wanted } from '../texts/texts.ts';

/** The most tokens to measure while converting, by default: sixteen sequences. */
export const ROUNDING_TOKENS = 8192;

export interface MeasuredImportance {
  readonly byWeight: ReadonlyMap<string, TensorExpr>;
  readonly texts: readonly TextIdentity[];
}

/** Measures only input moments, on `ROUNDING_TOKENS` tokens by default. */
export async function measureImportance(checkpoint: Checkpoint, options: MeasureOptions): Promise<MeasuredImportance> {
  const pieces = openModel(checkpoint, { precision: FLOATS });
  const given = { ...options, tokens: options.tokens ?? ROUNDING_TOKENS };
  return of(await measureOn({ checkpoint, pieces }, given, { statistics: [inputMoments] }));
}

/** Reads the statistics of `lacuna calibrate`. */
export async function readImportance(checkpoint: Checkpoint, path: string): Promise<MeasuredImportance> {
  return of(await readStatisticsOf(checkpoint, path, STATISTICS));
}

/** Statistics of a checkpoint. Throws `mismatch` for those of another checkpoint, `usage` for too few tokens. */
export async function readStatisticsOf(checkpoint: Checkpoint, path: string, wanted: Wanted): Promise<Statistics> {
  const statistics = await readStatistics(path);
  checkTokens(wanted, statistics.tokens);
  if (statistics.model.fingerprint === checkpoint.fingerprint) return statistics;
  throw new LacunaError('mismatch', `${path} was measured on another checkpoint than ${checkpoint.path}`, {
    hint: `Measure on this one: lacuna calibrate ${checkpoint.path} -o statistics.json`,
  });
}

function of(statistics: Statistics): MeasuredImportance {
  return { byWeight: importanceOf(statistics), texts: statistics.texts };
}
