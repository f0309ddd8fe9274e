/** The precisions that a model can be converted to: plain data, one entry each. All other code asks this table. */
import { DTYPE_BYTES } from './dtype.ts';
import { LacunaError } from './errors.ts';
import type { HostKind } from './host-kind.ts';
import { type BlockScheme, hasPlanes, PLANE_BLOCK_SIZE } from './tensor.ts';

/**
 * How a weight matrix is stored, which decides the operator that multiplies by it: floats as the checkpoint has them,
 * [out, in]; as MatMul takes them, [in, out]; narrower floats that the graph widens before use; rows in blocks.
 */
export type WeightStorage =
  | { readonly kind: 'float' }
  | { readonly kind: 'transposed' }
  | { readonly kind: 'widened'; readonly dtype: 'bfloat16' }
  | ({ readonly kind: 'blocks' } & BlockScheme);

export interface Precision {
  readonly name: string;
  /** Type of activations, caches, norm weights and biases, and of matrices that are not stored in blocks. */
  readonly floats: 'float32' | 'float16';
  /** Matrices of the layers. */
  readonly linear: WeightStorage;
  /** The embedding and the output head: one storage for both, so that a tied head can share it. */
  readonly vocabulary: WeightStorage;
  /** What transformers.js puts after "model" in the name of a file of this dtype. It has no name for bf16. */
  readonly fileSuffix: string;
}

/** Other facts about a precision, whatever its blocks. */
interface PrecisionFacts extends Precision {
  /** How far a model's figures (`Verification`) may be from its checkpoint's; docs/verification.md derives it. */
  readonly limits: {
    readonly relativeDifference?: number;
    readonly meanKl?: number;
    readonly top1Agreement: number;
  };
}

const FLOAT: WeightStorage = { kind: 'float' };
// float16 is for GPUs, and WebGPU has no FusedMatMul.
const TRANSPOSED: WeightStorage = { kind: 'transposed' };
// Every CPU can hold bfloat16, and few can multiply by it.
const BFLOAT16: WeightStorage = { kind: 'widened', dtype: 'bfloat16' };
const BLOCKS = { kind: 'blocks', blockSize: 32, symmetric: true, method: 'search' } as const;
const INT8 = { ...BLOCKS, bits: 8 } as const;
const INT6 = { ...BLOCKS, bits: 6 } as const;
const INT5 = { ...BLOCKS, bits: 5 } as const;
const INT4 = { ...BLOCKS, bits: 4 } as const;

/** In the order of messages; none is larger than the one before. Limits: about three times the worst figures seen. */
export const PRECISIONS = [
  {
    name: 'fp32',
    floats: 'float32',
    linear: FLOAT,
    vocabulary: FLOAT,
    fileSuffix: '',
    // float32 sums of some thousand terms in another order. Four times the largest difference seen, a hundredth of the
    // smallest fault.
    limits: { relativeDifference: 2e-5, top1Agreement: 1 },
  },
  {
    name: 'fp16',
    floats: 'float16',
    linear: TRANSPOSED,
    vocabulary: FLOAT,
    fileSuffix: '_fp16',
    limits: { relativeDifference: 1e-2, meanKl: 1e-4, top1Agreement: 0.9 },
  },
  {
    name: 'bf16',
    floats: 'float32',
    linear: BFLOAT16,
    vocabulary: BFLOAT16,
    fileSuffix: '_bf16',
    // 8 times the unit roundoff of fp16. KL grows with the square.
    limits: { relativeDifference: 8e-2, meanKl: 6.4e-3, top1Agreement: 0.8 },
  },
  {
    name: 'int8',
    floats: 'float32',
    linear: INT8,
    vocabulary: INT8,
    fileSuffix: '_int8',
    limits: { meanKl: 0.02, top1Agreement: 0.85 },
  },
  {
    name: 'int6',
    floats: 'float32',
    linear: INT6,
    vocabulary: INT8,
    fileSuffix: '_int6',
    limits: { meanKl: 0.05, top1Agreement: 0.8 },
  },
  {
    name: 'int5',
    floats: 'float32',
    linear: INT5,
    vocabulary: INT8,
    fileSuffix: '_int5',
    limits: { meanKl: 0.2, top1Agreement: 0.7 },
  },
  {
    name: 'int4',
    floats: 'float32',
    linear: INT4,
    vocabulary: INT8,
    fileSuffix: '_q4',
    limits: { meanKl: 1, top1Agreement: 0.4 },
  },
] as const satisfies readonly PrecisionFacts[];

type Entry = (typeof PRECISIONS)[number];

export type PrecisionName = Entry['name'];

export const PRECISION_NAMES = PRECISIONS.map(({ name }) => name);

/** The precision that computes with the checkpoint's weights as they are. */
export const FLOATS = PRECISIONS[0].name;

type Float32Entry = Extract<Entry, { readonly floats: 'float32' }>;

export type HostDtype = Float32Entry['name'];

/** The storages that processors compute with, whose times a plan can know. fp16 is for GPUs. */
export const HOST_DTYPES = namesOf((entry): entry is Float32Entry => entry.floats === 'float32');

type VocabularyEntry = Exclude<Float32Entry, { readonly linear: { readonly bits: 5 | 6 } }>;

export type VocabularyName = VocabularyEntry['name'];

/**
 * How a precision with blocks may store embedding and head: precisions that compute in float32, as it does. Rows of codes in
 * planes are looked up by no operator.
 */
export const VOCABULARY_NAMES = namesOf(
  (entry): entry is VocabularyEntry => entry.floats === 'float32' && !isInPlanes(entry),
);

/** Precisions with layers in blocks, which may be rounded by texts; and the others. */
export const BLOCK_NAMES = namesOf(hasBlocks);
export const FLOAT_NAMES = namesOf((entry) => !hasBlocks(entry));

function namesOf<E extends Entry>(test: ((entry: Entry) => entry is E) | ((entry: Entry) => boolean)): E['name'][] {
  return PRECISIONS.filter(test).map(({ name }) => name);
}

/** "int8 and int4", "fp32, fp16 or bf16": how sentences name several. */
export function listed(names: readonly string[], type: 'and' | 'or'): string {
  // British: no comma before the last.
  return new Intl.ListFormat('en-GB', { type: type === 'and' ? 'conjunction' : 'disjunction' }).format(names);
}

export const IN_BLOCKS = listed(BLOCK_NAMES, 'and');

export function precisionNamed<Name extends PrecisionName>(name: Name): Extract<Entry, { readonly name: Name }> {
  return PRECISIONS[PRECISION_NAMES.indexOf(name)] as Extract<Entry, { readonly name: Name }>;
}

/**
 * The next smaller precision with blocks that decodes faster on a host, if there is one. Stock ONNX Runtime multiplies by codes in
 * planes as by 8 bits.
 */
export function smallerThan(name: PrecisionName, host: HostKind): PrecisionName | undefined {
  const smaller = PRECISIONS.slice(PRECISION_NAMES.indexOf(name) + 1).filter(hasBlocks);
  return smaller.find((one) => host === 'native' || !isInPlanes(one))?.name;
}

/** Sizes of blocks that every kernel of MatMulNBits takes. Above 128, the loss is larger than the saving. */
export const BLOCK_SIZES = [16, 32, 64, 128] as const;

export type BlockSize = (typeof BLOCK_SIZES)[number];

export interface PrecisionOptions {
  readonly blockSize?: number | undefined;
  /** Stores one zero point for each block: smaller errors, slightly larger files. */
  readonly asymmetric?: boolean | undefined;
  /** Stores embedding and head as the precision of this name stores its layers: one of `VOCABULARY_NAMES`. */
  readonly vocabulary?: VocabularyName | undefined;
}

/** The precision of a name, its blocks changed as asked. Throws `usage` for options of blocks where there are none. */
export function choosePrecision(name: PrecisionName, options: PrecisionOptions = {}): Precision {
  const precision: Precision = precisionNamed(name);
  const { blockSize, asymmetric, vocabulary } = options;
  if (blockSize === undefined && asymmetric === undefined && vocabulary === undefined) return precision;
  if (!hasBlocks(precision))
    throw new LacunaError('usage', `${name} stores no blocks, so these options do not apply`, {
      hint: `Block size, zero points and vocabulary are chosen for --dtype ${IN_BLOCKS}.`,
    });
  if (isInPlanes(precision) && (blockSize ?? PLANE_BLOCK_SIZE) !== PLANE_BLOCK_SIZE)
    throw new LacunaError('usage', `${name} has blocks of ${PLANE_BLOCK_SIZE} weights, wanted ${blockSize}`, {
      hint: `Other sizes are for --dtype ${listed(
        namesOf((entry) => hasBlocks(entry) && !isInPlanes(entry)),
        'or',
      )}.`,
    });
  const change = (storage: WeightStorage): WeightStorage => {
    if (storage.kind !== 'blocks') return storage;
    const symmetric = asymmetric === undefined ? storage.symmetric : !asymmetric;
    return { ...storage, blockSize: blockSize ?? storage.blockSize, symmetric };
  };
  return {
    ...precision,
    linear: change(precision.linear),
    vocabulary: change(vocabulary === undefined ? precision.vocabulary : precisionNamed(vocabulary).linear),
  };
}

/**
 * The precisions of names, for one folder. Options apply to those that store blocks. Throws `usage` as
 * `choosePrecision` does, for a name given twice, and for fp32 after another: the first becomes model.onnx, the only
 * name of fp32.
 */
export function choosePrecisions(names: readonly PrecisionName[], options: PrecisionOptions = {}): Precision[] {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new LacunaError('usage', `The precision ${twice} is named twice`);
  if (names.indexOf(FLOATS) > 0)
    throw new LacunaError('usage', `${FLOATS} comes first among several: hosts look for it in model.onnx`, {
      hint: `Use --dtype ${[FLOATS, ...names.filter((name) => name !== FLOATS)].join(',')}`,
    });
  // Where none stores blocks, the first says so.
  const takers = names.some((name) => hasBlocks(precisionNamed(name))) ? BLOCK_NAMES : names;
  return names.map((name) => choosePrecision(name, takers.includes(name) ? options : {}));
}

/**
 * Precisions with blocks among which each block of a model may have its own, the most exact first. In stock ONNX Runtime those in
 * planes are no faster than 8 bits.
 */
export function blockPrecisions(host: HostKind): readonly Precision[] {
  return PRECISIONS.filter((one) => hasBlocks(one) && (host === 'native' || !isInPlanes(one)));
}

function isInPlanes({ linear }: Precision): boolean {
  return linear.kind === 'blocks' && hasPlanes(linear.bits);
}

export function hasBlocks({ linear }: Precision): boolean {
  return linear.kind === 'blocks';
}

/** Whether rounding the layers by texts, which takes minutes, is worth the wait. In 8 bits the loss is too small. */
export function gainsByTexts({ linear }: Precision): boolean {
  return linear.kind === 'blocks' && linear.bits < 8;
}

/** How embedding and head are stored, by the name of the precision that stores everything in that way. */
export function vocabularyOf({ floats, vocabulary }: Precision): PrecisionName {
  const like = PRECISIONS.find((one) => one.floats === floats && storageName(one.linear) === storageName(vocabulary));
  if (like === undefined) throw new RangeError(`No precision stores ${storageName(vocabulary)} beside ${floats}`);
  return like.name;
}

/** Distinguishes storages of one type of floats, whatever the size of their blocks. */
function storageName(storage: WeightStorage): string {
  if (storage.kind === 'blocks') return `${storage.bits} bits`;
  return storage.kind === 'widened' ? storage.dtype : 'floats';
}

/** How texts help to round layers: other columns make up for errors, or these are weighed. The preferred first. */
export const ROUNDINGS = ['gptq', 'search'] as const;

export type Rounding = (typeof ROUNDINGS)[number];

/** Whether scales are searched for, so that the weights of errors matter. */
export function isSearched({ linear }: Precision): boolean {
  return linear.kind === 'blocks' && linear.method === 'search';
}

/** Bytes read to multiply by one weight of a layer, scale and zero point included. A runtime widens floats once. */
export function bytesPerWeight({ floats, linear }: Precision): number {
  if (linear.kind !== 'blocks') return DTYPE_BYTES[floats];
  const { bits, blockSize, symmetric } = linear;
  const zeroPoint = symmetric ? 0 : hasPlanes(bits) ? 1 : bits / 8;
  return bits / 8 + (DTYPE_BYTES.float16 + zeroPoint) / blockSize;
}
