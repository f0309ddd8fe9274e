/** `lacuna build`: the whole pipeline, from a checkpoint to a measured sparse folder. A stopped build continues. */
import { join } from 'node:path';
import { recoverFolder, refuseExistingFolder } from '../../formats/files.ts';
import { readPlan } from '../../formats/plan.ts';
import { LacunaError } from '../core/errors.ts';
import { door } from '../core/options.ts';
import type { Host, Plan } from '../core/plan.ts';
import { choosePrecision, FLOATS, type Precision } from '../core/precision.ts';
import { checkLayers, checkTarget } from '../plan/index.ts';
import type { BenchReport } from './bench.ts';
import { type BuildComparison, describeTargets } from './build/compare.ts';
import { type BuildDryRun, describeBuild, spaceFor } from './build/dry-run.ts';
import { BUILD_FILE, PROOF_FOLDER, surveyBuild } from './build/keys.ts';
import {
  type Build,
  type BuildOptions,
  type BuildTexts,
  buildOptions,
  type CompareOptions,
  compareOptions,
  withTexts,
} from './build/options.ts';
import { ship } from './build/ship.ts';
import {
  buildBench,
  buildDense,
  buildEvaluation,
  buildPlan,
  buildRounding,
  buildSparse,
  buildStatistics,
} from './build/stages.ts';
import { refuseSlower, withinBudget } from './build/verdict.ts';
import { endWorkspace, readResult, withWorkspace, workspaceOf } from './build/workspace.ts';
import { refuseNonFiniteBlocks } from './convert.ts';
import { type Engine, hasNativeCore, installedHost } from './engine/engine.ts';
import type { EvaluateResult } from './evaluate.ts';
import { readManifest } from './folder/model-folder.ts';
import { exists } from './folder/output.ts';
import { localPath } from './folder/source.ts';
import { costsOfHost } from './host/costs.ts';
import { checkHost } from './sparsify.ts';

export type { ComparedTarget } from './build/compare.ts';
export type { BuildComparison, BuildDryRun, BuildOptions, BuildTexts, CompareOptions };

export interface BuildResult {
  readonly output: string;
  /** The host that the model was planned for. */
  readonly host: Host;
  /** The engine that timed it. */
  readonly engine: Engine;
  readonly precision: string;
  readonly plan: Plan;
  readonly evaluation: EvaluateResult;
  readonly bench: BenchReport;
  /** Bytes of the model's files. */
  readonly bytes: number;
}

/**
 * Converts, rounds, calibrates, plans, corrects, rewrites, times and evaluates, going on where it was stopped: every
 * finished stage is kept in `<output>.build` or below `work`, named by a hash of everything that went into it. A build with
 * other options reuses the stages that they do not affect. The first of these folders is removed at the end; what is
 * below `work` stays, but for models.
 *
 * @throws LacunaError `check-failed` when the result is over budget, or decodes slower than the dense model on its host
 * and `allowSlower` is not given. Its stages are kept, and nothing is shipped.
 * @example
 * const preset = { preset: 'top-k', keep: 0.5 } as const;
 * await build({ checkpoint: './SmolLM2-135M', output: './sparse', preset, maxPplRatio: 1.05 });
 */
export const build = door('build', buildOptions, async (given: BuildOptions): Promise<BuildResult> => {
  const { job } = checkedTarget(await prepareBuild(given));
  const { options, work } = job;
  const { force = false } = options;
  if (!force && (await isShipped(job))) return withWorkspace(work, () => tidy(job), options.progress);
  await refuseExistingFolder(options.output, { force });
  const { lack } = await spaceFor(job);
  if (lack !== undefined) throw lack;
  return withWorkspace(work, () => runStages(job), options.progress);
});

export type PreparedBuild = Awaited<ReturnType<typeof prepareBuild>>;

/** Chooses the defaults and refuses impossible options, before anything is measured. */
async function prepareBuild(given: BuildOptions) {
  const precision = choosePrecision(given.dtype ?? FLOATS);
  const host = given.preset.host ?? (await installedHost(precision, given.nativeFolder));
  checkHost(precision, host);
  refuseNonFiniteBlocks([precision], given.allowNonFinite);
  const isNative =
    host.kind === 'native' && precision.floats === 'float32' && (await hasNativeCore(given.nativeFolder));
  if (host.kind === 'native' && !isNative && !given.allowSlower) throw cannotTime(precision);
  const engine = isNative ? 'native' : 'stock';
  const preset = { ...given.preset, host };
  const options = { ...withTexts(given), preset, checkpoint: await localPath(given.checkpoint, given) };
  const costs = await costsOfHost(host.kind, given);
  const { keys, spec, scoredTokens } = await surveyBuild(options, precision, engine, costs);
  checkLayers(options.preset, spec.numHiddenLayers);
  const work = await workspaceOf(options);
  const job: Build = { work, keys, precision, host, engine, costs, options };
  return { job, spec, scoredTokens };
}

/** Refuses a target that cannot pay on the host, whatever is measured. */
function checkedTarget(prepared: PreparedBuild): PreparedBuild {
  const { options, host, costs } = prepared.job;
  checkTarget(options.preset, host, prepared.spec, costs);
  return prepared;
}

/**
 * Says what `build` with the same options would do and whether it can pay; measures and writes nothing. (A model that is named on
 * the Hub is downloaded.)
 *
 * @throws LacunaError as `build` does before it begins to measure.
 * @example const { stages } = await dryRunBuild({ checkpoint: './SmolLM2-135M', output: './sparse', preset });
 */
export const dryRunBuild = door('dryRunBuild', buildOptions, async (options: BuildOptions) =>
  describeBuild(checkedTarget(await prepareBuild(options))),
);

/**
 * Measures the statistics of a build and says what each of `targets` is expected to take and to leave; makes no model. The
 * statistics are kept as those of a stopped build, and `build` goes on from them.
 *
 * @throws LacunaError as `build` does before it begins to measure, but for targets: what is wrong with one is said of it.
 * @example const { targets } = await compareTargets({ checkpoint: './SmolLM2-135M', output: './sparse', preset, targets: [0.5, 0.3] });
 */
export const compareTargets = door(
  'compareTargets',
  compareOptions,
  async ({ targets, ...given }: CompareOptions): Promise<BuildComparison> => {
    const { job, spec } = await prepareBuild(given);
    const { output, force = false, progress } = job.options;
    await refuseExistingFolder(output, { force });
    return withWorkspace(
      job.work,
      async () => {
        await buildStatistics(job);
        return describeTargets(job, spec, targets);
      },
      progress,
    );
  },
);

/** A model is judged by its speed on the host that it is for. */
function cannotTime({ floats }: Precision): LacunaError {
  if (floats === 'float16')
    return new LacunaError('unsupported', 'A float16 model is for GPUs, and their speed cannot be measured here', {
      hint: 'Ship it all the same with --allow-slower, or choose another --dtype.',
    });
  const message = 'The native core is not built here, so the speed of a plan for it cannot be measured';
  return new LacunaError('not-found', message, {
    hint: 'Build it with `npm run build:native`, plan for --host stock, or ship it all the same with --allow-slower.',
  });
}

/** Whether the output is from this very build, which was killed before it removed its workspace. */
async function isShipped({ work, keys, options }: Build): Promise<boolean> {
  const record = join(options.output, PROOF_FOLDER, BUILD_FILE);
  if (!(await exists(work)) || !(await exists(record))) return false;
  return (await readResult<{ readonly key?: string }>(record)).key === keys.build;
}

async function tidy(job: Build): Promise<BuildResult> {
  const { output } = job.options;
  const proof = join(output, PROOF_FOLDER);
  const { plan } = await readPlan(join(proof, 'plan.json'));
  const evaluation = await readResult<EvaluateResult>(join(proof, 'evaluation.json'));
  const bench = await readResult<BenchReport>(join(proof, 'bench.json'));
  await recoverFolder(output);
  return finish(job, { plan, evaluation, bench });
}

/** The speed is judged before the quality, because it takes seconds and quality takes minutes. */
async function runStages(job: Build): Promise<BuildResult> {
  const rounded = await buildRounding(job);
  await buildDense(job, rounded);
  await buildStatistics(job);
  const plan = await buildPlan(job, rounded);
  await buildSparse(job, rounded);
  const bench = await buildBench(job);
  await refuseSlower(job, bench);
  const evaluation = withinBudget(job, await buildEvaluation(job));
  await ship(job, evaluation, bench);
  return finish(job, { plan, evaluation, bench });
}

/** Removes the workspace of a build that is shipped. */
async function finish(job: Build, figures: Pick<BuildResult, 'plan' | 'evaluation' | 'bench'>): Promise<BuildResult> {
  const { work, host, engine, precision, options } = job;
  const { output } = options;
  await endWorkspace(work, options);
  const { files } = await readManifest(output);
  const bytes = files.reduce((sum, { path, bytes }) => sum + (path.startsWith('onnx/') ? bytes : 0), 0);
  return { output, host, engine, precision: precision.name, ...figures, bytes };
}
