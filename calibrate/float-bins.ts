/**
 * Histogram bins read from the bits of a float32, so binning costs a shift and no logarithm. The upper bits are its
 * exponent and the leading bits of its mantissa. Shifted right by 21, they count quarters of octaves, with edges at 1,
 * 1.25, 1.5 and 1.75 times a power of two.
 */

/** Bits of the mantissa below a bin: two of its 23 remain. */
export const QUARTER_OCTAVE_SHIFT = 21;
export const BINS_PER_OCTAVE = 4;

/** Drops a float32's sign. */
export const MAGNITUDE_MASK = 0x7fffffff;

/** Its exponent alone. */
export const EXPONENT_MASK = 0x7f800000;

const EXPONENT_BIAS = 127;

/** The shifted bits of 2^exponent. */
export function binOfPower(exponent: number, binsPerOctave = BINS_PER_OCTAVE): number {
  return (exponent + EXPONENT_BIAS) * binsPerOctave;
}

/** Edges from 2^lowest to 2^highest, each a quarter of an octave after the other. */
export function quarterOctaveEdges(lowest: number, highest: number): Float64Array {
  return octaveEdges(lowest, highest, BINS_PER_OCTAVE);
}

/** The same with this many bins in an octave, all of one width. */
export function octaveEdges(lowest: number, highest: number, binsPerOctave: number): Float64Array {
  const count = (highest - lowest) * binsPerOctave + 1;
  return Float64Array.from({ length: count }, (_, i) => {
    const octave = Math.floor(i / binsPerOctave);
    return 2 ** (lowest + octave) * (1 + (i % binsPerOctave) / binsPerOctave);
  });
}

/** What a bin of pairs holds: how many fell into it, and a sum of theirs. Beside each other, both are in one line of cache. */
export const COUNT = 0;
export const ENERGY = 1;

export function emptyPairs(bins: number): Float64Array {
  return new Float64Array(2 * bins);
}

/** One number of every pair. */
export function partOf(pairs: Float64Array, part: typeof COUNT | typeof ENERGY): Float64Array {
  return Float64Array.from({ length: pairs.length / 2 }, (_, bin) => pairs[2 * bin + part]);
}

/** The same numbers, as the integers of their bits. */
export function bitsOf(values: Float32Array): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.length);
}
