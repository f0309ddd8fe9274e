/** Rounds the layers of a checkpoint so that errors make up for each other on texts, before they are written. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type InputGram, inputGrams, linearWeights } from '../../calibrate/index.ts';
import { openModel } from '../../converters/index.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { factorGram, roundCompensated } from '../../formats/quantize/index.ts';
import { readSafetensors, writeSafetensors } from '../../formats/safetensors/index.ts';
import { readFloats } from '../../formats/tensor/index.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import { HEAD_WEIGHT, type ModelPieces } from '../core/model.ts';
import type { Precision } from '../core/precision.ts';
import type { Multiply } from '../core/runner.ts';
import { type BlockScheme, float32Tensor, type QuantizedMatrix, type TensorExpr } from '../core/tensor.ts';
import { createOpenGraph, openMultiplier } from '../runtime/index.ts';
import { calibrationInput, type MeasureOptions } from './calibrate.ts';
import { roundingOf } from './enough-tokens.ts';
import { type MeasuredImportance, tokensOf } from './importance.ts';
import { hashSmallFiles } from './model-folder.ts';
import { keyOf } from './workspace.ts';

export interface RoundedLayers extends MeasuredImportance {
  /** By the name of the precision, then of the weight. */
  readonly rounded: ReadonlyMap<string, ReadonlyMap<string, QuantizedMatrix>>;
}

/**
 * Every linear layer's weight in the blocks of each precision, by GPTQ on the texts; `byWeight` has the mean squares of
 * the output head's inputs.
 *
 * A layer's weights are written to a file in the folder `work` as soon as they are rounded, so that a run that was
 * stopped only passes the layers that it finished; what is returned refers to these files.
 */
export async function roundLayers(
  checkpoint: Checkpoint,
  precisions: readonly Precision[],
  work: string,
  given: MeasureOptions,
): Promise<RoundedLayers> {
  const options = { ...given, tokens: tokensOf(given) };
  const schemes = precisions.map(({ name, linear }) => ({ name, scheme: linear as BlockScheme }));
  const pieces = openModel(checkpoint, { precision: 'fp32' });
  const input = await calibrationInput(checkpoint, roundingOf(pieces.spec), options);
  // A name says how a file is read: as text or as JSONL.
  const hashes = input.texts.map(({ name, sha256 }) => [name, sha256]);
  // All that decides which tokens are measured, and by threads the last bits of their sums.
  const { tokens, sequenceLength, shard, threads } = options;
  const measured = { hashes, tokens, sequenceLength, shard, threads, tokenizer: await hashSmallFiles(checkpoint) };
  const key = keyOf(checkpoint.fingerprint, measured, schemes);
  const fileOf = (layer: number) => join(work, `${key}.layer-${layer}.safetensors`);
  const openGraph = createOpenGraph({ encode: encodeModel, threads: options.threads });
  const known = await finishedLayers(work, pieces.spec.numHiddenLayers, fileOf);
  const { texts, layers } = inputGrams(pieces, input, { ...options, openGraph, known });
  const multiplier = await openMultiplier(openGraph);
  let head: InputGram | undefined;
  try {
    for await (const { layer, inputs } of layers) {
      if (layer === pieces.spec.numHiddenLayers) [head] = inputs;
      else await writeLayer(fileOf(layer), inputs, { pieces, schemes, multiply: multiplier.multiply });
    }
  } finally {
    await multiplier.close();
  }
  const files = Array.from({ length: pieces.spec.numHiddenLayers }, (_, layer) => fileOf(layer));
  const importance = head === undefined ? [] : [[HEAD_WEIGHT, diagonalOf(head)] as const];
  return { texts, byWeight: new Map(importance), rounded: await readLayers(files, schemes) };
}

/** Removes what `roundLayers` wrote to the folder, and nothing else. */
export async function removeLayers(work: string): Promise<void> {
  const names = (await readdir(work)).filter((name) => /^[0-9a-f]+\.layer-\d+\.safetensors$/.test(name));
  for (const name of names) await rm(join(work, name), { force: true });
}

async function finishedLayers(work: string, count: number, fileOf: (layer: number) => string): Promise<Set<number>> {
  const present = new Set((await readdir(work)).map((name) => join(work, name)));
  return new Set(Array.from({ length: count }, (_, layer) => layer).filter((layer) => present.has(fileOf(layer))));
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
function entryName(precision: string, weight: string, part: string): string {
  return `${precision}.${weight}.${part}`;
}

async function writeLayer(
  path: string,
  inputs: readonly InputGram[],
  { pieces, schemes, multiply }: LayerRounding,
): Promise<void> {
  const entries: { name: string; data: TensorExpr }[] = [];
  for (const { readers, width, gram } of inputs) {
    const factor = await factorGram(gram, width, multiply);
    for (const weight of readers) {
      const values = await readFloats(pieces.weight(weight));
      for (const { name, scheme } of schemes) {
        const parts = await roundCompensated(values, scheme, factor, multiply);
        for (const [part, data] of Object.entries(parts))
          if (data !== undefined) entries.push({ name: entryName(name, weight, part), data });
      }
    }
  }
  await writeSafetensors(path, entries);
}

/** Mean squares, as far as their scale has a meaning. */
function diagonalOf({ gram, width }: InputGram): TensorExpr {
  return float32Tensor(Float32Array.from({ length: width }, (_, i) => gram[i * width + i]));
}

async function readLayers(
  files: readonly string[],
  schemes: readonly NamedScheme[],
): Promise<RoundedLayers['rounded']> {
  const rounded = new Map(schemes.map(({ name }) => [name, new Map<string, QuantizedMatrix>()]));
  for (const [layer, path] of files.entries()) {
    const { tensors } = await readSafetensors(path);
    for (const { name, scheme } of schemes)
      for (const weight of linearWeights(layer)) {
        const part = (part: keyof QuantizedMatrix) => present(tensors.get(entryName(name, weight, part)), path);
        const zeroPoints = scheme.symmetric ? undefined : part('zeroPoints');
        rounded.get(name)?.set(weight, { codes: part('codes'), scales: part('scales'), zeroPoints });
      }
  }
  return rounded;
}

/** Files are named by all that went into them, so only a foreign one lacks a part. */
function present(tensor: TensorExpr | undefined, path: string): TensorExpr {
  if (tensor !== undefined) return tensor;
  throw new LacunaError('bad-file', `${path} is not what this conversion wrote`, {
    hint: 'Remove it and start again.',
  });
}
