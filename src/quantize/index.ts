/** Quantises a float matrix that is read a few rows at a time, into what MatMulNBits takes. */
import { elementCount } from '../core/dtype.ts';
import type { QuantizeTensor } from '../core/tensor.ts';
import { type BlockShape, blockShape, encodeRows, fitRows, type MatrixFits, packCodes, partBytes } from './matrix.ts';
import {
  encodeTurnable,
  fitTurnable,
  ownCodes,
  ownScales,
  roomForTurnable,
  turnedCodes,
  turnedScales,
} from './turnable.ts';

export { factorGram } from './factor.ts';
export { type RoundedMatrix, roundCompensated, roundTurnable } from './gptq.ts';

/** Floats read and quantised at a time, at least one row. */
const CHUNK_ELEMENTS = 1 << 20;

/** Fits larger than this many bytes are computed again for each part instead of kept. */
const KEPT_BYTES = 64 << 20;

/**
 * The fits of the last quantised matrix, one entry for each read. The parts of a matrix are usually wanted one after
 * the other, and finding the scales takes nearly all the time.
 */
export interface KeptFits {
  last?: { readonly tensor: QuantizeTensor; readonly fits: readonly MatrixFits[] };
}

export interface QuantizeSources {
  /** The matrix as float32 from its first row, in blocks of whole rows with at most `elements` elements. */
  readonly readRows: (elements: number) => AsyncIterable<Uint8Array>;
  /** The weight of each column's squared error; if undefined, all are equal. */
  readonly weights: Float32Array | undefined;
}

/** Blocks of one part's bytes, each of whole rows. The bytes of all parts follow from the rows alone. */
export async function* quantizeBlocks(
  tensor: QuantizeTensor,
  { readRows, weights }: QuantizeSources,
  kept: KeptFits,
): AsyncGenerator<Uint8Array> {
  const shape = blockShape(tensor.from.shape, tensor.scheme);
  if (elementCount(tensor.from.shape) === 0) return;
  const columnWeights = weights ?? new Float32Array(shape.columns).fill(1);
  if (tensor.scheme.turnable) return yield* turnableBlocks(tensor, shape, readRows, columnWeights);
  const known = kept.last !== undefined && sameMatrix(kept.last.tensor, tensor) ? kept.last.fits : undefined;
  const part = tensor.part as 'codes' | 'scales' | 'zero-points';
  if (known !== undefined && part !== 'codes') {
    for (const fits of known) yield partBytes(part, tensor.scheme, shape, fits);
    return;
  }
  const isKept = shape.rows * shape.blocks * 5 <= KEPT_BYTES;
  const found: MatrixFits[] = [];
  for await (const values of floatsOf(readRows(rowsAtATime(shape, 1) * shape.columns))) {
    // The same rows are read at a time whatever the part.
    const fits = known?.[found.length] ?? fitRows(values, columnWeights, tensor.scheme, shape);
    if (isKept) found.push(fits);
    yield part === 'codes'
      ? packCodes(encodeRows(values, tensor.scheme, shape, fits), tensor.scheme, shape)
      : partBytes(part, tensor.scheme, shape, fits);
  }
  if (isKept) kept.last = { tensor, fits: found };
}

/** The same for a turnable matrix. Its transpose is put together in memory, with one byte for each weight. */
async function* turnableBlocks(
  { part, scheme }: QuantizeTensor,
  shape: BlockShape,
  readRows: QuantizeSources['readRows'],
  weights: Float32Array,
): AsyncGenerator<Uint8Array> {
  const isTurned = part.startsWith('turned');
  const codes = new Uint8Array(isTurned ? shape.rows * shape.columns : 0);
  const all = roomForTurnable(shape, scheme);
  let row = 0;
  for await (const values of floatsOf(readRows(rowsAtATime(shape, scheme.blockSize) * shape.columns))) {
    if (row % scheme.blockSize !== 0) throw new RangeError('Rows that share a scale have to be read together');
    const fits = fitTurnable(values, weights, scheme, shape);
    const encoded = () => encodeTurnable(values, scheme, shape, fits);
    if (part === 'codes') yield ownCodes(encoded(), scheme, shape, fits);
    if (part === 'scales') yield ownScales(values.length / shape.columns, scheme, shape, fits);
    if (part === 'turned-codes') codes.set(encoded(), row * shape.columns);
    all.units.set(fits.units, (row / scheme.blockSize) * shape.blocks);
    all.multiples.set(fits.multiples, (row / scheme.blockSize) * shape.columns);
    row += values.length / shape.columns;
  }
  if (part === 'turned-codes') yield turnedCodes(codes, scheme, shape);
  if (part === 'turned-scales') yield turnedScales(all, scheme, shape);
}

async function* floatsOf(blocks: AsyncIterable<Uint8Array>): AsyncGenerator<Float32Array> {
  for await (const { buffer, byteOffset, byteLength } of blocks)
    yield new Float32Array(buffer, byteOffset, byteLength / 4);
}

/** A multiple of `group`, because weights that share a scale are read together. */
function rowsAtATime({ columns }: BlockShape, group: number): number {
  return Math.max(1, Math.floor(CHUNK_ELEMENTS / columns / group)) * group;
}

/** By identity: the parts of a matrix are made together and share their source. */
function sameMatrix(a: QuantizeTensor, b: QuantizeTensor): boolean {
  return a.from === b.from && a.scheme === b.scheme && a.importance === b.importance;
}
