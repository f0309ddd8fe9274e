/** `lacuna build`: the whole pipeline, from a checkpoint to a sparse folder with its proof; it goes on where it was stopped. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { putInPlace, sha256File, writeFileAtomically } from '../../formats/files.ts';
import { readPlan, writePlan } from '../../formats/plan.ts';
import { readStatistics } from '../../formats/statistics.ts';
import { LacunaError } from '../core/errors.ts';
import { LACUNA_VERSION } from '../core/manifest.ts';
import type { Plan } from '../core/plan.ts';
import { SILENT } from '../core/progress.ts';
import type { BenchResult } from '../eval/index.ts';
import { makePlan, type PlanOptions } from '../plan/index.ts';
import { bench } from './bench.ts';
import { calibrate } from './calibrate.ts';
import { convert } from './convert.ts';
import { DEFAULT_TOKENS, type EvaluateResult, evaluate, readWindows } from './evaluate.ts';
import { exists, refuseExisting } from './exists.ts';
import { isModelFolder } from './model-folder.ts';
import { type HubJobOptions, localPath, openDense, openPieces } from './source.ts';
import { writeSparse } from './sparsify.ts';
import { readTexts } from './texts.ts';
import { tunePlan } from './tune.ts';

/** Texts by what they are for; they should share no document. */
export interface BuildTexts {
  /** Statistics are measured on these, */
  readonly fit: readonly string[];
  /** thresholds corrected on these, */
  readonly choose: readonly string[];
  /** and the figures taken from these. */
  readonly test: readonly string[];
}

export interface BuildOptions extends HubJobOptions {
  readonly checkpoint: string;
  readonly output: string;
  readonly preset: PlanOptions;
  readonly texts: BuildTexts;
  /** Tokens to calibrate on and to score at least. */
  readonly tokens?: number;
  /** Nothing is shipped when the perplexity ratio of any mode is above this. */
  readonly maxPplRatio?: number;
  readonly force?: boolean;
  readonly allowNonFinite?: boolean;
}

export interface BuildResult {
  readonly output: string;
  readonly plan: Plan;
  readonly evaluation: EvaluateResult;
  readonly bench: BenchResult;
}

/** Tokens a round of threshold correction is measured on: a share of blocks or neurons is then known to about 0.2 points. */
const TUNE_TOKENS = 4096;

/** Subfolder of the output that holds what the result was made from and what was measured. */
const PROOF_FOLDER = 'lacuna';

/**
 * Converts, calibrates, plans, corrects, rewrites, evaluates and times.
 *
 * Every finished stage is kept in `<output>.build`, named by a hash of all that went into it: a build that was stopped
 * goes on after the last finished one, and one with other options reuses the stages that they do not touch. The folder
 * is removed at the end.
 *
 * @throws LacunaError `check-failed` when the result is over budget; its stages are kept, nothing is shipped.
 */
export async function build(given: BuildOptions): Promise<BuildResult> {
  await refuseExisting(given);
  const options = { ...given, checkpoint: await localPath(given.checkpoint, given) };
  const work = await openWorkspace(`${options.output}.build`);
  const dense = await buildDense(work, options);
  const statistics = await buildStatistics(work, dense, options);
  const plan = await buildPlan(work, dense, statistics, options);
  const sparse = await buildSparse(work, dense, plan, options);
  const evaluation = await buildEvaluation(work, dense, sparse, options);
  checkBudget(evaluation.result);
  const timing = await buildBench(work, dense, sparse, options);
  await ship(work, { statistics, plan, sparse, evaluation, timing }, options);
  return { output: options.output, plan: plan.result, evaluation: evaluation.result, bench: timing.result };
}

/** A finished stage: where it is, and the key that what depends on it builds on. */
interface Stage<T> {
  readonly path: string;
  readonly key: string;
  readonly result: T;
}

type Workspace = string;

async function openWorkspace(path: Workspace): Promise<Workspace> {
  await mkdir(path, { recursive: true });
  // What a killed run had half written is of no use.
  for (const name of await readdir(path)) {
    if (name.includes('.partial-')) await rm(join(path, name), { recursive: true, force: true });
  }
  return path;
}

function keyOf(...inputs: readonly unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify([LACUNA_VERSION, ...inputs]))
    .digest('hex')
    .slice(0, 16);
}

/** Runs `make` unless its output is there: outputs appear whole or not at all. */
async function stage<T>(
  path: string,
  key: string,
  make: () => Promise<unknown>,
  read: () => Promise<T>,
): Promise<Stage<T>> {
  if (!(await exists(path))) {
    await mkdir(dirname(path), { recursive: true });
    await make();
  }
  return { path, key, result: await read() };
}

async function buildDense(work: Workspace, options: BuildOptions): Promise<Stage<null>> {
  const { checkpoint } = await openPieces(options.checkpoint, options);
  const key = keyOf(checkpoint.fingerprint);
  const output = join(work, `dense-${key}`);
  return stage(
    output,
    key,
    () => convert({ ...options, output, force: false }),
    async () => null,
  );
}

async function buildStatistics(work: Workspace, dense: Stage<null>, options: BuildOptions): Promise<Stage<null>> {
  const { tokens = DEFAULT_TOKENS, threads } = options;
  const data = options.texts.fit;
  const key = keyOf(dense.key, await hashes(data), tokens, threads);
  const output = join(work, `statistics-${key}`, 'statistics.json');
  return stage(
    output,
    key,
    () => calibrate({ ...options, data, tokens, output, force: true }),
    async () => null,
  );
}

async function buildPlan(
  work: Workspace,
  dense: Stage<null>,
  statistics: Stage<null>,
  options: BuildOptions,
): Promise<Stage<Plan>> {
  const key = keyOf(statistics.key, options.preset, await hashes(options.texts.choose));
  const output = join(work, `plan-${key}`, 'plan.json');
  const make = async () => {
    const sums = await readStatistics(statistics.path);
    const first = makePlan(sums, options.preset, await sha256File(statistics.path));
    const model = await openDense(dense.path);
    const draft = join(work, `draft-${key}`);
    if (!(await isModelFolder(draft))) await writeSparse(draft, model, first.plan, first.tensors, options);
    const { windows } = await readWindows(dense.path, { data: options.texts.choose, tokens: TUNE_TOKENS });
    const plan = await tunePlan({ model, ...first, statistics: sums, draft, windows }, options);
    await writePlan(plan, first.tensors, output);
    await rm(draft, { recursive: true, force: true });
  };
  return stage(output, key, make, async () => (await readPlan(output)).plan);
}

async function buildSparse(
  work: Workspace,
  dense: Stage<null>,
  plan: Stage<Plan>,
  options: BuildOptions,
): Promise<Stage<null>> {
  const output = join(work, `sparse-${plan.key}`);
  const make = async () => {
    const { plan: tuned, tensors } = await readPlan(plan.path);
    await writeSparse(output, await openDense(dense.path), tuned, tensors, options);
  };
  return stage(output, plan.key, make, async () => null);
}

async function buildEvaluation(
  work: Workspace,
  dense: Stage<null>,
  sparse: Stage<null>,
  options: BuildOptions,
): Promise<Stage<EvaluateResult>> {
  const { maxPplRatio, tokens = DEFAULT_TOKENS } = options;
  const data = options.texts.test;
  const key = keyOf(sparse.key, await hashes(data), tokens, maxPplRatio);
  return jsonStage(join(work, `evaluation-${key}`, 'evaluation.json'), key, async () => {
    const result = await evaluate({ ...options, folder: sparse.path, against: dense.path, data, tokens });
    // The workspace's names mean nothing once it is gone.
    return { ...result, folder: '.', against: 'dense' };
  });
}

async function buildBench(
  work: Workspace,
  dense: Stage<null>,
  sparse: Stage<null>,
  options: BuildOptions,
): Promise<Stage<BenchResult>> {
  const key = keyOf(sparse.key, options.threads);
  return jsonStage(join(work, `bench-${key}`, 'bench.json'), key, async () => {
    const result = await bench({ ...options, folder: sparse.path, against: dense.path, data: options.texts.test });
    return {
      ...result,
      subjects: result.subjects.map((subject, index) => ({ ...subject, name: ['dense', 'sparse'][index] })),
    };
  });
}

async function jsonStage<T>(path: string, key: string, make: () => Promise<T>): Promise<Stage<T>> {
  const write = async () => writeFileAtomically(path, `${JSON.stringify(await make(), null, 2)}\n`);
  return stage(path, key, write, async () => JSON.parse(await readFile(path, 'utf8')) as T);
}

function checkBudget({ check, modes }: EvaluateResult): void {
  if (check === undefined || check.passed) return;
  const ratios = modes.map(({ mode, perplexityRatio }) => `${perplexityRatio.toFixed(4)} (${mode})`).join(', ');
  throw new LacunaError(
    'check-failed',
    `Perplexity ratio ${ratios}, over the budget of ${check.maxPplRatio}: nothing was written`,
    {
      hint: 'Leave out less (--target) or allow more (--max-ppl-ratio); finished stages are kept and reused.',
    },
  );
}

interface Finished {
  readonly statistics: Stage<null>;
  readonly plan: Stage<Plan>;
  readonly sparse: Stage<null>;
  readonly evaluation: Stage<EvaluateResult>;
  readonly timing: Stage<BenchResult>;
}

/** Puts the proof into the sparse folder and the folder in its place. */
async function ship(work: Workspace, finished: Finished, { output, progress = SILENT }: BuildOptions): Promise<void> {
  const { statistics, plan, sparse, evaluation, timing } = finished;
  const proof = join(sparse.path, PROOF_FOLDER);
  await rm(proof, { recursive: true, force: true });
  await mkdir(proof);
  const named = { statistics: statistics.path, plan: plan.path, evaluation: evaluation.path, bench: timing.path };
  for (const path of Object.values(named)) await copyWithTensors(path, proof);
  await putInPlace(sparse.path, output);
  await rm(work, { recursive: true, force: true });
  progress.note(`Written to ${output}`);
}

/** A JSON file names its tensors' file: the two go together under their own names. */
async function copyWithTensors(path: string, folder: string): Promise<void> {
  const tensors = path.replace(/\.json$/, '.safetensors');
  for (const file of [path, tensors]) if (await exists(file)) await cp(file, join(folder, basename(file)));
}

async function hashes(paths: readonly string[]): Promise<string[]> {
  return (await readTexts(paths)).map(({ sha256 }) => sha256);
}
