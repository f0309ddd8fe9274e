/** ONNX models: to bytes, to files, and back. */
export { encodeModel } from './encode.ts';
export { weightBytesOf } from './layout.ts';
export { readNumbers } from './nodes.ts';
export { estimatePace } from './pace.ts';
export { readOnnx } from './read.ts';
export { encodeReferencing } from './reference.ts';
export { sizesOf } from './sizes.ts';
export { type WrittenFile, writeOnnx } from './write.ts';
