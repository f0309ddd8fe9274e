/** Opens sessions of ONNX Runtime with our options, and turns its failures into errors of ours. */
import type { InferenceSession } from 'onnxruntime-node';
import { LacunaError } from '../core/errors.ts';
import type { RuntimeTensor } from '../core/runner.ts';
import { fromOrtTensor, toOrtTensor } from './tensors.ts';

export interface SessionOptions {
  /** Intra-op threads; ONNX Runtime's own choice (one a core) when absent. */
  readonly threads?: number;
}

/** Where a model's bytes are. */
export type ModelSource =
  | { readonly kind: 'file'; readonly path: string }
  /** External data of `model` are files in `folder`, mapped as if the model had been opened from there. */
  | { readonly kind: 'beside'; readonly model: Uint8Array; readonly folder: string }
  | { readonly kind: 'memory'; readonly model: Uint8Array; readonly externalData: Uint8Array | undefined };

/** The name under which encoders put external data that stay in memory. */
const EXTERNAL_DATA = 'model.onnx_data';

type Tensors = Readonly<Record<string, RuntimeTensor>>;

export interface OrtSession {
  /** What the model says of its inputs and outputs. */
  readonly metadata: Pick<InferenceSession, 'inputNames' | 'outputNames' | 'inputMetadata' | 'outputMetadata'>;
  run(feeds: Tensors, fetches: readonly string[]): Promise<Tensors>;
  close(): Promise<void>;
}

type Ort = typeof import('onnxruntime-node');

/** ONNX Runtime itself is loaded here and not before: most commands that need none would start later for it. */
export async function openOrtSession(source: ModelSource, options: SessionOptions): Promise<OrtSession> {
  const ort = await import('onnxruntime-node');
  const session = await create(ort, source, options);
  return {
    metadata: session,
    run: (feeds, fetches) => run(ort, session, feeds, fetches),
    close: () => session.release(),
  };
}

async function create(
  { InferenceSession }: Ort,
  source: ModelSource,
  options: SessionOptions,
): Promise<InferenceSession> {
  const shared = ortOptions(options);
  try {
    switch (source.kind) {
      case 'file':
        return await InferenceSession.create(source.path, shared);
      case 'beside':
        return await InferenceSession.create(source.model, {
          ...shared,
          extra: { session: { ...CONFIG, model_external_initializers_file_folder_path: source.folder } },
        });
      case 'memory': {
        const { externalData } = source;
        const external = externalData && [{ path: EXTERNAL_DATA, data: externalData }];
        return await InferenceSession.create(source.model, external ? { ...shared, externalData: external } : shared);
      }
    }
  } catch (error) {
    throw runtimeError('ONNX Runtime could not open the model', error);
  }
}

async function run(
  { Tensor }: Ort,
  session: InferenceSession,
  feeds: Tensors,
  fetches: readonly string[],
): Promise<Tensors> {
  const inputs = Object.entries(feeds).map(([name, tensor]) => [name, toOrtTensor(Tensor, name, tensor)] as const);
  let outputs: InferenceSession.OnnxValueMapType;
  try {
    outputs = await session.run(Object.fromEntries(inputs), fetches);
  } catch (error) {
    throw runtimeError('ONNX Runtime could not run the model', error);
  }
  return Object.fromEntries(fetches.map((name) => [name, fromOrtTensor(name, outputs[name])]));
}

const CONFIG = {} as const;

function ortOptions({ threads }: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    // Fatal only: what goes wrong arrives as an error, and its lines are for no user's terminal.
    logSeverityLevel: 4,
    extra: { session: CONFIG },
  };
}

function runtimeError(what: string, error: unknown): LacunaError {
  const message = error instanceof Error ? error.message : String(error);
  return new LacunaError('runtime', `${what}: ${message.trim()}`, { cause: error });
}
