/** Opens GGUF files: only the header is read, tensors stay on disk as ranges of the file. */
import type { FileHandle } from 'node:fs/promises';
import { LacunaError } from '../../src/core/errors.ts';
import type { StoredTensor } from '../../src/core/tensor.ts';
import { BLOCK_SIZES, READ_TYPES, storedBytes, typeOfCode } from '../../src/quantize/ggml/types.ts';
import { readHeaderBytes, withRegular } from '../regular-file.ts';
import { badGguf, EndOfWindow, openCursor } from './cursor.ts';
import { type GgufHeader, type GgufMetadata, readHeader, type TensorInfo } from './header.ts';

/** Bytes read at first. If the header is longer, four times as many are read. */
const FIRST_WINDOW_BYTES = 4 << 20;

/** Stops counts that ask for all memory. Headers of the largest vocabularies have some 20 MB. */
const MAX_HEADER_BYTES = 256 << 20;

export interface GgufFile {
  readonly metadata: GgufMetadata;
  /** By their names in the file, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/**
 * Metadata and tensors of a GGUF file. With `mustBeFinite`, NaN and infinity are refused while tensors are read.
 *
 * Throws 'not-found' or 'io' when the file cannot be read, 'bad-file' when it is damaged (truncated, counts beyond
 * their limits, tensors that overlap), 'unsupported' for other versions, big-endian files and unknown element types.
 *
 * @example const { metadata, tensors } = await readGguf('model-Q4_K_M.gguf', { mustBeFinite: true });
 */
export async function readGguf(path: string, { mustBeFinite = false } = {}): Promise<GgufFile> {
  return withRegular(path, async (file, size) => {
    const header = await headerOf(file, path, size);
    refuseUnreadTypes(header.tensors, path);
    const stored = header.tensors.map((info) => locate(info, header, path, mustBeFinite));
    stored.sort((a, b) => a.byteOffset - b.byteOffset);
    checkRanges(stored, path, size);
    return { metadata: header.metadata, tensors: byName(stored, path) };
  });
}

async function headerOf(file: FileHandle, path: string, fileLength: number): Promise<GgufHeader> {
  for (let window = FIRST_WINDOW_BYTES; ; window *= 4) {
    const bytes = await readHeaderBytes(file, 0, Math.min(window, fileLength), (what) => badGguf(path, what));
    try {
      return readHeader(openCursor(path, bytes, fileLength));
    } catch (error) {
      if (!(error instanceof EndOfWindow)) throw error;
      if (window >= MAX_HEADER_BYTES)
        throw badGguf(path, `its header is longer than ${window} bytes; the longest known have some 20 MB`);
    }
  }
}

function refuseUnreadTypes(tensors: readonly TensorInfo[], path: string): void {
  const unread = tensors.filter(({ type }) => typeOfCode(type).kind === 'unread');
  if (unread.length === 0) return;
  const names = [...new Set(unread.map(({ type }) => typeOfCode(type).name))];
  throw new LacunaError(
    'unsupported',
    `${path}: ${unread.length} tensors, "${unread[0].name}" the first, are of type ${names.join(', ')}; read are ${READ_TYPES.join(', ')}`,
    { hint: 'Give a file of another quantisation, such as Q8_0 or Q4_K_M, or the original Hugging Face checkpoint.' },
  );
}

function locate(
  { name, shape, type, offset }: TensorInfo,
  { dataStart }: GgufHeader,
  path: string,
  mustBeFinite: boolean,
): StoredTensor {
  const place = { path, byteOffset: dataStart + offset, name, mustBeFinite };
  const found = typeOfCode(type);
  if (found.kind === 'plain') return { kind: 'file', dtype: found.dtype, shape, ...place };
  if (found.kind === 'unread') throw new RangeError(`Type ${found.name} was not refused`);
  const { values } = BLOCK_SIZES[found.name];
  const columns = shape.at(-1) ?? 1;
  if (columns % values !== 0)
    throw badGguf(
      path,
      `tensor "${name}" has rows of ${columns}, no multiple of the ${values} of a ${found.name} block`,
    );
  return { kind: 'ggml', type: found.name, dtype: 'float32', shape, ...place };
}

/** `stored` is in the order of bytes. There may be gaps for alignment, but no overlap, and nothing may be cut off. */
function checkRanges(stored: readonly StoredTensor[], path: string, fileLength: number): void {
  let end = 0;
  let before = '';
  for (const tensor of stored) {
    const { name, byteOffset } = tensor;
    if (byteOffset < end) throw badGguf(path, `tensor "${name}" begins at byte ${byteOffset}, inside "${before}"`);
    end = byteOffset + storedBytes(tensor);
    before = name;
    if (end > fileLength)
      throw badGguf(path, `tensor "${name}" ends at byte ${end}, but the file has ${fileLength}: it is truncated`);
  }
}

function byName(stored: readonly StoredTensor[], path: string): Map<string, StoredTensor> {
  const tensors = new Map(stored.map((tensor) => [tensor.name, tensor]));
  if (tensors.size === stored.length) return tensors;
  const twice = stored.find((tensor) => tensors.get(tensor.name) !== tensor);
  throw badGguf(path, `it has tensor "${twice?.name}" twice`);
}
