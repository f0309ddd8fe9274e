/** Float conversion agrees with IEEE 754 on every 16-bit value and at every point where rounding changes. */
import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, type FloatDType } from '../core/dtype.ts';
import { castFloats } from './float-cast.ts';

function cast(bytes: ArrayBufferView, from: FloatDType, to: FloatDType): Uint8Array {
  const source = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const target = new Uint8Array((source.length / DTYPE_BYTES[from]) * DTYPE_BYTES[to]);
  castFloats(source, from, target, to);
  return target;
}

const uint16 = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.buffer);
const float32 = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.buffer);
const float64 = (bytes: Uint8Array): Float64Array => new Float64Array(bytes.buffer);

/** Exponent and mantissa bits; the bias follows. */
const LAYOUT = { float16: [5, 10], bfloat16: [8, 7] } as const;
type Half = keyof typeof LAYOUT;

/** The definition: (-1)^s * 2^(e - bias) * (1 + m / 2^bits), subnormal (m / 2^bits) * 2^(1 - bias). */
function numberOf(bits: number, type: Half): number {
  const [exponentBits, mantissaBits] = LAYOUT[type];
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> mantissaBits;
  const fraction = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

/**
 * Where two lists differ, including the sign of zero; NaN equals NaN. A loop, because comparing 65,536 values must be
 * fast.
 */
function differences(got: ArrayLike<number>, wanted: ArrayLike<number>): string[] {
  const found = got.length === wanted.length ? [] : [`${got.length} values, not ${wanted.length}`];
  for (let i = 0; i < wanted.length && found.length < 5; i++)
    if (!Object.is(got[i], wanted[i])) found.push(`[${i}]: ${got[i]}, not ${wanted[i]}`);
  return found;
}

const ALL = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

describe.each(['float16', 'bfloat16'] as const)('%s', (type) => {
  const infinity = type === 'float16' ? 0x7c00 : 0x7f80;

  test('widens every value exactly', () => {
    const wanted = Float64Array.from(ALL, (bits) => numberOf(bits, type));
    expect(differences(float64(cast(ALL, type, 'float64')), wanted)).toEqual([]);
    expect(differences(float32(cast(ALL, type, 'float32')), wanted)).toEqual([]);
  });

  test.each(['float32', 'float64'] as const)('comes back from %s as it was; NaN stays NaN', (wide) => {
    const back = uint16(cast(cast(ALL, type, wide), wide, type));
    // Any NaN is right: all become the one in the wanted list.
    const normalised = (values: Uint16Array): Uint16Array =>
      values.map((bits) => ((bits & 0x7fff) > infinity ? 0x7fff : bits));
    expect(differences(normalised(back), normalised(ALL))).toEqual([]);
  });

  // Between neighbours a < b with midpoint m: m goes to the even one, and all other values go to the nearer one. The
  // last pair is the largest finite value and infinity, which stands for 2^(largest exponent + 1).
  test.each(['float32', 'float64'] as const)('rounds %s to nearest even at every midpoint', (wide) => {
    const below = ALL.slice(0, infinity);
    const middle = Float64Array.from(below, (bits) => {
      const next =
        bits + 1 === infinity ? 2 * numberOf(bits, type) - numberOf(bits - 1, type) : numberOf(bits + 1, type);
      return (numberOf(bits, type) + next) / 2;
    });
    const even = below.map((bits) => bits + (bits & 1));
    const [less, more] = neighbours(middle, wide);
    for (const sign of [1, -1]) {
      const signBit = sign < 0 ? 0x8000 : 0;
      const rounded = (values: Float64Array): Uint16Array => {
        const signed = values.map((value) => sign * value);
        return uint16(cast(wide === 'float32' ? Float32Array.from(signed) : signed, wide, type));
      };
      expect(
        differences(
          rounded(middle),
          even.map((bits) => bits | signBit),
        ),
      ).toEqual([]);
      expect(
        differences(
          rounded(less),
          below.map((bits) => bits | signBit),
        ),
      ).toEqual([]);
      expect(
        differences(
          rounded(more),
          below.map((bits) => (bits + 1) | signBit),
        ),
      ).toEqual([]);
    }
  });
});

/**
 * The next lower and higher values of the type. Midpoints of 16-bit types are exact in float32, also of subnormal ones.
 */
function neighbours(values: Float64Array, type: 'float32' | 'float64'): readonly [Float64Array, Float64Array] {
  const step = (delta: number): Float64Array => {
    if (type === 'float32') {
      const bits = new Uint32Array(Float32Array.from(values).buffer).map((word) => word + delta);
      return Float64Array.from(new Float32Array(bits.buffer));
    }
    const bits = new BigUint64Array(Float64Array.from(values).buffer).map((word) => word + BigInt(delta));
    return new Float64Array(bits.buffer);
  };
  return [step(-1), step(1)];
}

test('float64 to float32 rounds once, to nearest even', () => {
  const values = Float64Array.of(1 + 2 ** -24, 1 + 3 * 2 ** -24, 1 + 2 ** -24 + 2 ** -52, 1e300, -1e-300, Number.NaN);
  const wanted = Float32Array.of(1, 1 + 2 ** -22, 1 + 2 ** -23, Number.POSITIVE_INFINITY, -0, Number.NaN);
  expect(float32(cast(values, 'float64', 'float32'))).toEqual(wanted);
});

test('float16 to bfloat16 rounds 10 mantissa bits to 7', () => {
  // 1 + 2^-8 is the midpoint of 1 and 1 + 2^-7; 1 + 3 * 2^-8 that of 1 + 2^-7 and 1 + 2^-6; 2^-24 is exact.
  const halves = Uint16Array.of(0x3c00 + 4, 0x3c00 + 12, 0x3c00 + 5, 1);
  expect(uint16(cast(halves, 'float16', 'bfloat16'))).toEqual(Uint16Array.of(0x3f80, 0x3f82, 0x3f81, 0x3380));
});

test('bfloat16 to float16 overflows to infinity and underflows through subnormals to zero', () => {
  // 65536; 2^-24, the least subnormal; 2^-25, a tie with zero; -2^-26.
  const values = Uint16Array.of(0x4780, 0x3380, 0x3300, 0xb280);
  expect(uint16(cast(values, 'bfloat16', 'float16'))).toEqual(Uint16Array.of(0x7c00, 1, 0, 0x8000));
});

test.each([0, 1, 2, 3, 8191, 8192, 8193, 16385])('%i elements, more or fewer than the scratch', (count) => {
  const source = Uint16Array.from({ length: count }, (_, i) => 0x3f80 + (i % 100));
  for (const to of ['float32', 'float64', 'float16'] as const) {
    const back = cast(cast(source, 'bfloat16', to), to, 'bfloat16');
    expect(uint16(back)).toEqual(source);
  }
});
