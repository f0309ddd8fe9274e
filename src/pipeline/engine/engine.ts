/** Which engine runs a model: the native core if it is built and can run the model, else stock ONNX Runtime. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type CacheUse, isOurs } from '../../core/cache-format.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Given } from '../../core/options.ts';
import { type Host, hostNamed } from '../../core/plan.ts';
import type { Precision } from '../../core/precision.ts';
import { type Progress, SILENT } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import {
  coreProblem,
  measureReadBandwidth,
  type NativeFiles,
  openNativeSession,
  openSession,
  operatorSetOf,
  type SessionOptions,
} from '../../runtime/index.ts';
import { exists } from '../folder/output.ts';
import type { ENGINE } from '../options.ts';
import { checkOurCache, noSuchCache } from './narrow-cache.ts';
import { ADDON_NAME, findNativeLibrary, nativePath } from './native-library.ts';

export const ENGINES = ['native', 'stock'] as const;

export type Engine = (typeof ENGINES)[number];

export interface EngineOptions extends SessionOptions, Given<typeof ENGINE> {
  readonly progress?: Progress;
  /** Version of our operators that the model calls, if known. */
  readonly operatorSet?: number | undefined;
}

/** The engine asked for, else the native core if it loads. Throws `not-found` for a core that is not built. */
export async function chooseEngine(
  options: EngineOptions,
): Promise<{ engine: Engine; native: NativeFiles | undefined }> {
  const { engine, progress = SILENT } = options;
  const native = await wantedCore(options);
  if (native === undefined) return { engine: 'stock', native };
  // If the user names an engine, it is opened without a check: its own error says what is wrong.
  const problem = engine === 'native' ? undefined : coreProblem(native);
  if (problem === undefined) {
    noteOperators(native, options);
    return { engine: 'native', native };
  }
  progress.note(`Stock ONNX Runtime is used: ${problem}`);
  return { engine: 'stock', native: undefined };
}

export interface DecodingOptions extends EngineOptions, CacheUse {}

/**
 * Opens a model for decoding one text. Throws as `chooseEngine`, any error of opening the model, and `unsupported` for a
 * cache that the model or the engine cannot have.
 */
export async function openDecodingSession(
  modelPath: string,
  options: DecodingOptions,
): Promise<{ engine: Engine; session: Session }> {
  const { engine, progress = SILENT } = options;
  const native = await wantedCore(options);
  if (isOurs(options)) return openWithOurCache(modelPath, native, options);
  if (native === undefined) return { engine: 'stock', session: await openSession(modelPath, options) };
  try {
    const session = await openNativeSession(modelPath, native, options);
    noteOperators(native, options);
    return { engine: 'native', session };
  } catch (error) {
    if (engine === 'native' || !(error instanceof LacunaError)) throw error;
    // The model may be from another tool, or the core built for another machine. If stock ONNX Runtime fails too, its
    // error says why.
    const session = await openSession(modelPath, options);
    progress.note(`Stock ONNX Runtime is used: ${error.message}`);
    return { engine: 'stock', session };
  }
}

/** No other engine stands in: it would not have the cache that was asked for. */
async function openWithOurCache(
  modelPath: string,
  native: NativeFiles | undefined,
  options: DecodingOptions,
): Promise<{ engine: Engine; session: Session }> {
  if (native === undefined)
    throw noSuchCache(options, options.engine === 'stock' ? '--engine is stock' : 'it is not built here');
  await checkOurCache(options, modelPath);
  const session = await openNativeSession(modelPath, native, options);
  noteOperators(native, options);
  return { engine: 'native', session };
}

function noteOperators({ addon }: NativeFiles, { operatorSet, progress = SILENT }: EngineOptions): void {
  if (operatorSet === undefined) return;
  const problem = operatorProblem(operatorSet, operatorSetOf(addon));
  if (problem !== undefined) progress.note(problem);
}

/** What to say if a model calls operators of another version than the kernels; undefined if it does not. */
export function operatorProblem(called: number, known: number): string | undefined {
  if (called === known) return undefined;
  const what = `The model calls operators of version ${called}, and the native core has kernels for version ${known}`;
  const remedy = called > known ? 'update the native core' : 'make the folder again with this version of Lacuna';
  return `${what}: portable bodies run in their place, which is slower; to have kernels, ${remedy}`;
}

/** Bytes a second that `threads` threads read from memory; undefined if the native core does not load. */
export async function memoryBandwidth({ nativeFolder, threads }: EngineOptions): Promise<number | undefined> {
  const native = await findNativeFiles(nativeFolder);
  if (native === undefined) return undefined;
  // Without a number, ONNX Runtime starts one thread for each core.
  return measureReadBandwidth(native.addon, threads ?? availableParallelism()).catch(() => undefined);
}

/** Whether the native core is built and loads. */
export async function hasNativeCore(nativeFolder?: string | URL): Promise<boolean> {
  const native = await findNativeFiles(nativeFolder);
  return native !== undefined && coreProblem(native) === undefined;
}

/** What this installation runs models on: our kernels or stock ONNX Runtime. float16 is for GPUs, so for neither. */
export async function installedHost({ name, floats }: Precision, nativeFolder?: string | URL): Promise<Host> {
  const isNative = floats === 'float16' || (await hasNativeCore(nativeFolder));
  return hostNamed(isNative ? 'native' : 'stock', name);
}

/** The native core's files, unless stock ONNX Runtime was asked for. */
async function wantedCore({ engine, nativeFolder }: EngineOptions): Promise<NativeFiles | undefined> {
  const native = engine === 'stock' ? undefined : await findNativeFiles(nativeFolder);
  if (native !== undefined || engine !== 'native') return native;
  throw new LacunaError('not-found', 'The native core is not built here', {
    hint: 'In a clone, build it with `npm run build:native`, or use --engine stock.',
  });
}

/** The native core's files, for this machine or not; undefined without the addon for Node. */
export async function findNativeFiles(nativeFolder?: string | URL): Promise<NativeFiles | undefined> {
  const folder = nativePath(nativeFolder);
  const addon = join(folder, ADDON_NAME);
  if (!(await exists(addon))) return undefined;
  const library = await findNativeLibrary(folder);
  return library.state === 'absent' ? { addon } : { addon, operators: library.path };
}
