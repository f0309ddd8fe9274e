/** Which engine runs a model: the native core where it is built and can feed the model, else stock ONNX Runtime. */
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LacunaError } from '../../core/errors.ts';
import { type Host, hostNamed } from '../../core/plan.ts';
import type { Precision } from '../../core/precision.ts';
import { type Progress, SILENT } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import {
  addonProblem,
  measureReadBandwidth,
  type NativeFiles,
  openNativeSession,
  openSession,
  operatorSetOf,
  type SessionOptions,
} from '../../runtime/index.ts';
import { ADDON_NAME, findNativeLibrary, nativePath } from './native-library.ts';

export const ENGINES = ['native', 'stock'] as const;

export type Engine = (typeof ENGINES)[number];

export interface EngineOptions extends SessionOptions {
  /** The one to use; the native core where it works, by default. */
  readonly engine?: Engine | undefined;
  /** Where the native core is; found by itself when absent. */
  readonly nativeFolder?: string | URL | undefined;
  readonly progress?: Progress;
  /** Version of our operators that the model calls, where it says. */
  readonly operatorSet?: number | undefined;
}

/** What opens the sessions that a model is measured in. */
export interface MeasuringEngine {
  readonly engine: Engine;
  /** The native core, where that is it. */
  readonly native: NativeFiles | undefined;
}

/**
 * The engine that is asked for; by default the native core where it is built and loads. Throws `not-found` when the native core is
 * asked for and is not built.
 */
export async function chooseEngine(options: EngineOptions): Promise<MeasuringEngine> {
  const { engine, progress = SILENT } = options;
  const native = await wantedCore(options);
  if (native === undefined) return { engine: 'stock', native };
  // An engine that is asked for is opened: its failure says why it cannot be.
  const problem = engine === 'native' ? undefined : addonProblem(native.addon);
  if (problem === undefined) {
    noteOperators(native, options);
    return { engine: 'native', native };
  }
  progress.note(`Stock ONNX Runtime is used: ${problem}`);
  return { engine: 'stock', native: undefined };
}

export interface DecodingSession {
  readonly engine: Engine;
  readonly session: Session;
}

/**
 * Opens a model for decoding one text. Throws `not-found` when the native core is asked for and is not built, and what
 * opening the model throws.
 */
export async function openDecodingSession(modelPath: string, options: EngineOptions = {}): Promise<DecodingSession> {
  const { engine, progress = SILENT } = options;
  const native = await wantedCore(options);
  if (native === undefined) return { engine: 'stock', session: await openSession(modelPath, options) };
  try {
    const session = await openNativeSession(modelPath, native, options);
    noteOperators(native, options);
    return { engine: 'native', session };
  } catch (error) {
    if (engine === 'native' || !(error instanceof LacunaError)) throw error;
    // A model of another maker, or a core built for another machine: if stock ONNX Runtime cannot either, it says why.
    const session = await openSession(modelPath, options);
    progress.note(`Stock ONNX Runtime is used: ${error.message}`);
    return { engine: 'stock', session };
  }
}

function noteOperators({ addon }: NativeFiles, { operatorSet, progress = SILENT }: EngineOptions): void {
  if (operatorSet === undefined) return;
  const problem = operatorProblem(operatorSet, operatorSetOf(addon));
  if (problem !== undefined) progress.note(problem);
}

/** What to say where a model calls operators of another version than there are kernels for; undefined where it does not. */
export function operatorProblem(called: number, known: number): string | undefined {
  if (called === known) return undefined;
  const what = `The model calls operators of version ${called}, and the native core has kernels for version ${known}`;
  const remedy = called > known ? 'update the native core' : 'make the folder again with this version of Lacuna';
  return `${what}: portable bodies run in their place, which is slower; to have kernels, ${remedy}`;
}

/**
 * What `threads` threads read from memory, in bytes a second, as the native core measures it; undefined where it is not
 * built or does not load.
 */
export async function memoryBandwidth({ nativeFolder, threads }: EngineOptions): Promise<number | undefined> {
  const native = await findNativeFiles(nativeFolder);
  if (native === undefined) return undefined;
  // ONNX Runtime starts a thread a core when it is not told how many.
  return measureReadBandwidth(native.addon, threads ?? availableParallelism()).catch(() => undefined);
}

/** Whether the native core is built and loads. */
export async function hasNativeCore(nativeFolder?: string | URL): Promise<boolean> {
  const native = await findNativeFiles(nativeFolder);
  return native !== undefined && addonProblem(native.addon) === undefined;
}

/**
 * What this installation runs models on: our kernels where they are built, else stock ONNX Runtime. float16 is for GPUs, on which
 * it is neither's.
 */
export async function installedHost({ name, floats }: Precision, nativeFolder?: string | URL): Promise<Host> {
  const isNative = floats === 'float16' || (await hasNativeCore(nativeFolder));
  return hostNamed(isNative ? 'native' : 'stock', name);
}

/** The native core's files, unless stock ONNX Runtime is asked for. */
async function wantedCore({ engine, nativeFolder }: EngineOptions): Promise<NativeFiles | undefined> {
  const native = engine === 'stock' ? undefined : await findNativeFiles(nativeFolder);
  if (native === undefined && engine === 'native') throw notBuilt();
  return native;
}

/** The native core's files; undefined without the face for Node. */
export async function findNativeFiles(nativeFolder?: string | URL): Promise<NativeFiles | undefined> {
  const folder = nativePath(nativeFolder);
  const addon = join(folder, ADDON_NAME);
  if ((await stat(addon).catch(() => undefined)) === undefined) return undefined;
  const library = await findNativeLibrary(folder);
  return library.state === 'present' ? { addon, operators: library.path } : { addon };
}

function notBuilt(): LacunaError {
  return new LacunaError('not-found', 'The native core is not built here', {
    hint: 'Build it with `npm run build:native`, or use --engine stock.',
  });
}
