/**
 * Checksums of files that Lacuna wrote, computed while they were written. They tell a damaged or cut copy from a whole
 * one. They do not protect against intent. A cryptographic hash would, and made converting visibly slower.
 */
import { crc32 } from 'node:zlib';

/** CRC-32 (zlib's) of the bytes behind `sum` and of `data` after them. */
export function addToCrc32(data: Uint8Array, sum: number): number {
  // zlib starts over when it gets no bytes.
  return data.length === 0 ? sum : crc32(data, sum);
}

/**
 * CRC-32 of two runs of bytes, from their CRC-32s and the length of the second. So each writer sums its own parts of a
 * file. A CRC is a remainder over GF(2), and n further bytes multiply it by x^8n (M. Adler's crc32_combine).
 */
export function joinCrc32(first: number, second: number, secondBytes: number): number {
  return (multiply(powerOfByte(secondBytes), first) ^ second) >>> 0;
}

/** CRC-32 as eight hexadecimal digits. */
export function checksumOf(data: Uint8Array): string {
  return checksumText(crc32(data));
}

export function checksumText(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}

/** The polynomial of CRC-32 without x^32, the highest bit standing for x^0. */
const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;
const X_TO_THE_8 = 0x00800000;

/** a * b modulo the polynomial. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product;
}

/** x^(8 * bytes) modulo the polynomial, by squaring; `bytes` may be more than 32 bits. */
function powerOfByte(bytes: number): number {
  let power = ONE;
  let square = X_TO_THE_8;
  for (let left = bytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(square, power);
    square = multiply(square, square);
  }
  return power;
}
