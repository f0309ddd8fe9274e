/** Changes one field of a protobuf file, at any depth. Lengths around it are written anew. */
import protobuf from 'protobufjs/minimal.js';
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
  const reader = protobuf.Reader.create(bytes);
  const fields: Field[] = [];
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      const field: Field = { number: tag >>> 3, wire: tag & 7, varint: 0n, bytes: EMPTY };
      if (tag > 0xffff || field.number === 0 || ![0, 1, 2, 5].includes(field.wire)) return undefined;
      const start = reader.pos;
      if (field.wire === 0) field.varint = BigInt(reader.uint64().toString());
      else if (field.wire === 2) field.bytes = reader.bytes();
      else field.bytes = bytes.subarray(start, reader.skipType(field.wire).pos);
      fields.push(field);
    }
  } catch {
    return undefined;
  }
  return fields;
}

const EMPTY = new Uint8Array(0);

function encode(fields: readonly Field[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(({ number, wire, varint, bytes }) => {
      const writer = protobuf.Writer.create().uint32(number * 8 + wire);
      if (wire === 0) return [writer.uint64(String(varint)).finish()];
      return wire === 2 ? [writer.bytes(bytes).finish()] : [writer.finish(), bytes];
    }),
  );
}
