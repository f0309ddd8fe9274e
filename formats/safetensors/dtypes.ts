/** The element types of safetensors by their names in a header, and back. */
import type { DType } from '../../src/core/dtype.ts';

/** Sub-byte, complex and exponent-only types are refused: no weight that we convert is stored so. */
export const SAFETENSORS_DTYPES = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  F8_E4M3: 'float8e4m3',
  F8_E5M2: 'float8e5m2',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
} as const satisfies Readonly<Record<string, DType>>;

type SafetensorsDType = keyof typeof SAFETENSORS_DTYPES;

export function isSafetensorsDType(name: string): name is SafetensorsDType {
  return Object.hasOwn(SAFETENSORS_DTYPES, name);
}

/** "BF16" for 'bfloat16'. A test checks that every dtype has a name. */
export function safetensorsName(dtype: DType): SafetensorsDType {
  const name = Object.keys(SAFETENSORS_DTYPES)
    .filter(isSafetensorsDType)
    .find((known) => SAFETENSORS_DTYPES[known] === dtype);
  if (name === undefined) throw new RangeError(`safetensors has no name for ${dtype}`);
  return name;
}
