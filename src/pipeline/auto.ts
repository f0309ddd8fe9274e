/** `lacuna build --budget` without a preset: the fastest model within a budget, found by measuring. A stopped search goes on. */
import { join } from 'node:path';
import { recoverFolder, refuseExistingFolder } from '../../formats/files.ts';
import { LacunaError } from '../core/errors.ts';
import { formatBytes, sumBy } from '../core/figures.ts';
import type { HostKind } from '../core/host-kind.ts';
import { door } from '../core/options.ts';
import type { Plan } from '../core/plan.ts';
import { chosenText } from './auto/card.ts';
import { type Choice, MIXED, type Tried } from './auto/choose.ts';
import { type AutoDryRun, describeAuto, spaceFor } from './auto/dry-run.ts';
import { type AutoJob, type AutoOptions, autoOptions, prepareAuto } from './auto/job.ts';
import {
  evaluateChosen,
  makeChoice,
  makeFloats,
  makeModel,
  makeWorkbench,
  onnxBytes,
  openChoosing,
  timeAgainst,
} from './auto/stages.ts';
import type { BenchReport } from './bench.ts';
import { BUILD_FILE, PROOF_FOLDER } from './build/keys.ts';
import { putWithProof } from './build/ship.ts';
import { endWorkspace, readResult, withWorkspace } from './build/workspace.ts';
import type { Engine } from './engine/engine.ts';
import type { EvaluateResult } from './evaluate.ts';
import { readManifest } from './folder/model-folder.ts';
import { exists } from './folder/output.ts';

export type { AutoDryRun, AutoOptions };

/** A model that was measured on the choose text. */
export interface AutoCandidate extends Pick<Tried, 'name' | 'kl' | 'seconds' | 'bytes' | 'shown' | 'used'> {
  /** Blocks by the precision that stores them. */
  readonly blocks: Readonly<Record<string, number>>;
  readonly isChosen: boolean;
}

export interface AutoResult {
  readonly output: string;
  readonly budget: string;
  readonly host: HostKind;
  readonly engine: Engine;
  /** The precision of all blocks, or "mixed". */
  readonly precision: string;
  /** null where all blocks are stored alike. */
  readonly plan: Plan | null;
  /** In the order in which they were measured. */
  readonly candidates: readonly AutoCandidate[];
  /** On the test text, against the checkpoint's floats. */
  readonly evaluation: EvaluateResult;
  /** Against dense int8. */
  readonly bench: BenchReport;
  /** Against the fastest model of one precision within the budget; null where that is what was chosen, or there is none. */
  readonly benchUniform: BenchReport | null;
  /** Of the model's files. */
  readonly bytes: number;
}

/** The record of the result in the folder of proofs. */
const RESULT_FILE = 'auto.json';

/**
 * Builds the fastest dense model that keeps to a budget: every block of attention and FFN may have a precision of its own. Losses of
 * blocks are measured, models are chosen on one text and judged on another, which is read once. Where no mix is surely faster than
 * the fastest model of one precision within the budget, that model is built.
 *
 * @throws LacunaError `check-failed` where nothing keeps to the budget. Finished stages are kept, and nothing is shipped.
 * @example await buildAuto({ checkpoint: './SmolLM2-135M', output: './fast', budget: 'ppl<=1.02' });
 */
export const buildAuto = door('buildAuto', autoOptions, async (given: AutoOptions): Promise<AutoResult> => {
  const job = await prepareAuto(given);
  const { output, force = false, progress } = job.options;
  if (!force && (await isShipped(job))) return withWorkspace(job.work, () => tidy(job), progress);
  await refuseExistingFolder(output, { force });
  const { lack } = await spaceFor(job);
  if (lack !== undefined) throw lack;
  return withWorkspace(job.work, () => runStages(job), progress);
});

/**
 * Says what `buildAuto` with the same options would do; measures and writes nothing. (A model that is named on the Hub is
 * downloaded.) Throws as `buildAuto` does before it begins to measure.
 *
 * @example const { workBytes } = await dryRunAuto({ checkpoint: './SmolLM2-135M', output: './fast', budget: 'ppl<=1.02' });
 */
export const dryRunAuto = door('dryRunAuto', autoOptions, async (given: AutoOptions) =>
  describeAuto(await prepareAuto(given)),
);

async function runStages(job: AutoJob): Promise<AutoResult> {
  const { options, keys, precisions, budget } = job;
  const workbench = await makeWorkbench(job);
  await makeFloats(job);
  const choosing = await openChoosing(job, workbench);
  const choice = await makeChoice(job, choosing);
  const model = (tried: Tried) => makeModel(job, workbench, choosing, tried);
  const { chosen, benchUniform } = await fasterOf(job, choice, model);
  const folder = await model(chosen);
  const bench = await timeAgainst(job, folder, precisions[0].name);
  const evaluation = await evaluateChosen(job, folder);
  const bytes = await onnxBytes(folder);
  const { output, force, tokens, threads } = options;
  const { plan } = await readManifest(folder);
  const result: AutoResult = {
    ...{ output, budget: options.budget, host: job.host, engine: job.engine, precision: chosen.name, plan },
    candidates: choice.tried.map((one) => describe(one, String(dtypesOf(one)) === String(dtypesOf(chosen)))),
    ...{ evaluation, bench, benchUniform, bytes },
  };
  refuseBroken(result, budget);
  await putWithProof(folder, output, {
    files: [],
    results: {
      [RESULT_FILE]: result,
      'evaluation.json': evaluation,
      'bench.json': bench,
      ...(plan !== null && { 'plan.json': plan }),
      [BUILD_FILE]: { key: keys.build, budget: options.budget, tokens, threads },
    },
    section: chosenText(result),
    force,
  });
  await endWorkspace(job.work, options);
  return result;
}

/** A mix that is not surely faster than the model of one precision gives way to it. */
async function fasterOf(job: AutoJob, { chosen, uniform }: Choice, model: (tried: Tried) => Promise<string>) {
  if (chosen.name !== MIXED || uniform === null) return { chosen, benchUniform: null };
  const bench = await timeAgainst(job, await model(chosen), uniform.name);
  // The spread of the bench counts: what may be chance is no reason for a second precision.
  const isFaster = (bench.speedup?.lowerBound ?? 0) > 1;
  return isFaster ? { chosen, benchUniform: bench } : { chosen: uniform, benchUniform: null };
}

function dtypesOf({ mix }: Tried): readonly string[] {
  return mix.chosen.map(({ dtype }) => dtype);
}

function describe(tried: Tried, isChosen: boolean): AutoCandidate {
  const { name, kl, seconds, bytes, shown, used } = tried;
  return { name, kl, seconds, bytes, shown, used, blocks: sumBy(dtypesOf(tried).map((dtype) => [dtype, 1])), isChosen };
}

/** Throws `check-failed` where the test text, the clock or the files show what the budget does not allow. */
function refuseBroken({ evaluation, bench, bytes }: AutoResult, budget: AutoJob['budget']): void {
  const [{ perplexityRatio: ratio, meanKl, klUpperBound }] = evaluation.modes;
  const bound = ratio.upperBound ?? ratio.value;
  const klBound = klUpperBound ?? meanKl;
  const speed = bench.speedup?.median ?? 0;
  const faults = [
    ...(bound > (budget.ppl ?? bound)
      ? [`a perplexity ratio of at most ${bound.toFixed(4)}, wanted ${budget.ppl}`]
      : []),
    ...(klBound > (budget.kl ?? klBound)
      ? [`a KL divergence of at most ${klBound.toFixed(4)}, wanted ${budget.kl}`]
      : []),
    ...(speed < (budget.speed ?? speed) ? [`${speed.toFixed(2)} times the speed of int8, wanted ${budget.speed}`] : []),
    ...(bytes > (budget.bytes ?? bytes) ? [`${formatBytes(bytes)}, wanted ${formatBytes(budget.bytes ?? 0)}`] : []),
  ];
  if (faults.length === 0) return;
  throw new LacunaError('check-failed', `The model that was chosen has ${faults.join('; ')}: nothing was written`, {
    hint: 'Choose on more tokens (--tokens) or texts more like those of the test (--choose), or allow more; finished stages are reused.',
  });
}

/** Whether the output is from this very build, which was killed before it removed its workspace. */
async function isShipped({ work, keys, options }: AutoJob): Promise<boolean> {
  const record = join(options.output, PROOF_FOLDER, BUILD_FILE);
  if (!(await exists(work)) || !(await exists(record))) return false;
  return (await readResult<{ readonly key?: string }>(record)).key === keys.build;
}

async function tidy({ work, options }: AutoJob): Promise<AutoResult> {
  const { output } = options;
  const result = await readResult<AutoResult>(join(output, PROOF_FOLDER, RESULT_FILE));
  await recoverFolder(output);
  await endWorkspace(work, options);
  return result;
}
