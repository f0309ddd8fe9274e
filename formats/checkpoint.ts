/** Opens a checkpoint as Hugging Face Transformers saves it: config.json and safetensors, whole or in shards. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { byteLength } from '../src/core/dtype.ts';
import type { FileTensor } from '../src/core/tensor.ts';
import { listCheckpointFolder, refuseUnusableFolder, WEIGHTS, WEIGHTS_INDEX } from './checkpoint-kind.ts';
import { readJsonObject } from './json-file.ts';
import { readSafetensors } from './safetensors/read.ts';
import { readShards } from './safetensors/shards.ts';

/** config.json holds at most a few hundred numbers and names; the largest known are below 100 kB. */
const MAX_CONFIG_BYTES = 16 << 20;

export interface OpenOptions {
  /** Accept NaN and infinity in weights. */
  readonly allowNonFinite?: boolean;
}

/**
 * Opens the checkpoint in the folder `path`; of the weights only headers are read. `model.safetensors` comes before
 * `model.safetensors.index.json` when both are there, as in Transformers.
 *
 * Throws 'not-found' (no folder, no config.json, missing shards and tensors, all named at once), 'mismatch' (shards and
 * tensors that the index does not list), 'bad-file', 'unsupported' (pickles, GGUF files, adapters), or 'io'.
 *
 * @example const checkpoint = await openCheckpoint('./SmolLM2-135M');
 */
export async function openCheckpoint(path: string, { allowNonFinite = false }: OpenOptions = {}): Promise<Checkpoint> {
  const files = await listCheckpointFolder(path);
  refuseUnusableFolder(path, files);
  const config = await readJsonObject(join(path, 'config.json'), MAX_CONFIG_BYTES);
  const generationConfig = files.includes('generation_config.json')
    ? (await readJsonObject(join(path, 'generation_config.json'), MAX_CONFIG_BYTES)).value
    : undefined;
  const options = { mustBeFinite: !allowNonFinite };
  const tensors = files.includes(WEIGHTS)
    ? (await readSafetensors(join(path, WEIGHTS), options)).tensors
    : await readShards(path, WEIGHTS_INDEX, files, options);
  return {
    path,
    config: config.value,
    generationConfig,
    tensors,
    hasTokenizer: files.includes('tokenizer.json'),
    fingerprint: await fingerprintOf(config.text, tensors),
  };
}

/** Bytes read from the middle of each tensor: enough to tell fine-tunes of one model apart, little enough to read at once. */
const SAMPLE_BYTES = 256;

/**
 * sha256 over config.json and, by name, each tensor's header and a sample of its bytes: cutting into other shards keeps
 * it, other weights change it.
 */
async function fingerprintOf(config: string, tensors: ReadonlyMap<string, FileTensor>): Promise<string> {
  const hash = createHash('sha256').update(config);
  const files = new Map<string, FileHandle>();
  try {
    for (const tensor of [...tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const { name, dtype, shape, path } = tensor;
      const file = files.get(path) ?? (await open(path));
      files.set(path, file);
      hash
        .update(`\n${JSON.stringify([name, dtype, shape, byteLength(dtype, shape)])}`)
        .update(await sampleOf(file, tensor));
    }
  } finally {
    await Promise.all([...files.values()].map((file) => file.close()));
  }
  return hash.digest('hex');
}

async function sampleOf(file: FileHandle, { dtype, shape, byteOffset }: FileTensor): Promise<Uint8Array> {
  const size = byteLength(dtype, shape);
  const length = Math.min(size, SAMPLE_BYTES);
  const { buffer, bytesRead } = await file.read(
    new Uint8Array(length),
    0,
    length,
    byteOffset + Math.floor((size - length) / 2),
  );
  return buffer.subarray(0, bytesRead);
}
