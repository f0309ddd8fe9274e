/** The names of a build's stages: hashes of everything that goes into each, known before the first one runs. */
import { join } from 'node:path';
import { USUAL_STATISTICS } from '../../../calibrate/index.ts';
import { hasTokenizer } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { HostCosts } from '../../core/host-costs.ts';
import { hasBlocks, type Precision } from '../../core/precision.ts';
import { DEFINITIONS } from '../../eval/index.ts';
import { furtherStatisticsOf } from '../../plan/index.ts';
import { calibrationInput } from '../calibrate.ts';
import type { Engine } from '../engine/engine.ts';
import { hashSmallFiles } from '../folder/model-folder.ts';
import { openPieces } from '../folder/source.ts';
import { checkDisjoint, identifyTexts, STATISTICS } from '../texts/texts.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';
import type { Build, WholeOptions } from './options.ts';
import { keyOf } from './workspace.ts';

/** What statistics measure by default: with another definition they are others. */
const MEASURED = USUAL_STATISTICS.map(({ name, definition }) => [name, definition]);

/** By stage. */
export type Keys = Awaited<ReturnType<typeof surveyBuild>>['keys'];

/** Where stages leave their outputs in the workspace, in the order in which they run. Rounding leaves a file a layer. */
export function outputsOf({ work, keys }: Pick<Build, 'work' | 'keys'>) {
  return {
    dense: join(work, `dense-${keys.dense}`),
    statistics: join(work, `statistics-${keys.statistics}`, 'statistics.json'),
    plan: join(work, `plan-${keys.plan}`, 'plan.json'),
    sparse: join(work, `sparse-${keys.plan}`),
    bench: join(work, `bench-${keys.bench}`, 'bench.json'),
    floats: join(work, `floats-${keys.floats}`, 'scores.json'),
    evaluation: join(work, `evaluation-${keys.evaluation}`, 'evaluation.json'),
  };
}

/** Subfolder of the output with the sources of the result and the measurements. */
export const PROOF_FOLDER = 'lacuna';

/** The file in it with the build's key. It distinguishes a finished output of exactly these options from any other. */
export const BUILD_FILE = 'build.json';

/**
 * Reads what all stages will need, so that a missing tokenizer or a short text is reported before hours are spent. A
 * stage's key comes from everything that goes into it, the keys of the stages that it builds on included.
 */
export async function surveyBuild(options: WholeOptions, precision: Precision, engine: Engine, costs: HostCosts) {
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
  const [fit, choose, test] = await Promise.all([texts.fit, texts.choose, texts.test].map(identifyTexts));
  const source = keyOf(checkpoint.fingerprint, await hashSmallFiles(checkpoint), options.allowNonFinite ?? false);
  // The number of threads decides the last bits of sums, and so sometimes a code.
  const rounding = hasBlocks(precision)
    ? keyOf(source, fit, tokens, precision.name, threads)
    : keyOf(source, precision.name);
  const dense = keyOf(rounding);
  const floats = keyOf(source, test, tokens, engine);
  // Measured in fp32, whatever the precision of the result.
  const statistics = keyOf(source, fit, tokens, threads, MEASURED, furtherStatisticsOf(preset));
  const plan = keyOf(statistics, rounding, preset, choose, engine, costs);
  // Another definition is another figure.
  const speed = keyOf(test, threads, DEFINITIONS.speedup);
  const bench = keyOf(plan, speed);
  const evaluation = keyOf(plan, floats);
  const alternative = keyOf(dense, floats, speed);
  const build = keyOf(evaluation, bench, maxPplRatio, allowSlower);
  const keys = { dense, rounding, floats, statistics, plan, bench, evaluation, alternative, build };
  return { keys, spec: pieces.spec, scoredTokens: windows.length * (windows[0].length - 1) };
}
