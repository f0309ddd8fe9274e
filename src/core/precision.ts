/** Precisions a model can be converted to: plain data, one line each; everything else asks this table. */
import { DTYPE_BYTES } from './dtype.ts';
import { LacunaError } from './errors.ts';
import type { BlockScheme } from './tensor.ts';

/**
 * How a weight matrix is stored, and thereby which operator multiplies by it: floats as the checkpoint has them, [out,
 * in]; floats as MatMul takes them, [in, out]; or rows in blocks, [out, in].
 */
export type WeightStorage =
  | { readonly kind: 'float' }
  | { readonly kind: 'transposed' }
  | ({ readonly kind: 'blocks' } & BlockScheme);

export interface Precision {
  readonly name: string;
  /** Type of activations, caches, norms' weights and biases, and of matrices that are not stored in blocks. */
  readonly floats: 'float32' | 'float16';
  /** Matrices of the layers. */
  readonly linear: WeightStorage;
  /** The embedding and the output head: one storage, so that a tied head shares it. */
  readonly vocabulary: WeightStorage;
}

const FLOAT: WeightStorage = { kind: 'float' };
// float16 is for GPUs, and WebGPU has no FusedMatMul.
const TRANSPOSED: WeightStorage = { kind: 'transposed' };
const INT8: WeightStorage = { kind: 'blocks', bits: 8, blockSize: 32, symmetric: true, method: 'nearest' };
const INT4: WeightStorage = { kind: 'blocks', bits: 4, blockSize: 32, symmetric: true, method: 'search' };

/** In the order in which messages name them, each smaller than the one before. */
export const PRECISIONS = [
  { name: 'fp32', floats: 'float32', linear: FLOAT, vocabulary: FLOAT },
  { name: 'fp16', floats: 'float16', linear: TRANSPOSED, vocabulary: FLOAT },
  { name: 'int8', floats: 'float32', linear: INT8, vocabulary: INT8 },
  { name: 'int4', floats: 'float32', linear: INT4, vocabulary: INT8 },
] as const satisfies readonly Precision[];

export type PrecisionName = (typeof PRECISIONS)[number]['name'];

export const PRECISION_NAMES = PRECISIONS.map(({ name }) => name);

/** Blocks that every kernel of MatMulNBits takes: powers of two from 16. Larger than 128 loses more than it saves. */
export const BLOCK_SIZES = [16, 32, 64, 128] as const;

export interface PrecisionOptions {
  /** Weights a block, for precisions that store blocks. */
  readonly blockSize?: number | undefined;
  /** Stores a zero point a block: smaller errors, slightly larger files. */
  readonly asymmetric?: boolean | undefined;
}

/**
 * The precision of a name, with its blocks changed as asked.
 *
 * @throws LacunaError `usage` for an unknown name or block size, or for options of blocks where there are none;
 *   `unsupported` for bf16.
 */
export function choosePrecision(name: string, options: PrecisionOptions = {}): Precision {
  const precision: Precision | undefined = PRECISIONS.find((one) => one.name === name);
  if (precision === undefined) throw unknownPrecision(name);
  const { blockSize, asymmetric } = options;
  if (blockSize === undefined && asymmetric === undefined) return precision;
  if (precision.linear.kind !== 'blocks')
    throw new LacunaError('usage', `${name} stores no blocks, so it has neither block size nor zero points`, {
      hint: 'Block options are for --dtype int8 and int4.',
    });
  if (blockSize !== undefined && !(BLOCK_SIZES as readonly number[]).includes(blockSize))
    throw new LacunaError('usage', `Expected ${BLOCK_SIZES.join(', ')} for the block size but received ${blockSize}`);
  const change = (storage: WeightStorage): WeightStorage =>
    storage.kind !== 'blocks'
      ? storage
      : {
          ...storage,
          blockSize: blockSize ?? storage.blockSize,
          symmetric: asymmetric === undefined ? storage.symmetric : !asymmetric,
        };
  return { ...precision, linear: change(precision.linear), vocabulary: change(precision.vocabulary) };
}

/** Whether scales are searched for, so that it matters which errors weigh most. */
export function isSearched({ linear }: Precision): boolean {
  return linear.kind === 'blocks' && linear.method === 'search';
}

/** Bytes that one weight of a layer takes, its share of scale and zero point included. */
export function bytesPerWeight({ floats, linear }: Precision): number {
  if (linear.kind !== 'blocks') return DTYPE_BYTES[floats];
  const { bits, blockSize, symmetric } = linear;
  return bits / 8 + (DTYPE_BYTES.float32 + (symmetric ? 0 : bits / 8)) / blockSize;
}

function unknownPrecision(name: string): LacunaError {
  const known = PRECISION_NAMES.join(', ');
  if (name !== 'bf16') return new LacunaError('usage', `Expected ${known} for the precision but received "${name}"`);
  return new LacunaError('unsupported', "bf16 is not written: ONNX Runtime's CPU and browser kernels do not take it", {
    hint: `Use fp16 (as small) or fp32 (as exact); there are: ${known}.`,
  });
}
