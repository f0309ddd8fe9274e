/** Finds NaN and infinity in raw float bytes: the elements whose exponent bits are all ones. */
import { DTYPE_BYTES, type DType, type FloatDType, isFloat } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { listed, VOCABULARY_NAMES } from '../core/precision.ts';
import type { StoredTensor, TensorExpr } from '../core/tensor.ts';
import { MAX_FLOAT16 } from '../quantize/fit.ts';
import { castFloats } from '../quantize/float-cast.ts';

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

const WORD_TESTS: Readonly<Record<FloatDType, WordTest>> = {
  float16: { magnitude: [0x7fff7fff, 0x7fff7fff], add: [0x04000400, 0x04000400], sign: 0x80008000 | 0 },
  bfloat16: { magnitude: [0x7fff7fff, 0x7fff7fff], add: [0x00800080, 0x00800080], sign: 0x80008000 | 0 },
  float32: { magnitude: [0x7fffffff, 0x7fffffff], add: [0x00800000, 0x00800000], sign: 0x80000000 | 0 },
  float64: { magnitude: [0, 0x7fffffff], add: [0, 0x00100000], sign: 0x80000000 | 0 },
};

/** Bytes that the word test takes at a time: four words, so that the sums do not wait for each other. */
const TEST_BYTES = 16;

/** Throws 'non-finite' for NaN or infinity in `block`, at a multiple of 8, with elements from `firstElement` on. */
export function refuseNonFinite(tensor: StoredTensor, block: Uint8Array, firstElement: number): void {
  const found = findNonFinite(tensor.dtype, block);
  if (found === undefined) return;
  const index = multiIndex(firstElement + found.index, tensor.shape).join(', ');
  throw new LacunaError(
    'non-finite',
    `Tensor "${tensor.name}" holds ${found.value} at [${index}], in ${tensor.path}; weights must be finite numbers`,
    { hint: 'Get an intact checkpoint, or accept such values with --allow-nonfinite.' },
  );
}

/**
 * Throws 'unsupported' when values of `from` became infinite in `block`, its float16 form. `from` is a stored tensor
 * that must be finite, or its transpose. A model with such weights would give NaN.
 */
export function refuseOverflow(from: TensorExpr, block: Uint8Array): void {
  const tensor = from.kind === 'transpose' ? from.from : from;
  const isStored = tensor.kind === 'file' || tensor.kind === 'ggml';
  if (!isStored || !tensor.mustBeFinite || findNonFinite('float16', block) === undefined) return;
  throw new LacunaError(
    'unsupported',
    `Tensor "${tensor.name}" holds values beyond ${MAX_FLOAT16}, the largest float16, in ${tensor.path}`,
    { hint: `Convert with --dtype ${listed(VOCABULARY_NAMES, 'or')}.` },
  );
}

interface Found {
  readonly index: number;
  readonly value: number;
}

/** The first element that is not finite. Works for types without infinities too. */
function findNonFinite(dtype: DType, block: Uint8Array): Found | undefined {
  if (!isFloat(dtype)) return undefined;
  const tested = block.byteLength - (block.byteLength % TEST_BYTES);
  const words = new Int32Array(block.buffer, block.byteOffset, tested / 4);
  const start = passes(words, WORD_TESTS[dtype]) ? tested : 0;
  if (start === block.byteLength) return undefined;
  const first = start / DTYPE_BYTES[dtype];
  const values = new Float64Array(block.byteLength / DTYPE_BYTES[dtype] - first);
  castFloats(block.subarray(start), dtype, new Uint8Array(values.buffer), 'float64');
  const at = values.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? undefined : { index: first + at, value: values[at] };
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

/** Row-major flat index -> one index for each axis. */
function multiIndex(flatIndex: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flatIndex % shape[axis];
    flatIndex = Math.floor(flatIndex / shape[axis]);
  }
  return index;
}
