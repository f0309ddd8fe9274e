/** ONNX Runtime: opens and runs graphs and folders, continues texts. */
export {
  type GenerateOptions,
  type GeneratingSession,
  generate,
  generateRows,
  prefill,
  type RowToken,
  type StopReason,
} from './generate.ts';
export { type Multiplier, openMultiplier } from './multiply.ts';
export { addonProblem, measureReadBandwidth, type NativeFiles, operatorSetOf } from './native-addon.ts';
export { type CachePorts, createBackend } from './native-backend.ts';
export { openNativeSession } from './native-session.ts';
export type { TensorClass } from './native-tensors.ts';
export { checkNumbers, type NumberedModel } from './node-limits.ts';
export { createOpenGraph, type EncodedModel, type OpenGraphOptions } from './open-graph.ts';
export type { SessionOptions } from './ort-session.ts';
export { argmax, createSampler, type Sampler, type SamplingOptions } from './sample.ts';
export { findModel, type ModelBeside, openSession } from './session.ts';
export { type Turns, takeTurns } from './turns.ts';
export { runtimeVersion } from './version.ts';
