/** TensorProto -> `TensorExpr`: values in any of ONNX's fields, or a checked range of an external file. */
import { join } from 'node:path';
import { byteLength, DTYPES, type DType, ELEMENT_TYPES, elementCount } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import type { FileTensor, TensorExpr, TypedExpr } from '../../src/core/tensor.ts';
import { EXTERNAL_LOCATION, type Int64, type Tensor } from './proto.ts';

/** What decoding knows about its file. */
export interface Source {
  readonly path: string;
  /** External data are named relative to it. */
  readonly folder: string;
  readonly bytes: Uint8Array;
  /** Ranges of other files found so far. They are checked against those files at the end. */
  readonly externals: FileTensor[];
}

export function badFile({ path }: Pick<Source, 'path'>, problem: string, cause?: unknown): LacunaError {
  return new LacunaError('bad-file', `${path}: ${problem}`, { cause });
}

/** An int64 as a number. A value that a number cannot hold exactly is refused. */
export function asSafeInteger(value: Int64, what: string, { path }: Source): number {
  const number = Number(value.toString());
  if (Number.isSafeInteger(number)) return number;
  throw new LacunaError('unsupported', `${path}: ${what} is ${value}; whole numbers up to 2^53 - 1 are supported`);
}

/** More axes than NumPy allows. No operator takes this many. */
const MAX_RANK = 64;

/** Larger values stay in their file, as ranges. */
const COPIED_BYTES = 1024;

export function decodeTensor(proto: Tensor, source: Source, name = proto.name || '(constant)'): TensorExpr {
  const what = `Tensor "${name}"`;
  const dtype = dtypeOf(proto.dataType ?? 0, what, source);
  const shape = decodeShape(proto, what, source);
  if (proto.segment) throw new LacunaError('unsupported', `${source.path}: ${what} is stored in segments`);
  const described = { dtype, shape, name };
  if (proto.dataLocation === EXTERNAL_LOCATION) return externalTensor(proto, described, source);
  if (Object.hasOwn(proto, 'rawData')) return rawTensor(proto.rawData ?? new Uint8Array(), described, source);
  return { kind: 'bytes', dtype, shape, bytes: typedBytes(proto, dtype, elementCount(shape), what, source) };
}

interface Described extends TypedExpr {
  readonly name: string;
}

export function dtypeOf(code: number, what: string, { path }: Source): DType {
  const dtype = DTYPES.find((known) => ELEMENT_TYPES[known].code === code);
  if (dtype === undefined)
    throw new LacunaError('unsupported', `${path}: ${what} has ONNX element type ${code}, which is not built here`);
  return dtype;
}

function decodeShape(proto: Tensor, what: string, source: Source): readonly number[] {
  const dims = proto.dims ?? [];
  if (dims.length > MAX_RANK) throw badFile(source, `${what} has ${dims.length} axes; at most ${MAX_RANK} are allowed`);
  const shape = dims.map((dim) => asSafeInteger(dim, `an axis of ${what}`, source));
  if (shape.some((dim) => dim < 0)) throw badFile(source, `${what} has a negative axis: [${shape}]`);
  // No element has more than eight bytes, and byte counts must stay exact.
  if (elementCount(shape) > Number.MAX_SAFE_INTEGER / 8) throw badFile(source, `${what} is too large: [${shape}]`);
  return shape;
}

function externalTensor(proto: Tensor, { dtype, shape, name }: Described, source: Source): FileTensor {
  const entries = new Map((proto.externalData ?? []).map(({ key, value }) => [key ?? '', value ?? '']));
  const location = checkedLocation(entries.get('location') ?? '', name, source);
  const wanted = byteLength(dtype, shape);
  const length = asCount(entries.get('length') ?? String(wanted), `length of tensor "${name}"`, source);
  if (length !== wanted)
    throw badFile(
      source,
      `Tensor "${name}" of ${dtype} [${shape}] takes ${wanted} bytes, but its external length is ${length}`,
    );
  const byteOffset = asCount(entries.get('offset') ?? '0', `offset of tensor "${name}"`, source);
  const path = join(source.folder, location);
  const tensor: FileTensor = { kind: 'file', dtype, shape, path, byteOffset, name, mustBeFinite: false };
  source.externals.push(tensor);
  return tensor;
}

/** A location is a path below the model's folder. Anything else could name any file of the machine. */
function checkedLocation(location: string, name: string, source: Source): string {
  const parts = location.split(/[/\\]/);
  const plain = parts.every((part) => part !== '' && part !== '.' && part !== '..' && !/[\0:]/.test(part));
  if (!plain)
    throw badFile(source, `Tensor "${name}" is in "${location}"; a relative name below the model's folder is wanted`);
  return location;
}

function asCount(text: string, what: string, source: Source): number {
  const count = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count)) throw badFile(source, `The ${what} is "${text}"; a number of bytes is wanted`);
  return count;
}

function rawTensor(raw: Uint8Array, { dtype, shape, name }: Described, source: Source): TensorExpr {
  const wanted = byteLength(dtype, shape);
  if (raw.length !== wanted)
    throw badFile(source, `Tensor "${name}" of ${dtype} [${shape}] takes ${wanted} bytes, but has ${raw.length}`);
  if (raw.length <= COPIED_BYTES) return { kind: 'bytes', dtype, shape, bytes: new Uint8Array(raw) };
  const byteOffset = raw.byteOffset - source.bytes.byteOffset;
  return { kind: 'file', dtype, shape, path: source.path, byteOffset, name, mustBeFinite: false };
}

/** Values that are narrower than the field are stored one to an entry. */
function typedBytes(proto: Tensor, dtype: DType, count: number, what: string, source: Source): Uint8Array {
  const entries: readonly Int64[] = proto[OWN_FIELDS[dtype] ?? 'int32Data'] ?? [];
  if (entries.length !== count)
    throw badFile(source, `${what} has ${entries.length} values where its shape asks for ${count}`);
  const view = typedArray(dtype, entries);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The fields that hold values of one type. All other values are in `int32Data`. */
const OWN_FIELDS: Readonly<Partial<Record<DType, 'floatData' | 'doubleData' | 'int64Data' | 'uint64Data'>>> = {
  float32: 'floatData',
  float64: 'doubleData',
  int64: 'int64Data',
  uint32: 'uint64Data',
  uint64: 'uint64Data',
};

function typedArray(dtype: DType, entries: readonly Int64[]): ArrayBufferView {
  if (dtype === 'int64' || dtype === 'uint64')
    return ELEMENT_TYPES[dtype].array.from(entries.map((entry) => BigInt(entry.toString())));
  const array: { from(values: Iterable<Int64>, convert: (value: Int64) => number): ArrayBufferView } =
    ELEMENT_TYPES[dtype].array;
  return array.from(entries, Number);
}
