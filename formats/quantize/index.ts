/** Quantises a float matrix that is read a few rows at a time: codes, scales and zero points as MatMulNBits takes them. */
import { elementCount } from '../../src/core/dtype.ts';
import type { QuantizeTensor } from '../../src/core/tensor.ts';
import { type BlockShape, blockShape, encodeRows, fitRows, type MatrixFits, partBytes, roomFor } from './matrix.ts';

export { factorGram, type GramFactor } from './factor.ts';
export { type RoundedMatrix, roundCompensated } from './gptq.ts';

/** Floats that are read and quantised at a time; a row at least. */
const CHUNK_ELEMENTS = 1 << 20;

/** Fits of more bytes than this are found again for each part instead of being kept. */
const KEPT_BYTES = 64 << 20;

/**
 * Scale and zero point of each block of the matrix quantised last. The parts of a matrix are mostly wanted one after
 * the other, and finding the scales takes nearly all the time.
 */
export interface KeptFits {
  last: { readonly tensor: QuantizeTensor; readonly fits: MatrixFits } | undefined;
}

export function keptFits(): KeptFits {
  return { last: undefined };
}

export interface QuantizeSources {
  /** The matrix as float32 from its first row, in blocks of whole rows of at most `elements` elements. */
  readonly readRows: (elements: number) => AsyncIterable<Uint8Array>;
  /** What each column's squared error weighs; undefined: all the same. */
  readonly weights: Float32Array | undefined;
}

/** Blocks of the bytes of one part, whole rows each. The bytes of all parts follow from the rows alone. */
export async function* quantizeBlocks(
  tensor: QuantizeTensor,
  { readRows, weights }: QuantizeSources,
  kept: KeptFits,
): AsyncGenerator<Uint8Array> {
  const shape = blockShape(tensor.from.shape, tensor.scheme);
  if (elementCount(tensor.from.shape) === 0) return;
  const known = kept.last !== undefined && sameMatrix(kept.last.tensor, tensor) ? kept.last.fits : undefined;
  if (known !== undefined && tensor.part !== 'codes') {
    yield partBytes(tensor.part, tensor.scheme, shape, known);
    return;
  }
  const columnWeights = weights ?? new Float32Array(shape.columns).fill(1);
  const all = known === undefined ? roomForAll(shape) : undefined;
  const step = Math.max(1, Math.floor(CHUNK_ELEMENTS / shape.columns)) * shape.columns;
  let row = 0;
  for await (const block of readRows(step)) {
    const values = new Float32Array(block.buffer, block.byteOffset, block.byteLength / 4);
    const rows = values.length / shape.columns;
    const fits =
      known === undefined ? fitRows(values, columnWeights, tensor.scheme, shape) : cut(known, row, rows, shape);
    if (all !== undefined) put(all, fits, row * shape.blocks);
    yield tensor.part === 'codes'
      ? encodeRows(values, tensor.scheme, shape, fits)
      : partBytes(tensor.part, tensor.scheme, shape, fits);
    row += rows;
  }
  if (all !== undefined) kept.last = { tensor, fits: all };
}

/** By identity: the parts of a matrix are made together and share what they are made from. */
function sameMatrix(a: QuantizeTensor, b: QuantizeTensor): boolean {
  return a.from === b.from && a.scheme === b.scheme && a.importance === b.importance;
}

function roomForAll({ rows, blocks }: BlockShape): MatrixFits | undefined {
  return rows * blocks * 5 <= KEPT_BYTES ? roomFor(rows * blocks) : undefined;
}

function put(all: MatrixFits, part: MatrixFits, start: number): void {
  all.scales.set(part.scales, start);
  all.zeroPoints.set(part.zeroPoints, start);
}

function cut({ scales, zeroPoints }: MatrixFits, row: number, rows: number, { blocks }: BlockShape): MatrixFits {
  const [start, end] = [row * blocks, (row + rows) * blocks];
  return { scales: scales.subarray(start, end), zeroPoints: zeroPoints.subarray(start, end) };
}
