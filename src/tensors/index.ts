/** Evaluates a `TensorExpr`: reads, casts, adds to, transposes and joins its bytes, a few megabytes at a time. */
import { type FileHandle, open } from 'node:fs/promises';
import { byteLength, DTYPE_BYTES, isFloat } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { asIoError } from '../core/io-error.ts';
import {
  type AddTensor,
  type BytesTensor,
  type CastTensor,
  cast,
  type FileTensor,
  type GgmlTensor,
  type LowRankTensor,
  type MultiplyTensor,
  type QuantizeTensor,
  type TensorExpr,
  type WavesTensor,
} from '../core/tensor.ts';
import { castFloats } from '../quantize/float-cast.ts';
import { dequantize } from '../quantize/ggml/dequantize.ts';
import { BLOCK_SIZES, storedBytes } from '../quantize/ggml/types.ts';
import { type KeptFits, quantizeBlocks } from '../quantize/index.ts';
import { refuseNonFinite, refuseOverflow } from './finite.ts';
import { lowRankBlocks } from './low-rank.ts';
import { alignedBlocks } from './pieces.ts';
import { recordsBlocks } from './records.ts';
import { regroupBlocks, rowsBlocks } from './rows.ts';
import { transposeBlocks } from './transpose.ts';

/** Bytes in a streamed block. Work on it happens in the processor's own cache; larger blocks took more time. */
const BLOCK_BYTES = 1 << 20;

export interface BlockMemory {
  /** For what is read, and for what is converted. */
  readonly read: (byteLength: number) => ArrayBuffer;
  readonly cast: (byteLength: number) => ArrayBuffer;
}

export interface StreamOptions {
  /** Blocks have memory of their own when absent, and may be kept; see `reusedMemory`. */
  readonly memory?: BlockMemory;
  /** Shared by several tensors; see `keptFiles`. If absent, the tensor's files are closed after it. */
  readonly files?: SourceFiles;
  /** Shared by the parts of one quantised matrix, so that the matrix is not quantised again for each of them. */
  readonly fits?: KeptFits;
}

/**
 * Memory for a consumer that no longer needs a block when it asks for the next but one. Fresh memory would cost as much
 * as the conversion that fills it. This allows for one block read ahead inside and one outside.
 */
export function reusedMemory(): BlockMemory {
  return { read: ring(4), cast: ring(4) };
}

/** `count` buffers in turn. Each grows to the largest length that was needed. */
function ring(count: number): (byteLength: number) => ArrayBuffer {
  const buffers = Array.from({ length: count }, () => new ArrayBuffer(0));
  let turn = 0;
  return (byteLength) => {
    turn = (turn + 1) % count;
    if (buffers[turn].byteLength < byteLength) buffers[turn] = new ArrayBuffer(byteLength);
    return buffers[turn];
  };
}

const fresh = (byteLength: number) => new ArrayBuffer(byteLength);
const FRESH: BlockMemory = { read: fresh, cast: fresh };

export interface SourceFiles {
  open(path: string): Promise<FileHandle>;
  close(): Promise<void>;
}

/** Each file is opened once and stays open until all are closed: opening takes as long as reading a small tensor. */
export function keptFiles(): SourceFiles {
  const handles = new Map<string, Promise<FileHandle>>();
  return {
    open: (path) => {
      const handle = handles.get(path) ?? open(path, 'r');
      handles.set(path, handle);
      return handle;
    },
    close: async () => {
      const opened = await Promise.allSettled(handles.values());
      for (const handle of opened) if (handle.status === 'fulfilled') await handle.value.close();
    },
  };
}

/**
 * The bytes of `expr` in order, in blocks of whole elements of a few megabytes. Do not write to blocks. The next block
 * is read while this one is in use. Breaking off closes all files.
 *
 * Throws 'not-found' or 'io' when a file cannot be read, 'bad-file' when it ends too early, 'non-finite' when a file
 * tensor with `mustBeFinite` holds NaN or infinity, 'unsupported' when one is cast to float16 and is too large for it.
 *
 * @example for await (const block of streamTensor(cast(weight, 'float32'))) await handle.write(block);
 */
export async function* streamTensor(
  expr: TensorExpr,
  { memory = FRESH, files, fits = {} }: StreamOptions = {},
): Blocks {
  const elements = Math.max(1, Math.floor(BLOCK_BYTES / DTYPE_BYTES[expr.dtype]));
  const opened = files ?? keptFiles();
  try {
    yield* storedBlocks(expr, elements, fits, { memory, files: opened });
  } finally {
    if (files === undefined) await opened.close();
  }
}

/** All bytes of `expr`, in memory of their own; errors as those of `streamTensor`. */
export async function readTensorBytes(expr: TensorExpr): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(byteLength(expr.dtype, expr.shape));
  let filled = 0;
  for await (const block of streamTensor(expr)) {
    bytes.set(block, filled);
    filled += block.length;
  }
  return bytes;
}

/** All values of a float tensor as float32. Wider values are rounded to nearest even. Throws as `streamTensor` does. */
export async function readFloats(expr: TensorExpr): Promise<Float32Array> {
  const bytes = await readTensorBytes(cast(expr, 'float32'));
  return new Float32Array(bytes.buffer, 0, bytes.length / 4);
}

type Blocks = AsyncGenerator<Uint8Array>;

interface Means {
  readonly memory: BlockMemory;
  readonly files: SourceFiles;
}

/** For blocks that are used up within this file. Two buffers suffice: one is read into while the other is converted. */
function within({ files }: Means): Means {
  return { memory: { read: ring(2), cast: ring(2) }, files };
}

/** For blocks that are used up before the blocks made from them. */
function consumed(means: Means): Means {
  return means.memory === FRESH ? within(means) : means;
}

/** Blocks of at most `elements` elements (whole rows if it is a multiple), each at a multiple of 8 of its memory. */
function blocksOf(expr: TensorExpr, elements: number, means: Means): Blocks {
  switch (expr.kind) {
    case 'file':
      return fileBlocks(expr, elements, means);
    case 'ggml':
      return ggmlBlocks(expr, elements, means);
    case 'bytes':
      return memoryBlocks(expr, elements);
    case 'waves':
      return wavesBlocks(expr, elements, means);
    case 'cast':
      return castBlocks(expr, elements, means);
    case 'transpose':
      return transposeBlocks(expr.from, elements, (rows) => blocksOf(expr.from, rows, within(means)));
    case 'concat':
      return concatBlocks(expr.parts, elements, means);
    case 'regroup':
      return regroupBlocks(expr, elements, blocksOf(expr.from, elements, within(means)));
    case 'rows':
      return rowsBlocks(expr, elements, (count) => blocksOf(expr.from, count, within(means)));
    case 'low-rank':
      return addLowRank(expr, elements, means);
    case 'add':
      return mapBlocks(expr, elements, means, (addend) => addend + expr.value);
    case 'multiply':
      return mapBlocks(expr, elements, means, (factor) => factor * expr.value);
    case 'quantize':
    case 'records':
      throw new RangeError('Quantised tensors are written as they are: nothing is computed from them');
  }
}

/** Quantised tensors, and records of them, are outermost: nothing is computed from codes. */
function storedBlocks(expr: TensorExpr, elements: number, fits: KeptFits, means: Means): Blocks {
  if (expr.kind === 'quantize') return quantizedBlocks(expr, fits, means);
  if (expr.kind !== 'records') return blocksOf(expr, elements, means);
  return recordsBlocks(expr, elements, (part, kept) => storedBlocks(part, elements, kept, within(means)));
}

async function* quantizedBlocks(tensor: QuantizeTensor, fits: KeptFits, means: Means): Blocks {
  const { from, importance } = tensor;
  const weights = importance === undefined ? undefined : await readImportance(importance);
  const readRows = (elements: number) => blocksOf(cast(from, 'float32'), elements, within(means));
  yield* quantizeBlocks(tensor, { readRows, weights }, fits);
}

/** Throws 'bad-file' for a number that cannot weigh a squared error. */
async function readImportance(importance: TensorExpr): Promise<Float32Array> {
  const weights = await readFloats(importance);
  const wrong = weights.find((weight) => !(weight >= 0 && weight < Infinity));
  if (wrong === undefined) return weights;
  const name = importance.kind === 'file' ? ` "${importance.name}" in ${importance.path}` : '';
  throw new LacunaError('bad-file', `Importance${name} holds ${wrong}; mean squares are finite and not negative`);
}

async function* concatBlocks(parts: readonly TensorExpr[], elements: number, means: Means): Blocks {
  for (const part of parts) yield* blocksOf(part, elements, means);
}

async function* memoryBlocks(expr: BytesTensor, elements: number): Blocks {
  const wanted = byteLength(expr.dtype, expr.shape);
  if (expr.bytes.length !== wanted)
    throw new RangeError(`A ${expr.dtype} tensor [${expr.shape}] takes ${wanted} bytes, not ${expr.bytes.length}`);
  yield* alignedBlocks(expr.bytes, elements * DTYPE_BYTES[expr.dtype]);
}

async function* wavesBlocks(
  { shape, wave, frequencies, scale }: WavesTensor,
  elements: number,
  { memory }: Means,
): Blocks {
  const [rows, columns] = shape;
  const { [wave]: compute, fround } = Math;
  const step = Math.max(1, Math.floor(elements / columns));
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row) * columns;
    const values = new Float32Array(memory.cast(4 * count), 0, count);
    for (let i = 0; i < count; i++) {
      const angle = fround((row + Math.floor(i / columns)) * frequencies[i % columns]);
      values[i] = fround(compute(angle)) * scale;
    }
    yield new Uint8Array(values.buffer, 0, 4 * count);
  }
}

async function* fileBlocks(tensor: FileTensor, elements: number, { memory, files }: Means): Blocks {
  const total = byteLength(tensor.dtype, tensor.shape);
  if (total === 0) return;
  const step = Math.min(total, elements * DTYPE_BYTES[tensor.dtype]);
  const handle = await files.open(tensor.path).catch((error) => {
    throw readError(error, tensor);
  });
  const readBlock = (start: number): Promise<Uint8Array> => {
    const length = Math.min(step, total - start);
    const block = readFully(handle, tensor, start, new Uint8Array(memory.read(length), 0, length));
    // A failure shows when the block's turn comes, or never if the consumer breaks off before.
    block.catch(() => {});
    return block;
  };
  let next = readBlock(0);
  try {
    for (let start = 0; start < total; start += step) {
      const block = await next;
      if (start + step < total) next = readBlock(start + step);
      if (tensor.mustBeFinite) refuseNonFinite(tensor, block, start / DTYPE_BYTES[tensor.dtype]);
      yield block;
    }
  } finally {
    await next.catch(() => {});
  }
}

function readError(error: unknown, { name, path }: FileTensor): unknown {
  return asIoError(error, `read tensor "${name}" of`, path);
}

/** Fills `block` with the tensor's bytes from byte `start` on. One read may return less than asked for. */
async function readFully(
  handle: FileHandle,
  tensor: FileTensor,
  start: number,
  block: Uint8Array,
): Promise<Uint8Array> {
  try {
    for (let done = 0; done < block.length; ) {
      const { bytesRead } = await handle.read(block, done, block.length - done, tensor.byteOffset + start + done);
      if (bytesRead === 0) throw truncatedError(tensor, tensor.byteOffset + start + done);
      done += bytesRead;
    }
    return block;
  } catch (error) {
    throw readError(error, tensor);
  }
}

function truncatedError(tensor: FileTensor, fileEnd: number): LacunaError {
  const end = tensor.byteOffset + byteLength(tensor.dtype, tensor.shape);
  return new LacunaError(
    'bad-file',
    `${tensor.path} is truncated: tensor "${tensor.name}" takes bytes ${tensor.byteOffset} to ${end}, but the file ends at ${fileEnd}`,
    { hint: 'Download or copy the file again.' },
  );
}

async function* castBlocks({ from, dtype }: CastTensor, elements: number, means: Means): Blocks {
  const source = from.dtype;
  if (!isFloat(source) || !isFloat(dtype))
    throw new LacunaError('unsupported', `Cannot convert ${source} to ${dtype}: only float types are converted`);
  const size = DTYPE_BYTES[dtype];
  for await (const block of blocksOf(from, elements, consumed(means))) {
    const length = (block.length / DTYPE_BYTES[source]) * size;
    const target = new Uint8Array(means.memory.cast(length), 0, length);
    castFloats(block, source, target, dtype);
    if (dtype === 'float16') refuseOverflow(from, target);
    yield target;
  }
}

/** Float64 sums and products of two float32 numbers are so exact that rounding them gives float32's own result. */
async function* mapBlocks(
  { from }: AddTensor | MultiplyTensor,
  elements: number,
  means: Means,
  map: (value: number) => number,
): Blocks {
  for await (const block of blocksOf(from, elements, within(means))) {
    const values = new Float32Array(block.buffer, block.byteOffset, block.length / 4);
    // Float32Array.from calls it through an iterator, which takes ten times as long.
    yield new Uint8Array(values.map(map).buffer);
  }
}

/** A tensor's quantised bytes are read ahead, as from any file, and become floats block by block. */
async function* ggmlBlocks(tensor: GgmlTensor, elements: number, means: Means): Blocks {
  const { values, bytes } = BLOCK_SIZES[tensor.type];
  const raw: FileTensor = {
    ...tensor,
    kind: 'file',
    dtype: 'uint8',
    shape: [storedBytes(tensor)],
    mustBeFinite: false,
  };
  // Whole rows are whole blocks, and so is any other size that is asked for.
  const step = Math.max(1, Math.floor(elements / values)) * bytes;
  let done = 0;
  for await (const block of fileBlocks(raw, step, consumed(means))) {
    const count = (block.length / bytes) * values;
    const target = new Uint8Array(means.memory.cast(4 * count), 0, 4 * count);
    dequantize(tensor.type, block, new Float32Array(target.buffer, 0, count));
    if (tensor.mustBeFinite) refuseNonFinite(tensor, target, done);
    done += count;
    yield target;
  }
}

/** The two factors are held in memory: a rank of 64 is a hundredth of a large matrix. */
async function* addLowRank(expr: LowRankTensor, elements: number, means: Means): Blocks {
  const factors = [await readFloats(expr.left), await readFloats(expr.right)];
  yield* lowRankBlocks(expr, factors, blocksOf(expr.from, elements, within(means)), means.memory.cast);
}
