/** Opens sessions of ONNX Runtime with our options, and turns its failures into errors of ours. */
import type { InferenceSession } from 'onnxruntime-node';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { JobOptions } from '../core/progress.ts';
import { type EncodedModel, MEMORY_DATA, type ModelBeside, type RuntimeTensor } from '../core/runner.ts';
import { messageOf } from '../core/text.ts';
import type { NativeFiles } from './native-addon.ts';
import { createBackend } from './native-backend.ts';
import { loadOnnxRuntime } from './onnxruntime.ts';
import { fromOrtTensor, toOrtTensor } from './tensors.ts';

/** `signal` stops the wait for a model that is being opened. The model is closed as soon as it is open. */
export interface SessionOptions extends Pick<JobOptions, 'threads' | 'signal'> {
  /** The native core. It then opens and runs the model with its kernels, instead of onnxruntime-node. */
  readonly native?: NativeFiles | undefined;
  /** Whether threads that have nothing to do wait busily. They answer sooner, and leave no core to others. Default: true. */
  readonly spin?: boolean | undefined;
}

/** Where a model's bytes are; external data of what lies beside a folder are mapped as if it had been opened from there. */
export type ModelSource =
  | { readonly kind: 'file'; readonly path: string }
  | ({ readonly kind: 'beside' } & ModelBeside)
  | ({ readonly kind: 'memory' } & EncodedModel);

type Tensors = Readonly<Record<string, RuntimeTensor>>;

export interface OrtSession {
  /** What the model says about its inputs and outputs. */
  readonly metadata: Pick<InferenceSession, 'inputNames' | 'outputNames' | 'inputMetadata' | 'outputMetadata'>;
  run(feeds: Tensors, fetches: readonly string[]): Promise<Tensors>;
  close(): Promise<void>;
}

type Ort = typeof import('onnxruntime-node');

/** What both onnxruntime-node and the native core give. */
interface Opened extends Pick<OrtSession, 'metadata' | 'close'> {
  run(feeds: InferenceSession.OnnxValueMapType, fetches: readonly string[]): Promise<InferenceSession.OnnxValueMapType>;
}

/**
 * The result of `open`, or an `interrupted` error as soon as `signal` is aborted. ONNX Runtime cannot stop opening a
 * model, so a model that opens after the abort is closed at once.
 */
export async function openUnlessAborted<Opened>(
  signal: AbortSignal | undefined,
  open: () => Promise<Opened>,
  close: (opened: Opened) => Promise<void>,
): Promise<Opened> {
  throwIfAborted(signal);
  if (signal === undefined) return open();
  return new Promise((resolve, reject) => {
    const abandon = () => reject(new LacunaError('interrupted', 'Stopped.', { cause: signal.reason }));
    signal.addEventListener('abort', abandon, { once: true });
    open()
      .then((opened) => (signal.aborted ? close(opened) : resolve(opened)))
      .catch(reject)
      .finally(() => signal.removeEventListener('abort', abandon));
  });
}

export async function openOrtSession(source: ModelSource, options: SessionOptions): Promise<OrtSession> {
  const ort = await loadOnnxRuntime();
  const open = () => create(ort, source, options);
  const session = await openUnlessAborted(options.signal, open, (late) => late.close());
  const { metadata, close } = session;
  return { metadata, run: (feeds, fetches) => run(ort, session, feeds, fetches), close };
}

async function create(ort: Ort, source: ModelSource, options: SessionOptions): Promise<Opened> {
  const open = options.native === undefined ? openByNode : openByCore(options.native);
  try {
    return await open(ort, source.kind === 'file' ? source.path : source.model, optionsFor(source, options));
  } catch (error) {
    throw runtimeError('ONNX Runtime could not open the model', error);
  }
}

type Open = (ort: Ort, model: string | Uint8Array, options: InferenceSession.SessionOptions) => Promise<Opened>;

const openByNode: Open = async ({ InferenceSession }, model, options) => {
  // One of its overloads takes a path, another takes bytes.
  const session = await InferenceSession.create(model as Uint8Array, options);
  return { metadata: session, run: (feeds, fetches) => session.run(feeds, fetches), close: () => session.release() };
};

/** Caches are ordinary tensors: they may be continued several times, also by another session. */
function openByCore(native: NativeFiles): Open {
  return async ({ Tensor }, model, options) => {
    const backend = createBackend({ tensors: Tensor, files: async () => native, findCaches: async () => [] });
    const session = await backend.createInferenceSessionHandler(model, options);
    return {
      metadata: session,
      run: (feeds, fetches) => session.run(feeds, Object.fromEntries(fetches.map((name) => [name, null])), {}),
      close: () => session.dispose(),
    };
  };
}

async function run({ Tensor }: Ort, session: Opened, feeds: Tensors, fetches: readonly string[]): Promise<Tensors> {
  const inputs = Object.entries(feeds).map(([name, tensor]) => [name, toOrtTensor(Tensor, name, tensor)] as const);
  let outputs: InferenceSession.OnnxValueMapType;
  try {
    outputs = await session.run(Object.fromEntries(inputs), fetches);
  } catch (error) {
    throw runtimeError('ONNX Runtime could not run the model', error);
  }
  return Object.fromEntries(fetches.map((name) => [name, fromOrtTensor(name, outputs[name])]));
}

function optionsFor(source: ModelSource, { threads, spin = true }: SessionOptions): InferenceSession.SessionOptions {
  const data = source.kind === 'memory' ? source.externalData : undefined;
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    // Fatal only: faults arrive as errors, and users do not need ONNX Runtime's log lines.
    logSeverityLevel: 4,
    ...(data && { externalData: [{ path: MEMORY_DATA, data }] }),
    extra: {
      session: {
        ...(source.kind === 'beside' && { model_external_initializers_file_folder_path: source.folder }),
        ...(!spin && { intra_op: { allow_spinning: '0' } }),
      },
    },
  };
}

function runtimeError(what: string, error: unknown): LacunaError {
  return new LacunaError('runtime', `${what}: ${messageOf(error).trim()}`, { cause: error });
}
