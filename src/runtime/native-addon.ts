/** The native core as Node loads it: the addon's exports, and its ONNX Runtime. */
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import path from 'node:path';
import type { CacheFormat } from '../core/cache-format.ts';
import { LacunaError } from '../core/errors.ts';
import type { SamplingOptions } from '../core/sampling.ts';
import { messageOf } from '../core/text.ts';
import type { StopReason } from './generate.ts';
import { disableTelemetry } from './onnxruntime.ts';
import { libraryProblem } from './shared-library.ts';

/** The files of the native core. */
export interface NativeFiles {
  /** The addon for Node, a `.node` file. */
  readonly addon: string;
  /** The library of operators. Portable bodies run without it. */
  readonly operators?: string;
}

/** The exports of the addon (native/binding/addon.cc). */
export interface Addon {
  /** Version of the operators that its library has kernels for. Older files have no such field and mean 1. */
  readonly operatorSet?: number;
  readBandwidth(threads: number): Promise<number>;
  /** The instructions that the kernels of a library use; null while no session has it loaded. Older files lack this. */
  instructionsOf?(operators: string): string | null;
  openDecoder(options: {
    runtime: string;
    model: string;
    operators?: string;
    threads?: number;
    /** "fp32" by default. Narrower ones are for models whose caches our attention alone reads. */
    cache?: CacheFormat | undefined;
    /** Tokens that a query attends to where one token is fed at a time; all by default. For the same models. */
    attended?: number | undefined;
  }): Promise<NativeDecoder>;
  openModel(options: NativeModelOptions): Promise<NativeModel>;
}

/** A decoder (native/binding/node_decoder.cc). */
export interface NativeDecoder {
  /** Tokens in the first row's cache. */
  readonly length: number;
  readonly vocab: number;
  /**
   * Appends tokens to the first row. With `oneByOne` each token is a step of its own, as in greedy decoding. `logits`
   * gets all logits of the last token, or of every token if it has room for them (not with `oneByOne`).
   */
  feed(tokens: BigInt64Array, logits?: Float32Array, oneByOne?: boolean): Promise<void>;
  /** `onToken` also gets the milliseconds since the start. */
  generate(
    options: NativeGenerateOptions,
    onToken: (row: number, token: number, milliseconds: number) => void,
  ): Promise<StopReason[]>;
  cancel(): void;
  rewind(length: number): void;
  dispose(): Promise<void>;
}

export interface NativeGenerateOptions extends Omit<SamplingOptions, 'seed'> {
  readonly prompts: readonly BigInt64Array[];
  /** Two words for each prompt. */
  readonly seeds: Uint32Array;
  readonly eos: BigInt64Array;
  readonly maxTokens: number;
  readonly contextLength?: number;
  readonly prefillTokens: number;
}

/** A tensor in ONNX Runtime's memory. */
export interface NativeValue {
  /** ONNX's number of its element type. */
  readonly type: number;
  readonly dims: number[];
  /** The tensor's own memory. It lives as long as the tensor or the memory is referenced. Ask for it once. */
  buffer(): ArrayBuffer;
  /** For two caches [rows, heads, tokens, head size]: copies the first `tokens` of another. */
  copyTokens(from: NativeValue, tokens: number): void;
}

export interface NativePort {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: number;
  readonly shape: (number | string)[];
}

/** Any model (native/binding/node_model.cc). One call at a time. */
export interface NativeModel {
  readonly inputs: NativePort[];
  readonly outputs: NativePort[];
  /** With a copy of `data`, or zeros. */
  createValue(type: number, dims: readonly number[], data?: ArrayBufferView): NativeValue;
  /** The outputs' values: the given ones are written to, and null gets a new one. */
  run(
    inputs: readonly { readonly name: string; readonly value: NativeValue }[],
    outputs: readonly { readonly name: string; readonly value: NativeValue | null }[],
  ): Promise<NativeValue[]>;
  dispose(): Promise<void>;
}

/** `path` or `bytes`. The rest is as in ONNX Runtime's session options, with its defaults. */
export interface NativeModelOptions {
  readonly runtime: string;
  readonly path?: string;
  readonly bytes?: Uint8Array;
  readonly externalData?: readonly (readonly [name: string, data: Uint8Array])[];
  readonly operators?: string;
  readonly intraThreads?: number;
  readonly interThreads?: number;
  /** GraphOptimizationLevel of ONNX Runtime's C interface. */
  readonly optimisation?: number;
  readonly isParallel?: boolean;
  readonly logSeverity?: number;
  readonly freeDimensions?: readonly (readonly [name: string, size: number])[];
  readonly config?: readonly (readonly [key: string, value: string])[];
}

const require = createRequire(import.meta.url);

/** Throws for files that are not for this machine, and Node's message for one that it cannot load. */
export function loadAddon({ addon, operators }: NativeFiles): Addon {
  for (const file of operators === undefined ? [addon] : [operators, addon]) {
    const problem = libraryProblem(file);
    if (problem !== undefined) throw new Error(`${file} cannot be loaded: ${problem}`);
  }
  disableTelemetry();
  return require(path.resolve(addon));
}

/** Why the native core cannot be loaded; undefined if it can. */
export function coreProblem(files: NativeFiles): string | undefined {
  try {
    loadAddon(files);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** The version of the operators that a native core has kernels for. */
export function operatorSetOf(addon: string): number {
  return loadAddon({ addon }).operatorSet ?? 1;
}

/**
 * The instructions that kernels use on this processor, such as "AVX2". Null while no session has the library of operators
 * loaded, and for an older native core.
 */
export function instructionsOf({ addon, operators }: Required<NativeFiles>): string | null {
  return loadAddon({ addon }).instructionsOf?.(operators) ?? null;
}

/**
 * Bytes a second at which this number of threads (1 to 256) together read memory that no cache holds, measured now: a
 * quarter of a gigabyte, eight times. Throws `runtime` when the addon cannot be loaded.
 */
export function measureReadBandwidth(addon: string, threads: number): Promise<number> {
  return attempt('measure the memory', () => loadAddon({ addon }).readBandwidth(threads));
}

/** The library that onnxruntime-node ships for this machine: one process has one ONNX Runtime. */
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

/** Messages of GroupQueryAttention and NormAttention for rotary tables, as long as the context, that are too short. */
const PAST_CONTEXT =
  /cos_cache dimension 0 shall not be less than total_sequence_length|do not fit (a past of .* )?\d+ positions/;

/** The sampler's message for logits from which no token can be drawn. */
const NOT_FINITE = /logits are not finite/;

/** Runs `action`. A failure is reported as one of running `what`. */
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
    const code = NOT_FINITE.test(message) ? 'non-finite' : 'runtime';
    throw new LacunaError(code, `Could not ${what}: ${message}`, { cause: error });
  }
}
