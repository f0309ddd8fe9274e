/**
 * Tensors that are not in memory: a `TensorExpr` says where the bytes are and what is done to them on the way.
 *
 * It is plain data, so a graph of a 4-billion-parameter model is a few kilobytes, can be hashed, and is evaluated a
 * block of rows at a time while the output is written. All data are little-endian and row-major.
 */
import { type DType, elementCount } from './dtype.ts';

interface TypedExpr {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A range of a file. `name` is what errors call it; `mustBeFinite` refuses NaN and infinity while reading. */
export interface FileTensor extends TypedExpr {
  readonly kind: 'file';
  readonly path: string;
  readonly byteOffset: number;
  readonly name: string;
  readonly mustBeFinite: boolean;
}

export interface BytesTensor extends TypedExpr {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array;
}

/** `from`, each element converted to `dtype` (float to float, round to nearest even). */
export interface CastTensor extends TypedExpr {
  readonly kind: 'cast';
  readonly from: TensorExpr;
}

/** The transpose of a matrix. */
export interface TransposeTensor extends TypedExpr {
  readonly kind: 'transpose';
  readonly from: TensorExpr;
}

/** Parts one after the other along axis 0; their other dimensions are equal. */
export interface ConcatTensor extends TypedExpr {
  readonly kind: 'concat';
  readonly parts: readonly TensorExpr[];
}

/**
 * How the rows of a float matrix are stored in blocks of columns: value = scale * (code - zero point), one scale (and
 * zero point) a block, codes of 0 to 2^bits - 1. A last block that is not full is filled up with zeros.
 */
export interface BlockScheme {
  readonly bits: 4 | 8;
  /** Columns a block. */
  readonly blockSize: number;
  /** The zero point is the middle code, 2^(bits - 1), everywhere and is not stored. */
  readonly symmetric: boolean;
  /** `nearest`: the block's range fills the codes. `search`: the scale of least (weighted) squared error. */
  readonly method: 'nearest' | 'search';
}

/**
 * - `codes` uint8 [rows, blocks, blockSize * bits / 8], low bits first
 * - `scales` float32 [rows * blocks]
 * - `zero-points` uint8 [rows * ceil(blocks * bits / 8)], each row's packed low bits first
 */
export type QuantizedPart = 'codes' | 'scales' | 'zero-points';

/** One of the tensors that the float matrix `from` [rows, columns] becomes; all are made from the same rows alike. */
export interface QuantizeTensor extends TypedExpr {
  readonly kind: 'quantize';
  readonly part: QuantizedPart;
  readonly scheme: BlockScheme;
  readonly from: TensorExpr;
  /** What a column's squared error weighs, float [columns], as the mean square of what it is multiplied by; or all alike. */
  readonly importance: TensorExpr | undefined;
}

export type TensorExpr = FileTensor | BytesTensor | CastTensor | TransposeTensor | ConcatTensor | QuantizeTensor;

/** `from` as `dtype`; nothing is added where it already is. */
export function cast(from: TensorExpr, dtype: DType): TensorExpr {
  return from.dtype === dtype ? from : { kind: 'cast', dtype, shape: from.shape, from };
}

/** The transpose of a matrix; transposing twice gives the original back. */
export function transpose(from: TensorExpr): TensorExpr {
  if (from.kind === 'transpose') return from.from;
  if (from.kind === 'cast') return cast(transpose(from.from), from.dtype);
  const [rows, columns] = from.shape;
  return { kind: 'transpose', dtype: from.dtype, shape: [columns, rows], from };
}

/** Parts stacked along axis 0. */
export function concatRows(parts: readonly TensorExpr[]): TensorExpr {
  const [first] = parts;
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
  return { kind: 'concat', dtype: first.dtype, shape: [rows, ...first.shape.slice(1)], parts };
}

export interface QuantizedMatrix {
  readonly codes: QuantizeTensor;
  readonly scales: QuantizeTensor;
  /** undefined where the scheme is symmetric. */
  readonly zeroPoints: QuantizeTensor | undefined;
}

/** The tensors of the matrix `from` stored by `scheme`, in the shapes that MatMulNBits takes. */
export function quantize(from: TensorExpr, scheme: BlockScheme, importance?: TensorExpr): QuantizedMatrix {
  const [rows, columns] = from.shape;
  const { bits, blockSize } = scheme;
  const blocks = Math.ceil(columns / blockSize);
  const part = (name: QuantizedPart, dtype: DType, shape: readonly number[]): QuantizeTensor => {
    return { kind: 'quantize', part: name, dtype, shape, scheme, from, importance };
  };
  return {
    codes: part('codes', 'uint8', [rows, blocks, (blockSize * bits) / 8]),
    scales: part('scales', 'float32', [rows * blocks]),
    zeroPoints: scheme.symmetric ? undefined : part('zero-points', 'uint8', [rows * Math.ceil((blocks * bits) / 8)]),
  };
}

export function float32Tensor(values: ArrayLike<number>, shape: readonly number[] = [values.length]): BytesTensor {
  return bytesOf('float32', Float32Array.from(values), shape);
}

export function int64Tensor(
  values: readonly (number | bigint)[],
  shape: readonly number[] = [values.length],
): BytesTensor {
  return bytesOf('int64', BigInt64Array.from(values, BigInt), shape);
}

export function int32Tensor(values: ArrayLike<number>, shape: readonly number[] = [values.length]): BytesTensor {
  return bytesOf('int32', Int32Array.from(values), shape);
}

export function boolTensor(values: readonly boolean[], shape: readonly number[] = [values.length]): BytesTensor {
  return bytesOf('bool', Uint8Array.from(values, Number), shape);
}

function bytesOf(dtype: DType, data: ArrayBufferView, shape: readonly number[]): BytesTensor {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length % Math.max(1, elementCount(shape)) !== 0)
    throw new RangeError(`${bytes.length} bytes do not fill [${shape}]`);
  return { kind: 'bytes', dtype, shape, bytes };
}
