/** The names of a build's stages: hashes of all that goes into each, known before the first one runs. */
import { join } from 'node:path';
import { hasTokenizer } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { ModelSpec } from '../../core/model.ts';
import { hasBlocks } from '../../core/precision.ts';
import { layerStatisticsOf } from '../../plan/index.ts';
import { calibrationInput } from '../calibrate.ts';
import type { Engine } from '../engine/engine.ts';
import { hashSmallFiles } from '../folder/model-folder.ts';
import { openPieces } from '../folder/source.ts';
import { sparsePrecision } from '../sparsify.ts';
import { STATISTICS } from '../texts/enough-tokens.ts';
import { checkDisjoint, readTexts } from '../texts/texts.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';
import type { WholeOptions } from './options.ts';
import { keyOf } from './workspace.ts';

export interface Keys {
  readonly dense: string;
  readonly rounding: string;
  readonly floats: string;
  readonly statistics: string;
  readonly plan: string;
  readonly bench: string;
  readonly evaluation: string;
  readonly alternative: string;
  readonly build: string;
}

/** Subfolder of the output that holds what the result was made from and what was measured. */
export const PROOF_FOLDER = 'lacuna';

/** In it, the key of the build: what tells a finished output of just these options from any other. */
export const BUILD_FILE = 'build.json';

export interface Survey {
  readonly keys: Keys;
  readonly spec: ModelSpec;
  /** Tokens that the figures will be taken from. */
  readonly scoredTokens: number;
}

/**
 * Reads what all stages will need, so that a missing tokenizer or a short text is named before hours are spent, and derives
 * each stage's key from all that goes into it: a later one holds the keys of those it builds on.
 */
export async function surveyBuild(options: WholeOptions, engine: Engine): Promise<Survey> {
  const { checkpoint: path, texts, preset, tokens = DEFAULT_TOKENS, threads, maxPplRatio, allowSlower } = options;
  const { checkpoint, pieces } = await openPieces(path, options);
  if (!hasTokenizer(checkpoint))
    throw new LacunaError('not-found', `No tokenizer.json in ${path}: there is nothing to measure a text with`, {
      hint: 'Put the tokenizer.json of the model there, or convert without measuring: lacuna convert',
    });
  const { contextLength } = pieces.spec;
  await checkDisjoint({ ...texts });
  await calibrationInput(checkpoint, STATISTICS, { data: texts.fit, tokens });
  await readWindows(checkpoint, contextLength, { data: texts.choose });
  const { windows } = await readWindows(checkpoint, contextLength, { data: texts.test, tokens });
  const [fit, choose, test] = await Promise.all([texts.fit, texts.choose, texts.test].map(identify));
  const source = keyOf(checkpoint.fingerprint, await hashSmallFiles(checkpoint), options.allowNonFinite ?? false);
  const precision = sparsePrecision(options.dtype);
  // Threads decide the last bits of sums, and so now and then a code.
  const rounding = hasBlocks(precision)
    ? keyOf(source, fit, tokens, precision.name, threads)
    : keyOf(source, precision.name);
  const dense = keyOf(rounding);
  const floats = keyOf(source, test, tokens, engine);
  // Measured in fp32, whatever is made of it.
  const statistics = keyOf(source, fit, tokens, threads, layerStatisticsOf(preset));
  const plan = keyOf(statistics, rounding, preset, choose, engine);
  const bench = keyOf(plan, test, threads);
  const evaluation = keyOf(plan, floats);
  const keys = {
    dense,
    rounding,
    floats,
    statistics,
    plan,
    bench,
    evaluation,
    alternative: keyOf(dense, floats, test, threads),
  };
  const build = keyOf(evaluation, bench, maxPplRatio, allowSlower);
  return { keys: { ...keys, build }, spec: pieces.spec, scoredTokens: windows.length * (windows[0].length - 1) };
}

async function identify(paths: readonly string[]): Promise<unknown> {
  return (await readTexts(paths)).map(({ name, sha256 }) => [name, sha256]);
}

/** Where the key of a build is in its output. */
export function buildRecord(output: string): string {
  return join(output, PROOF_FOLDER, BUILD_FILE);
}
