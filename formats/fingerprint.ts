/** Names a model by its config and a sample of its weights. */
import { createHash, type Hash } from 'node:crypto';
import { byteLength } from '../src/core/dtype.ts';
import { type StoredTensor, storedIn, type TensorExpr } from '../src/core/tensor.ts';
import { storedBytes } from '../src/quantize/ggml/types.ts';
import { keptFiles, type SourceFiles } from '../src/tensors/index.ts';

/** Read from the middle of each tensor: enough to distinguish fine-tunes of one model, few enough to read at once. */
const SAMPLE_BYTES = 256;

/** sha256 over config.json and, by name, each tensor's header and a sample of its bytes, however they are sharded. */
export async function fingerprintOf(config: string, tensors: ReadonlyMap<string, TensorExpr>): Promise<string> {
  const hash = createHash('sha256').update(config);
  const files = keptFiles();
  try {
    for (const [name, tensor] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(`\n${describe(name, tensor)}`);
      for (const stored of storedIn(tensor)) await addSample(hash, stored, files);
    }
  } finally {
    await files.close();
  }
  return hash.digest('hex');
}

/** A tensor's header, without its place. */
function describe(name: string, tensor: TensorExpr): string {
  const { dtype, shape } = tensor;
  if (tensor.kind === 'file') return JSON.stringify([name, dtype, shape, byteLength(dtype, shape)]);
  const isPlace = (key: string) => key === 'path' || key === 'byteOffset';
  return JSON.stringify([name, tensor], (key, value) => (isPlace(key) ? undefined : value));
}

async function addSample(hash: Hash, tensor: StoredTensor, files: SourceFiles): Promise<void> {
  const file = await files.open(tensor.path);
  const size = storedBytes(tensor);
  const length = Math.min(size, SAMPLE_BYTES);
  const start = tensor.byteOffset + Math.floor((size - length) / 2);
  const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, start);
  hash.update(buffer.subarray(0, bytesRead));
}
