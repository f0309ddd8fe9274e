/** Rounds the layers of a checkpoint by texts, so that errors compensate each other, before the layers are written. */
import { readdir, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import {
  cutSequences,
  gramsOf,
  type InputGram,
  inputGrams,
  type LayerKeeper,
  linearWeights,
  type Statistic,
} from '../../../calibrate/index.ts';
import { modelLayout, openModel } from '../../../converters/index.ts';
import { refuseExistingFolder, sha256File } from '../../../formats/files.ts';
import { encodeModel } from '../../../formats/onnx/index.ts';
import { readSafetensors, writeSafetensors } from '../../../formats/safetensors/index.ts';
import type { Spill } from '../../../formats/spill.ts';
import { readSums } from '../../../formats/statistics.ts';
import type { Checkpoint } from '../../core/checkpoint.ts';
import { LacunaError, throwIfAborted } from '../../core/errors.ts';
import { blockOfWeight, HEAD_WEIGHT, type ModelPieces, type ModelSpec } from '../../core/model.ts';
import { FLOATS, type Precision } from '../../core/precision.ts';
import type { Multiply } from '../../core/runner.ts';
import { layerSumsOf, type Statistics, type Sums } from '../../core/statistics.ts';
import {
  type BlockScheme,
  float32Tensor,
  type QuantizedMatrix,
  type TensorExpr,
  type TurnableMatrix,
} from '../../core/tensor.ts';
import { factorGram, roundCompensated, roundTurnable } from '../../quantize/index.ts';
import type { RoundedTurnables } from '../../rewrite/index.ts';
import { createOpenGraph, openMultiplier } from '../../runtime/index.ts';
import { readFloats } from '../../tensors/index.ts';
import { keyOf, withWorkspace } from '../build/workspace.ts';
import { calibrationInput, type MeasureOptions, measureInput } from '../calibrate.ts';
import { hashSmallFiles, type WriteFolderOptions } from '../folder/model-folder.ts';
import type { OpenedCheckpoint } from '../folder/source.ts';
import { wantedForRounding } from '../texts/texts.ts';
import { type MeasuredImportance, ROUNDING_TOKENS, readStatisticsOf } from './importance.ts';

export interface RoundedLayers extends MeasuredImportance {
  /** By the name of the precision, then of the weight. */
  readonly rounded: ReadonlyMap<string, ReadonlyMap<string, QuantizedMatrix>>;
  /** `down` stored along both of its axes, if `options.turnables` asked for it; by the same names. */
  readonly turnables: ReadonlyMap<string, RoundedTurnables>;
}

/** `down` of each block in the block's own precision. */
export function turnablesOf(
  mix: ReadonlyMap<string, Precision>,
  rounded: RoundedLayers | undefined,
  base: Precision,
): RoundedTurnables {
  const all = [...(rounded?.turnables ?? [])].flatMap(([name, matrices]) =>
    [...matrices].filter(([weight]) => (mix.get(blockOfWeight(weight) ?? '') ?? base).name === name),
  );
  return new Map(all);
}

export interface RoundOptions extends MeasureOptions {
  /** Statistics with Gram matrices, which are read instead of measured. */
  readonly importance?: string;
  /** Rounds each `down` a second time, for sparse models that read it along both axes. */
  readonly turnables?: boolean;
  /** Statistics to measure in the same walk, and what saves what `measure` measured. */
  readonly besides?: {
    readonly statistics: readonly Statistic[];
    readonly save: (measure: (spill: Spill) => Promise<Statistics>) => Promise<unknown>;
  };
}

/**
 * Every linear layer's weight in the blocks of each precision, rounded by GPTQ on the texts. `byWeight` has the mean
 * squares of the output head's inputs. A layer is written to a file in the folder `work` as soon as it is rounded, so
 * after a stop the next run skips it. The result refers to these files.
 */
export async function roundLayers(
  checkpoint: Checkpoint,
  precisions: readonly Precision[],
  work: string,
  options: RoundOptions,
): Promise<RoundedLayers> {
  // Models that were trained to choose neurons read `down` along both of its axes too.
  const { activation, layers: configs } = modelLayout(checkpoint);
  const isTrained = activation === 'relu' || configs.some(({ gateQuantile }) => gateQuantile !== undefined);
  const schemes = precisions.flatMap(({ name, linear }) =>
    schemesOf(name, linear as BlockScheme, isTrained || (options.turnables ?? false)),
  );
  const pieces = openModel(checkpoint, { precision: FLOATS });
  const grams = await (options.importance === undefined ? gramsOnTexts : gramsInFile)({ checkpoint, pieces }, options);
  const key = keyOf(checkpoint.fingerprint, grams.identity, schemes);
  const fileOf = (layer: number) => join(work, `${key}.layer-${layer}.safetensors`);
  // The head comes after the last layer.
  const head = pieces.spec.numHiddenLayers;
  const layers = Array.from({ length: head + 1 }, (_, layer) => layer);
  const there = new Set(await readdir(work));
  const isRounded = (layer: number) => there.has(basename(fileOf(layer)));
  if (!layers.every(isRounded) || options.besides !== undefined) {
    const multiplier = await openMultiplier(createOpenGraph({ encode: encodeModel, threads: options.threads }));
    const keep = async (sums: Sums, layer: number) => {
      const inputs = gramsOf(sums, layer, pieces.spec);
      if (layer === head) await writeHead(fileOf(head), inputs);
      else await writeLayer(fileOf(layer), inputs, { pieces, schemes, multiply: multiplier.multiply });
      return undefined;
    };
    await grams.handOn({ wants: (layer) => !isRounded(layer), keep }).finally(() => multiplier.close());
  }
  const files = layers.slice(0, head).map(fileOf);
  const { tensors } = await readSafetensors(fileOf(head));
  const byWeight = new Map([[HEAD_WEIGHT, present(tensors.get(HEAD_WEIGHT), fileOf(head))]]);
  return { texts: grams.texts, byWeight, ...(await readLayers(files, schemes, pieces.spec)) };
}

/** Gram matrices that are still to be measured or read. */
interface Grams {
  /** Everything that decides their bits. */
  readonly identity: unknown;
  readonly texts: MeasuredImportance['texts'];
  /** Hands each wanted layer, and the head, to the keeper. */
  readonly handOn: (keeper: LayerKeeper) => Promise<void>;
}

async function gramsOnTexts(opened: OpenedCheckpoint, given: RoundOptions): Promise<Grams> {
  const { checkpoint, pieces } = opened;
  const options = { ...given, tokens: given.tokens ?? ROUNDING_TOKENS };
  const input = await calibrationInput(checkpoint, wantedForRounding(pieces.spec), options);
  // The name decides how a file is read: as text or as JSONL.
  const hashes = input.texts.map(({ name, sha256 }) => [name, sha256]);
  // Everything that decides which tokens are measured. The number of threads decides the last bits of their sums.
  const { tokens, sequenceLength, shard, threads, besides } = options;
  const tokenizer = await hashSmallFiles(checkpoint);
  const handOn = async (keeper: LayerKeeper) => {
    if (besides === undefined) await measureInput(opened, input, options, { statistics: [inputGrams], keeper });
    else {
      const statistics = [...besides.statistics, inputGrams];
      await besides.save((spill) =>
        measureInput(opened, input, options, { statistics, keeper: withOthers(keeper, spill) }),
      );
    }
  };
  const { texts } = cutSequences(input, pieces.spec);
  return { identity: { hashes, tokens, sequenceLength, shard, threads, tokenizer }, texts, handOn };
}

/** Gram matrices go to their keeper, the layers of other statistics are spilled. */
function withOthers({ wants, keep }: LayerKeeper, spill: Spill): LayerKeeper {
  return {
    wants: (layer, statistic) => statistic !== inputGrams.name || (wants?.(layer, statistic) ?? true),
    keep: (sums, layer, statistic) => (statistic === inputGrams.name ? keep(sums, layer, statistic) : spill(sums)),
  };
}

async function gramsInFile({ checkpoint, pieces }: OpenedCheckpoint, options: RoundOptions): Promise<Grams> {
  const { importance: path = '', threads, signal } = options;
  const statistics = await readStatisticsOf(checkpoint, path, wantedForRounding(pieces.spec));
  const layers = layerSumsOf(statistics, inputGrams.name, [inputGrams.name]);
  const handOn = async ({ wants, keep }: LayerKeeper) => {
    for (const [layer, sums] of layers.entries()) {
      throwIfAborted(signal);
      if (wants?.(layer, inputGrams.name) ?? true) await keep(await readSums(sums), layer, inputGrams.name);
    }
  };
  return { identity: { statistics: await sha256File(path), threads }, texts: statistics.texts, handOn };
}

/** A precision's own scheme for every weight, and the one for both axes of `down` if it is wanted. */
function schemesOf(name: string, scheme: BlockScheme, turnables: boolean): NamedScheme[] {
  const turnable: NamedScheme = { name, scheme: { ...scheme, turnable: true } };
  return turnables ? [{ name, scheme }, turnable] : [{ name, scheme }];
}

function isRoundedBy({ scheme }: NamedScheme, weight: string): boolean {
  return !scheme.turnable || /\.down_proj\.weight$/.test(weight);
}

/** Runs `use` in the folder for rounded layers beside `output`, which must be free. On success that is removed. */
export async function inRoundingWorkspace<T>(
  output: string,
  use: (work: string) => Promise<T>,
  { progress, force = false }: WriteFolderOptions,
): Promise<T> {
  await refuseExistingFolder(output, { force });
  const work = `${resolve(output)}.rounding`;
  const round = async () => {
    const result = await use(work);
    await removeLayers(work);
    return result;
  };
  return withWorkspace(work, round, progress);
}

/** Removes what `roundLayers` wrote to the folder, and nothing else. */
async function removeLayers(work: string): Promise<void> {
  const names = (await readdir(work)).filter((name) => /^[0-9a-f]+\.layer-\d+\.safetensors$/.test(name));
  for (const name of names) await rm(join(work, name), { force: true });
}

interface NamedScheme {
  readonly name: string;
  readonly scheme: BlockScheme;
}

interface LayerRounding {
  readonly pieces: ModelPieces;
  readonly schemes: readonly NamedScheme[];
  readonly multiply: Multiply;
}

/** Name of a part of a weight in a layer's file. */
function entryName({ name, scheme }: NamedScheme, weight: string, part: string): string {
  return `${name}${scheme.turnable ? '.turnable' : ''}.${weight}.${part}`;
}

async function writeLayer(
  path: string,
  inputs: Iterable<InputGram>,
  { pieces, schemes, multiply }: LayerRounding,
): Promise<void> {
  const entries: { name: string; data: TensorExpr }[] = [];
  for (const { readers, width, gram } of inputs) {
    const factor = await factorGram(gram, width, multiply);
    for (const weight of readers) {
      const values = await readFloats(pieces.weight(weight));
      for (const scheme of schemes.filter((one) => isRoundedBy(one, weight))) {
        const parts = await roundedParts(values, scheme.scheme, factor, multiply);
        for (const [part, data] of Object.entries(parts))
          if (data !== undefined) entries.push({ name: entryName(scheme, weight, part), data });
      }
    }
  }
  await writeSafetensors(path, entries);
}

/** The tensors that a weight is stored as, by their names in a layer's file. */
async function roundedParts(...given: Parameters<typeof roundCompensated>) {
  const [, scheme] = given;
  if (!scheme.turnable) return roundCompensated(...given);
  const { codes, scales, turned } = await roundTurnable(...given);
  return { codes, scales, turned_codes: turned.codes, turned_scales: turned.scales };
}

/** Mean squares of the head's inputs. Their scale has no meaning. */
async function writeHead(path: string, inputs: Iterable<InputGram>): Promise<void> {
  const entries = Array.from(inputs, ({ readers: [name], gram, width }) => {
    return { name, data: float32Tensor(Float32Array.from({ length: width }, (_, i) => gram[i * width + i])) };
  });
  await writeSafetensors(path, entries);
}

async function readLayers(
  files: readonly string[],
  schemes: readonly NamedScheme[],
  spec: ModelSpec,
): Promise<Pick<RoundedLayers, 'rounded' | 'turnables'>> {
  const rounded = new Map(schemes.map(({ name }) => [name, new Map<string, QuantizedMatrix>()]));
  const turnables = new Map(schemes.map(({ name }) => [name, new Map<string, TurnableMatrix>()]));
  for (const [layer, path] of files.entries()) {
    const { tensors } = await readSafetensors(path);
    for (const scheme of schemes)
      for (const weight of linearWeights(layer, spec).filter((one) => isRoundedBy(scheme, one))) {
        const part = (name: string) => present(tensors.get(entryName(scheme, weight, name)), path);
        const zeroPoints = scheme.scheme.symmetric ? undefined : part('zeroPoints');
        const matrix = { codes: part('codes'), scales: part('scales'), zeroPoints };
        if (!scheme.scheme.turnable) rounded.get(scheme.name)?.set(weight, matrix);
        else {
          const turned = { codes: part('turned_codes'), scales: part('turned_scales'), zeroPoints: undefined };
          turnables.get(scheme.name)?.set(weight, { ...matrix, turned });
        }
      }
  }
  return { rounded, turnables };
}

/** A file's name depends on everything that went into it, so only a foreign file lacks a part. */
function present(tensor: TensorExpr | undefined, path: string): TensorExpr {
  if (tensor !== undefined) return tensor;
  throw new LacunaError('bad-file', `${path} is not what this conversion wrote`, {
    hint: 'Remove it and start again.',
  });
}
