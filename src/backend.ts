/**
 * `import 'lacuna/backend'`: plain onnxruntime-node, and what is built on it, runs models in the native core.
 *
 * @example
 * import 'lacuna/backend';
 * const session = await InferenceSession.create('model.onnx', { executionProviders: ['lacuna'] });
 */
import * as own from 'onnxruntime-node';
import { nativeBackend } from './pipeline/backend.ts';

/** Never taken unless it is asked for. */
const PRIORITY = -1;

/** Registers the backend in another onnxruntime-node, or onnxruntime-common, than the one that Lacuna finds. */
export function register(ort: Pick<typeof own, 'registerBackend' | 'Tensor'>): void {
  ort.registerBackend('lacuna', nativeBackend(ort.Tensor), PRIORITY);
}

register(own);
