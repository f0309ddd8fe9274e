/** `lacuna build --dry-run`: what a build would do, known from configs and texts alone. */
import { refusalOf } from '../../../formats/files.ts';
import type { Host, Plan } from '../../core/plan.ts';
import { choosePrecision, FLOATS, hasBlocks } from '../../core/precision.ts';
import { targetOf } from '../../plan/index.ts';
import type { PreparedBuild } from '../build.ts';
import { denseFolderBytes, freeBytesAt, lackOfSpace, type Problem, problemOf } from '../dry-run.ts';
import { exists } from '../folder/output.ts';
import { openSource } from '../folder/source.ts';
import { outputsOf } from './keys.ts';
import type { Build } from './options.ts';

export interface BuildDryRun {
  readonly output: string;
  readonly precision: string;
  readonly host: Host;
  readonly target: Plan['target'];
  /** In order, including those that an earlier run has finished. */
  readonly stages: readonly { readonly name: string; readonly isKept: boolean }[];
  readonly scoredTokens: number;
  /** Bytes of a dense model. Up to three models of about that size exist at a time, and for a while the floats. */
  readonly denseBytes: number;
  readonly floatBytes: number;
  readonly freeBytes: number | undefined;
  /** Faults at which `build` would stop at once. */
  readonly problem: Problem | undefined;
}

/** What a prepared build would do. */
export async function describeBuild({ job, scoredTokens }: PreparedBuild): Promise<BuildDryRun> {
  const { precision, host, options } = job;
  const space = await spaceFor(job);
  const refusal = (await refusalOf(options.output, { force: options.force ?? false })) ?? space.lack;
  return {
    output: options.output,
    precision: precision.name,
    host,
    target: targetOf(options.preset),
    stages: await stagesOf(job),
    scoredTokens,
    denseBytes: space.denseBytes,
    floatBytes: space.floatBytes,
    freeBytes: space.freeBytes,
    problem: refusal && problemOf(refusal),
  };
}

/** What the models of a build take, and what is free for them. */
export async function spaceFor(job: Build) {
  const { precision, options, work } = job;
  const checkpoint = await openSource(options.checkpoint, options);
  const denseBytes = await denseFolderBytes(checkpoint, precision);
  const floatBytes = precision.name === FLOATS ? 0 : await denseFolderBytes(checkpoint, choosePrecision(FLOATS));
  const { dense, sparse, floats } = outputsOf(job);
  const [hasDense, hasSparse, hasFloats] = await Promise.all([dense, sparse, floats].map(exists));
  // A draft and the sparse model, which are as large as the dense one. What an earlier run wrote takes no more space.
  const wanted = (hasDense ? 0 : denseBytes) + (hasSparse ? 0 : 2 * denseBytes) + (hasFloats ? 0 : floatBytes);
  const freeBytes = await freeBytesAt(work);
  const lack = lackOfSpace('The models of this build', work, wanted, freeBytes, 'choose a smaller --dtype');
  return { denseBytes, floatBytes, freeBytes, lack };
}

/** Whether each stage's output is in the workspace. */
async function stagesOf(job: Build): Promise<BuildDryRun['stages']> {
  const { precision } = job;
  const outputs = Object.entries(outputsOf(job)).filter(([name]) => name !== 'floats' || precision.name !== FLOATS);
  const stages = outputs.map(async ([name, output]) => ({ name, isKept: await exists(output) }));
  // Rounding continues after its last layer, whatever its folder holds.
  const rounding = hasBlocks(precision) ? [{ name: 'rounding', isKept: false }] : [];
  return [...rounding, ...(await Promise.all(stages))];
}
