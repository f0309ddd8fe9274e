/** GGUF files as checkpoints: config and tensors as on the Hub. Values are dequantised while they are read. */
import type { Checkpoint, SmallFile } from '../../src/core/checkpoint.ts';
import { prettyJson } from '../../src/core/json.ts';
import { fingerprintOf } from '../fingerprint.ts';
import { restoreModel } from './architectures/index.ts';
import { readGguf } from './read.ts';
import { readGgmlTokenizer, specialTokenIds, tokenizerFiles } from './tokenizer/index.ts';

/**
 * Opens a GGUF file as the Hugging Face checkpoint that it was made from. Only headers of the weights are read.
 *
 * Throws 'bad-file' for a damaged file, 'unsupported' for a version, element type, architecture or tokenizer that is
 * not supported, 'mismatch' when metadata and tensors do not agree, 'not-found' or 'io'.
 *
 * @example const checkpoint = await openGguf('SmolLM2-135M-Q8_0.gguf');
 */
export async function openGguf(path: string, { allowNonFinite = false } = {}): Promise<Checkpoint> {
  const file = await readGguf(path, { mustBeFinite: !allowNonFinite });
  const tokenizer = readGgmlTokenizer(file.metadata, path);
  const { config, tensors } = await restoreModel(file, path, specialTokenIds(tokenizer));
  const text = prettyJson(config);
  const files = new Map<string, SmallFile>([
    ['config.json', { text: () => text }],
    ...(tokenizer === undefined ? [] : tokenizerFiles(tokenizer)),
  ]);
  return { path, config, generationConfig: undefined, tensors, files, fingerprint: await fingerprintOf(text, tensors) };
}
