/** ONNX models: to bytes, to files, and back. */
export { encodeModel, encodeReferencing } from './encode.ts';
export { weightBytesOf } from './layout.ts';
export { readNumbers } from './nodes.ts';
export { estimatePace } from './pace.ts';
export { readOnnx } from './read.ts';
export { sizesOf, type WrittenFile, writeOnnx } from './write.ts';
