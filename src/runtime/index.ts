/** ONNX Runtime: graphs and folders opened and run, texts continued. */
export { type GenerateOptions, type GeneratingSession, generateRows, type StopReason } from './generate.ts';
export { coreProblem, instructionsOf, measureReadBandwidth, type NativeFiles, operatorSetOf } from './native-addon.ts';
export { type CachePorts, createBackend } from './native-backend.ts';
export { openNativeSession } from './native-session.ts';
export type { TensorClass } from './native-tensors.ts';
export { checkNumbers } from './node-limits.ts';
export { runtimeVersion } from './onnxruntime.ts';
export { createOpenGraph, openMultiplier } from './open-graph.ts';
export type { SessionOptions } from './ort-session.ts';
export { openSession } from './session.ts';
export { libraryProblem } from './shared-library.ts';
export { type Turns, takeTurns } from './turns.ts';
