/** Changes one field of a protobuf file, at any depth. Lengths around it are written anew. */
import type { Random } from '../harness/random.ts';
import { mutateBytes } from './bytes.ts';
import { INTEGERS, STRINGS } from './hostile-values.ts';

interface Field {
  number: number;
  /** 0: varint, 1: eight bytes, 2: with a length, 5: four bytes. */
  wire: number;
  varint: bigint;
  bytes: Uint8Array;
}

/** Deeper than any path of ONNX to a number. */
const MAX_DEPTH = 12;

export function mutateProtobuf(bytes: Uint8Array, random: Random): Uint8Array {
  if (random.chance(0.1)) return mutateBytes(bytes, random);
  return inMessage(bytes, random, 0) ?? mutateBytes(bytes, random);
}

/** Changes one field of the message, or of a message inside; undefined if it is not a message. */
function inMessage(bytes: Uint8Array, random: Random, depth: number): Uint8Array | undefined {
  const fields = parse(bytes);
  if (fields === undefined || fields.length === 0) return undefined;
  const at = random.int(fields.length);
  const field = fields[at];
  const inner =
    field.wire === 2 && depth < MAX_DEPTH && random.chance(0.8) ? inMessage(field.bytes, random, depth + 1) : undefined;
  if (inner === undefined) changeField(fields, at, random);
  else field.bytes = inner;
  return encode(fields);
}

function changeField(fields: Field[], at: number, random: Random): void {
  const field = fields[at];
  const changes: readonly (() => void)[] = [
    () => setValue(field, random),
    () => setValue(field, random),
    () => setValue(field, random),
    () => fields.splice(at, 1),
    () => fields.splice(at, 0, field),
    () => fields.push(...Array.from({ length: 1 + random.int(1000) }, () => field)),
    () => {
      field.number = 1 + random.int(30);
    },
    () => {
      field.wire = random.pick([0, 1, 2, 5]);
    },
    () => {
      field.bytes = fields[random.int(fields.length)].bytes;
    },
  ];
  random.pick(changes)();
}

function setValue(field: Field, random: Random): void {
  if (field.wire === 0) field.varint = random.pick(INTEGERS);
  else if (field.wire === 2 && random.chance(0.5)) field.bytes = Buffer.from(random.pick(STRINGS));
  else field.bytes = mutateBytes(field.bytes, random);
}

function parse(bytes: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at);
    if (tag === undefined || tag.value > 0xffff) return undefined;
    const field: Field = { number: Number(tag.value >> 3n), wire: Number(tag.value & 7n), varint: 0n, bytes: EMPTY };
    at = tag.end;
    if (field.number === 0 || ![0, 1, 2, 5].includes(field.wire)) return undefined;
    let length = field.wire === 1 ? 8 : field.wire === 5 ? 4 : 0;
    if (field.wire === 0 || field.wire === 2) {
      const number = readVarint(bytes, at);
      if (number === undefined) return undefined;
      at = number.end;
      if (field.wire === 0) field.varint = number.value;
      else length = Number(number.value);
    }
    if (at + length > bytes.length) return undefined;
    field.bytes = bytes.subarray(at, at + length);
    at += length;
    fields.push(field);
  }
  return fields;
}

const EMPTY = new Uint8Array(0);

function readVarint(bytes: Uint8Array, at: number): { value: bigint; end: number } | undefined {
  let value = 0n;
  for (let i = 0; i < 10 && at + i < bytes.length; i++) {
    value |= BigInt(bytes[at + i] & 0x7f) << BigInt(7 * i);
    if (bytes[at + i] < 0x80) return { value, end: at + i + 1 };
  }
  return undefined;
}

function encode(fields: readonly Field[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(({ number, wire, varint, bytes }) => {
      const tag = writeVarint(BigInt(number * 8 + wire));
      if (wire === 0) return [tag, writeVarint(varint)];
      return wire === 2 ? [tag, writeVarint(BigInt(bytes.length)), bytes] : [tag, bytes];
    }),
  );
}

function writeVarint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  for (; value > 0x7fn; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  bytes.push(Number(value));
  return Uint8Array.from(bytes);
}
