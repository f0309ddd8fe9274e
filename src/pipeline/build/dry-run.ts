/** `lacuna build --dry-run`: what a build would do, known from configs and texts alone. */
import { join } from 'node:path';
import { refusalOf } from '../../../formats/files.ts';
import type { LacunaError } from '../../core/errors.ts';
import type { Host, Plan } from '../../core/plan.ts';
import { choosePrecision, FLOATS, type Precision } from '../../core/precision.ts';
import type { PreparedBuild } from '../build.ts';
import { contentOf, openModels } from '../convert.ts';
import { freeBytesAt, type Problem } from '../dry-run.ts';
import { planModelFolder } from '../folder/model-folder.ts';
import { exists } from '../folder/output.ts';
import { openSource } from '../folder/source.ts';
import { type Build, isRounded } from './options.ts';

export interface BuildDryRun {
  readonly output: string;
  readonly precision: string;
  readonly host: Host;
  readonly target: Plan['target'];
  /** In order, including those that an earlier run has finished. */
  readonly stages: readonly { readonly name: string; readonly isKept: boolean }[];
  readonly scoredTokens: number;
  /**
   * Bytes of a dense model in the precision. Up to three models of about that size exist at a time, and for a while the
   * floats.
   */
  readonly denseBytes: number;
  readonly floatBytes: number;
  readonly freeBytes: number | undefined;
  /** Faults at which `build` would stop at once. */
  readonly problem: Problem | undefined;
}

/** What a prepared build would do. */
export async function describeBuild({ job, scoredTokens, force, target }: PreparedBuild): Promise<BuildDryRun> {
  const { precision, host, options } = job;
  const checkpoint = await openSource(options.checkpoint, options);
  const bytesOf = async (stored: Precision) => {
    const files = await planModelFolder(contentOf(checkpoint, openModels(checkpoint, [stored], undefined)));
    return files.reduce((sum, { bytes }) => sum + bytes, 0);
  };
  return {
    output: options.output,
    precision: precision.name,
    host,
    target,
    stages: await stagesOf(job),
    scoredTokens,
    denseBytes: await bytesOf(precision),
    floatBytes: precision.name === FLOATS ? 0 : await bytesOf(choosePrecision(FLOATS)),
    freeBytes: await freeBytesAt(options.output),
    problem: problemOf(await refusalOf(options.output, { force })),
  };
}

function problemOf(refusal: LacunaError | undefined): Problem | undefined {
  return refusal && { code: refusal.code, message: refusal.message, hint: refusal.hint };
}

/** What each finished stage leaves in the workspace. */
async function stagesOf(job: Build): Promise<BuildDryRun['stages']> {
  const { keys, precision, work } = job;
  const outputs: readonly (readonly [string, string])[] = [
    // Rounding continues after its last layer, whatever its folder holds.
    ...(isRounded(job) ? [['rounding', ''] as const] : []),
    ['dense', `dense-${keys.dense}`],
    ['statistics', `statistics-${keys.statistics}/statistics.json`],
    ['plan', `plan-${keys.plan}/plan.json`],
    ['sparse', `sparse-${keys.plan}`],
    ['bench', `bench-${keys.bench}/bench.json`],
    ...(precision.name === FLOATS ? [] : [['floats', `floats-${keys.floats}/scores.json`] as const]),
    ['evaluation', `evaluation-${keys.evaluation}/evaluation.json`],
  ];
  const stages = outputs.map(async ([name, output]) => ({
    name,
    isKept: output !== '' && (await exists(join(work, output))),
  }));
  return Promise.all(stages);
}
