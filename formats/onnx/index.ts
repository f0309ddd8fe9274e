/** ONNX models: to bytes, to files, and back. */
export { type EncodedModel, encodeModel } from './encode.ts';
export { weightBytesOf } from './layout.ts';
export { readOnnx } from './read.ts';
export { encodeReferencing, type ReferencingModel } from './reference.ts';
export { type WriteOptions, type WrittenFile, writeOnnx } from './write.ts';
