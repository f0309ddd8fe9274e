/** Opens a checkpoint: a folder as Hugging Face Transformers saves it (config.json and safetensors), or a GGUF file. */
import { join } from 'node:path';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { LacunaError } from '../src/core/errors.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import { findGguf, listCheckpointFolder, refuseUnusableFolder, WEIGHTS, WEIGHTS_INDEX } from './checkpoint-kind.ts';
import { fingerprintOf } from './fingerprint.ts';
import { openGguf } from './gguf/index.ts';
import { readJsonObject } from './json-file.ts';
import { type ReadOptions, readSafetensors } from './safetensors/read.ts';
import { readShards, type Tolerate } from './safetensors/shards.ts';
import { readSmallJson, smallFilesIn } from './small-files.ts';

/** config.json holds at most a few hundred numbers and names. The largest known are below 100 kB. */
const MAX_CONFIG_BYTES = 16 << 20;

export interface OpenOptions {
  /** Accept NaN and infinity in weights. */
  readonly allowNonFinite?: boolean;
  /** Called for weights that are missing or damaged. The checkpoint then opens without them. */
  readonly tolerate?: Tolerate;
}

/**
 * Opens the checkpoint in the folder `path`, or the GGUF file there. Only headers of the weights are read.
 * `model.safetensors` comes before `model.safetensors.index.json` when both exist, as in Transformers. A folder with
 * neither may hold one GGUF file.
 *
 * Throws 'not-found' (no folder, no config.json, missing shards and tensors, all named at once), 'mismatch' (shards and
 * tensors that the index does not list), 'bad-file', 'unsupported' (pickles, adapters, kinds of GGUF files), or 'io'.
 *
 * @example const checkpoint = await openCheckpoint('./SmolLM2-135M');
 */
export async function openCheckpoint(
  path: string,
  { allowNonFinite = false, tolerate }: OpenOptions = {},
): Promise<Checkpoint> {
  const gguf = await findGguf(path);
  if (gguf !== undefined) return openGguf(gguf, { allowNonFinite });
  const files = await listCheckpointFolder(path);
  refuseUnusableFolder(path, files);
  const model = { path, files: smallFilesIn(path, files) };
  const config = await readJsonObject(join(path, 'config.json'), MAX_CONFIG_BYTES);
  const generationConfig = await readSmallJson(model, 'generation_config.json', MAX_CONFIG_BYTES);
  const options = { mustBeFinite: !allowNonFinite };
  const tensors = files.includes(WEIGHTS)
    ? await readOneFile(join(path, WEIGHTS), { ...options, tolerate })
    : await readShards(path, WEIGHTS_INDEX, files, { ...options, tolerate });
  return {
    ...model,
    config: config.value,
    generationConfig,
    tensors,
    fingerprint: await fingerprintOf(config.text, tensors),
  };
}

async function readOneFile(
  path: string,
  { tolerate, ...options }: ReadOptions & Pick<OpenOptions, 'tolerate'>,
): Promise<ReadonlyMap<string, TensorExpr>> {
  try {
    return (await readSafetensors(path, options)).tensors;
  } catch (error) {
    if (tolerate === undefined || !(error instanceof LacunaError)) throw error;
    tolerate(error, 'all');
    return new Map();
  }
}
