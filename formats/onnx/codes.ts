/** ONNX's numbers for element types and attribute types, as onnx.proto assigns them. */
import type { DType } from '../../src/core/dtype.ts';

/** TensorProto.DataType of each dtype. */
export const DATA_TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  float8e4m3: 17,
  float8e5m2: 19,
} as const satisfies Record<DType, number>;

/** The dtype of a TensorProto.DataType; undefined for strings, complex numbers and types smaller than a byte. */
export function dtypeOfCode(code: number): DType | undefined {
  return DTYPE_BY_CODE.get(code);
}

const DTYPE_BY_CODE = new Map(Object.entries(DATA_TYPES).map(([dtype, code]) => [code as number, dtype as DType]));

/** AttributeProto.AttributeType of each kind of attribute that a `Graph` can hold. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;

/** Names of the other attribute types, for refusals. */
export const OTHER_ATTRIBUTE_TYPES: Readonly<Record<number, string>> = {
  9: 'TENSORS',
  10: 'GRAPHS',
  11: 'SPARSE_TENSOR',
  12: 'SPARSE_TENSORS',
  13: 'TYPE_PROTO',
  14: 'TYPE_PROTOS',
};

/** TensorProto.DataLocation. */
export const EXTERNAL_LOCATION = 1;
