/**
 * What calibration measured: raw sums for each layer, never fits. They are integers, or multiples of a power of two
 * that float64 holds without rounding, so adding them in any order gives the same bits. A .safetensors file beside
 * statistics.json, which binds it by hash, has them.
 */
import * as z from 'zod';
import { LacunaError } from './errors.ts';
import type { ModelIdentity } from './model.ts';
import type { FileTensor } from './tensor.ts';

export interface SumTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Uint32Array | Uint16Array;
}

/** One statistic's sums by name, as `count`, with the constants that explain them, as `edges`. */
export type Sums = Readonly<Record<string, SumTensor>>;

/** The same, where some or all are still in a file: one layer's sums, or those of a shard that is merged. */
export type LayerSums = Readonly<Record<string, SumTensor | FileTensor>>;

/** Reads sums, wherever they are. */
export type ReadSums = (sums: LayerSums) => Promise<Sums>;

export const textIdentitySchema = z.strictObject({
  name: z.string(),
  sha256: z.string(),
  /** Tokens of it that were fed. */
  tokens: z.int().nonnegative(),
});

export interface TextIdentity extends Readonly<z.infer<typeof textIdentitySchema>> {}

/** With `LayerSums`, `sums` may be in the file. */
export interface Statistics<S extends LayerSums = Sums> {
  /** Where they were read from. Errors name it. */
  readonly file?: string | undefined;
  readonly model: ModelIdentity;
  readonly texts: readonly TextIdentity[];
  /** Tokens of each sequence. Each sequence starts with an empty cache. */
  readonly sequenceLength: number;
  /** Indices of the measured sequences, ascending, among all sequences of the texts. Shards must not overlap. */
  readonly sequences: readonly number[];
  /** Sequences that all shards measure together. With fewer in `sequences`, shards must still be merged. */
  readonly plannedSequences: number;
  readonly tokens: number;
  /** Statistic name -> what it measures, as a formula. Sums of different definitions are never merged. */
  readonly definitions: Readonly<Record<string, string>>;
  /** Statistic name -> its sums, each with a leading axis of layers. */
  readonly sums: Readonly<Record<string, S>>;
  /** The same for statistics that are kept by layer: one entry for each layer, then the head's. */
  readonly layerSums: Readonly<Record<string, readonly LayerSums[]>>;
}

/**
 * A statistic's sums. Plans, presets and summaries ask for them only in this way.
 *
 * @throws LacunaError `bad-file` for a statistic that was not measured, with the command that measures it.
 */
export function sumsOf<S extends LayerSums>({ sums, file }: Statistics<S>, statistic: string): S {
  return held(sums, statistic, file, []);
}

/** The same for a statistic that is kept by layer. `requests`: those that only `--with` measures and whoever asks needs. */
export function layerSumsOf(
  { layerSums, file }: Pick<Statistics, 'layerSums' | 'file'>,
  statistic: string,
  requests: readonly string[] = [],
): readonly LayerSums[] {
  return held(layerSums, statistic, file, requests);
}

/** Throws as these two do, wherever the sums are kept. */
export function checkMeasured(
  { sums, layerSums, file }: Pick<Statistics<LayerSums>, 'sums' | 'layerSums' | 'file'>,
  statistic: string,
  requests: readonly string[] = [],
): void {
  held<unknown>({ ...sums, ...layerSums }, statistic, file, requests);
}

function held<T>(
  sums: Readonly<Record<string, T>>,
  statistic: string,
  file: string | undefined,
  requests: readonly string[],
): T {
  if (Object.hasOwn(sums, statistic)) return sums[statistic];
  const option = requests.length > 0 ? ` --with ${requests.join(' ')}` : '';
  throw new LacunaError('bad-file', `${file ?? 'The statistics'}: the statistic "${statistic}" was not measured`, {
    hint: `Calibrate again to get it: lacuna calibrate CHECKPOINT -o ${file ?? 'statistics.json'}${option} --force`,
  });
}

export const SUM_ARRAYS = { float64: Float64Array, uint32: Uint32Array, uint16: Uint16Array } as const;

type SumKind = keyof typeof SUM_ARRAYS;

export const SUM_KINDS = Object.keys(SUM_ARRAYS) as readonly SumKind[];

type SumArray<K extends SumKind> = InstanceType<(typeof SUM_ARRAYS)[K]>;

/** A sum's numbers, checked for kind and shape (`-1`: any size). Readers use `Sums` only in this way. */
export function sumData<K extends SumKind>(sums: Sums, name: string, kind: K, shape: readonly number[]): SumArray<K> {
  const tensor = Object.hasOwn(sums, name) ? sums[name] : undefined;
  const wanted = `${kind} [${shape.map((dim) => (dim < 0 ? 'any' : dim)).join(', ')}]`;
  const hint = 'Measure again with lacuna calibrate of this version.';
  if (tensor === undefined)
    throw new LacunaError('bad-file', `The statistics have no sum "${name}", wanted ${wanted}`, { hint });
  const { data } = tensor;
  const fits = tensor.shape.length === shape.length && tensor.shape.every((dim, i) => shape[i] < 0 || dim === shape[i]);
  if (!fits || !isKind(data, kind)) {
    const got = `${data.constructor.name} [${tensor.shape.join(', ')}]`;
    throw new LacunaError('bad-file', `The statistics' sum "${name}" is ${got}, wanted ${wanted}`, { hint });
  }
  return data;
}

function isKind<K extends SumKind>(data: SumTensor['data'], kind: K): data is SumArray<K> {
  return data instanceof SUM_ARRAYS[kind];
}
