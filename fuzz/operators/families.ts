/** Sound calls of every operator of the `lacuna` domain, with sizes around those where kernels change their method. */

import { CHOICES, MODES } from '../../src/core/choice.ts';
import { precisionNamed } from '../../src/core/precision.ts';
import { quantizedParts } from '../../src/core/tensor.ts';
import { contractOf, type OperatorContract, type OperatorName, opTypeOf } from '../../src/ops/contract.ts';
import {
  ACTIVATIONS,
  BLOCK_STORAGES,
  type BlockStorage,
  isForStorage,
  recordedBy,
  STORAGES,
  type Storage,
} from '../../src/ops/index.ts';
import type { Random } from '../harness/random.ts';
import type { AttributeValue, HostileNode, Tensor } from './hostile-node.ts';
import { bools, codes, floats, integers } from './tensors.ts';

/** Hidden entries and neurons: around vectors, blocks of 32 and chunks of 128. */
const SIZES = [1, 2, 15, 16, 17, 31, 32, 33, 33, 40, 40, 63, 64, 65, 96, 129, 160] as const;
/** Further sizes for neurons: one chunk and a bit, and several segments. */
const MANY = [...SIZES, 127, 128, 257] as const;
const ROWS = [1, 1, 1, 2, 3] as const;
/** Tokens in a row: around tiles of 4 and blocks of 64. */
const TOKENS = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 9, 65] as const;

/** The most tokens of any call in all. */
const MOST_POSITIONS = 300;

const BLOCK = 32;
const blocksOf = (width: number) => Math.ceil(width / BLOCK);

type Tensors = Readonly<Record<string, Tensor | undefined>>;

/** The random choices of a call. */
export interface Draws {
  /** What a session is opened for: op type, attributes, which inputs exist. */
  readonly variant: Random;
  /** Sizes of weights: those of the session, if weights are constant. */
  readonly sizes: Random;
  /** Everything that one call may have of its own. */
  readonly call: Random;
  readonly areConstant: boolean;
}

/** A sound call of an operator. */
export type Family = (draws: Draws) => HostileNode;

export const FAMILIES: readonly { readonly weight: number; readonly make: Family }[] = [
  { weight: 1, make: statisticalTopK },
  { weight: 1, make: ffnSkipStart },
  { weight: 1, make: ffnSkipStep },
  { weight: 8, make: gatedFfn },
  { weight: 3, make: splitFfn },
  { weight: 6, make: normAttention },
  { weight: 4, make: wholeFfn },
  { weight: 3, make: normProduct },
  { weight: 4, make: sparkAttention },
];

/** By name. The contract says of which kind they are. */
type Attributes = Readonly<Record<string, string | number>>;

const EPSILONS = { epsilon: 1e-6, post_epsilon: 1e-6 } as const;

interface Made {
  readonly operator: OperatorName;
  readonly attributes: Attributes;
  readonly tensors: Tensors;
  readonly outputs: readonly string[];
}

/** The node, with inputs and outputs at the contract's places. */
function nodeOf({ areConstant, variant }: Draws, { operator, attributes, tensors, outputs }: Made): HostileNode {
  const contract: OperatorContract = contractOf(operator);
  const last = contract.outputs.findLastIndex(({ name }) => outputs.includes(name));
  return {
    // Any number is fine: the kernel is the same.
    opType: opTypeOf(operator, variant.int(contract.bodies)),
    domain: 'lacuna',
    attributes: Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [name, attributeOf(contract.attributes[name], value)]),
    ),
    inputs: contract.inputs.map(({ name }) => {
      const tensor = tensors[name];
      return { name, isConstant: areConstant && !CHANGING.has(name), ...(tensor && { tensor }) };
    }),
    outputs: contract.outputs
      .slice(0, last + 1)
      .map(({ name, type }) => ({ name: outputs.includes(name) ? name : '', type })),
  };
}

function attributeOf(kind: 'int' | 'float' | 'string', value: string | number): AttributeValue {
  if (kind === 'int') return { kind, value: BigInt(value) };
  return kind === 'float' ? { kind, value: Number(value) } : { kind, value: String(value) };
}

const CHANGING: ReadonlySet<string> = new Set([
  ...['x', 'skip', 'active', 'residual', 'state', 'saturation', 'threshold', 'position_ids'],
  ...['projected', 'past_key', 'past_value', 'seqlens_k', 'total_sequence_length'],
]);

function statisticalTopK(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const dims = Array.from({ length: 1 + call.int(4) }, () => call.pick([0, 1, 2, 3]));
  return nodeOf(draws, {
    operator: 'StatisticalTopK',
    attributes: { mode: chosen.pick(MODES), quantile: chosen.pick([-1, 0, 1.4]) },
    tensors: { x: floats(call, [...dims.slice(1), sizes.pick([0, ...MANY])]) },
    outputs: some(chosen, ['kept'], ['y']),
  });
}

function ffnSkipStart(draws: Draws): HostileNode {
  const { variant: chosen, call } = draws;
  const dims = [call.pick(ROWS), call.pick(TOKENS)];
  const positions = Array.from({ length: dims[0] * dims[1] }, () => call.int(100));
  return nodeOf(draws, {
    operator: 'FFNSkipStart',
    attributes: { warm_up: chosen.int(50), dense_prefill: chosen.int(2) },
    tensors: { position_ids: integers('int64', dims, positions) },
    outputs: some(chosen, ['active'], ['state']),
  });
}

function ffnSkipStep(draws: Draws): HostileNode {
  const { variant: chosen, call } = draws;
  const reArm = chosen.chance(0.5);
  const dims = [call.pick(ROWS), call.pick(TOKENS)];
  const state = Array.from({ length: dims[0] * dims[1] }, () => call.int(5) - 1);
  return nodeOf(draws, {
    operator: 'FFNSkipStep',
    attributes: { run_length: chosen.int(5), re_arm: Number(reArm) },
    tensors: { state: integers('int32', dims, state), saturation: floats(call, dims), threshold: floats(call, []) },
    outputs: some(chosen, ['next_active'], ['next_state']),
  });
}

/** `always`, and some of `others`. */
function some(random: Random, others: readonly string[], always: readonly string[]): readonly string[] {
  return [...always, ...others.filter(() => random.chance(0.5))];
}

const maybe = (random: Random, tensor: () => Tensor) => (random.chance(0.5) ? tensor() : undefined);

/** A matrix of floats in its storage's type. */
function matrix(random: Random, storage: Storage, dims: readonly number[]): Tensor {
  return floats(random, dims, storage === 'bf16' ? 'bfloat16' : storage === 'fp16' ? 'float16' : 'float32');
}

const isBlocked = (storage: Storage): storage is BlockStorage => BLOCK_STORAGES.some((name) => name === storage);

/** Shapes of the tensors of a matrix in blocks with a zero point each. */
const partsOf = (storage: BlockStorage, rows: number, columns: number) =>
  quantizedParts([rows, columns], { ...precisionNamed(storage).linear, symmetric: false });

/** Codes and scales of a matrix in blocks, under its name. */
function blocked(random: Random, name: string, storage: BlockStorage, rows: number, columns: number): Tensors {
  const parts = partsOf(storage, rows, columns);
  return {
    [name]: codes(random, parts.codes.shape),
    [`${name}_scales`]: floats(random, parts.scales.shape, 'float16'),
  };
}

/**
 * Rows of some matrices side by side, in whole cache lines. Codes may be anything; so may scales, where floats may be
 * anything.
 */
function records(random: Random, neurons: number, rows: readonly number[]): Tensor {
  const bytes = rows.reduce((sum, row) => sum + row, 0);
  return codes(random, [neurons, Math.ceil(bytes / 64) * 64]);
}

const rowBytes = (storage: BlockStorage, width: number, hasScales = true) =>
  blocksOf(width) * (BLOCK * (precisionNamed(storage).linear.bits / 8) + (hasScales ? 2 : 0));

/** The attributes of a choice on its node. */
function choiceAttributes(random: Random, choice: (typeof CHOICES)[number] | undefined): Attributes {
  if (choice === undefined) return { measure: 'none' };
  const { measure, cut } = choice;
  const words = { measure, cut, gather: random.int(2) };
  return choice.cut === 'deviation' ? { ...words, mode: choice.mode, quantile: 0.5 } : words;
}

function gatedFfn(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const choice = chosen.pick([undefined, ...CHOICES]);
  const storage = chosen.pick(STORAGES.filter((name) => isForStorage(choice, name)));
  const normed = storage !== 'fp16' && chosen.chance(0.5);
  const masked = chosen.chance(0.5);
  const [b, s, h, d] = [call.pick(ROWS), call.pick(TOKENS), sizes.pick(SIZES), sizes.pick(MANY)];
  const stream = [b, s, h];
  const isScored = choice !== undefined && choice.cut !== 'deviation';
  const isNested = choice?.measure === 'nested';
  const partBytes = (own: BlockStorage) =>
    isNested
      ? [rowBytes('int4', h, false), rowBytes('int4', h, false), rowBytes('int8', h)]
      : recordedBy(choice).map(() => rowBytes(own, h));
  const weights: Tensors = isBlocked(storage)
    ? {
        ...blocked(call, 'gate_up', isNested ? 'int4' : storage, 2 * d, h),
        ...(choice === undefined
          ? blocked(call, 'down', storage, h, d)
          : { records: records(call, d, partBytes(storage)) }),
      }
    : Object.fromEntries(['gate', 'up', 'down'].map((name) => [name, matrix(call, storage, [d, h])]));
  return nodeOf(draws, {
    operator: 'GatedFFN',
    attributes: {
      storage,
      activation: chosen.pick(ACTIVATIONS),
      ...choiceAttributes(chosen, choice),
      dense_prefill: chosen.int(2),
      ...EPSILONS,
    },
    tensors: {
      x: floats(call, stream),
      ...weights,
      gate_bias: maybe(chosen, () => floats(call, [d])),
      up_bias: maybe(chosen, () => floats(call, [d])),
      down_bias: maybe(chosen, () => floats(call, [h])),
      post_norm: maybe(chosen, () => floats(call, [h])),
      active: masked ? bools(call, [b, s]) : undefined,
      residual: masked && !normed ? floats(call, stream) : undefined,
      skip: normed ? floats(call, stream) : undefined,
      norm: normed ? floats(call, [h]) : undefined,
      threshold: isScored ? floats(call, []) : undefined,
      weights: isScored ? floats(call, [d]) : undefined,
      ...(choice?.measure === 'predicted' && blocked(call, 'predictor', 'int4', 2 * d, h)),
    },
    outputs: [...some(chosen, ['saturation', 'kept'], ['y']), ...(normed ? ['sum'] : [])],
  });
}

/** Gate and up read parts of x. */
function splitFfn(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const storage = chosen.pick(STORAGES);
  const [b, s, d] = [call.pick(ROWS), call.pick(TOKENS), sizes.pick(MANY)];
  const gateInputs = 1 + chosen.int(70);
  const h = gateInputs + sizes.pick(SIZES);
  const choice = { measure: 'gate', cut: 'deviation', mode: chosen.pick(MODES) } as const;
  const recorded = (own: BlockStorage) =>
    recordedBy(choice).map((name) => rowBytes(own, name === 'up' ? h - gateInputs : h));
  const weights: Tensors = isBlocked(storage)
    ? {
        ...blocked(call, 'gate', storage, d, gateInputs),
        ...blocked(call, 'up', storage, d, h - gateInputs),
        records: records(call, d, recorded(storage)),
      }
    : {
        gate: matrix(call, storage, [d, gateInputs]),
        up: matrix(call, storage, [d, h - gateInputs]),
        down: matrix(call, storage, [d, h]),
      };
  return nodeOf(draws, {
    operator: 'GatedFFN',
    attributes: {
      storage,
      activation: chosen.pick(ACTIVATIONS),
      ...choiceAttributes(chosen, choice),
      post_epsilon: 1e-6,
      gate_inputs: gateInputs,
      up_inputs: h - gateInputs,
    },
    tensors: { x: floats(call, [b, s, h]), ...weights, post_norm: maybe(chosen, () => floats(call, [h])) },
    outputs: some(chosen, ['kept'], ['y']),
  });
}

interface BlockVariant {
  readonly storage: BlockStorage;
  readonly isAsymmetric: boolean;
  readonly isBiased: boolean;
}

function blockVariant(random: Random): BlockVariant {
  return {
    storage: random.pick(BLOCK_STORAGES),
    isAsymmetric: random.chance(0.5),
    isBiased: random.chance(0.5),
  };
}

/** A matrix with what its variant stores beside codes and scales. */
function stored(random: Random, name: string, variant: BlockVariant, rows: number, columns: number): Tensors {
  const { zeroPoints } = partsOf(variant.storage, rows, columns);
  return {
    ...blocked(random, name, variant.storage, rows, columns),
    ...(variant.isAsymmetric && { [`${name}_zero_points`]: codes(random, zeroPoints?.shape ?? []) }),
    ...(variant.isBiased && { [`${name}_bias`]: floats(random, [rows]) }),
  };
}

/** In blocks, with nothing left out, as in fused parts. */
function wholeFfn(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const variant = blockVariant(chosen);
  const [b, s, h, d] = [call.pick(ROWS), call.pick(TOKENS), sizes.pick(SIZES), sizes.pick(MANY)];
  return nodeOf(draws, {
    operator: 'GatedFFN',
    attributes: { storage: variant.storage, activation: chosen.pick(ACTIVATIONS), measure: 'none', ...EPSILONS },
    tensors: {
      x: floats(call, [b, s, h]),
      skip: floats(call, [b, s, h]),
      norm: floats(call, [h]),
      ...stored(call, 'gate', variant, d, h),
      ...stored(call, 'up', variant, d, h),
      ...stored(call, 'down', variant, h, d),
      post_norm: maybe(chosen, () => floats(call, [h])),
    },
    outputs: some(chosen, ['sum'], ['y']),
  });
}

function normProduct(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const variant = { ...blockVariant(chosen), isBiased: false };
  const [b, s, h, rows] = [call.pick(ROWS), call.pick(TOKENS), sizes.pick(SIZES), sizes.pick(MANY)];
  return nodeOf(draws, {
    operator: 'NormProduct',
    attributes: { storage: variant.storage, epsilon: 1e-6, softcap: chosen.pick([0, 30]) },
    tensors: {
      x: floats(call, [b, s, h]),
      skip: floats(call, [b, s, h]),
      norm: floats(call, [h]),
      ...stored(call, 'weight', variant, rows, h),
    },
    outputs: ['y'],
  });
}

function normAttention(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const variant = blockVariant(chosen);
  const isFirst = chosen.chance(0.3);
  const [b, s, h] = [call.pick(ROWS), call.pick(TOKENS), sizes.pick(SIZES)];
  const kvHeads = chosen.pick([1, 2, 3]);
  const heads = kvHeads * chosen.pick([1, 2, 9]);
  const head = sizes.pick([16, 32, 48, 64]);
  // Several tokens after a past are allowed in one row only.
  const seen = b > 1 && s > 1 ? 0 : call.pick([0, 1, 5, 63, 64, 130]);
  const capacity = seen + call.pick([0, s, s + 3, 200]);
  const total = seen + s;
  const positions = draws.areConstant ? MOST_POSITIONS : total + call.pick([0, 1, 40]);
  const cache = [b, kvHeads, capacity, head];
  const [queries, keys] = [heads * head, kvHeads * head];
  const isSplit = chosen.chance(0.5);
  const rows = isSplit ? { query: queries, key: keys, value: keys } : { query: queries + 2 * keys };
  const projections = Object.entries(rows).map(([name, count]) => stored(call, name, variant, count, h));
  return nodeOf(draws, {
    operator: 'NormAttention',
    attributes: {
      storage: variant.storage,
      num_heads: heads,
      kv_num_heads: kvHeads,
      scale: 0.25,
      softcap: chosen.pick([0, 50]),
      local_window_size: chosen.pick([-1, 1, 7, 64, 100]),
      epsilon: 1e-6,
      head_epsilon: 1e-6,
      post_epsilon: 1e-6,
    },
    tensors: {
      x: floats(call, [b, s, h]),
      skip: isFirst ? undefined : floats(call, [b, s, h]),
      norm: floats(call, [h]),
      ...Object.assign({}, ...projections),
      ...stored(call, 'output', variant, h, queries),
      past_key: floats(call, cache),
      past_value: floats(call, cache),
      seqlens_k: integers('int32', [b], Array(b).fill(total - 1)),
      total_sequence_length: integers('int32', call.pick([[], [1]]), [total]),
      cosines: floats(call, [positions, head / 2]),
      sines: floats(call, [positions, head / 2]),
      query_norm: maybe(chosen, () => floats(call, [head])),
      key_norm: maybe(chosen, () => floats(call, [head])),
      post_norm: maybe(chosen, () => floats(call, [h])),
    },
    outputs: ['y', 'present_key', 'present_value', ...(isFirst ? [] : some(chosen, ['sum'], []))],
  });
}

function sparkAttention(draws: Draws): HostileNode {
  const { variant: chosen, sizes, call } = draws;
  const [b, s] = [call.pick(ROWS), call.pick(TOKENS)];
  const kvHeads = chosen.pick([1, 2, 3]);
  const heads = kvHeads * chosen.pick([1, 2, 9]);
  const predictor = 2 * (1 + chosen.int(20));
  const head = predictor + 2 * sizes.pick([1, 3, 8, 16, 17]);
  // Several tokens after a past are allowed in one row only.
  const seen = b > 1 && s > 1 ? 0 : call.pick([0, 1, 5, 63, 64, 130]);
  const capacity = seen + call.pick([0, s, s + 3, 200]);
  const total = seen + s;
  const positions = draws.areConstant ? MOST_POSITIONS : total + call.pick([0, 1, 40]);
  const cache = [b, kvHeads, capacity, head];
  const table = (width: number) => floats(call, [positions, width / 2]);
  return nodeOf(draws, {
    operator: 'SparkAttention',
    attributes: {
      num_heads: heads,
      kv_num_heads: kvHeads,
      predictor_size: predictor,
      softcap: chosen.pick([0, 50]),
    },
    tensors: {
      projected: floats(call, [b, s, (heads + 2 * kvHeads) * head]),
      past_key: floats(call, cache),
      past_value: floats(call, cache),
      seqlens_k: integers('int32', [b], Array(b).fill(total - 1)),
      total_sequence_length: integers('int32', call.pick([[], [1]]), [total]),
      quantiles: floats(call, [positions]),
      cosines: table(predictor),
      sines: table(predictor),
      other_cosines: table(head - predictor),
      other_sines: table(head - predictor),
    },
    outputs: some(chosen, ['attended'], ['y', 'present_key', 'present_value']),
  });
}
