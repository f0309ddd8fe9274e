/**
 * Blocks of GGUF's quantised types -> float32.
 *
 * A value is scale * q or scale * q + offset. Scale and offset are float16 or products of a float16 and a small whole
 * number. Scale, offset and their product with q fit into a float32 exactly (except Q6_K's, which is rounded once). So
 * every value is rounded once, as in the reference implementation, and is equal to its value bit for bit.
 */
import type { GgmlType } from '../../core/tensor.ts';
import { float16Values } from '../float-cast.ts';
import { BLOCK_SIZES } from './types.ts';

/** Writes the values of the block at `at` of `from` to `to`, starting at `first`. */
type ReadBlock = (from: Uint8Array, at: number, to: Float32Array, first: number, half: Float32Array) => void;

const READERS: Readonly<Record<GgmlType, ReadBlock>> = {
  Q4_0: nibbles({ zero: 8 }),
  Q4_1: nibbles({ hasOffset: true }),
  Q5_0: nibbles({ zero: 16, hasFifth: true }),
  Q5_1: nibbles({ hasOffset: true, hasFifth: true }),
  Q8_0: readQ8_0,
  Q4_K: runs({ hasFifth: false }),
  Q5_K: runs({ hasFifth: true }),
  Q6_K: readQ6_K,
};

/** Dequantises whole blocks. `to` has room for all their values. */
export function dequantize(type: GgmlType, from: Uint8Array, to: Float32Array): void {
  const { values, bytes } = BLOCK_SIZES[type];
  const readBlock = READERS[type];
  const half = float16Values();
  for (let at = 0, first = 0; at < from.length; at += bytes, first += values) readBlock(from, at, to, first, half);
}

function bits16(from: Uint8Array, at: number): number {
  return from[at] | (from[at + 1] << 8);
}

function bits32(from: Uint8Array, at: number): number {
  return bits16(from, at) | (bits16(from, at + 2) << 16);
}

interface Nibbles {
  /** The code that stands for zero. */
  readonly zero?: number;
  readonly hasOffset?: boolean;
  readonly hasFifth?: boolean;
}

/** scale; offset and 32 fifth bits where a type has them; 16 bytes whose low halves are the first 16 values. */
function nibbles({ zero = 0, hasOffset = false, hasFifth = false }: Nibbles): ReadBlock {
  const fifthsAt = hasOffset ? 4 : 2;
  const halvesAt = fifthsAt + (hasFifth ? 4 : 0);
  return (from, at, to, first, half) => {
    const scale = half[bits16(from, at)];
    // Adding -0 changes nothing, not even the sign of a zero.
    const offset = hasOffset ? half[bits16(from, at + 2)] : -0;
    const fifths = hasFifth ? bits32(from, at + fifthsAt) : 0;
    for (let i = 0; i < 16; i++) {
      const pair = from[at + halvesAt + i];
      to[first + i] = scale * (((pair & 15) | (((fifths >>> i) & 1) << 4)) - zero) + offset;
      to[first + 16 + i] = scale * (((pair >> 4) | (((fifths >>> (i + 16)) & 1) << 4)) - zero) + offset;
    }
  };
}

/** scale, 32 signed bytes. */
function readQ8_0(from: Uint8Array, at: number, to: Float32Array, first: number, half: Float32Array): void {
  const scale = half[bits16(from, at)];
  for (let i = 0; i < 32; i++) to[first + i] = scale * ((from[at + 2 + i] << 24) >> 24);
}

/**
 * Eight pairs of 6-bit numbers in 12 bytes, for eight runs of 32 values. The result has the scale in its low half and
 * the offset's number in its high half. For runs 4 to 7, the upper two bits are in the bytes of runs 0 to 3.
 */
function scaleAndOffset(from: Uint8Array, at: number, run: number): number {
  if (run < 4) return (from[at + run] & 63) | ((from[at + 4 + run] & 63) << 8);
  const low = from[at + 4 + run];
  const scale = (low & 15) | ((from[at + run - 4] >> 6) << 4);
  const offset = (low >> 4) | ((from[at + run] >> 6) << 4);
  return scale | (offset << 8);
}

/**
 * scale, offset, 12 bytes of small scales and offsets, 32 bytes of fifth bits where a type has them (bit `run` of byte
 * i is of value i of that run), 4 times 32 bytes: low halves are one run of 32, high ones the next.
 */
function runs({ hasFifth }: { readonly hasFifth: boolean }): ReadBlock {
  const halvesAt = hasFifth ? 48 : 16;
  return (from, at, to, first, half) => {
    const scale = half[bits16(from, at)];
    const offset = half[bits16(from, at + 2)];
    for (let run = 0; run < 8; run++) {
      const small = scaleAndOffset(from, at + 4, run);
      const [runScale, runOffset] = [scale * (small & 63), offset * (small >> 8)];
      const bytes = at + halvesAt + 32 * (run >> 1);
      const upper = 4 * (run & 1);
      for (let i = 0; i < 32; i++) {
        const fifth = hasFifth ? (from[at + 16 + i] >> run) & 1 : 0;
        to[first + 32 * run + i] = runScale * (((from[bytes + i] >> upper) & 15) | (fifth << 4)) - runOffset;
      }
    }
  };
}

/**
 * 128 bytes of low halves, 64 bytes of upper two bits, 16 signed small scales, scale. Each half of 128 values has four
 * runs of 32: runs 0 and 1 are the low halves of 64 bytes, runs 2 and 3 the high halves. 32 stands for zero.
 */
function readQ6_K(from: Uint8Array, at: number, to: Float32Array, first: number, half: Float32Array): void {
  const scale = half[bits16(from, at + 208)];
  for (let run = 0; run < 8; run++) {
    const [part, quarter] = [run >> 2, run & 3];
    const low = at + 64 * part + 32 * (quarter & 1);
    const high = at + 128 + 32 * part;
    for (let i = 0; i < 32; i++) {
      const runScale = scale * ((from[at + 192 + 2 * run + (i >> 4)] << 24) >> 24);
      const q = ((from[low + i] >> (4 * (quarter >> 1))) & 15) | (((from[high + i] >> (2 * quarter)) & 3) << 4);
      to[first + 32 * run + i] = runScale * (q - 32);
    }
  }
}
