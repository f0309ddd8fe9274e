/** The stages of a build. Each finished stage is kept under its key in the workspace. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { USUAL_STATISTICS } from '../../../calibrate/index.ts';
import { sha256File } from '../../../formats/files.ts';
import { readPlan, writePlan } from '../../../formats/plan.ts';
import { readStatistics, readSums } from '../../../formats/statistics.ts';
import type { Plan } from '../../core/plan.ts';
import {
  choosePrecision,
  FLOATS,
  gainsByTexts,
  hasBlocks,
  type Precision,
  type PrecisionName,
} from '../../core/precision.ts';
import type { TextScores } from '../../eval/index.ts';
import { choosesNeurons, furtherStatisticsOf, isRefitted, makePlan, type PlanWithTensors } from '../../plan/index.ts';
import { type BenchReport, benchChecked } from '../bench.ts';
import { calibrateChecked, calibrationInput, saveStatistics } from '../calibrate.ts';
import { contentOf, openModels } from '../convert.ts';
import { compareWith, type EvaluateResult, resultOf, scoreModel } from '../evaluate.ts';
import { isModelFolder, openModelFolder, writeModelFolder } from '../folder/model-folder.ts';
import { exists } from '../folder/output.ts';
import { type DenseModel, denseModel, openPieces, openSource } from '../folder/source.ts';
import { refitOn } from '../refit.ts';
import { type RoundedLayers, type RoundOptions, roundLayers } from '../rounding/rounding.ts';
import { writeSparse } from '../sparsify.ts';
import { STATISTICS } from '../texts/texts.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';
import { outputsOf } from './keys.ts';
import { type Build, measuringOptions, optionsFor, type WholeOptions } from './options.ts';
import { tunePlan } from './tune.ts';
import { discard, jsonStage, keyOf, removeModels, stage } from './workspace.ts';

/** Tokens that a correction of thresholds measures on: a share is then known to about 0.2 points. */
const TUNE_TOKENS = 4096;

/** The layers' weights in blocks, rounded by the fitting text. Missing statistics are measured in the same walk. */
export async function buildRounding(build: Build): Promise<RoundedLayers | undefined> {
  const { work, keys, precision, options } = build;
  if (!hasBlocks(precision)) return undefined;
  const output = outputsOf(build).statistics;
  const save = (measure: Parameters<typeof saveStatistics>[1]) => saveStatistics({ output, force: true }, measure);
  // Further statistics are measured by a walk of their own: in this one, Gram matrices are used up by the rounding.
  const isBesides = furtherStatisticsOf(options.preset).length === 0 && !(await exists(output));
  return roundedIn(join(work, `rounding-${keys.rounding}`), precision, {
    ...optionsFor('round', options),
    tokens: options.tokens ?? DEFAULT_TOKENS,
    turnables: choosesNeurons(options.preset),
    ...(isBesides && { besides: { statistics: USUAL_STATISTICS, save } }),
  });
}

async function roundedIn(
  folder: string,
  precision: Precision,
  options: WholeOptions & RoundOptions,
): Promise<RoundedLayers> {
  const checkpoint = await openSource(options.checkpoint, options);
  await mkdir(folder, { recursive: true });
  return roundLayers(checkpoint, [precision], folder, { ...options, data: options.texts.fit });
}

/** The dense model in the build's precision. The sparse model is timed against it. */
export async function buildDense(build: Build, rounded: RoundedLayers | undefined): Promise<void> {
  const { dense } = outputsOf(build);
  await stage(dense, () => writeDense(dense, build.precision, rounded, build.options));
}

async function writeDense(
  output: string,
  precision: Precision,
  rounded: RoundedLayers | undefined,
  options: WholeOptions,
): Promise<void> {
  const checkpoint = await openSource(options.checkpoint, options);
  const models = openModels(checkpoint, [precision], rounded);
  await writeModelFolder(output, contentOf(checkpoint, models), optionsFor('convert', options));
}

/** The floats' scores of the test text. They are computed once, whatever is compared with them. */
export async function buildFloats(build: Build): Promise<TextScores> {
  const { dense, floats } = outputsOf(build);
  const folder = join(dirname(floats), 'dense');
  const scores = await jsonStage(floats, async () => {
    if (build.precision.name === FLOATS) return scoreFolder(build, dense);
    await stage(folder, () => writeDense(folder, choosePrecision(FLOATS), undefined, build.options));
    return scoreFolder(build, folder);
  });
  await discard(folder);
  return scores;
}

/** The same for the build's dense model. */
export async function buildDenseScores(build: Build): Promise<TextScores> {
  const { work, keys } = build;
  const path = join(work, `scores-${keyOf(keys.dense, keys.floats)}`, 'scores.json');
  return jsonStage(path, () => scoreFolder(build, outputsOf(build).dense));
}

/** A dense folder's scores of the test text. */
async function scoreFolder(build: Build, folder: string): Promise<TextScores> {
  const model = await openModelFolder(folder);
  const { windows } = await testWindows(folder, model.manifest.spec.contextLength, build.options);
  return scoreModel(model, windows, await measuringOptions('eval', build));
}

function testWindows(folder: string, contextLength: number, { texts, tokens = DEFAULT_TOKENS }: WholeOptions) {
  return readWindows(folder, contextLength, { data: texts.test, tokens });
}

export async function buildStatistics(build: Build): Promise<void> {
  const { tokens = DEFAULT_TOKENS, texts } = build.options;
  const output = outputsOf(build).statistics;
  // A killed run may leave tensors without their JSON file. They are written again.
  const job = optionsFor('calibrate', build.options);
  const further = furtherStatisticsOf(build.options.preset);
  const make = () => calibrateChecked({ ...job, data: texts.fit, tokens, output, with: further, force: true });
  await stage(output, make);
}

/** The dense model that plans are applied to. */
async function openSparseSource(
  { precision, options }: Build,
  rounded: RoundedLayers | undefined,
): Promise<DenseModel> {
  return denseModel(await openSource(options.checkpoint, options), precision, rounded);
}

export async function buildPlan(build: Build, rounded: RoundedLayers | undefined): Promise<Plan> {
  const { work, keys, options, host, costs } = build;
  const { statistics, plan: output } = outputsOf(build);
  const make = async () => {
    const job = await measuringOptions('plan', build);
    const sums = await readStatistics(statistics);
    const drawn = await makePlan(sums, { ...options.preset, host }, await sha256File(statistics), readSums, costs);
    const first = isRefitted(drawn.plan.preset) ? await refitPlan(build, drawn) : drawn;
    const model = await openSparseSource(build, rounded);
    const draft = join(work, `draft-${keys.plan}`);
    await removeModels(work, draft);
    if (!(await isModelFolder(draft)))
      await writeSparse(draft, model, first.plan, first.tensors, { ...job, force: false });
    const choosing = { data: options.texts.choose, tokens: TUNE_TOKENS };
    const { windows } = await readWindows(model, model.spec.contextLength, choosing);
    const plan = await tunePlan({ model, ...first, statistics: sums, costs, draft, windows }, job);
    await writePlan(plan, first.tensors, output);
  };
  await stage(output, make);
  return (await readPlan(output)).plan;
}

/** What the plan fits, fitted to the same tokens as the statistics. */
async function refitPlan({ options }: Build, drawn: PlanWithTensors): Promise<PlanWithTensors> {
  const { tokens = DEFAULT_TOKENS, texts } = options;
  const opened = await openPieces(options.checkpoint, options);
  const input = await calibrationInput(opened.checkpoint, STATISTICS, { data: texts.fit, tokens });
  return refitOn(opened, drawn, input, optionsFor('refit', options));
}

export async function buildSparse(build: Build, rounded: RoundedLayers | undefined): Promise<void> {
  const { work, options } = build;
  const { plan, sparse } = outputsOf(build);
  await removeModels(work, sparse);
  await stage(sparse, async () => {
    const tuned = await readPlan(plan);
    const job = { ...optionsFor('sparsify', options), force: false };
    await writeSparse(sparse, await openSparseSource(build, rounded), tuned.plan, tuned.tensors, job);
  });
}

/** Measured without the budget, so that another budget needs no new measurement. */
export async function buildEvaluation(build: Build): Promise<EvaluateResult> {
  const { precision, engine, options } = build;
  const { dense, sparse, evaluation } = outputsOf(build);
  return jsonStage(evaluation, async () => {
    const job = await measuringOptions('eval', build);
    const model = await openModelFolder(sparse);
    const { windows, texts } = await testWindows(sparse, model.manifest.spec.contextLength, options);
    const floats = precision.name === FLOATS ? undefined : await buildFloats(build);
    const modes = await compareWith(model, { ...(await openModelFolder(dense)), native: job.native }, windows, {
      ...job,
      floats,
    });
    // Names in the workspace mean nothing once it is gone.
    const baseline = { against: 'the checkpoint', againstPrecision: FLOATS, againstEngine: engine };
    return { ...resultOf(model, texts), folder: '.', engine, ...baseline, modes };
  });
}

export async function buildBench(build: Build): Promise<BenchReport> {
  const { sparse, bench } = outputsOf(build);
  return jsonStage(bench, async () => {
    const result = await timeAgainstDense(build, sparse);
    const subjects = result.subjects.map((subject, index) => ({ ...subject, name: ['dense', 'sparse'][index] }));
    return { ...result, subjects };
  });
}

/** The gain of a model counts on its host. */
function timeAgainstDense(build: Build, folder: string): Promise<BenchReport> {
  const { engine, options } = build;
  const job = { ...optionsFor('bench', options), dtype: undefined };
  return benchChecked({ ...job, engine, folder, against: outputsOf(build).dense, data: options.texts.test });
}

/** A dense model of another precision, rounded by texts if that is worth the wait: its scores and its speed-up. */
export async function buildAlternative(build: Build, name: PrecisionName) {
  const { work, keys, options } = build;
  const folder = join(work, `alternative-${keys.alternative}`);
  const [rounding, model] = [join(folder, 'rounding'), join(folder, 'dense')];
  const make = async () => {
    const precision = choosePrecision(name);
    const { tokens: _, ...job } = optionsFor('round', options);
    const rounded = gainsByTexts(precision) ? await roundedIn(rounding, precision, job) : undefined;
    await stage(model, () => writeDense(model, precision, rounded, options));
    const { speedup } = await timeAgainstDense(build, model);
    return { speedup, scores: await scoreFolder(build, model) };
  };
  const made = await jsonStage(join(folder, `${name}.json`), make);
  for (const path of [rounding, model]) await discard(path);
  return made;
}
