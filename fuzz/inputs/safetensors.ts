/** Changes a safetensors file in its header's JSON, its header's length or its data. */
import type { Random } from '../harness/random.ts';
import { mutateBytes, withNumber } from './bytes.ts';
import { mutateJson } from './json.ts';

const LENGTH_BYTES = 8;

/** Bytes of weights that are NaN or infinite, or the largest, in bfloat16, float16 and float32. */
const ODD_FLOATS = ['c07f', '807f', '80ff', '007c', '00fe', '0000c07f', '0000807f', 'ffff7f7f', '01000000'];

export function mutateSafetensors(bytes: Uint8Array, random: Random): Uint8Array {
  const parts = split(bytes);
  const how = random.int(10);
  if (parts === undefined || how === 0) return mutateBytes(bytes, random);
  if (how === 1) return withNumber(bytes, 0, LENGTH_BYTES, random);
  if (how === 2) return withOddFloat(bytes, bytes.length - parts.data.length, random);
  const header = mutateJson(parts.header, random);
  return header === undefined ? mutateBytes(bytes, random) : join(header, parts.data);
}

function split(bytes: Uint8Array): { header: string; data: Uint8Array } | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.length < LENGTH_BYTES) return undefined;
  const end = Number(buffer.readBigUInt64LE()) + LENGTH_BYTES;
  if (end > buffer.length) return undefined;
  return { header: buffer.toString('utf8', LENGTH_BYTES, end), data: buffer.subarray(end) };
}

function join(header: string, data: Uint8Array): Uint8Array {
  const text = Buffer.from(header);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

function withOddFloat(bytes: Uint8Array, dataStart: number, random: Random): Uint8Array {
  const result = new Uint8Array(bytes);
  const odd = Buffer.from(random.pick(ODD_FLOATS), 'hex');
  const places = Math.floor((bytes.length - dataStart) / odd.length);
  if (places > 0) result.set(odd, dataStart + odd.length * random.int(places));
  return result;
}
