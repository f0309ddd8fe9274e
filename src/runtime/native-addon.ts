/** The native core as Node loads it: the addon's exports, and the ONNX Runtime that it works in. */
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import path from 'node:path';
import { LacunaError } from '../core/errors.ts';
import { messageOf } from '../core/text.ts';
import type { NativeDecoder } from './native-decoder.ts';
import type { NativeModel, NativeModelOptions } from './native-model.ts';

/** Where the native core is. */
export interface NativeFiles {
  /** The face for Node, a `.node` file. */
  readonly addon: string;
  /** The library of operators; portable bodies run without it. */
  readonly operators?: string;
}

/** What the addon exports (native/binding/addon.cc). */
export interface Addon {
  /** Version of the operators that its library has kernels for; files from before that was counted say nothing, and mean 1. */
  readonly operatorSet?: number;
  readBandwidth(threads: number): Promise<number>;
  openDecoder(options: {
    runtime: string;
    model: string;
    operators?: string;
    threads?: number;
  }): Promise<NativeDecoder>;
  openModel(options: NativeModelOptions): Promise<NativeModel>;
}

const require = createRequire(import.meta.url);

/** Throws what Node says of a file that it cannot load. */
export function loadAddon(file: string): Addon {
  return require(path.resolve(file));
}

/** Why the addon cannot be loaded; undefined when it can. */
export function addonProblem(file: string): string | undefined {
  try {
    loadAddon(file);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** The version of the operators that a native core has kernels for. */
export function operatorSetOf(addon: string): number {
  return loadAddon(addon).operatorSet ?? 1;
}

/**
 * Bytes a second at which this many threads (1 to 256) together read memory that no cache holds, measured now: a quarter of
 * a gigabyte, eight times. Throws `runtime` when the addon cannot be loaded.
 */
export function measureReadBandwidth(addon: string, threads: number): Promise<number> {
  return attempt('measure the memory', () => loadAddon(addon).readBandwidth(threads));
}

/** The library that onnxruntime-node ships for this machine: one process, one ONNX Runtime. */
export async function runtimeLibrary(): Promise<string> {
  const root = path.dirname(path.dirname(require.resolve('onnxruntime-node')));
  const folders = path.join(root, 'bin');
  for (const napi of await readdir(folders).catch(() => [])) {
    const folder = path.join(folders, napi, platform(), arch());
    const names = await readdir(folder).catch(() => []);
    const name = names.find((file) => /^(libonnxruntime\.(so\.\d+|[\d.]+dylib)|onnxruntime\.dll)$/.test(file));
    if (name !== undefined) return path.join(folder, name);
  }
  throw new LacunaError('runtime', `onnxruntime-node in ${root} ships no library for ${platform()}-${arch()}`);
}

/** What GroupQueryAttention and NormAttention say when rotary tables, as long as the model's context, are too short. */
const PAST_CONTEXT =
  /cos_cache dimension 0 shall not be less than total_sequence_length|do not fit (a past of .* )?\d+ positions/;

/** What the sampler says of logits of which no token can be drawn. */
const NOT_FINITE = /logits are not finite/;

/** `action`, whose failure is one of running `what`. */
export async function attempt<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof LacunaError) throw error;
    const message = messageOf(error);
    if (PAST_CONTEXT.test(message))
      throw new LacunaError('usage', "The text is longer than the model's context", {
        hint: 'Shorten it, or give the length of the context, at which texts then end.',
        cause: error,
      });
    if (NOT_FINITE.test(message))
      throw new LacunaError('non-finite', `Could not ${what}: ${message}`, { cause: error });
    throw new LacunaError('runtime', `Could not ${what}: ${message}`, { cause: error });
  }
}
