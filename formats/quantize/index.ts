/** Quantises a float matrix that is read a few rows at a time: codes, scales and zero points as MatMulNBits takes them. */
import { elementCount } from '../../src/core/dtype.ts';
import type { BlockScheme, QuantizeTensor } from '../../src/core/tensor.ts';
import {
  type BlockShape,
  blockShape,
  encodeRows,
  fitRows,
  type MatrixFits,
  packCodes,
  partBytes,
  roomFor,
} from './matrix.ts';
import { turnedCodes, turnedScales } from './turn.ts';

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

/**
 * Blocks of the bytes of one part, whole rows each. The bytes of all parts follow from the rows alone. A matrix whose
 * transpose is wanted is held in memory, a byte a weight.
 */
export async function* quantizeBlocks(
  tensor: QuantizeTensor,
  sources: QuantizeSources,
  kept: KeptFits,
): AsyncGenerator<Uint8Array> {
  const { part, scheme, from } = tensor;
  const shape = blockShape(from.shape, scheme);
  if (elementCount(from.shape) === 0) return;
  const known = kept.last !== undefined && sameMatrix(kept.last.tensor, tensor) ? kept.last.fits : undefined;
  switch (part) {
    case 'codes':
      for await (const { codes } of fittedRows(tensor, shape, sources, known, kept))
        yield packCodes(codes(), scheme, shape);
      return;
    case 'turned-codes': {
      const all = new Uint8Array(shape.rows * shape.blocks * scheme.blockSize);
      for await (const { codes, row } of fittedRows(tensor, shape, sources, known, kept))
        all.set(codes(), row * shape.blocks * scheme.blockSize);
      yield turnedCodes(all, scheme, shape);
      return;
    }
    case 'turned-scales': {
      const scales = known?.scales ?? new Float32Array(shape.rows * shape.blocks);
      if (known === undefined)
        for await (const { fits, row } of fittedRows(tensor, shape, sources, known, kept))
          scales.set(fits.scales, row * shape.blocks);
      yield turnedScales(scales, scheme, shape);
      return;
    }
    default:
      if (known !== undefined) yield partBytes(part, scheme, shape, known);
      else
        for await (const { fits } of fittedRows(tensor, shape, sources, known, kept))
          yield partBytes(part, scheme, shape, fits);
  }
}

/** Some rows of a matrix: the first of them, their fits, and their codes, one a byte, where these are asked for. */
interface FittedRows {
  readonly row: number;
  readonly fits: MatrixFits;
  readonly codes: () => Uint8Array;
}

/** A matrix a few rows at a time; its fits are kept at the end where they were not known and there is room. */
async function* fittedRows(
  tensor: QuantizeTensor,
  shape: BlockShape,
  { readRows, weights }: QuantizeSources,
  known: MatrixFits | undefined,
  kept: KeptFits,
): AsyncGenerator<FittedRows> {
  const { scheme } = tensor;
  const columnWeights = weights ?? new Float32Array(shape.columns).fill(1);
  const all = known === undefined ? roomForAll(shape) : undefined;
  let row = 0;
  for await (const block of readRows(rowsAtATime(shape, scheme) * shape.columns)) {
    const values = new Float32Array(block.buffer, block.byteOffset, block.byteLength / 4);
    const rows = values.length / shape.columns;
    const fits = known === undefined ? fitRows(values, columnWeights, scheme, shape) : cut(known, row, rows, shape);
    if (all !== undefined) put(all, fits, row * shape.blocks);
    yield { row, fits, codes: () => encodeRows(values, scheme, shape, fits) };
    row += rows;
  }
  if (all !== undefined) kept.last = { tensor, fits: all };
}

/** Rows that share a scale are read together. */
function rowsAtATime({ columns }: BlockShape, { square, blockSize }: BlockScheme): number {
  const group = square ? blockSize : 1;
  return Math.max(1, Math.floor(CHUNK_ELEMENTS / columns / group)) * group;
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
