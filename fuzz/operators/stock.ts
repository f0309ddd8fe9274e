/** Sound calls of ONNX Runtime's own operators in our graphs. Only their attributes change. */
import type { Random } from '../harness/random.ts';
import type { AttributeValue, HostileNode, Tensor } from './hostile-node.ts';
import { codes, floats, integers } from './tensors.ts';

type Family = (random: Random) => HostileNode;

export const STOCK_FAMILIES: readonly Family[] = [
  groupQueryAttention,
  matMulNBits,
  gatherBlockQuantized,
  rotaryEmbedding,
  fusedMatMul,
  skipSimplifiedLayerNormalization,
  simplifiedLayerNormalization,
];

const ints = (values: Readonly<Record<string, number>>): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { kind: 'int', value: BigInt(value) }]));
const reals = (values: Readonly<Record<string, number>>): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { kind: 'float', value }]));

function node(
  opType: string,
  attributes: HostileNode['attributes'],
  inputs: readonly (readonly [string, Tensor, 'constant'?])[],
  outputs: readonly string[],
  domain = 'com.microsoft',
): HostileNode {
  return {
    opType,
    domain,
    attributes,
    inputs: inputs.map(([name, tensor, constant]) => ({ name, tensor, isConstant: constant !== undefined })),
    outputs: outputs.map((name) => ({ name, type: 'float32' })),
  };
}

function groupQueryAttention(random: Random): HostileNode {
  const [b, s, seen] = random.pick([
    [1, 1, 5],
    [1, 4, 0],
    [2, 1, 3],
  ] as const);
  const [heads, kvHeads, head] = [4, 2, 16];
  const total = seen + s;
  const cache = [b, kvHeads, seen, head];
  return node(
    'GroupQueryAttention',
    {
      ...ints({ num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1, rotary_interleaved: 0, local_window_size: -1 }),
      ...ints({ smooth_softmax: 0, qk_output: 0 }),
      ...reals({ scale: 0.25, softcap: 0 }),
    },
    [
      ['query', floats(random, [b, s, heads * head])],
      ['key', floats(random, [b, s, kvHeads * head])],
      ['value', floats(random, [b, s, kvHeads * head])],
      ['past_key', floats(random, cache)],
      ['past_value', floats(random, cache)],
      ['seqlens_k', integers('int32', [b], Array(b).fill(total - 1))],
      ['total_sequence_length', integers('int32', [1], [total])],
      ['cosines', floats(random, [32, head / 2])],
      ['sines', floats(random, [32, head / 2])],
    ],
    ['y', 'present_key', 'present_value'],
  );
}

function matMulNBits(random: Random): HostileNode {
  const [k, n, block] = [64, 24, 32];
  const bits = random.pick([4, 8]);
  return node(
    'MatMulNBits',
    ints({ K: k, N: n, bits, block_size: block, accuracy_level: 4 }),
    [
      ['x', floats(random, [1, random.pick([1, 5]), k])],
      ['weight', codes(random, [n, k / block, (block * bits) / 8]), 'constant'],
      ['scales', floats(random, [n * (k / block)]), 'constant'],
    ],
    ['y'],
  );
}

function gatherBlockQuantized(random: Random): HostileNode {
  const [rows, k, block, bits] = [20, 64, 32, 8];
  return node(
    'GatherBlockQuantized',
    ints({ bits, block_size: block, gather_axis: 0, quantize_axis: 1 }),
    [
      ['weight', codes(random, [rows, k]), 'constant'],
      ['indices', integers('int64', [1, 3], [1, 19, 7])],
      ['scales', floats(random, [rows, k / block]), 'constant'],
    ],
    ['y'],
  );
}

function rotaryEmbedding(random: Random): HostileNode {
  return node(
    'RotaryEmbedding',
    ints({ interleaved: 0, num_heads: 4, rotary_embedding_dim: random.pick([0, 16]), is_packed_batching: 0 }),
    [
      ['x', floats(random, [1, 3, 64])],
      ['positions', integers('int64', [1, 3], [0, 1, 2])],
      ['cosines', floats(random, [32, 8])],
      ['sines', floats(random, [32, 8])],
    ],
    ['y'],
  );
}

function fusedMatMul(random: Random): HostileNode {
  return node(
    'FusedMatMul',
    { ...ints({ transA: 0, transB: 1, transBatchA: 0, transBatchB: 0 }), ...reals({ alpha: 1 }) },
    [
      ['a', floats(random, [1, 3, 16])],
      random.chance(0.5) ? ['b', floats(random, [24, 16])] : ['b', floats(random, [24, 16]), 'constant'],
    ],
    ['y'],
  );
}

function skipSimplifiedLayerNormalization(random: Random): HostileNode {
  return node(
    'SkipSimplifiedLayerNormalization',
    reals({ epsilon: 1e-6 }),
    [
      ['x', floats(random, [1, 3, 16])],
      ['skip', floats(random, [1, 3, 16])],
      ['weight', floats(random, [16])],
    ],
    ['y'],
  );
}

function simplifiedLayerNormalization(random: Random): HostileNode {
  return node(
    'SimplifiedLayerNormalization',
    { ...ints({ axis: -1, stash_type: 1 }), ...reals({ epsilon: 1e-6 }) },
    [
      ['x', floats(random, [1, 3, 16])],
      ['weight', floats(random, [16])],
    ],
    ['y'],
    '',
  );
}
