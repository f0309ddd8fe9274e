/** Tensors of seeded values. */
import { byteLength, elementCount } from '../../src/core/dtype.ts';
import type { Random } from '../harness/random.ts';
import type { Tensor, TypeName } from './hostile-node.ts';

/** Small numbers, like those of weights and streams. */
export function floats(
  random: Random,
  dims: readonly number[],
  type: 'float32' | 'bfloat16' | 'float16' = 'float32',
): Tensor {
  const count = elementCount(dims);
  if (type === 'float32') {
    const data = Float32Array.from({ length: count }, () => random.int(2001) / 1000 - 1);
    return { type, dims, bytes: new Uint8Array(data.buffer) };
  }
  // Exponents around that of 1, with either sign: from 2^-7 to 2.
  const one = type === 'float16' ? 0x2000 : 0x3c00;
  const data = Uint16Array.from(
    { length: count },
    () => one + random.int(type === 'float16' ? 0x2000 : 0x400) + 0x8000 * random.int(2),
  );
  return { type, dims, bytes: new Uint8Array(data.buffer) };
}

export function codes(random: Random, dims: readonly number[]): Tensor {
  return { type: 'uint8', dims, bytes: Uint8Array.from({ length: elementCount(dims) }, () => random.int(256)) };
}

export function bools(random: Random, dims: readonly number[]): Tensor {
  return { type: 'bool', dims, bytes: Uint8Array.from({ length: elementCount(dims) }, () => random.int(2)) };
}

export function integers(type: 'int32' | 'int64', dims: readonly number[], values: readonly number[]): Tensor {
  const data = type === 'int32' ? Int32Array.from(values) : BigInt64Array.from(values, BigInt);
  return { type, dims, bytes: new Uint8Array(data.buffer) };
}

/** Any bytes, for a type or shape that a case gives to an input. */
export function anything(random: Random, type: TypeName, dims: readonly number[]): Tensor {
  const bytes = Uint8Array.from({ length: byteLength(type, dims) }, () => random.int(256));
  return { type, dims, bytes };
}
