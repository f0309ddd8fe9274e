/**
 * `import 'lacuna/backend'`: onnxruntime-node, and programs built on it, run models in the native core.
 *
 * @example
 * import 'lacuna/backend';
 * const session = await InferenceSession.create('model.onnx', { executionProviders: ['lacuna'] });
 */
import * as own from 'onnxruntime-node';
import { nativeBackend } from './pipeline/backend.ts';

/** Used only when it is named. */
const PRIORITY = -1;

/** Registers the backend in another copy of onnxruntime-node or onnxruntime-common than the one that Lacuna finds. */
export function register(ort: Pick<typeof own, 'registerBackend' | 'Tensor'>): void {
  ort.registerBackend('lacuna', nativeBackend(ort.Tensor), PRIORITY);
}

register(own);
