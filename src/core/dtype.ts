/** Element types, with the names of ONNX and NumPy. Formats map their own codes to these. */

/**
 * ONNX's number of each type (TensorProto.DataType), and the array whose elements are as wide: of floats that JavaScript lacks, it
 * holds the bits. Every other table of dtypes derives from this one.
 */
export const ELEMENT_TYPES = {
  float32: { code: 1, array: Float32Array },
  uint8: { code: 2, array: Uint8Array },
  int8: { code: 3, array: Int8Array },
  uint16: { code: 4, array: Uint16Array },
  int16: { code: 5, array: Int16Array },
  int32: { code: 6, array: Int32Array },
  int64: { code: 7, array: BigInt64Array },
  bool: { code: 9, array: Uint8Array },
  float16: { code: 10, array: Uint16Array },
  float64: { code: 11, array: Float64Array },
  uint32: { code: 12, array: Uint32Array },
  uint64: { code: 13, array: BigUint64Array },
  bfloat16: { code: 16, array: Uint16Array },
  float8e4m3: { code: 17, array: Uint8Array },
  float8e5m2: { code: 19, array: Uint8Array },
} as const;

export type DType = keyof typeof ELEMENT_TYPES;

export const DTYPES = Object.keys(ELEMENT_TYPES) as readonly DType[];

export const DTYPE_BYTES = Object.fromEntries(
  DTYPES.map((dtype) => [dtype, ELEMENT_TYPES[dtype].array.BYTES_PER_ELEMENT]),
) as Readonly<Record<DType, number>>;

/** Float types of weights. Their values may be NaN or infinite. */
export const FLOAT_DTYPES = ['float16', 'bfloat16', 'float32', 'float64'] as const satisfies readonly DType[];

export type FloatDType = (typeof FLOAT_DTYPES)[number];

export function isFloat(dtype: DType): dtype is FloatDType {
  return (FLOAT_DTYPES as readonly DType[]).includes(dtype);
}

/** Number of elements of a shape; a scalar (empty shape) has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

export function byteLength(dtype: DType, shape: readonly number[]): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}
