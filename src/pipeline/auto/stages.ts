/** The stages of building a model within a budget. Each finished stage is kept under its key in the workspace. */
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { sha256Bytes } from '../../../formats/files.ts';
import { prettyJson } from '../../core/json.ts';
import { mixOf, type Plan } from '../../core/plan.ts';
import { choosePrecision, FLOATS, type PrecisionName, precisionNamed } from '../../core/precision.ts';
import {
  boundedMean,
  compare,
  countsOf,
  divergenceFrom,
  drawTokens,
  meanCachedTokens,
  ratioOfScores,
} from '../../eval/index.ts';
import {
  blockOptions,
  type Mix,
  mixesByLoss,
  type PrecisionLosses,
  planOfMix,
  stepTime,
  uniformMix,
} from '../../plan/index.ts';
import { openSession } from '../../runtime/index.ts';
import { type BenchReport, benchChecked } from '../bench.ts';
import { measuringOptions, optionsFor } from '../build/options.ts';
import { jsonStage, keyOf, stage } from '../build/workspace.ts';
import { contentOf, openModels } from '../convert.ts';
import { type EvaluateResult, resultOf } from '../evaluate.ts';
import { openModelFolder, readManifest, writeModelFolder } from '../folder/model-folder.ts';
import { denseModel } from '../folder/source.ts';
import { roundLayers } from '../rounding/rounding.ts';
import { writeSparse } from '../sparsify.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';
import { type Candidate, type Choice, choose, MIXED, type Shown } from './choose.ts';
import { type AutoJob, autoOutputs } from './job.ts';
import { measureLosses } from './losses.ts';
import { openWorkbench, type Workbench, writeWorkbench } from './workbench.ts';

/** The checkpoint in all precisions, rounded by the fitting text. */
export async function makeWorkbench(job: AutoJob): Promise<Workbench> {
  const { checkpoint, precisions, options } = job;
  const { rounding, models } = autoOutputs(job);
  await mkdir(rounding, { recursive: true });
  const { texts, tokens = DEFAULT_TOKENS } = options;
  const given = { ...optionsFor('round', options), tokens, data: texts.fit };
  const rounded = await roundLayers(checkpoint, precisions, rounding, given);
  const workbench = { checkpoint, precisions, rounded, folder: models };
  await stage(models, () => writeWorkbench(workbench, optionsFor('convert', options)));
  return workbench;
}

/** The checkpoint's floats, which everything is compared with. */
export async function makeFloats(job: AutoJob): Promise<void> {
  const { checkpoint, options } = job;
  const { floats } = autoOutputs(job);
  const content = contentOf(checkpoint, openModels(checkpoint, [choosePrecision(FLOATS)], undefined));
  await stage(floats, () => writeModelFolder(floats, content, optionsFor('convert', options)));
}

/** The choose text and what the floats make of it; mixes are opened and measured on it. */
export async function openChoosing(job: AutoJob, workbench: Workbench) {
  const { checkpoint, spec, options } = job;
  const { floats, drawn: path, shown } = autoOutputs(job);
  const { texts, tokens = DEFAULT_TOKENS } = options;
  const read = await readWindows(checkpoint, spec.contextLength, { data: texts.choose, tokens });
  const { windows } = read;
  const scored = windows.length * (windows[0].length - 1);
  const measuring = await measuringOptions('choose', job);
  const drawn = await jsonStage(path, async () => {
    const session = await openSession((await openModelFolder(floats)).modelPath, measuring);
    return drawTokens(session, windows, measuring).finally(() => session.close());
  });
  const open = await openWorkbench(workbench, measuring);
  const show = ({ mix }: Pick<Candidate, 'mix'>) => {
    const dtypes = mix.chosen.map(({ dtype }) => dtype);
    return jsonStage<Shown>(join(shown, `${keyOf(dtypes)}.json`), async () => {
      const session = await open(new Map(dtypes.map((dtype, at) => [job.blocks[at], precisionNamed(dtype)])));
      const found = await divergenceFrom(drawn, session, windows, measuring).finally(() => session.close());
      return { ratio: ratioOfScores(found, drawn), kl: boundedMean(found.kl) };
    });
  };
  const { blocks, precisions } = job;
  let measured: Promise<PrecisionLosses> | undefined;
  /** Measured once, when they are first asked for. */
  const losses = () => {
    measured ??= measureLosses({ blocks, precisions, open, windows, drawn, work: autoOutputs(job).losses }, measuring);
    return measured;
  };
  return { losses, show, texts: read.texts.map((text) => ({ ...text, tokens: scored })) };
}

export type Choosing = Awaited<ReturnType<typeof openChoosing>>;

/** Chooses by what is measured on the choose text and what the host takes. */
export async function makeChoice(job: AutoJob, choosing: Choosing): Promise<Choice> {
  const { spec, host, costs, precisions, budget } = job;
  const { models, choice } = autoOutputs(job);
  const [exact] = precisions;
  const alike = blockOptions(job);
  const whole = uniformMix(alike, exact.name);
  // The first of the files is the model of the most exact precision. What is no block is the same in all models.
  const otherBytes = (await onnxBytes(models, 'onnx/model.onnx')) - whole.bytes;
  const step = stepTime(costs, spec, { kind: host, precision: exact }, [], meanCachedTokens(countsOf({})));
  const otherSeconds = (step ?? Number.NaN) - whole.seconds;
  const candidate = (mix: Mix) => {
    const dtypes = new Set(mix.chosen.map(({ dtype }) => dtype));
    const name = dtypes.size === 1 ? mix.chosen[0].dtype : MIXED;
    return { name, mix, kl: null, seconds: otherSeconds + mix.seconds, bytes: otherBytes + mix.bytes };
  };
  const mixed = async () => {
    const losses = await choosing.losses();
    const mixes = mixesByLoss(blockOptions(job, losses)).map((mix) => {
      return { ...candidate(mix), kl: losses.whole[exact.name] + mix.kl };
    });
    return { mixes, whole: losses.whole };
  };
  const uniform = precisions.map(({ name }) => candidate(uniformMix(alike, name)));
  return jsonStage(choice, () => choose({ budget, uniform, mixed, show: choosing.show }));
}

/** Bytes of a model's files, of those whose path begins so. */
export async function onnxBytes(folder: string, begin = 'onnx/'): Promise<number> {
  const { files } = await readManifest(folder);
  return files.reduce((sum, { path, bytes }) => sum + (path.startsWith(begin) ? bytes : 0), 0);
}

async function planOf(job: AutoJob, choosing: Choosing, mix: Mix): Promise<Plan> {
  const losses = await choosing.losses();
  return planOfMix({
    identity: { ...job.spec, fingerprint: job.checkpoint.fingerprint },
    model: job,
    mix,
    shares: losses.shares,
    budget: job.options.budget,
    texts: choosing.texts,
    losses: sha256Bytes(prettyJson(losses)),
  });
}

/** Writes a model of one precision as any dense one, and a mix with its plan. */
export async function makeModel(job: AutoJob, workbench: Workbench, choosing: Choosing, chosen: Candidate) {
  const { name, mix } = chosen;
  const { checkpoint, options, keys, work } = job;
  const dtypes = mix.chosen.map(({ dtype }) => dtype);
  const output = join(work, `model-${keyOf(keys.chosen, dtypes)}`);
  const { rounded } = workbench;
  const writing = { ...optionsFor('convert', options), force: false };
  const plan = name === MIXED ? await planOf(job, choosing, mix) : undefined;
  await stage(output, async () => {
    if (plan === undefined) {
      const models = openModels(checkpoint, [choosePrecision(name as PrecisionName)], rounded);
      return writeModelFolder(output, contentOf(checkpoint, models), writing);
    }
    const base = precisionNamed(plan.host.dtype ?? FLOATS);
    return writeSparse(output, denseModel(checkpoint, base, rounded, mixOf(plan)), plan, new Map(), writing);
  });
  return output;
}

/** Where what is measured of a model is kept: by the name of its folder, which says what it is, in any workspace. */
function recordOf(
  { work, keys }: AutoJob,
  stage: string,
  file: string,
  folder: string,
  ...more: readonly string[]
): string {
  return join(work, `${stage}-${keyOf(keys.build, basename(folder), ...more)}`, file);
}

/** Times a model against the dense one of a precision. */
export function timeAgainst(job: AutoJob, folder: string, againstDtype: string): Promise<BenchReport> {
  const { engine, options } = job;
  const { models } = autoOutputs(job);
  const path = recordOf(job, 'speed', 'bench.json', folder, againstDtype);
  return jsonStage(path, async () => {
    const { texts, budget: _, host: __, ...given } = optionsFor('bench', options);
    const against = { against: models, againstDtype: againstDtype as PrecisionName };
    const result = await benchChecked({ ...given, ...against, engine, folder, data: texts.test });
    const names = [againstDtype, 'chosen'];
    return { ...result, subjects: result.subjects.map((subject, at) => ({ ...subject, name: names[at] })) };
  });
}

/** Compares the model with the floats on the test text, which nothing has seen. */
export function evaluateChosen(job: AutoJob, folder: string): Promise<EvaluateResult> {
  const { spec, engine, options } = job;
  const { floats } = autoOutputs(job);
  const {
    texts: { test },
    tokens = DEFAULT_TOKENS,
  } = options;
  return jsonStage(recordOf(job, 'evaluation', 'evaluation.json', folder), async () => {
    const measuring = await measuringOptions('eval', job);
    const model = await openModelFolder(folder);
    const { windows, texts } = await readWindows(folder, spec.contextLength, { data: test, tokens });
    const dense = await openSession((await openModelFolder(floats)).modelPath, measuring);
    const session = await openSession(model.modelPath, measuring);
    const closing = () => Promise.all([session.close(), dense.close()]);
    const found = await compare(dense, session, windows, { ...measuring, mode: 'all', ffn: spec }).finally(closing);
    const baseline = { against: 'the checkpoint', againstPrecision: FLOATS, againstEngine: engine };
    return { ...resultOf(model, texts), folder: '.', engine, ...baseline, modes: [found] };
  });
}
