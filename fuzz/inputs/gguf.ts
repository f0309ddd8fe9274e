/** Changes one number or string of a GGUF file. A walk through its header finds their places. */
import type { Random } from '../harness/random.ts';
import { mutateBytes, withNumber } from './bytes.ts';
import { STRINGS } from './hostile-values.ts';

interface Field {
  readonly at: number;
  /** Bytes of a number, or of a string after its length. */
  readonly width: number;
  readonly kind: 'number' | 'string';
}

const STRING = 8;
const ARRAY = 9;
/** Bytes of a scalar by its type in the format. The two types that are no scalars have none. */
const WIDTHS = [1, 1, 2, 2, 4, 4, 4, 1, Number.NaN, Number.NaN, 8, 8, 8];

export function mutateGguf(bytes: Uint8Array, random: Random): Uint8Array {
  const fields = fieldsOf(bytes);
  if (fields.length === 0 || random.chance(0.15)) return mutateBytes(bytes, random);
  const field = random.pick(fields);
  return field.kind === 'number' ? withNumber(bytes, field.at, field.width, random) : withString(bytes, field, random);
}

function withString(bytes: Uint8Array, { at, width }: Field, random: Random): Uint8Array {
  const text = Buffer.from(random.chance(0.9) ? random.pick(STRINGS) : 'x'.repeat(10 ** (2 + random.int(4))));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([bytes.subarray(0, at - 8), length, text, bytes.subarray(at + width)]);
}

/** All of them up to the point where the file breaks the format. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields: Field[] = [];
  let at = 0;
  const number = (width: number): number => {
    fields.push({ at, width, kind: 'number' });
    at += width;
    return width === 8 ? Number(buffer.readBigUInt64LE(at - 8)) : buffer.readUIntLE(at - width, width);
  };
  const string = () => {
    const width = number(8);
    if (width > buffer.length) throw new RangeError();
    fields.push({ at, width, kind: 'string' });
    at += width;
  };
  const value = (type: number): void => {
    if (type === STRING) string();
    else if (type === ARRAY) {
      const item = number(4);
      const count = number(8);
      for (let i = 0; i < count && item !== ARRAY; i++) value(item);
    } else number(WIDTHS[type]);
  };
  try {
    number(4);
    number(4);
    const [tensors, keys] = [number(8), number(8)];
    for (let i = 0; i < keys; i++) {
      string();
      value(number(4));
    }
    for (let i = 0; i < tensors; i++) {
      string();
      const rank = number(4);
      for (let axis = 0; axis < rank; axis++) number(8);
      number(4);
      number(8);
    }
  } catch {
    // What was found so far is enough.
  }
  return fields;
}
