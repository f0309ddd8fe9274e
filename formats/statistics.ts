/** statistics.json and its tensors: what calibration measured, with its definitions and a summary to read. */
import * as z from 'zod';
import { byteLength, elementCount } from '../src/core/dtype.ts';
import { LacunaError } from '../src/core/errors.ts';
import { modelIdentitySchema } from '../src/core/model.ts';
import {
  type LayerSums,
  type Statistics,
  SUM_ARRAYS,
  SUM_KINDS,
  type Sums,
  type SumTensor,
  textIdentitySchema,
} from '../src/core/statistics.ts';
import type { BytesTensor, FileTensor, TensorExpr } from '../src/core/tensor.ts';
import { readTensorBytes } from '../src/tensors/index.ts';
import { sha256File } from './files.ts';
import { readJson, readTensorsBeside, tensorsBesideSchema, writeJson, writeTensorsBeside } from './tensors-beside.ts';

export const STATISTICS_FORMAT = 'lacuna.statistics';
const STATISTICS_VERSION = 1;

/** A layer's sums grow with its width, so this limits the memory that a file may ask for. Far above any known model. */
const MAX_WIDTH = 1 << 22;

const width = z.int().positive().max(MAX_WIDTH);
const count = z.int().nonnegative();

const statisticsSchema = z.strictObject({
  format: z.literal(STATISTICS_FORMAT),
  version: z.literal(STATISTICS_VERSION),
  model: modelIdentitySchema.extend({ hiddenSize: width, intermediateSize: width }),
  texts: z.array(textIdentitySchema.extend({ sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
  sequenceLength: z.int().min(2),
  plannedSequences: z.int().positive(),
  sequences: z.array(count).refine((indices) => indices.every((index, i) => i === 0 || index > indices[i - 1]), {
    error: 'must ascend',
  }),
  tokens: z.int().positive(),
  /** Statistic -> its formula. */
  definitions: z.record(z.string(), z.string()),
  /** Figures for people, made from the sums. They are not read back. */
  summary: z.unknown(),
  tensors: tensorsBesideSchema,
});

/**
 * Writes the JSON and, beside it, the sums as `<name>.safetensors`. An existing pair is replaced. `summary` is added
 * for people. Returns the sha256 of the JSON; plans name these statistics by it.
 */
export async function writeStatistics(statistics: Statistics, jsonPath: string, summary: object): Promise<string> {
  const { sums, layerSums, file: _, ...facts } = statistics;
  const entries = [
    ...Object.entries(sums).flatMap(([statistic, parts]) => sumEntries(statistic, parts)),
    ...Object.entries(layerSums).flatMap(([statistic, layers]) =>
      layers.flatMap((parts, layer) => sumEntries(`${statistic}/${layer}`, parts)),
    ),
  ];
  const tensors = await writeTensorsBeside(jsonPath, entries);
  const content = { format: STATISTICS_FORMAT, version: STATISTICS_VERSION, ...facts, summary, tensors };
  // Through the schema, so that keys are in its order. Then merged statistics are the same file as those of one run.
  await writeJson(jsonPath, statisticsSchema.parse(content));
  return sha256File(jsonPath);
}

/** Reads statistics. Sums that are kept layer by layer stay in the file. Throws as `openStatistics` and `readSums` do. */
export async function readStatistics(jsonPath: string): Promise<Statistics> {
  const opened = await openStatistics(jsonPath);
  const sums: Record<string, Sums> = {};
  for (const [statistic, stored] of Object.entries(opened.sums)) sums[statistic] = await readSums(stored);
  return { ...opened, sums };
}

/**
 * The same with all sums in the file: those of a large model take a gigabyte. Throws `not-found`, `bad-file` for a file
 * that is not JSON of this version or lacks a part, `mismatch` when the tensors are not those that the JSON was written
 * with.
 */
export async function openStatistics(jsonPath: string): Promise<Statistics<LayerSums>> {
  const { format, version, summary, tensors, ...facts } = await readJson(jsonPath, statisticsSchema, 'statistics file');
  const sums: Record<string, Record<string, FileTensor>> = {};
  const layerSums: Record<string, Record<string, FileTensor>[]> = {};
  for (const [name, tensor] of await readTensorsBeside(jsonPath, tensors)) {
    const [statistic, sum, ofLayer] = name.split('/');
    if (sum === undefined || !Object.hasOwn(facts.definitions, statistic))
      throw new LacunaError('bad-file', `${jsonPath}: tensor "${name}" belongs to no statistic that is defined`);
    if (ofLayer === undefined) sums[statistic] = { ...sums[statistic], [sum]: tensor };
    else {
      // The head comes after the last layer.
      layerSums[statistic] ??= Array.from({ length: facts.model.numHiddenLayers + 1 }, () => ({}));
      const layer = layerSums[statistic][Number(sum)];
      if (layer === undefined) throw new LacunaError('bad-file', `${jsonPath}: tensor "${name}" is of no layer`);
      layer[ofLayer] = tensor;
    }
  }
  const missing = Object.keys(facts.definitions).find(
    (statistic) => !Object.hasOwn(sums, statistic) && !Object.hasOwn(layerSums, statistic),
  );
  if (missing !== undefined) throw new LacunaError('bad-file', `${jsonPath}: no tensor of the statistic "${missing}"`);
  const { [ONCE_WHOLE]: histograms, ...whole } = sums;
  if (histograms !== undefined)
    layerSums[ONCE_WHOLE] = splitHistograms(histograms, facts.model.numHiddenLayers, jsonPath);
  return { ...facts, file: jsonPath, sums: whole, layerSums };
}

/** The statistic that earlier versions did not keep by layer. */
const ONCE_WHOLE = 'activation-histogram';

/** Its sums by layer: the counts of all layers were one tensor [layers, neurons, bins], beside the edges of the bins. */
function splitHistograms(
  { counts, ...constants }: Readonly<Record<string, FileTensor>>,
  layers: number,
  jsonPath: string,
): Record<string, FileTensor>[] {
  if (counts?.shape[0] !== layers)
    throw new LacunaError('bad-file', `${jsonPath}: the activation histograms are not those of ${layers} layers`, {
      hint: 'Measure again with lacuna calibrate of this version.',
    });
  const shape = counts.shape.slice(1);
  const bytes = byteLength(counts.dtype, shape);
  const ofLayers = Array.from({ length: layers }, (_, layer) => {
    return { ...constants, counts: { ...counts, shape, byteOffset: counts.byteOffset + layer * bytes } };
  });
  return [...ofLayers, {}];
}

function sumEntries(place: string, sums: LayerSums): { name: string; data: TensorExpr }[] {
  return Object.entries(sums).map(([name, sum]) => {
    return { name: `${place}/${name}`, data: 'data' in sum ? sumTensor(sum) : sum };
  });
}

/** A sum in memory as the tensor to write. */
export function sumTensor({ shape, data }: SumTensor): BytesTensor {
  const dtype = SUM_KINDS.find((kind) => data instanceof SUM_ARRAYS[kind]) ?? 'float64';
  return { kind: 'bytes', dtype, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** Sums in memory, wherever they are. Throws `bad-file` for numbers of another type, `non-finite` for NaN or infinity. */
export async function readSums(sums: LayerSums): Promise<Sums> {
  const read: Record<string, SumTensor> = {};
  for (const [name, sum] of Object.entries(sums)) read[name] = 'data' in sum ? sum : await readSum(sum);
  return read;
}

async function readSum(tensor: FileTensor): Promise<SumTensor> {
  const { dtype, shape, name } = tensor;
  const kind = SUM_KINDS.find((one) => one === dtype);
  if (kind === undefined)
    throw new LacunaError('bad-file', `Tensor "${name}" is ${dtype}, sums are float64, uint32 or uint16`);
  const { buffer } = await readTensorBytes(tensor);
  return { shape, data: new SUM_ARRAYS[kind](buffer, 0, elementCount(shape)) };
}
