/** Element types, with the names of ONNX and NumPy. Formats map their own codes to these. */

/** Bytes of an element. Every other table of dtypes derives from this one. */
export const DTYPE_BYTES = {
  bool: 1,
  int8: 1,
  uint8: 1,
  float8e4m3: 1,
  float8e5m2: 1,
  int16: 2,
  uint16: 2,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  uint32: 4,
  float32: 4,
  int64: 8,
  uint64: 8,
  float64: 8,
} as const;

export type DType = keyof typeof DTYPE_BYTES;

/** Float types of weights. Their values may be NaN or infinite. */
export const FLOAT_DTYPES = ['float16', 'bfloat16', 'float32', 'float64'] as const satisfies readonly DType[];

export function isFloat(dtype: DType): boolean {
  return (FLOAT_DTYPES as readonly DType[]).includes(dtype);
}

/** Number of elements of a shape; a scalar (empty shape) has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

export function byteLength(dtype: DType, shape: readonly number[]): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}
