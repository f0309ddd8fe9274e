/** `lacuna convert`: a checkpoint becomes a dense ONNX folder. */
import * as z from 'zod';
import { openModel } from '../../converters/index.ts';
import { weightBytesOf } from '../../formats/onnx/index.ts';
import { type Checkpoint, hasTokenizer } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import type { ModelPieces, ModelSpec } from '../core/model.ts';
import { door, files, listOf, optionsOf, path } from '../core/options.ts';
import {
  BLOCK_SIZES,
  choosePrecisions,
  FLOAT_NAMES,
  FLOATS,
  hasBlocks,
  IN_BLOCKS,
  isSearched,
  listed,
  type Precision,
  ROUNDINGS,
  VOCABULARY_NAMES,
} from '../core/precision.ts';
import { fuseDecoderParts } from '../rewrite/index.ts';
import { type FolderContent, type FolderModel, writeModelFolder } from './folder/model-folder.ts';
import { denseGraph, openSource, SOURCE, type SourceOptions } from './folder/source.ts';
import { modelFileOf } from './folder/transformers-js.ts';
import { count, flag, precision } from './options.ts';
import { type MeasuredImportance, measureImportance, readImportance } from './rounding/importance.ts';
import { inRoundingWorkspace, type RoundedLayers, roundLayers } from './rounding/rounding.ts';
import { REFERENCE, type Reference, referenceFor } from './verification/reference.ts';
import { type VerifyResult, verifyFolder } from './verify.ts';

export const convertOptions = optionsOf(
  {
    /** A folder, a GGUF file, or with `hub` a model's name there: owner/name[@revision][:part of a GGUF file's name]. */
    checkpoint: path,
    output: path,
  },
  {
    ...SOURCE,
    force: flag,
    /** Name of the precision, or of several: one model each, the first of them what hosts open. fp32 by default. */
    dtype: z.union([precision, listOf(precision)]),
    /** Weights a block, of `BLOCK_SIZES`; for precisions in blocks, of `BLOCK_NAMES`. */
    blockSize: z.literal(BLOCK_SIZES),
    /** Stores zero points too; for the same. */
    asymmetric: flag,
    /** How embedding and head are stored, of `VOCABULARY_NAMES`; for the same. */
    vocabulary: z.enum(VOCABULARY_NAMES),
    /** statistics.json of `calibrate`: the search for scales then makes those columns exact that matter. For the same. */
    importance: path,
    /** Texts, UTF-8 or JSONL, to measure that on while converting, instead of reading it. */
    data: files,
    /** How layers are rounded, of `ROUNDINGS`: `gptq` by default with `data`, `search` with `importance`. */
    rounding: z.enum(ROUNDINGS),
    /** Tokens of them to measure at most; 8,192 by default. */
    tokens: count,
    /** Compares the folder with Transformers once it is written; see `verify`. */
    verify: optionsOf({}, REFERENCE),
  },
);

export interface ConvertOptions extends SourceOptions, z.infer<typeof convertOptions> {}

/** One model of the folder. */
export interface ConvertedModel {
  readonly precision: string;
  /** Its path in the folder. */
  readonly file: string;
  readonly weightBytes: number;
}

export interface ConvertResult {
  readonly output: string;
  readonly spec: ModelSpec;
  /** In the order in which they were asked for. */
  readonly models: readonly ConvertedModel[];
  /** Bytes of all of them. */
  readonly weightBytes: number;
  readonly hasTokenizer: boolean;
  readonly files: Manifest['files'];
  /** Present if it was asked for. A failed check leaves the folder in place. */
  readonly checks: VerifyResult['checks'] | undefined;
}

/**
 * Converts a checkpoint, a Hugging Face folder or a GGUF file, to a dense ONNX folder.
 *
 * @example await convert({ checkpoint: './SmolLM2-135M', output: './dense', dtype: 'int4' });
 * @example await convert({ checkpoint: './SmolLM2-135M', output: './all', dtype: ['fp32', 'fp16', 'int4'] });
 * @example await convert({ checkpoint: './SmolLM2-135M', output: './int4', dtype: 'int4', data: ['texts/fit.txt'] });
 */
export const convert = door('convert', convertOptions, async (options: ConvertOptions): Promise<ConvertResult> => {
  const precisions = precisionsFor(options);
  const checkpoint = await openSource(options.checkpoint, options);
  // All precisions are checked, and the reference is found, before anything is measured or written.
  for (const precision of precisions) openModel(checkpoint, { precision });
  const reference = options.verify && (await referenceFor(checkpoint, { ...options, ...options.verify }));
  const write = (measured: Measured) => writeConverted(checkpoint, precisions, measured, reference, options);
  const { data, importance, rounding } = options;
  if (importance !== undefined && rounding !== 'gptq') return write(await readImportance(checkpoint, importance));
  if (importance === undefined && data === undefined) return write(undefined);
  if (rounding === 'search') return write(await measureImportance(checkpoint, options));
  const round = async (work: string) =>
    write(await roundLayers(checkpoint, precisions.filter(hasBlocks), work, options));
  return inRoundingWorkspace(options.output, round, options);
});

/** What was measured of the model on texts, if anything. */
type Measured = MeasuredImportance | RoundedLayers | undefined;

async function writeConverted(
  checkpoint: Checkpoint,
  precisions: readonly Precision[],
  measured: Measured,
  reference: Reference | undefined,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const opened = openModels(checkpoint, precisions, measured);
  const [{ pieces }] = opened;
  const models = opened.map(({ precision, graph }, index) => {
    return { precision: precision.name, file: modelFileOf(precision, index), weightBytes: weightBytesOf(graph) };
  });
  for (const note of notesOn(checkpoint, opened)) options.progress?.note(note);
  const manifest = await writeModelFolder(options.output, contentOf(checkpoint, opened), options);
  const verified = reference && (await verifyFolder(options.output, { checkpoint, pieces }, reference, options));
  return {
    output: options.output,
    spec: pieces.spec,
    models,
    weightBytes: models.reduce((sum, { weightBytes }) => sum + weightBytes, 0),
    hasTokenizer: hasTokenizer(checkpoint),
    files: manifest.files,
    checks: verified?.checks,
  };
}

/** The precisions that were asked for. Throws 'usage' for options that none uses, or that one cannot honour. */
export function precisionsFor(options: ConvertOptions): readonly Precision[] {
  const { importance, data, rounding, tokens, allowNonFinite } = options;
  const precisions = choosePrecisions([options.dtype ?? FLOATS].flat(), options);
  const names = precisions.map(({ name }) => name).join(', ');
  if ((importance !== undefined || data !== undefined) && !precisions.some(isSearched))
    throw new LacunaError('usage', `${names} searches no scales, so it cannot use importances`, {
      hint: `They are for --dtype ${IN_BLOCKS}.`,
    });
  if (importance !== undefined && data !== undefined)
    throw new LacunaError('usage', 'Importances are read from statistics or measured on texts, not both', {
      hint: 'Give --importance or --data.',
    });
  if (rounding !== undefined && data === undefined && importance === undefined)
    throw new LacunaError('usage', `${rounding} rounds by a text, and none is given`, {
      hint: 'Give the text: --data FILE, or statistics of it: --importance FILE',
    });
  if (tokens !== undefined && data === undefined)
    throw new LacunaError('usage', `No text is given to measure ${tokens} tokens of`, {
      hint: 'Give the text: --data FILE',
    });
  refuseNonFiniteBlocks(precisions, allowNonFinite);
  return precisions;
}

/** A checkpoint in one of these precisions. */
export interface OpenedModel extends FolderModel {
  readonly pieces: ModelPieces;
}

export function openModels(
  checkpoint: Checkpoint,
  precisions: readonly Precision[],
  measured: Measured,
): readonly OpenedModel[] {
  return precisions.map((precision) => {
    const weighed = isSearched(precision) ? measured : undefined;
    const rounded = weighed !== undefined && 'rounded' in weighed ? weighed.rounded : undefined;
    const pieces = openModel(checkpoint, { precision, importance: weighed?.byWeight, rounded });
    const rounding = weighed && (rounded === undefined ? 'search' : 'gptq');
    const turnables =
      weighed !== undefined && 'turnables' in weighed ? weighed.turnables.get(precision.name) : undefined;
    const graph = fuseDecoderParts(denseGraph(pieces), turnables);
    return { precision, pieces, graph, rounding, calibratedOn: weighed?.texts };
  });
}

/** What the folder of a conversion is made from. */
export function contentOf(checkpoint: Checkpoint, models: readonly OpenedModel[]): FolderContent {
  const [{ pieces }] = models;
  return { models, spec: pieces.spec, fingerprint: checkpoint.fingerprint, plan: null, source: checkpoint };
}

export function tokenizerNotes(checkpoint: Checkpoint): string[] {
  if (hasTokenizer(checkpoint)) return [];
  return ['No tokenizer.json: the folder can be loaded, but `lacuna run` and `lacuna eval` need one.'];
}

/** Notes for the user about a conversion that succeeds. */
export function notesOn(checkpoint: Checkpoint, models: readonly OpenedModel[]): string[] {
  const [{ pieces }] = models;
  const precisions = models.map(({ precision }) => precision);
  return [...(pieces.notes ?? []), ...bfloat16Notes(precisions, checkpoint), ...tokenizerNotes(checkpoint)];
}

/** For precisions that store bfloat16: who widens it, and whether weights are rounded to it. */
function bfloat16Notes(precisions: readonly Precision[], { tensors }: Checkpoint): string[] {
  if (!precisions.some(({ linear, vocabulary }) => [linear, vocabulary].some(({ kind }) => kind === 'widened')))
    return [];
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  const rounded = [...new Set(matrices.map(({ dtype }) => dtype))].filter((dtype) => dtype !== 'bfloat16');
  const notes = ['bf16 halves the file, not the memory: runtimes without bfloat16 kernels widen weights as they load.'];
  if (rounded.length > 0)
    notes.push(`Weights come as ${rounded.join(', ')}: bf16 rounds them to 8 significant bits, where fp16 has 11.`);
  return notes;
}

/** Throws `usage` if NaN and infinity are allowed but cannot be stored. */
export function refuseNonFiniteBlocks(precisions: readonly Precision[], allowNonFinite = false): void {
  const coded = precisions.find(hasBlocks);
  if (allowNonFinite && coded !== undefined)
    throw new LacunaError('usage', `${coded.name} has no codes for NaN and infinity, so they cannot be allowed`, {
      hint: `Use --dtype ${listed(FLOAT_NAMES, 'or')} with --allow-nonfinite.`,
    });
}
