/** The JSON header of a safetensors file: parsed, and every number in it checked before anything is read through it. */
import { byteLength, elementCount, isFloat } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import type { FileTensor } from '../../src/core/tensor.ts';
import { isTooDeep, MAX_JSON_LEVELS } from '../json-file.ts';
import { isSafetensorsDType, SAFETENSORS_DTYPES } from './dtypes.ts';

/** Weights have at most 5 axes (a 3-D convolution). A header's shape must not become a loop of millions. */
const MAX_DIMENSIONS = 8;

export interface SafetensorsFile {
  /** In the order of their bytes. */
  readonly tensors: Map<string, FileTensor>;
  /** `__metadata__`: free text by key. */
  readonly metadata: Record<string, string>;
}

/** Where the header was found: the base of its offsets, and the number of bytes there. */
interface DataRange {
  readonly path: string;
  readonly dataStart: number;
  readonly dataLength: number;
  readonly mustBeFinite: boolean;
}

/** Tensors and metadata from the header's text. 'bad-file' names the tensor, the value and the limit. */
export function parseHeader(text: string, range: DataRange): SafetensorsFile {
  const header = parseJsonObject(text, range.path);
  const tensors: FileTensor[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') metadata = parseMetadata(entry, range.path);
    else tensors.push(parseTensor(name, entry, range));
  }
  tensors.sort((a, b) => a.byteOffset - b.byteOffset || endOf(a) - endOf(b));
  checkCoverage(tensors, range);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata };
}

function parseJsonObject(text: string, path: string): JsonObject {
  // The format asks for this byte, and it keeps a JSON array, number or string out.
  if (!text.startsWith('{'))
    throw badFile(path, `its header must start with "{" but starts with ${JSON.stringify(text.slice(0, 8))}`);
  if (isTooDeep(text))
    throw badFile(path, `its header nests deeper than ${MAX_JSON_LEVELS} levels; the format has two`);
  try {
    return JSON.parse(text) as JsonObject;
  } catch (error) {
    throw badFile(path, `its header is no JSON (${(error as Error).message})`, error);
  }
}

function parseMetadata(entry: unknown, path: string): Record<string, string> {
  if (!isJsonObject(entry)) throw badFile(path, `__metadata__ must be an object but is ${show(entry)}`);
  for (const [key, value] of Object.entries(entry))
    if (typeof value !== 'string') throw badFile(path, `__metadata__ "${key}" must be a string but is ${show(value)}`);
  return entry as Record<string, string>;
}

function parseTensor(name: string, entry: unknown, range: DataRange): FileTensor {
  const fail = (what: string): LacunaError => badFile(range.path, `tensor "${name}" ${what}`);
  if (!isJsonObject(entry)) throw fail(`must be an object but is ${show(entry)}`);
  const dtype = parseDType(name, entry.dtype, range.path);
  const shape = parseShape(entry.shape, fail);
  const [begin, end] = parseOffsets(entry.data_offsets, fail);
  if (end > range.dataLength)
    throw fail(
      `ends at byte ${end} of the data, which has ${range.dataLength}: the file is truncated or its header is wrong`,
    );
  const wanted = byteLength(dtype, shape);
  if (end - begin !== wanted)
    throw fail(`of ${entry.dtype} [${shape.join(', ')}] takes ${wanted} bytes but its offsets give it ${end - begin}`);
  const { path, dataStart } = range;
  const mustBeFinite = range.mustBeFinite && isFloat(dtype);
  return { kind: 'file', dtype, shape, path, byteOffset: dataStart + begin, name, mustBeFinite };
}

function parseDType(name: string, dtype: unknown, path: string): FileTensor['dtype'] {
  if (typeof dtype === 'string' && isSafetensorsDType(dtype)) return SAFETENSORS_DTYPES[dtype];
  throw new LacunaError(
    'unsupported',
    `${path}: tensor "${name}" has the dtype ${show(dtype)}; read are ${Object.keys(SAFETENSORS_DTYPES).join(', ')}`,
    { hint: 'Save the checkpoint in one of these types, e.g. with torch_dtype="bfloat16".' },
  );
}

function parseShape(shape: unknown, fail: (what: string) => LacunaError): readonly number[] {
  if (!Array.isArray(shape)) throw fail(`must have an array as shape but has ${show(shape)}`);
  if (shape.length > MAX_DIMENSIONS) throw fail(`has ${shape.length} dimensions; the limit is ${MAX_DIMENSIONS}`);
  for (const dimension of shape)
    if (!isCount(dimension))
      throw fail(`has the dimension ${show(dimension)}; wanted is a whole number from 0 to 2^53 - 1`);
  if (!Number.isSafeInteger(elementCount(shape))) throw fail(`has more than 2^53 - 1 elements: [${shape.join(', ')}]`);
  return shape;
}

function parseOffsets(offsets: unknown, fail: (what: string) => LacunaError): readonly [number, number] {
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw fail(`must have two whole numbers as data_offsets but has ${show(offsets)}`);
  const [begin, end] = offsets;
  if (begin > end) throw fail(`begins at byte ${begin}, after its end at ${end}`);
  return [begin, end];
}

/** Tensors in byte order must fill the data without gaps or overlaps: two tensors in one place are a trap or a bug. */
function checkCoverage(tensors: readonly FileTensor[], { path, dataStart, dataLength }: DataRange): void {
  let covered = 0;
  let before = 'the header';
  for (const tensor of tensors) {
    const begin = tensor.byteOffset - dataStart;
    const what = `tensor "${tensor.name}"`;
    if (begin < covered)
      throw badFile(path, `${what} begins at byte ${begin} and overlaps ${before}, which ends at ${covered}`);
    if (begin > covered)
      throw badFile(path, `bytes ${covered} to ${begin} between ${before} and ${what} belong to no tensor`);
    covered = endOf(tensor) - dataStart;
    before = what;
  }
  if (covered !== dataLength)
    throw badFile(path, `bytes ${covered} to ${dataLength} after ${before} belong to no tensor`);
}

function endOf(tensor: FileTensor): number {
  return tensor.byteOffset + byteLength(tensor.dtype, tensor.shape);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** A value from the file for an error message. A hostile value may be megabytes long, or nested too deep for JSON. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (isJsonObject(value)) return 'an object';
  if (Array.isArray(value) && !value.every((item) => typeof item === 'number')) return `an array of ${value.length}`;
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

export function badFile(path: string, what: string, cause?: unknown): LacunaError {
  return new LacunaError('bad-file', `${path} is no valid safetensors file: ${what}`, {
    hint: 'Download or copy the file again, or save the checkpoint anew.',
    cause,
  });
}
