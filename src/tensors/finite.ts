/** Finds NaN and infinity in raw float bytes: the elements whose exponent bits are all ones. */
import { DTYPE_BYTES, type DType } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { listed, VOCABULARY_NAMES } from '../core/precision.ts';
import type { StoredTensor, TensorExpr } from '../core/tensor.ts';

/**
 * How words of 32 bits are tested, even and odd ones. Adding the exponent's lowest bit to the magnitude sets the sign
 * bit exactly when the exponent is all ones. A word holds two 16-bit elements, and the lower one's sum never carries
 * out of its half (0x7fff + 0x0400 < 0x10000). For a float64 only the upper, odd word matters.
 */
interface WordTest {
  readonly magnitude: readonly [even: number, odd: number];
  readonly add: readonly [even: number, odd: number];
  readonly sign: number;
}

const WORD_TESTS: Readonly<Partial<Record<DType, WordTest>>> = {
  float16: { magnitude: [0x7fff7fff, 0x7fff7fff], add: [0x04000400, 0x04000400], sign: 0x80008000 | 0 },
  bfloat16: { magnitude: [0x7fff7fff, 0x7fff7fff], add: [0x00800080, 0x00800080], sign: 0x80008000 | 0 },
  float32: { magnitude: [0x7fffffff, 0x7fffffff], add: [0x00800000, 0x00800000], sign: 0x80000000 | 0 },
  float64: { magnitude: [0, 0x7fffffff], add: [0, 0x00100000], sign: 0x80000000 | 0 },
};

/** Bytes that the word test takes at a time: four words, so that the sums do not wait for each other. */
const TEST_BYTES = 16;

/**
 * Throws 'non-finite' when `block` holds a NaN or an infinity. The block starts at a multiple of 8 of its memory and
 * holds the tensor's elements from index `firstElement` on.
 */
export function refuseNonFinite(tensor: StoredTensor, block: Uint8Array, firstElement: number): void {
  const index = indexOfNonFinite(tensor.dtype, block);
  if (index >= 0) throw nonFiniteError(tensor, firstElement + index, valueAt(tensor.dtype, block, index));
}

/**
 * Throws 'unsupported' when values of `from` became infinite in `block`, its float16 form. `from` is a stored tensor
 * that must be finite, or its transpose. A model with such weights would give NaN.
 */
export function refuseOverflow(from: TensorExpr, block: Uint8Array): void {
  const tensor = from.kind === 'transpose' ? from.from : from;
  const isStored = tensor.kind === 'file' || tensor.kind === 'ggml';
  if (!isStored || !tensor.mustBeFinite || indexOfNonFinite('float16', block) < 0) return;
  throw new LacunaError(
    'unsupported',
    `Tensor "${tensor.name}" holds values beyond ${MAX_FLOAT16}, the largest float16, in ${tensor.path}`,
    { hint: `Convert with --dtype ${listed(VOCABULARY_NAMES, 'or')}.` },
  );
}

const MAX_FLOAT16 = 65504;

/** Index of the first element that is not finite, or -1. Works for types without infinities too. */
function indexOfNonFinite(dtype: DType, block: Uint8Array): number {
  const test = WORD_TESTS[dtype];
  if (test === undefined) return -1;
  const tested = block.byteLength - (block.byteLength % TEST_BYTES);
  const words = new Int32Array(block.buffer, block.byteOffset, tested / 4);
  return firstNonFinite(dtype, block, passes(words, test) ? tested : 0);
}

/** The hot pass: no branch in the loop, one answer for the whole block. */
function passes(
  words: Int32Array,
  { magnitude: [evenBits, oddBits], add: [evenAdd, oddAdd], sign }: WordTest,
): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < words.length; i += 4) {
    a |= ((words[i] & evenBits) + evenAdd) | 0;
    b |= ((words[i + 1] & oddBits) + oddAdd) | 0;
    c |= ((words[i + 2] & evenBits) + evenAdd) | 0;
    d |= ((words[i + 3] & oddBits) + oddAdd) | 0;
  }
  return ((a | b | c | d) & sign) === 0;
}

/** Index of the first element from byte `startByte` on that is not finite, or -1. */
function firstNonFinite(dtype: DType, block: Uint8Array, startByte: number): number {
  const count = block.byteLength / DTYPE_BYTES[dtype];
  for (let i = startByte / DTYPE_BYTES[dtype]; i < count; i++) if (!Number.isFinite(valueAt(dtype, block, i))) return i;
  return -1;
}

/**
 * One element as a number. For the 16-bit types only infinities and NaN must be right, because only these are reported.
 */
function valueAt(dtype: DType, block: Uint8Array, index: number): number {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  if (dtype === 'float64') return view.getFloat64(8 * index, true);
  if (dtype === 'float32') return view.getFloat32(4 * index, true);
  const bits = view.getUint16(2 * index, true);
  const exponentMask = dtype === 'float16' ? 0x7c00 : 0x7f80;
  if ((bits & exponentMask) !== exponentMask) return 0;
  if ((bits & 0x7fff) !== exponentMask) return Number.NaN;
  return bits & 0x8000 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

function nonFiniteError(tensor: StoredTensor, flatIndex: number, value: number): LacunaError {
  const index = multiIndex(flatIndex, tensor.shape).join(', ');
  return new LacunaError(
    'non-finite',
    `Tensor "${tensor.name}" holds ${value} at [${index}], in ${tensor.path}; weights must be finite numbers`,
    { hint: 'Get an intact checkpoint, or accept such values with --allow-nonfinite.' },
  );
}

/** Row-major flat index -> one index for each axis. */
function multiIndex(flatIndex: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flatIndex % shape[axis];
    flatIndex = Math.floor(flatIndex / shape[axis]);
  }
  return index;
}
