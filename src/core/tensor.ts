/**
 * Tensors that are not in memory. A `TensorExpr` says where the bytes are and what happens to them on the way. It is
 * plain data: a graph of 4 billion parameters is a few kilobytes and can be hashed. All data are little-endian and
 * row-major.
 */
import { byteLength, type DType, elementCount } from './dtype.ts';

export interface TypedExpr {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** `name` is what errors call it; `mustBeFinite` refuses NaN and infinity while reading. */
interface FileRange extends TypedExpr {
  readonly path: string;
  readonly byteOffset: number;
  readonly name: string;
  readonly mustBeFinite: boolean;
}

export interface FileTensor extends FileRange {
  readonly kind: 'file';
}

export interface BytesTensor extends TypedExpr {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array;
}

/** `scale` * cos or sin of row * frequency: float32 [rows, columns], each of the three steps rounded to float32. */
export interface WavesTensor extends TypedExpr {
  readonly kind: 'waves';
  readonly wave: 'cos' | 'sin';
  readonly frequencies: readonly number[];
  readonly scale: number;
}

/** `from`, each element converted to `dtype` (float to float, round to nearest even). */
export interface CastTensor extends TypedExpr {
  readonly kind: 'cast';
  readonly from: TensorExpr;
}

export interface TransposeTensor extends TypedExpr {
  readonly kind: 'transpose';
  readonly from: TensorExpr;
}

/** Parts one after the other along axis 0; their other dimensions are equal. */
export interface ConcatTensor extends TypedExpr {
  readonly kind: 'concat';
  readonly parts: readonly TensorExpr[];
}

/** Block types of GGUF that can be read. Each block of a row holds its own scale, some an offset too. */
export const GGML_TYPES = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q4_K', 'Q5_K', 'Q6_K'] as const;

export type GgmlType = (typeof GGML_TYPES)[number];

/** A range of a file that holds quantised blocks; its values are float32. */
export interface GgmlTensor extends FileRange {
  readonly kind: 'ggml';
  readonly type: GgmlType;
}

/** The rows of each of `groups` equal groups: numbered row by row in `columns` columns, read column by column. */
export interface RegroupTensor extends TypedExpr {
  readonly kind: 'regroup';
  readonly from: TensorExpr;
  readonly groups: number;
  readonly columns: number;
}

/** Some rows of `from`, in ascending order. */
export interface RowsTensor extends TypedExpr {
  readonly kind: 'rows';
  readonly from: TensorExpr;
  readonly rows: readonly number[];
}

/** `from`, which is float32, plus one float32 number, each sum rounded to float32. */
export interface AddTensor extends TypedExpr {
  readonly kind: 'add';
  readonly from: TensorExpr;
  readonly value: number;
}

/** `from`, which is float32, times one float32 number, each product rounded to float32. */
export interface MultiplyTensor extends TypedExpr {
  readonly kind: 'multiply';
  readonly from: TensorExpr;
  readonly value: number;
}

/** `from` + `scale` * `left` `right`: a matrix [rows, columns] and a product [rows, rank] [rank, columns], in float32. */
export interface LowRankTensor extends TypedExpr {
  readonly kind: 'low-rank';
  readonly from: TensorExpr;
  readonly left: TensorExpr;
  readonly right: TensorExpr;
  readonly scale: number;
}

/** The widths of codes in blocks. */
export type CodeBits = 4 | 5 | 6 | 8;

/**
 * How the rows of a float matrix are stored in blocks of columns: value = scale * (code - zero point). Each block has
 * one scale (and zero point), and codes are 0 to 2^bits - 1. A last block that is not full is filled with zeros.
 */
export interface BlockScheme {
  readonly bits: CodeBits;
  readonly blockSize: number;
  /** Whether the zero point is always the middle code, 2^(bits - 1), and not stored. */
  readonly symmetric: boolean;
  /** `nearest`: the range of the block fills the codes. `search`: the scale with the least (weighted) squared error. */
  readonly method: 'nearest' | 'search';
  /** Whether it is stored along both of its axes with the same values; see `TurnableMatrix`. */
  readonly turnable?: true;
}

/**
 * - `codes` uint8 [rows, blocks, blockSize * bits / 8], low bits first; of 5 and 6 bits [rows, bits, blocks * 4] in planes
 *   (`hasPlanes`)
 * - `scales` float16 [rows * blocks]
 * - `zero-points` uint8 [rows * ceil(blocks * bits / 8)], each row's packed low bits first; of 5 and 6 bits bytes
 *   [rows * blocks], in the steps of codes of 8 bits: 128 is the middle code
 * - `turned-codes` and `turned-scales`: the same of the transpose, for turnable matrices; their own codes have 8 bits
 */
export type QuantizedPart = 'codes' | 'scales' | 'zero-points' | 'turned-codes' | 'turned-scales';

/** One of the tensors that the float matrix `from` [rows, columns] becomes. All are made from the same rows. */
export interface QuantizeTensor extends TypedExpr {
  readonly kind: 'quantize';
  readonly part: QuantizedPart;
  readonly scheme: BlockScheme;
  readonly from: TensorExpr;
  /** The weight of a column's squared error, float [columns], as its input's mean square. If absent, all are alike. */
  readonly importance: TensorExpr | undefined;
}

/** The bytes of row j of each part one after the other, then zeros up to the record's size: uint8 [rows, bytes]. */
export interface RecordsTensor extends TypedExpr {
  readonly kind: 'records';
  readonly parts: readonly TensorExpr[];
}

export type StoredTensor = FileTensor | GgmlTensor;

export type TensorExpr =
  | StoredTensor
  | BytesTensor
  | WavesTensor
  | CastTensor
  | TransposeTensor
  | ConcatTensor
  | RegroupTensor
  | RowsTensor
  | AddTensor
  | MultiplyTensor
  | LowRankTensor
  | QuantizeTensor
  | RecordsTensor;

/** `rows` rows of waves; frequencies and scale are float32 numbers. */
export function waves(wave: 'cos' | 'sin', rows: number, frequencies: readonly number[], scale: number): WavesTensor {
  return { kind: 'waves', dtype: 'float32', shape: [rows, frequencies.length], wave, frequencies, scale };
}

/** Types that hold every value of a float type. */
const WIDER: Readonly<Partial<Record<DType, readonly DType[]>>> = {
  float16: ['float32', 'float64'],
  bfloat16: ['float32', 'float64'],
  float32: ['float64'],
};

/** `from` as `dtype`. Adds nothing if it already is, and leaves out casts that lost nothing. */
export function cast(from: TensorExpr, dtype: DType): TensorExpr {
  if (from.dtype === dtype) return from;
  if (from.kind === 'cast' && WIDER[from.from.dtype]?.includes(from.dtype)) return cast(from.from, dtype);
  if (from.kind === 'concat') return concatRows(from.parts.map((part) => cast(part, dtype)));
  return { kind: 'cast', dtype, shape: from.shape, from };
}

/** The transpose of a matrix; transposing twice gives the original back. */
export function transpose(from: TensorExpr): TensorExpr {
  if (from.kind === 'transpose') return from.from;
  if (from.kind === 'cast') return cast(transpose(from.from), from.dtype);
  const [rows, columns] = from.shape;
  return { kind: 'transpose', dtype: from.dtype, shape: [columns, rows], from };
}

/** `from` + `value` (rounded to float32), computed in float32 whatever the float type of `from`. */
export function addConstant(from: TensorExpr, value: number): TensorExpr {
  return { kind: 'add', dtype: 'float32', shape: from.shape, from: cast(from, 'float32'), value: Math.fround(value) };
}

/** `from` * `value`, in the same way. `from` itself if `value` is 1. */
export function multiplyConstant(from: TensorExpr, value: number): TensorExpr {
  if (value === 1) return from;
  const factor = Math.fround(value);
  return { kind: 'multiply', dtype: 'float32', shape: from.shape, from: cast(from, 'float32'), value: factor };
}

/** Parts stacked along axis 0. */
export function concatRows(parts: readonly TensorExpr[]): TensorExpr {
  const [first] = parts;
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
  return { kind: 'concat', dtype: first.dtype, shape: [rows, ...first.shape.slice(1)], parts };
}

/**
 * Rows in another order: each of `groups` equal groups is seen as a matrix of `columns` columns whose elements are
 * rows, and transposed. With 2 columns, rows 0 1 2 3 4 5 of a group become 0 2 4 1 3 5.
 */
export function regroupRows(from: TensorExpr, groups: number, columns: number): RegroupTensor {
  if (from.shape[0] % (groups * columns) !== 0)
    throw new RangeError(`${from.shape[0]} rows are not ${groups} groups of ${columns} columns`);
  return { kind: 'regroup', dtype: from.dtype, shape: from.shape, from, groups, columns };
}

/** The rows of these numbers, which ascend. The other rows are read and checked too. */
export function selectRows(from: TensorExpr, rows: readonly number[]): RowsTensor {
  const wrong = rows.find((row, i) => !(row > (rows[i - 1] ?? -1) && row < from.shape[0]));
  if (wrong !== undefined) throw new RangeError(`Row ${wrong} is out of order or not among ${from.shape[0]} rows`);
  return { kind: 'rows', dtype: from.dtype, shape: [rows.length, ...from.shape.slice(1)], from, rows };
}

/** A matrix with `scale` * `left` `right` added to it, each sum rounded to float32 once. */
export function addLowRank(from: TensorExpr, left: TensorExpr, right: TensorExpr, scale: number): LowRankTensor {
  return { kind: 'low-rank', dtype: 'float32', shape: from.shape, from: cast(from, 'float32'), left, right, scale };
}

export function recordBytes({ dtype, shape }: TypedExpr, rows: number): number {
  return byteLength(dtype, shape) / rows;
}

/** `rows` records, each filled up to a multiple of `alignment` bytes. Parts are divided evenly and in order. */
export function records(rows: number, parts: readonly TensorExpr[], alignment: number): RecordsTensor {
  const uneven = parts.find((part) => !Number.isInteger(recordBytes(part, rows)));
  if (uneven !== undefined) throw new RangeError(`${uneven.dtype} [${uneven.shape}] is no ${rows} rows`);
  const bytes = parts.reduce((sum, part) => sum + recordBytes(part, rows), 0);
  return { kind: 'records', dtype: 'uint8', shape: [rows, Math.ceil(bytes / alignment) * alignment], parts };
}

export function storedIn(expr: TensorExpr): readonly StoredTensor[] {
  switch (expr.kind) {
    case 'file':
    case 'ggml':
      return [expr];
    case 'bytes':
    case 'waves':
      return [];
    case 'concat':
    case 'records':
      return expr.parts.flatMap(storedIn);
    case 'low-rank':
      return [expr.from, expr.left, expr.right].flatMap(storedIn);
    default:
      return storedIn(expr.from);
  }
}

/** A matrix in blocks, with the parts and shapes of `QuantizedPart`. */
export interface QuantizedMatrix {
  readonly codes: TensorExpr;
  readonly scales: TensorExpr;
  /** undefined where the scheme is symmetric. */
  readonly zeroPoints: TensorExpr | undefined;
}

/**
 * Whether a row of codes is stored as the upper bits of all its codes, a bit at a time, and then the lower 4. Columns are taken in
 * blocks of 32, the first 16 of each before the last 16:
 * - each upper bit, the fifth first: the bits of the first columns of all blocks, then those of the last ones, low bits first
 * - the lower bits: byte i of block b has column 32 b + i in its lower half and column 32 b + 16 + i in its upper half
 *
 * A kernel that reads more upper bits than a row has meets the lower ones, and never another row's end.
 */
export function hasPlanes(bits: CodeBits): bits is 5 | 6 {
  return bits === 5 || bits === 6;
}

/** The block size of codes in planes, which is the one that kernels take. */
export const PLANE_BLOCK_SIZE = 32;

/** The dtypes and shapes of the parts of a matrix [rows, columns], as MatMulNBits takes them; codes in planes are joined before. */
export function quantizedParts([rows, columns]: readonly number[], { bits, blockSize, symmetric }: BlockScheme) {
  const blocks = Math.ceil(columns / blockSize);
  const part = (dtype: DType, shape: readonly number[]): TypedExpr => ({ dtype, shape });
  const zeroBits = hasPlanes(bits) ? 8 : bits;
  return {
    codes: part(
      'uint8',
      hasPlanes(bits) ? [rows, bits, (blocks * blockSize) / 8] : [rows, blocks, (blockSize * bits) / 8],
    ),
    scales: part('float16', [rows * blocks]),
    zeroPoints: symmetric ? undefined : part('uint8', [rows * Math.ceil((blocks * zeroBits) / 8)]),
  };
}

/** The tensors of the matrix `from` stored by `scheme`. */
export function quantize(from: TensorExpr, scheme: BlockScheme, importance?: TensorExpr): QuantizedMatrix {
  const { codes, scales, zeroPoints } = quantizedParts(from.shape, scheme);
  const made = maker(from, scheme, importance);
  return {
    codes: made('codes', codes),
    scales: made('scales', scales),
    zeroPoints: zeroPoints && made('zero-points', zeroPoints),
  };
}

function maker(from: TensorExpr, scheme: BlockScheme, importance: TensorExpr | undefined) {
  return (part: QuantizedPart, typed: TypedExpr): QuantizeTensor => {
    return { kind: 'quantize', part, ...typed, scheme, from, importance };
  };
}

/**
 * A matrix rounded once and stored along both of its axes. Its transpose has the bits of the scheme: value = scale *
 * (code - middle), with one scale for the rows i of a block in column j. In each square of blocks these scales are
 * whole multiples m of one scale. So the matrix itself holds m * (code - middle) as codes of 8 bits under that one
 * scale: the same values to the last bit.
 */
export interface TurnableMatrix extends QuantizedMatrix {
  readonly turned: QuantizedMatrix;
}

/** The dtypes and shapes of the parts of a turnable matrix [rows, columns] and of its transpose. */
export function turnableParts(shape: readonly number[], scheme: BlockScheme) {
  return { ...quantizedParts(shape, { ...scheme, bits: 8 }), turned: quantizedParts(shape.toReversed(), scheme) };
}

/** The matrix `from` and its transpose, rounded once; the transpose by `scheme`, which has no zero points. */
export function quantizeTurnable(from: TensorExpr, given: BlockScheme, importance?: TensorExpr): TurnableMatrix {
  const scheme = { ...given, turnable: true } as const;
  const { turned, ...parts } = turnableParts(from.shape, scheme);
  const made = maker(from, scheme, importance);
  return {
    codes: made('codes', parts.codes),
    scales: made('scales', parts.scales),
    zeroPoints: undefined,
    turned: {
      codes: made('turned-codes', turned.codes),
      scales: made('turned-scales', turned.scales),
      zeroPoints: undefined,
    },
  };
}

/**
 * Matrices of one scheme and width, one under the other. Matrices that are still to be rounded are rounded as one
 * matrix, to the same bytes. Throws a RangeError if they are rounded in different ways.
 */
export function stackQuantized(matrices: readonly QuantizedMatrix[]): QuantizedMatrix {
  const toRound = matrices.map(({ codes }) => codes).filter((codes) => codes.kind === 'quantize');
  if (toRound.length > 0) return roundedAsOne(toRound, matrices.length);
  const zeroPoints = matrices.map((matrix) => matrix.zeroPoints).filter((part) => part !== undefined);
  return {
    codes: concatRows(matrices.map(({ codes }) => codes)),
    scales: concatRows(matrices.map(({ scales }) => scales)),
    zeroPoints: zeroPoints.length === 0 ? undefined : concatRows(zeroPoints),
  };
}

function roundedAsOne(codes: readonly QuantizeTensor[], count: number): QuantizedMatrix {
  const [{ scheme, importance }] = codes;
  const isOneWay = codes.every((one) => one.scheme === scheme && one.importance === importance);
  if (codes.length < count || !isOneWay) throw new RangeError('Matrices rounded in several ways cannot be stacked');
  return quantize(concatRows(codes.map(({ from }) => cast(from, 'float32'))), scheme, importance);
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

export function uint8Tensor(values: ArrayLike<number>, shape: readonly number[] = [values.length]): BytesTensor {
  return bytesOf('uint8', Uint8Array.from(values), shape);
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
