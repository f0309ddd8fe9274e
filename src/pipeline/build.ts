/** `lacuna build`: the whole pipeline, from a checkpoint to a sparse folder with its proof; it goes on where it was stopped. */
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { putInPlace, refuseExistingFolder, sha256File, writeFileAtomically } from '../../formats/files.ts';
import { readPlan, writePlan } from '../../formats/plan.ts';
import { readStatistics } from '../../formats/statistics.ts';
import { hasTokenizer } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { Plan } from '../core/plan.ts';
import { type Progress, SILENT } from '../core/progress.ts';
import { makePlan, type PlanOptions } from '../plan/index.ts';
import { type BenchReport, bench } from './bench.ts';
import { calibrate } from './calibrate.ts';
import { convert } from './convert.ts';
import { checkRatio, DEFAULT_TOKENS, type EvaluateResult, evaluate, readWindows } from './evaluate.ts';
import { hashSmallFiles, isModelFolder } from './model-folder.ts';
import { exists, replaceExtension } from './output.ts';
import { localPath, openDense, openPieces, type SourceOptions } from './source.ts';
import { checkHost, type SparsePrecision, sparsePrecision, writeSparse } from './sparsify.ts';
import { pinnedTexts, readTexts } from './texts.ts';
import { tunePlan } from './tune.ts';
import { jsonStage, keyOf, readResult, type Stage, stage, withWorkspace } from './workspace.ts';

/** Texts by what they are for; they should share no document. */
export interface BuildTexts {
  /** Statistics are measured on these, */
  readonly fit: readonly string[];
  /** thresholds corrected on these, */
  readonly choose: readonly string[];
  /** and the figures taken from these. */
  readonly test: readonly string[];
}

export interface BuildOptions extends SourceOptions {
  readonly checkpoint: string;
  readonly output: string;
  readonly preset: PlanOptions;
  /** Of those that are not given, the ones that come with the package. */
  readonly texts?: Partial<BuildTexts>;
  /** Tokens to calibrate on and to score at least. */
  readonly tokens?: number;
  /** Nothing is shipped when the perplexity ratio of any mode is above this. */
  readonly maxPplRatio?: number;
  readonly force?: boolean;
  /** How weights are stored, of `SPARSE_PRECISIONS`, in the sparse model and the dense one beside it; fp32 by default. */
  readonly dtype?: SparsePrecision;
  /** Where the native core is, which times plans that are made for it; found by itself when absent. */
  readonly nativeFolder?: string | URL;
}

/** With the texts that were not given. */
interface WholeOptions extends BuildOptions {
  readonly texts: BuildTexts;
}

function textsOf({ texts = {} }: BuildOptions): BuildTexts {
  const { fit = pinnedTexts('fit'), choose = pinnedTexts('choose'), test = pinnedTexts('test') } = texts;
  return { fit, choose, test };
}

export interface BuildResult {
  readonly output: string;
  readonly plan: Plan;
  readonly evaluation: EvaluateResult;
  readonly bench: BenchReport;
}

/** Tokens a round of threshold correction is measured on: a share of blocks or neurons is then known to about 0.2 points. */
const TUNE_TOKENS = 4096;

/** Subfolder of the output that holds what the result was made from and what was measured. */
const PROOF_FOLDER = 'lacuna';

/** In it, the key of the build: what tells a finished output of just these options from any other. */
const BUILD_FILE = 'build.json';

/**
 * Converts, calibrates, plans, corrects, rewrites, evaluates and times.
 *
 * Every finished stage is kept in `<output>.build`, named by a hash of all that went into it: a build that was stopped
 * goes on after the last finished one, and one with other options reuses the stages that they do not touch. The folder
 * is removed at the end.
 *
 * @throws LacunaError `check-failed` when the result is over budget; its stages are kept, nothing is shipped.
 * @example
 * const preset = { preset: 'top-k', density: 0.5 };
 * await build({ checkpoint: './SmolLM2-135M', output: './sparse', preset });
 */
export async function build(given: BuildOptions): Promise<BuildResult> {
  const precision = sparsePrecision(given.dtype);
  if (given.preset.host !== undefined) checkHost(precision, given.preset.host);
  const options = {
    ...given,
    texts: textsOf(given),
    checkpoint: await localPath(given.checkpoint, given),
  };
  const force = options.force ?? false;
  const keys = await keysOf(options);
  const work = `${resolve(options.output)}.build`;
  if (!force && (await isShipped(options.output, work, keys))) return withWorkspace(work, () => tidy(work, options));
  await refuseExistingFolder(options.output, { force });
  return withWorkspace(work, () => runStages({ work, keys, options }));
}

/** The key of every stage, known before the first one runs. */
interface Keys {
  readonly dense: string;
  readonly statistics: string;
  readonly plan: string;
  readonly evaluation: string;
  readonly bench: string;
  readonly build: string;
}

/**
 * Reads what all stages will need, so that a missing tokenizer or a short text is named before hours are spent, and derives
 * each stage's key from all that goes into it: a later one holds the keys of those it builds on.
 */
async function keysOf({ checkpoint: path, texts, preset, tokens, threads, ...options }: WholeOptions): Promise<Keys> {
  const { checkpoint, pieces } = await openPieces(path, options);
  if (!hasTokenizer(checkpoint))
    throw new LacunaError('not-found', `No tokenizer.json in ${path}: there is nothing to measure a text with`, {
      hint: 'Put the tokenizer.json of the model there, or convert without measuring: lacuna convert',
    });
  for (const data of [texts.choose, texts.test]) await readWindows(checkpoint, pieces.spec.contextLength, { data });
  const source = keyOf(checkpoint.fingerprint, await hashSmallFiles(checkpoint), options.allowNonFinite ?? false);
  const { name: dtype } = sparsePrecision(options.dtype);
  const dense = keyOf(source, dtype);
  const [fit, choose, test] = await Promise.all([texts.fit, texts.choose, texts.test].map(identify));
  // Measured in fp32, whatever is made of it.
  const statistics = keyOf(source, fit, tokens ?? DEFAULT_TOKENS, threads);
  const plan = keyOf(statistics, dtype, preset, choose);
  const evaluation = keyOf(plan, test, tokens ?? DEFAULT_TOKENS);
  const timing = keyOf(plan, test);
  return { dense, statistics, plan, evaluation, bench: timing, build: keyOf(evaluation, timing, options.maxPplRatio) };
}

async function identify(paths: readonly string[]): Promise<unknown> {
  return (await readTexts(paths)).map(({ name, sha256 }) => [name, sha256]);
}

/** Whether the output is this very build's and only its workspace was left: the run was killed between the two. */
async function isShipped(output: string, work: string, keys: Keys): Promise<boolean> {
  const record = join(output, PROOF_FOLDER, BUILD_FILE);
  if (!(await exists(work)) || !(await exists(record))) return false;
  return (await readResult<{ readonly key?: string }>(record)).key === keys.build;
}

async function tidy(work: string, { output }: BuildOptions): Promise<BuildResult> {
  const proof = join(output, PROOF_FOLDER);
  const { plan } = await readPlan(join(proof, 'plan.json'));
  const evaluation = await readResult<EvaluateResult>(join(proof, 'evaluation.json'));
  const timing = await readResult<BenchReport>(join(proof, 'bench.json'));
  await rm(work, { recursive: true, force: true });
  return { output, plan, evaluation, bench: timing };
}

interface Build {
  readonly work: string;
  readonly keys: Keys;
  readonly options: WholeOptions;
}

async function runStages(build: Build): Promise<BuildResult> {
  const { work, options } = build;
  const dense = await buildDense(build);
  const statistics = await buildStatistics(build);
  const plan = await buildPlan(build, dense, statistics);
  const sparse = await buildSparse(build, plan);
  const measured = await buildEvaluation(build, dense, sparse);
  const check = checkRatio(measured.result.modes, options.maxPplRatio);
  const evaluation = { ...measured, result: { ...measured.result, check } };
  checkBudget(evaluation);
  const timing = await buildBench(build, dense, sparse);
  await ship(build, { statistics, plan, sparse, evaluation, timing });
  await rm(work, { recursive: true, force: true });
  return { output: options.output, plan: plan.result, evaluation: evaluation.result, bench: timing.result };
}

/** The options of a stage: its lines of progress begin with the name of the command that does the same. */
function optionsFor(name: string, options: WholeOptions): WholeOptions & { readonly progress: Progress } {
  const { progress = SILENT } = options;
  return {
    ...options,
    progress: {
      stage: (label, total, unit) => progress.stage(`${name}: ${label}`, total, unit),
      note: (text) => progress.note(`${name}: ${text}`),
    },
  };
}

async function buildDense({ work, keys, options }: Build): Promise<Stage<null>> {
  const output = join(work, `dense-${keys.dense}`);
  // Tokens are for the stages that measure: a conversion to float32 does not.
  const { tokens: _, ...given } = optionsFor('convert', options);
  const make = () => convert({ ...given, output, force: false });
  return stage(output, make, async () => null);
}

async function buildStatistics({ work, keys, options }: Build): Promise<Stage<null>> {
  const { tokens = DEFAULT_TOKENS, texts } = options;
  const output = join(work, `statistics-${keys.statistics}`, 'statistics.json');
  // Tensors whose JSON is missing were left by a killed run: they are written again.
  const make = () => calibrate({ ...optionsFor('calibrate', options), data: texts.fit, tokens, output, force: true });
  return stage(output, make, async () => null);
}

/** The dense model that plans are applied to: blocks are rounded from the checkpoint's floats. */
function openSparseSource(options: BuildOptions) {
  return openDense(options.checkpoint, { ...options, precision: sparsePrecision(options.dtype) });
}

async function buildPlan(
  { work, keys, options }: Build,
  dense: Stage<null>,
  statistics: Stage<null>,
): Promise<Stage<Plan>> {
  const output = join(work, `plan-${keys.plan}`, 'plan.json');
  const make = async () => {
    const job = optionsFor('plan', options);
    const sums = await readStatistics(statistics.path);
    const first = makePlan(sums, options.preset, await sha256File(statistics.path));
    const model = await openSparseSource(options);
    const draft = join(work, `draft-${keys.plan}`);
    await removeModels(work, draft);
    if (!(await isModelFolder(draft)))
      await writeSparse(draft, model, first.plan, first.tensors, { ...job, force: false });
    const { windows } = await readWindows(dense.path, model.spec.contextLength, {
      data: options.texts.choose,
      tokens: TUNE_TOKENS,
    });
    const plan = await tunePlan({ model, ...first, statistics: sums, draft, windows }, job);
    await writePlan(plan, first.tensors, output);
  };
  return stage(output, make, async () => (await readPlan(output)).plan);
}

async function buildSparse({ work, keys, options }: Build, plan: Stage<Plan>): Promise<Stage<null>> {
  const output = join(work, `sparse-${keys.plan}`);
  await removeModels(work, output);
  const make = async () => {
    const { plan: tuned, tensors } = await readPlan(plan.path);
    const job = { ...optionsFor('sparsify', options), force: false };
    await writeSparse(output, await openSparseSource(options), tuned, tensors, job);
  };
  return stage(output, make, async () => null);
}

/** Drafts and sparse models but `kept`: each is as large as the model and quickly made again, so one is enough. */
async function removeModels(work: string, kept: string): Promise<void> {
  for (const name of await readdir(work)) {
    const path = join(work, name);
    if (/^(draft|sparse)-/.test(name) && path !== kept) await rm(path, { recursive: true, force: true });
  }
}

/** Measured without the budget, so that another one needs no new measurement. */
async function buildEvaluation(
  { work, keys, options }: Build,
  dense: Stage<null>,
  sparse: Stage<null>,
): Promise<Stage<EvaluateResult>> {
  const { tokens = DEFAULT_TOKENS, texts } = options;
  return jsonStage(join(work, `evaluation-${keys.evaluation}`, 'evaluation.json'), async () => {
    const job = { ...optionsFor('eval', options), maxPplRatio: undefined };
    const result = await evaluate({ ...job, folder: sparse.path, against: dense.path, data: texts.test, tokens });
    // The workspace's names mean nothing once it is gone.
    return { ...result, folder: '.', against: 'dense' };
  });
}

async function buildBench(
  { work, keys, options }: Build,
  dense: Stage<null>,
  sparse: Stage<null>,
): Promise<Stage<BenchReport>> {
  return jsonStage(join(work, `bench-${keys.bench}`, 'bench.json'), async () => {
    const job = optionsFor('bench', options);
    // What a plan gains is what it gains where it is to run.
    const { host } = options.preset;
    const result = await bench({
      ...job,
      ...(host?.kind === 'stock' && { engine: 'stock' }),
      folder: sparse.path,
      against: dense.path,
      data: options.texts.test,
    });
    const subjects = result.subjects.map((subject, index) => ({ ...subject, name: ['dense', 'sparse'][index] }));
    return { ...result, subjects };
  });
}

function checkBudget({ path, result: { check, modes } }: Stage<EvaluateResult>): void {
  if (check === undefined || check.passed) return;
  const ratios = modes.map(({ mode, perplexityRatio }) => `${perplexityRatio.toFixed(4)} (${mode})`).join(', ');
  throw new LacunaError(
    'check-failed',
    `Perplexity ratio ${ratios}, over the budget of ${check.maxPplRatio}: nothing was written`,
    {
      hint: `Leave out less (--target) or allow more (--max-ppl-ratio); finished stages are reused. All figures: ${path}`,
    },
  );
}

interface Finished {
  readonly statistics: Stage<null>;
  readonly plan: Stage<Plan>;
  readonly sparse: Stage<null>;
  readonly evaluation: Stage<EvaluateResult>;
  readonly timing: Stage<BenchReport>;
}

/** Puts the proof into the sparse folder and the folder in its place. */
async function ship({ keys, options }: Build, finished: Finished): Promise<void> {
  const { statistics, plan, sparse, evaluation, timing } = finished;
  const { output, preset, maxPplRatio, tokens = DEFAULT_TOKENS, threads = null } = options;
  const proof = join(sparse.path, PROOF_FOLDER);
  await rm(proof, { recursive: true, force: true });
  await mkdir(proof);
  for (const { path } of [statistics, plan, timing]) await copyWithTensors(path, proof);
  await writeJson(join(proof, 'evaluation.json'), evaluation.result);
  await writeJson(join(proof, BUILD_FILE), { key: keys.build, preset, tokens, threads, maxPplRatio });
  await refuseExistingFolder(output, { force: options.force ?? false });
  await putInPlace(sparse.path, resolve(output));
}

async function writeJson(path: string, content: unknown): Promise<void> {
  await writeFileAtomically(path, `${JSON.stringify(content, null, 2)}\n`);
}

/** A JSON file names its tensors' file: the two go together under their own names. */
async function copyWithTensors(path: string, folder: string): Promise<void> {
  for (const file of [path, replaceExtension(path, '.safetensors')])
    if (await exists(file)) await writeFileAtomically(join(folder, basename(file)), createReadStream(file));
}
