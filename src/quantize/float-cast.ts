/** Conversion among float16, bfloat16, float32 and float64, as raw bits: to nearest, ties to even (IEEE 754-2019). */
import { DTYPE_BYTES, type FloatDType } from '../core/dtype.ts';

/** Elements that pass through the float32 scratch memory at a time, if neither type is float32 (32 KiB). */
const SCRATCH_ELEMENTS = 8192;

/**
 * Converts all elements of `source` into `target`. Both start at a multiple of 8 of their memory and have the same
 * number of elements. Values beyond the target's range become infinite. NaN stays NaN.
 */
export function castFloats(source: Uint8Array, from: FloatDType, target: Uint8Array, to: FloatDType): void {
  if (from === to) target.set(source);
  else if (to === 'float32') TO_FLOAT32[from](source, uint32(target));
  else if (from === 'float32') FROM_FLOAT32[to](uint32(source), target);
  else castThroughFloat32(source, from, target, to);
}

function castThroughFloat32(source: Uint8Array, from: FloatDType, target: Uint8Array, to: FloatDType): void {
  const scratch = new Uint32Array(SCRATCH_ELEMENTS);
  const [sourceBytes, targetBytes] = [DTYPE_BYTES[from], DTYPE_BYTES[to]];
  const count = source.byteLength / sourceBytes;
  for (let start = 0; start < count; start += SCRATCH_ELEMENTS) {
    const end = Math.min(count, start + SCRATCH_ELEMENTS);
    const bits = scratch.subarray(0, end - start);
    const part = source.subarray(start * sourceBytes, end * sourceBytes);
    // float64 -> 16 bits would round twice. Rounding to odd first keeps what the second rounding needs.
    if (from === 'float64') roundFloat64ToOdd(part, bits);
    else TO_FLOAT32[from](part, bits);
    FROM_FLOAT32[to](bits, target.subarray(start * targetBytes, end * targetBytes));
  }
}

const TO_FLOAT32: Readonly<Record<FloatDType, (source: Uint8Array, bits: Uint32Array) => void>> = {
  bfloat16: (source, bits) => widenBfloat16(uint16(source), bits),
  float16: (source, bits) => widenFloat16(uint16(source), bits),
  float32: (source, bits) => bits.set(uint32(source)),
  // Storing a number into a Float32Array rounds to nearest even.
  float64: (source, bits) => floatsOf(bits).set(float64(source)),
};

const FROM_FLOAT32: Readonly<Record<FloatDType, (bits: Uint32Array, target: Uint8Array) => void>> = {
  bfloat16: (bits, target) => narrowToBfloat16(bits, uint16(target)),
  float16: (bits, target) => narrowToFloat16(bits, uint16(target)),
  float32: (bits, target) => uint32(target).set(bits),
  float64: (bits, target) => float64(target).set(floatsOf(bits)),
};

function uint16(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

function uint32(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

function float64(bytes: Uint8Array): Float64Array {
  return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
}

function floatsOf(bits: Uint32Array): Float32Array {
  return new Float32Array(bits.buffer, bits.byteOffset, bits.length);
}

/** A bfloat16 is the upper half of a float32. This is the hot path: nearly all checkpoints are stored so. */
function widenBfloat16(source: Uint16Array, bits: Uint32Array): void {
  const pairs = source.length >>> 1;
  const words = new Uint32Array(source.buffer, source.byteOffset, pairs);
  for (let i = 0; i < pairs; i++) {
    const word = words[i];
    bits[2 * i] = word << 16;
    bits[2 * i + 1] = word & 0xffff0000;
  }
  if (source.length % 2 === 1) bits[source.length - 1] = source[source.length - 1] << 16;
}

let float16Table: Uint32Array | undefined;

/** All 65,536 values by table (256 KiB), which needs no branch for subnormal values. */
function float16Bits(): Uint32Array {
  float16Table ??= Uint32Array.from({ length: 65536 }, (_, half) => float16ToFloat32Bits(half));
  return float16Table;
}

/** The value of every float16, by its bits. */
export function float16Values(): Float32Array {
  return floatsOf(float16Bits());
}

function widenFloat16(source: Uint16Array, bits: Uint32Array): void {
  const table = float16Bits();
  for (let i = 0; i < source.length; i++) bits[i] = table[source[i]];
}

function float16ToFloat32Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  // Exponent bias 127 instead of 15.
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // Subnormal, mantissa * 2^-24: shifted left until its leading one is the hidden bit 10.
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13)) >>> 0;
}

function narrowToBfloat16(bits: Uint32Array, target: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i];
    // NaN keeps its upper bits and is made quiet, because an addition could carry it into infinity or zero.
    if ((value & 0x7fffffff) > 0x7f800000) target[i] = (value >>> 16) | 0x40;
    else target[i] = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
}

function narrowToFloat16(bits: Uint32Array, target: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) target[i] = float32BitsToFloat16(bits[i]);
}

function float32BitsToFloat16(value: number): number {
  const sign = (value >>> 16) & 0x8000;
  const magnitude = value & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  // 65520 and above round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // 2^-14 and above: normal. The rounding carry moves from the mantissa into the exponent by itself.
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // Below 2^-25 (and at it, the tie to even): zero.
  if (magnitude <= 0x33000000) return sign;
  // Subnormal: the mantissa with its hidden bit, in units of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const floor = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (floor + (rest > half || (rest === half && (floor & 1) === 1) ? 1 : 0));
}

/**
 * float64 -> float32 with the last bit set whenever something was cut off. A float32 has more than two bits more than
 * either 16-bit type. So rounding it to nearest even gives the same as one rounding of the float64 (S. Boldo, G.
 * Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
 */
function roundFloat64ToOdd(source: Uint8Array, bits: Uint32Array): void {
  const values = float64(source);
  const rounded = floatsOf(bits);
  rounded.set(values);
  for (let i = 0; i < values.length; i++) {
    if (rounded[i] === values[i] || Number.isNaN(values[i])) continue;
    const towardZero = Math.abs(rounded[i]) > Math.abs(values[i]) ? bits[i] - 1 : bits[i];
    bits[i] = towardZero | 1;
  }
}
