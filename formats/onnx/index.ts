/** ONNX models: to bytes, to files, and back. */
export { type EncodedModel, encodeModel } from './encode.ts';
export { weightBytesOf } from './layout.ts';
export { type ModelNumbers, readNumbers } from './nodes.ts';
export { estimatePace, type Pace } from './pace.ts';
export { readOnnx } from './read.ts';
export { encodeReferencing, type ReferencingModel } from './reference.ts';
export { sizesOf } from './sizes.ts';
export { type WriteOptions, type WrittenFile, writeOnnx } from './write.ts';
