/** Recognises a path that is not a checkpoint, and refuses it by name with the way out. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LacunaError } from '../src/core/errors.ts';
import { asIoError, systemCode } from '../src/core/io-error.ts';

export const WEIGHTS = 'model.safetensors';
export const WEIGHTS_INDEX = 'model.safetensors.index.json';

/** What Transformers computed from a checkpoint may lie beside it. For a GGUF file, its name comes first. */
export const EXPECTATIONS_NAME = 'lacuna-expectations.safetensors';

/** Files that hold, or may hold, Python pickles. Opening a pickle runs the program in it. */
const PICKLE_NAME = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;
const GGUF_NAME = /\.gguf$/i;
const SAFETENSORS_NAME = /\.safetensors$/i;

/** `owner/name`, as models are named on the Hub. */
const HUB_ID = /^[\w][\w.-]*\/[\w][\w.-]*$/;

/** The sorted names in the checkpoint folder `path`. Refuses a missing folder and a file. */
export async function listCheckpointFolder(path: string): Promise<readonly string[]> {
  try {
    if ((await stat(path)).isDirectory()) return (await readdir(path)).sort();
  } catch (error) {
    throw systemCode(error) === 'ENOENT' ? absentError(path) : asIoError(error, 'open', path);
  }
  throw fileError(path);
}

/** The GGUF file at `path`, or the only one in this folder without safetensors. Throws 'usage' if there are several. */
export async function findGguf(path: string): Promise<string | undefined> {
  const entries = await readdir(path).catch((error) => {
    if (['ENOTDIR', 'ENOENT'].includes(systemCode(error) ?? '')) return undefined;
    throw asIoError(error, 'open', path);
  });
  if (entries === undefined) {
    const found = GGUF_NAME.test(path) ? await stat(path).catch(() => undefined) : undefined;
    return found?.isFile() ? path : undefined;
  }
  const isWeights = (name: string) => SAFETENSORS_NAME.test(name) && !name.endsWith(EXPECTATIONS_NAME);
  if (entries.some((name) => isWeights(name) || name === WEIGHTS_INDEX)) return undefined;
  const found = entries.filter((name) => GGUF_NAME.test(name)).sort();
  if (found.length > 1)
    throw new LacunaError('usage', `${path} holds ${found.length} GGUF files: ${found.join(', ')}`, {
      hint: `Give one of them: ${join(path, found[0])}`,
    });
  return found.length === 1 ? join(path, found[0]) : undefined;
}

function absentError(path: string): LacunaError {
  return new LacunaError('not-found', `There is no folder ${path}`, {
    hint: HUB_ID.test(path)
      ? `If it is a model on the Hub, download it first: hf download ${path} --local-dir ${path.split('/')[1]}`
      : 'Give the folder of a checkpoint, with config.json and model.safetensors in it, or a GGUF file.',
  });
}

function fileError(path: string): LacunaError {
  if (PICKLE_NAME.test(path)) return pickleError(path);
  return new LacunaError('usage', `Expected the folder of a checkpoint but ${path} is a file`, {
    hint: SAFETENSORS_NAME.test(path)
      ? 'Give the folder it lies in, with its config.json.'
      : 'Give a folder, or a file that ends in .gguf.',
  });
}

/** Refuses a folder without config.json or safetensors weights, and says what it holds instead. */
export function refuseUnusableFolder(path: string, files: readonly string[]): void {
  const hasWeights = files.includes(WEIGHTS) || files.includes(WEIGHTS_INDEX);
  if (!hasWeights) throw noWeightsError(path, files);
  if (!files.includes('config.json'))
    throw new LacunaError('not-found', `${path} has no config.json`, {
      hint: "Download the model's config.json into the folder: the weights do not say how they are used.",
    });
}

function noWeightsError(path: string, files: readonly string[]): LacunaError {
  if (files.includes('adapter_config.json'))
    return new LacunaError('unsupported', `${path} holds an adapter (adapter_config.json), not a whole model`, {
      hint: `Give the model it was trained on, and this beside it: --adapter ${path}`,
    });
  const others = files.filter((file) => SAFETENSORS_NAME.test(file));
  if (others.length > 0)
    return new LacunaError(
      'not-found',
      `${path} has neither ${WEIGHTS} nor ${WEIGHTS_INDEX}, only ${others.join(', ')}`,
      { hint: `Download ${WEIGHTS_INDEX} too, or rename a single file to ${WEIGHTS}.` },
    );
  const pickle = files.find((file) => PICKLE_NAME.test(file));
  if (pickle !== undefined) return pickleError(join(path, pickle));
  return new LacunaError('not-found', `${path} has neither ${WEIGHTS} nor ${WEIGHTS_INDEX}`, {
    hint: 'Give the folder of a checkpoint in safetensors or GGUF format.',
  });
}

function pickleError(file: string): LacunaError {
  return new LacunaError('unsupported', `${file} is a pickle, which is never read: opening one can run any program`, {
    hint: 'Save the model as safetensors: in Python, model.save_pretrained(DIR, safe_serialization=True).',
  });
}
