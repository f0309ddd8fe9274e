/** The header of a GGUF file (version 2 or 3, little-endian). Counts and lengths are checked before they are used. */
import { elementCount } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import { lfsPointerError } from '../regular-file.ts';
import { asNumber, badGguf, type Cursor } from './cursor.ts';

/** A value of the metadata. Whole numbers beyond 2^53 - 1 stay bigints. */
export type GgufValue = string | number | bigint | boolean | readonly string[] | readonly (number | bigint)[];

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export interface TensorInfo {
  readonly name: string;
  /** Row-major: elements of the last dimension lie side by side. */
  readonly shape: readonly number[];
  /** Code of the element type. */
  readonly type: number;
  /** From the beginning of the data. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly TensorInfo[];
  readonly dataStart: number;
}

const MAGIC = 0x46554747; // "GGUF"
/** "vers": the start of the placeholder for a large file when a repository was cloned without Git LFS. */
const LFS_POINTER = 0x73726576;
const VERSIONS = [2, 3];

const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 20;

const MAX_DIMENSIONS = 4;

const LIMITS = {
  tensors: { most: 1 << 17, why: 'Llama 3.1 405B has 1138, mixtures of experts a few thousand' },
  keys: { most: 1 << 14, why: 'models have some 20 to 60' },
  array: { most: 1 << 24, why: 'the largest vocabularies have 262,144 tokens and twice as many merges' },
  name: { most: 65_535, why: 'that is the longest name of the format' },
} as const;

/** The fewest bytes that each takes: a length and a type, or a name's length, dimensions, type and offset. */
const SMALLEST = { key: 8 + 4 + 1, tensor: 8 + 4 + 4 + 8 } as const;

/** Reads the header. 'bad-file' says what is wrong with it; 'unsupported' for other versions and big-endian files. */
export function readHeader(cursor: Cursor): GgufHeader {
  checkMagic(cursor.uint32('the magic'), cursor.path);
  checkVersion(cursor.uint32('the version'), cursor.path);
  const tensorCount = cursor.count('the number of tensors', SMALLEST.tensor, LIMITS.tensors);
  const keyCount = cursor.count('the number of metadata keys', SMALLEST.key, LIMITS.keys);
  const metadata = readMetadata(cursor, keyCount);
  const alignment = readAlignment(metadata, cursor.path);
  const tensors = Array.from({ length: tensorCount }, () => readTensorInfo(cursor, alignment));
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { metadata, tensors, dataStart };
}

function checkMagic(magic: number, path: string): void {
  if (magic === MAGIC) return;
  if (magic !== LFS_POINTER) throw badGguf(path, 'it does not begin with "GGUF"');
  throw lfsPointerError(path);
}

function checkVersion(version: number, path: string): void {
  if (VERSIONS.includes(version)) return;
  // A version is a small number. With its bytes in reverse order it is a large one.
  const what = version > 0xffff ? 'is big-endian' : `has version ${version}`;
  throw new LacunaError('unsupported', `${path} ${what}; read are little-endian files of version ${VERSIONS}`, {
    hint: 'Convert it with a current llama.cpp, or give the original Hugging Face checkpoint.',
  });
}

function readMetadata(cursor: Cursor, count: number): GgufMetadata {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = readName(cursor, `metadata key ${i}`);
    if (metadata.has(key)) throw badGguf(cursor.path, `it has the key "${key}" twice`);
    metadata.set(key, readValue(cursor, key));
  }
  return metadata;
}

/** The values of the keys that begin with `prefix`, by the rest of their keys. */
export function valuesUnder(prefix: string, metadata: GgufMetadata): Readonly<Record<string, GgufValue>> {
  const own = [...metadata].filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value]));
}

function readName(cursor: Cursor, what: string): string {
  const name = cursor.string(what);
  if (name.length > LIMITS.name.most)
    throw badGguf(cursor.path, `${what} is a name of ${name.length} characters; ${LIMITS.name.why}`);
  return name;
}

type Scalar = string | number | bigint | boolean;

interface ScalarType {
  /** The fewest bytes that a value takes. */
  readonly bytes: number;
  readonly read: (cursor: Cursor, what: string) => Scalar;
}

const ARRAY = 9;

/** `enum gguf_type`, arrays aside. */
const SCALARS: Readonly<Record<number, ScalarType>> = {
  0: fixed(1, (view, at) => view.getUint8(at)),
  1: fixed(1, (view, at) => view.getInt8(at)),
  2: fixed(2, (view, at) => view.getUint16(at, true)),
  3: fixed(2, (view, at) => view.getInt16(at, true)),
  4: fixed(4, (view, at) => view.getUint32(at, true)),
  5: fixed(4, (view, at) => view.getInt32(at, true)),
  6: fixed(4, (view, at) => view.getFloat32(at, true)),
  7: { bytes: 1, read: readBool },
  8: { bytes: 8, read: (cursor, what) => cursor.string(what) },
  10: fixed(8, (view, at) => asNumber(view.getBigUint64(at, true))),
  11: fixed(8, (view, at) => asNumber(view.getBigInt64(at, true))),
  12: fixed(8, (view, at) => view.getFloat64(at, true)),
};

function fixed(bytes: number, get: (view: DataView, at: number) => Scalar): ScalarType {
  return { bytes, read: (cursor, what) => cursor.fixed(what, bytes, get) };
}

function readBool(cursor: Cursor, what: string): boolean {
  const value = cursor.fixed(what, 1, (view, at) => view.getUint8(at));
  if (value > 1) throw badGguf(cursor.path, `${what} must be 0 or 1 but is ${value}`);
  return value === 1;
}

function readValue(cursor: Cursor, key: string): GgufValue {
  const what = `"${key}"`;
  const type = cursor.uint32(`the type of ${what}`);
  return type === ARRAY ? readArray(cursor, what) : scalarType(type, what, cursor).read(cursor, what);
}

function scalarType(type: number, what: string, { path }: Cursor): ScalarType {
  const found = Object.hasOwn(SCALARS, type) ? SCALARS[type] : undefined;
  if (found !== undefined) return found;
  // By the format, an array may contain arrays. No known key does, and their depth would need a limit.
  throw badGguf(path, `${what} holds values of type ${type}${type === ARRAY ? ' (arrays in arrays)' : ''}`);
}

function readArray(cursor: Cursor, what: string): readonly string[] | readonly (number | bigint)[] {
  const { bytes, read } = scalarType(cursor.uint32(`the element type of ${what}`), what, cursor);
  const length = cursor.count(`the length of ${what}`, bytes, LIMITS.array);
  const values: Scalar[] = [];
  for (let i = 0; i < length; i++) values.push(read(cursor, what));
  // All of one type, by the table. Arrays do not distinguish booleans from numbers, because no known key has booleans.
  return values as string[] | (number | bigint)[];
}

function readAlignment(metadata: GgufMetadata, path: string): number {
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const isPower = typeof alignment === 'number' && alignment > 0 && (alignment & (alignment - 1)) === 0;
  if (isPower && alignment >= 8 && alignment <= MAX_ALIGNMENT) return alignment;
  throw badGguf(path, `general.alignment is ${alignment}; wanted is a power of two from 8 to ${MAX_ALIGNMENT}`);
}

function readTensorInfo(cursor: Cursor, alignment: number): TensorInfo {
  const { path } = cursor;
  const name = readName(cursor, "a tensor's name");
  const what = `tensor "${name}"`;
  const rank = cursor.uint32(`the rank of ${what}`);
  if (rank > MAX_DIMENSIONS) throw badGguf(path, `${what} has ${rank} dimensions; the format allows ${MAX_DIMENSIONS}`);
  const shape = Array.from({ length: rank }, () => cursor.uint64(`a dimension of ${what}`)).reverse();
  const sizes = shape.filter((size) => typeof size === 'number');
  if (sizes.length < rank || sizes.includes(0) || !Number.isSafeInteger(elementCount(sizes)))
    throw badGguf(path, `${what} has the shape [${shape}]; wanted are 1 to 2^53 - 1 elements`);
  const type = cursor.uint32(`the type of ${what}`);
  const offset = cursor.uint64(`the offset of ${what}`);
  if (typeof offset === 'bigint' || offset % alignment !== 0)
    throw badGguf(path, `${what} has the offset ${offset}, no multiple of the alignment ${alignment}`);
  return { name, shape: sizes, type, offset };
}
