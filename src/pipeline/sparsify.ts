/** `lacuna sparsify`: a dense model and a plan become a sparse folder. */
import * as z from 'zod';
import { LacunaError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import { door, files, optionsOf, path } from '../core/options.ts';
import { type Host, mixOf, type Plan, type PlanTensors } from '../core/plan.ts';
import {
  choosePrecision,
  FLOATS,
  hasBlocks,
  IN_BLOCKS,
  type Precision,
  type PrecisionName,
} from '../core/precision.ts';
import { STORAGES, type Storage } from '../ops/index.ts';
import { checkMeasure } from '../plan/index.ts';
import { applyPlan, fuseDecoderParts, type RuleReport } from '../rewrite/index.ts';
import { refuseNonFiniteBlocks } from './convert.ts';
import { isModelFolder, type WriteFolderOptions, writeModelFolder } from './folder/model-folder.ts';
import {
  type DenseModel,
  denseModel,
  openDenseFolder,
  openSource,
  SOURCE,
  type SourceOptions,
} from './folder/source.ts';
import { count, flag } from './options.ts';
import { openPlan } from './plan.ts';
import { inRoundingWorkspace, roundLayers, turnablesOf } from './rounding/rounding.ts';
import { pinnedTexts } from './texts/texts.ts';

export interface SparsifyResult {
  readonly output: string;
  readonly report: readonly RuleReport[];
  readonly files: Manifest['files'];
}

/** Precisions of sparse models: those that GatedFFN has storages for. */
export const SPARSE_PRECISIONS: readonly SparsePrecision[] = STORAGES;

export type SparsePrecision = Storage & PrecisionName;

export const sparsifyOptions = optionsOf(
  {
    /** A checkpoint or a dense folder. */
    source: path,
    plan: path,
    output: path,
  },
  {
    ...SOURCE,
    force: flag,
    /** How weights are stored, of `SPARSE_PRECISIONS`; fp32 by default, and the only one for a folder. */
    dtype: z.enum(SPARSE_PRECISIONS),
    /** Texts that precisions in blocks are rounded by; the pinned `fit` text by default. */
    data: files,
    /** Tokens of them to measure at most; 8,192 by default. */
    tokens: count,
  },
);

export interface SparsifyOptions extends SourceOptions, z.infer<typeof sparsifyOptions> {}

/**
 * Rewrites a model by a plan and writes a folder that stands alone.
 *
 * @throws LacunaError `mismatch` when the plan was made for another model, or for weights of another storage in stock ONNX
 *   Runtime.
 * @example await sparsify({ source: './SmolLM2-135M', plan: './plan.json', output: './sparse' });
 */
export const sparsify = door('sparsify', sparsifyOptions, async (options: SparsifyOptions): Promise<SparsifyResult> => {
  const { plan, tensors } = await openPlan(options.plan);
  const mix = mixOf(plan);
  // A plan that stores blocks otherwise says how the rest is stored.
  const usual = mix.size === 0 ? FLOATS : (plan.host.dtype ?? FLOATS);
  const precision = choosePrecision(options.dtype ?? usual);
  const precisions = [...new Map([precision, ...mix.values()].map((one) => [one.name, one])).values()];
  const coded = precisions.filter(hasBlocks);
  const { source, output, data = pinnedTexts('fit') } = options;
  refuseNonFiniteBlocks(precisions, options.allowNonFinite);
  if (coded.length === 0 && (options.data ?? options.tokens) !== undefined)
    throw new LacunaError('usage', `${precision.name} stores no blocks, so there is nothing to round by a text`, {
      hint: `--data and --tokens are for --dtype ${IN_BLOCKS}.`,
    });
  if (await isModelFolder(source)) {
    if (mix.size > 0) throw needsCheckpoint(source);
    return writeSparse(output, await openDenseFolder(source, precision, options.adapter), plan, tensors, options);
  }
  const checkpoint = await openSource(source, options);
  if (coded.length === 0)
    return writeSparse(output, denseModel(checkpoint, precision, undefined, mix), plan, tensors, options);
  checkSameModel(checkpoint, plan);
  checkHost(precision, plan.host);
  checkMeasures(plan, precision);
  const round = async (work: string) => {
    // Where blocks compute only some of their neurons, kernels read `down` along both of its axes.
    const turnables = plan.blocks.some(({ choice }) => choice !== undefined);
    const rounded = await roundLayers(checkpoint, coded, work, { ...options, data, turnables });
    return writeSparse(output, denseModel(checkpoint, precision, rounded, mix), plan, tensors, options);
  };
  return inRoundingWorkspace(output, round, options);
});

function needsCheckpoint(folder: string): LacunaError {
  return new LacunaError(
    'unsupported',
    `${folder} is a converted folder; blocks in other precisions are made of a checkpoint`,
    {
      hint: 'Give the checkpoint that the folder was made from.',
    },
  );
}

/** The same for a model and a plan in memory. */
export async function writeSparse(
  output: string,
  model: DenseModel,
  plan: Plan,
  tensors: PlanTensors,
  options: WriteFolderOptions,
): Promise<SparsifyResult> {
  checkSameModel(model, plan);
  checkHost(model.precision, plan.host);
  checkMeasures(plan, model.precision);
  const { spec, fingerprint, precision, rounded } = model;
  const turnables = turnablesOf(mixOf(plan), rounded, precision);
  const { graph, report } = applyPlan(model.graph, plan, tensors, turnables);
  const rounding = rounded && { rounding: 'gptq' as const, calibratedOn: rounded.texts };
  const models = [{ graph: fuseDecoderParts(graph, turnables), precision, ...rounding }];
  const manifest = await writeModelFolder(output, { models, spec, fingerprint, plan, source: model }, options);
  return { output, report, files: manifest.files };
}

/** Throws `mismatch` for a plan of another model. */
export function checkSameModel(model: Pick<DenseModel, 'fingerprint' | 'path'>, plan: Plan): void {
  if (model.fingerprint === plan.model.fingerprint) return;
  throw new LacunaError(
    'mismatch',
    `The plan was made for another model (${plan.model.fingerprint.slice(0, 12)}) than ${model.path} (${model.fingerprint.slice(0, 12)})`,
    { hint: 'Give the checkpoint that the plan was made for, or calibrate and plan on this one.' },
  );
}

/** Throws `usage` if blocks choose neurons by a measure that is not for their precision. */
function checkMeasures(plan: Plan, base: Precision): void {
  const mix = mixOf(plan);
  for (const { block, choice } of plan.blocks)
    if (choice !== undefined) checkMeasure(choice.measure, mix.get(block) ?? base);
}

/** Throws `mismatch` if a plan's host assumes another storage of the weights, because what pays depends on it. */
export function checkHost({ name }: Precision, host: Host): void {
  if (host.kind === 'native' || host.dtype === name) return;
  throw new LacunaError(
    'mismatch',
    `The plan is for stock ONNX Runtime and weights in ${host.dtype}, the model's are in ${name}`,
    { hint: `Use --dtype ${host.dtype}, or make a plan for these: lacuna plan --host stock --dtype ${name}` },
  );
}
