/** Changes to unknown bytes, and to numbers at known places. */
import type { Random } from '../harness/random.ts';
import { INTEGERS } from './hostile-values.ts';

export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  // Headers come first, and the rest is read by them.
  const reach = random.chance(0.7) ? Math.min(bytes.length, 512) : bytes.length;
  const at = random.int(reach + 1);
  const length = Math.min(1 + random.int(64), bytes.length - at);
  const changes: readonly (() => Uint8Array)[] = [
    () => withNumber(bytes, at, random.pick([1, 2, 4, 8]), random),
    () => withNumber(bytes, at, 8, random),
    () => flipped(bytes, at, random),
    () => flipped(bytes, at, random),
    () => bytes.subarray(0, at),
    () => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]),
    () => Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]),
    () => spliced(bytes, at, length, random),
    () => Buffer.concat([bytes, Buffer.alloc(1 + random.int(64), random.int(256))]),
    () => new Uint8Array(bytes).fill(random.pick([0, 0x7f, 0x80, 0xff]), at, at + length),
  ];
  return random.pick(changes)();
}

/** A little-endian integer of `width` bytes, written over the bytes at `at`. */
export function withNumber(bytes: Uint8Array, at: number, width: number, random: Random): Uint8Array {
  if (at + width > bytes.length) return bytes;
  const result = new Uint8Array(bytes);
  let value = BigInt.asUintN(8 * width, random.pick(INTEGERS));
  for (let i = 0; i < width; i++, value >>= 8n) result[at + i] = Number(value & 0xffn);
  return result;
}

function flipped(bytes: Uint8Array, at: number, random: Random): Uint8Array {
  const result = new Uint8Array(bytes);
  if (at < result.length) result[at] ^= 1 << random.int(8);
  return result;
}

/** A range written over another. */
function spliced(bytes: Uint8Array, at: number, length: number, random: Random): Uint8Array {
  const result = new Uint8Array(bytes);
  const target = random.int(bytes.length - length + 1);
  result.set(bytes.subarray(at, at + length), target);
  return result;
}
