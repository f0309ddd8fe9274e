/** LoRA adapters as PEFT saves them: merged into a checkpoint while its weights are read, and summarised. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import { byteLength, elementCount, isFloat } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import { sumBy } from '../../src/core/figures.ts';
import { asIoError } from '../../src/core/io-error.ts';
import { attempt, firstOf } from '../../src/core/problems.ts';
import { addLowRank, type FileTensor, type TensorExpr } from '../../src/core/tensor.ts';
import { fingerprintOf } from '../fingerprint.ts';
import { readJsonObject } from '../json-file.ts';
import { readSafetensors } from '../safetensors/index.ts';
import { type LoraConfig, readLoraConfig, unsupportedAdapter } from './config.ts';

/** The files of an adapter as PEFT saves it. */
export const ADAPTER_CONFIG = 'adapter_config.json';
const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

/** Some hundred names at most. */
const MAX_CONFIG_BYTES = 16 << 20;

/** A matrix of the base model, and the two whose product is added to it. */
interface Pair {
  /** The module's name in the base model. */
  readonly module: string;
  /** `lora_A` [rank, in] and `lora_B` [out, rank]. */
  readonly a: FileTensor | undefined;
  readonly b: FileTensor | undefined;
}

/**
 * `checkpoint` with the LoRA adapter in the folder `path` merged: W + scale B A for each of its matrices, in float32.
 *
 * Throws 'not-found' if the folder holds no adapter, 'unsupported' for unsupported kinds, 'mismatch' with every name
 * and shape that does not fit, if it was trained on another model.
 *
 * @example const merged = await mergeAdapter(await openCheckpoint('SmolLM2-135M'), './my-adapter');
 */
export async function mergeAdapter(
  checkpoint: Checkpoint,
  path: string,
  { allowNonFinite = false } = {},
): Promise<Checkpoint> {
  const config = await openConfig(path);
  const { tensors } = await readSafetensors(join(path, ADAPTER_WEIGHTS), { mustBeFinite: !allowNonFinite });
  const pairs = pairsOf(tensors, path);
  const problems = pairs.flatMap((pair) => problemsOf(pair, config, checkpoint));
  if (problems.length > 0)
    throw new LacunaError('mismatch', `The adapter ${path} does not fit ${checkpoint.path}:\n${firstOf(problems)}`, {
      hint: `Give the model it was trained on: base_model_name_or_path in ${join(path, ADAPTER_CONFIG)}.`,
    });
  const merged = new Map(pairs.flatMap((pair) => mergedPair(pair, config, checkpoint)));
  return {
    ...checkpoint,
    tensors: new Map([...checkpoint.tensors].map(([name, tensor]) => [name, merged.get(name) ?? tensor])),
    fingerprint: await fingerprintOf(checkpoint.fingerprint, merged),
  };
}

async function openConfig(path: string): Promise<LoraConfig> {
  const files = await readdir(path).catch((error) => {
    throw asIoError(error, 'open the adapter', path);
  });
  for (const name of [ADAPTER_CONFIG, ADAPTER_WEIGHTS])
    if (!files.includes(name))
      throw new LacunaError('not-found', `${path} is no adapter's folder: it has no ${name}`, {
        hint: `Give the folder that PEFT saved, with ${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS} in it; pickles are never read.`,
      });
  return readLoraConfig((await readJsonObject(join(path, ADAPTER_CONFIG), MAX_CONFIG_BYTES)).value, path);
}

const NAME = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/;

function pairsOf(tensors: ReadonlyMap<string, FileTensor>, path: string): Pair[] {
  const pairs = new Map<string, Pair>();
  const others: string[] = [];
  for (const [name, tensor] of tensors) {
    const [, module, letter] = NAME.exec(name) ?? [];
    const known = pairs.get(module) ?? { module, a: undefined, b: undefined };
    if (module === undefined) others.push(name);
    else pairs.set(module, { ...known, [letter.toLowerCase()]: tensor });
  }
  if (others.length > 0)
    throw unsupportedAdapter(`${path} holds tensors that are not those of LoRA on linear layers:\n${firstOf(others)}`);
  if (pairs.size === 0) throw unsupportedAdapter(`${path} holds no tensors`);
  return [...pairs.values()];
}

function problemsOf({ module, a, b }: Pair, config: LoraConfig, { tensors }: Checkpoint): string[] {
  if (a === undefined || b === undefined) return [`${module} has lora_${a === undefined ? 'B' : 'A'} only`];
  const base = tensors.get(`${module}.weight`);
  if (base === undefined) return [`${module}.weight is not in the model`];
  const rank = config.rankOf(module);
  const [rows, columns] = base.shape;
  const wanted = base.shape.length === 2 ? { a: `${rank},${columns}`, b: `${rows},${rank}` } : undefined;
  if (wanted === undefined) return [`${module}.weight is no matrix but [${base.shape}]`];
  return [
    ...(String(a.shape) === wanted.a ? [] : [`${module}: lora_A is [${a.shape}], the model wants [${wanted.a}]`]),
    ...(String(b.shape) === wanted.b ? [] : [`${module}: lora_B is [${b.shape}], the model wants [${wanted.b}]`]),
    ...[base, a, b]
      .filter(({ dtype }) => !isFloat(dtype))
      .map(({ dtype }) => `${module} is of type ${dtype}, no float`),
  ];
}

function mergedPair({ module, a, b }: Pair, config: LoraConfig, { tensors }: Checkpoint): [string, TensorExpr][] {
  const name = `${module}.weight`;
  const base = tensors.get(name);
  if (base === undefined || a === undefined || b === undefined) return [];
  return [[name, addLowRank(base, b, a, config.scaleOf(module, a.shape[0]))]];
}

export interface AdapterSummary {
  readonly type: string;
  readonly baseModel: string | undefined;
  readonly rank: number | undefined;
  readonly alpha: number | undefined;
  readonly rankStabilised: boolean;
  /** Matrices of the base model that it changes, by the last part of their names. */
  readonly modules: Readonly<Record<string, number>>;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  /** Why it cannot be merged, as far as its own files show. */
  readonly problem: string | undefined;
}

/** Reads only headers. Throws as `readSafetensors` does, and 'bad-file' if the config is not a JSON object. */
export async function summariseAdapter(path: string): Promise<AdapterSummary> {
  const { value: config } = await readJsonObject(join(path, ADAPTER_CONFIG), MAX_CONFIG_BYTES);
  const { tensors } = await readSafetensors(join(path, ADAPTER_WEIGHTS));
  const all = [...tensors.values()];
  const problems: LacunaError[] = [];
  attempt(problems, () => readLoraConfig(config, path));
  const number = (value: unknown) => (typeof value === 'number' ? value : undefined);
  return {
    type: String(config.peft_type),
    baseModel: typeof config.base_model_name_or_path === 'string' ? config.base_model_name_or_path : undefined,
    rank: number(config.r),
    alpha: number(config.lora_alpha),
    rankStabilised: config.use_rslora === true,
    modules: sumBy(
      all.flatMap(({ name }) => /([^.]+)\.lora_A\.weight$/.exec(name)?.[1] ?? []).map((name) => [name, 1]),
    ),
    tensors: all.length,
    parameters: all.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    bytesByDtype: sumBy(all.map(({ dtype, shape }) => [dtype, byteLength(dtype, shape)])),
    problem: problems[0]?.message,
  };
}
