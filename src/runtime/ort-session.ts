/** Opens sessions of ONNX Runtime with our options, and turns its failures into errors of ours. */
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { LacunaError } from '../core/errors.ts';

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

export async function openOrtSession(source: ModelSource, options: SessionOptions): Promise<InferenceSession> {
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

export async function runOrtSession(
  session: InferenceSession,
  feeds: Readonly<Record<string, Tensor>>,
  fetches: readonly string[],
): Promise<Readonly<Record<string, Tensor>>> {
  try {
    return (await session.run(feeds, fetches)) as Readonly<Record<string, Tensor>>;
  } catch (error) {
    throw runtimeError('ONNX Runtime could not run the model', error);
  }
}

const CONFIG = {} as const;

function ortOptions({ threads }: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    logSeverityLevel: 3,
    extra: { session: CONFIG },
  };
}

function runtimeError(what: string, error: unknown): LacunaError {
  const message = error instanceof Error ? error.message : String(error);
  return new LacunaError('runtime', `${what}: ${message.trim()}`, { cause: error });
}
