/** The element types of GGUF by their codes, and the layout of quantised blocks. */
import { byteLength, type DType, elementCount } from '../../core/dtype.ts';
import type { GgmlType, StoredTensor } from '../../core/tensor.ts';

export const BLOCK_SIZES: Readonly<Record<GgmlType, { readonly values: number; readonly bytes: number }>> = {
  Q4_0: { values: 32, bytes: 2 + 16 },
  Q4_1: { values: 32, bytes: 2 + 2 + 16 },
  Q5_0: { values: 32, bytes: 2 + 4 + 16 },
  Q5_1: { values: 32, bytes: 2 + 2 + 4 + 16 },
  Q8_0: { values: 32, bytes: 2 + 32 },
  Q4_K: { values: 256, bytes: 2 + 2 + 12 + 128 },
  Q5_K: { values: 256, bytes: 2 + 2 + 12 + 32 + 128 },
  Q6_K: { values: 256, bytes: 128 + 64 + 16 + 2 },
};

export function storedBytes(tensor: StoredTensor): number {
  if (tensor.kind === 'file') return byteLength(tensor.dtype, tensor.shape);
  const { values, bytes } = BLOCK_SIZES[tensor.type];
  return (elementCount(tensor.shape) / values) * bytes;
}

/** What a code means: plain values, blocks that can be read, or a type that is known only by name. */
export type TypeOfCode =
  | { readonly kind: 'plain'; readonly name: string; readonly dtype: DType }
  | { readonly kind: 'blocks'; readonly name: GgmlType }
  | { readonly kind: 'unread'; readonly name: string };

const plain = (name: string, dtype: DType): TypeOfCode => ({ kind: 'plain', name, dtype });
const blocks = (name: GgmlType): TypeOfCode => ({ kind: 'blocks', name });
const unread = (name: string): TypeOfCode => ({ kind: 'unread', name });

/** `enum ggml_type`. Codes that are missing here were never assigned or were withdrawn. */
const CODES: Readonly<Record<number, TypeOfCode>> = {
  0: plain('F32', 'float32'),
  1: plain('F16', 'float16'),
  2: blocks('Q4_0'),
  3: blocks('Q4_1'),
  6: blocks('Q5_0'),
  7: blocks('Q5_1'),
  8: blocks('Q8_0'),
  9: unread('Q8_1'),
  10: unread('Q2_K'),
  11: unread('Q3_K'),
  12: blocks('Q4_K'),
  13: blocks('Q5_K'),
  14: blocks('Q6_K'),
  15: unread('Q8_K'),
  16: unread('IQ2_XXS'),
  17: unread('IQ2_XS'),
  18: unread('IQ3_XXS'),
  19: unread('IQ1_S'),
  20: unread('IQ4_NL'),
  21: unread('IQ3_S'),
  22: unread('IQ2_S'),
  23: unread('IQ4_XS'),
  24: unread('I8'),
  25: unread('I16'),
  26: unread('I32'),
  27: unread('I64'),
  28: unread('F64'),
  29: unread('IQ1_M'),
  30: plain('BF16', 'bfloat16'),
  34: unread('TQ1_0'),
  35: unread('TQ2_0'),
  39: unread('MXFP4'),
};

export function typeOfCode(code: number): TypeOfCode {
  return CODES[code] ?? unread(`number ${code}`);
}

/** Names of the readable types, for messages. */
export const READ_TYPES: readonly string[] = Object.values(CODES)
  .filter(({ kind }) => kind !== 'unread')
  .map(({ name }) => name);
