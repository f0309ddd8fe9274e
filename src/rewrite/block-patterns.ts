/** What attention, FFN and head look like, for all who look for them: a variation of a block is a line here. */
import type { DType } from '../core/dtype.ts';
import { type Attribute, attr } from '../core/graph.ts';
import { entries } from '../core/graph-builder.ts';
import { joinPlanes } from '../core/planes.ts';
import { int64Tensor } from '../core/tensor.ts';
import { FFN_BLOCK_SIZE } from '../ops/index.ts';
import {
  type AttributeOptions,
  absent,
  any,
  capture,
  type Match,
  madeOf,
  oneOf,
  op,
  optional,
  type Pattern,
  phrase,
  sets,
  tensor,
  unless,
  widened,
} from './pattern.ts';
import { shapeOf } from './stored-weight.ts';

/** x W^T, where W is called `role`. */
export type Product = (role: string, x: Pattern) => Pattern;

/** How weights are stored, and the types of norms' weights and of biases. */
export interface Storages {
  readonly products: readonly [Product, ...Product[]];
  readonly vectors: readonly DType[];
}

const is = (...values: readonly number[]): AttributeOptions => ({ among: values.map(attr.int) });
const isOrLacks = (value: Attribute): AttributeOptions => ({ among: [value], otherwise: value });

export const floatProduct: Product = (role, x) => {
  const matrix = tensor(role, { dtypes: ['float32'], rank: 2 });
  const narrow = widened(tensor(role, { dtypes: ['bfloat16'], rank: 2 }));
  const attributes = { transA: isOrLacks(attr.int(0)), transB: is(1), alpha: isOrLacks(attr.float(1)) };
  return op('FusedMatMul', { inputs: [x, oneOf(matrix, narrow)], attributes });
};

/** Of graphs in float16, whose weights are stored the other way round. */
export const narrowProduct: Product = (role, x) =>
  op('MatMul', { inputs: [x, tensor(role, { dtypes: ['float16'], rank: 2 })] });

/** Blocks as our kernels read them. */
export const blockProduct: Product = (role, x) => inBlocks(role, x, absent('zero points'));

export const shiftedProduct: Product = (role, x) =>
  inBlocks(role, x, optional(tensor(`${role}_zero_points`, { dtypes: ['uint8'] })));

function inBlocks(role: string, x: Pattern, zeroPoints: Pattern): Pattern {
  const codes = tensor(role, { dtypes: ['uint8'] });
  const scales = widened(tensor(`${role}_scales`, { dtypes: ['float16'] }));
  const attributes = { block_size: is(FFN_BLOCK_SIZE), N: { as: `${role}_rows` }, K: { as: `${role}_columns` } };
  const multiplied = (read: Pattern, bits: AttributeOptions) =>
    op('MatMulNBits', { inputs: [x, read, scales, zeroPoints], attributes: { ...attributes, bits } });
  const inPlanes = ([5, 6] as const).map((bits) => {
    // All planes are those of one tensor.
    const joined = phrase((g, planes) => joinPlanes(g, planes, bits), capture(`${role}_planes`, codes));
    return madeOf(1, sets('bits', attr.int(bits), multiplied(joined, is(8))));
  });
  return oneOf(multiplied(codes, { ...is(4, 8), as: 'bits' }), ...inPlanes);
}

function product({ products: [first, ...others] }: Storages, role: string, x: Pattern): Pattern {
  return oneOf(first(role, x), ...others.map((one) => one(role, x)));
}

/** A product, to which a bias may be added. */
function linear(storages: Storages, role: string, x: Pattern): Pattern {
  const plain = product(storages, role, x);
  const bias = tensor(`${role}_bias`, { dtypes: storages.vectors, rank: 1 });
  return oneOf(plain, unless(otherBias(role), op('Add', { inputs: [plain, bias] })));
}

function otherBias(role: string) {
  return (match: Match) => {
    const [bias, rows] = [match.tensors[`${role}_bias`], shapeOf(match, role)[0]];
    return bias?.data.shape[0] === rows ? undefined : `${bias?.name} is no bias of ${rows} rows`;
  };
}

function norm({ vectors }: Storages, role: string, epsilon: string, x: Pattern): Pattern {
  return op('SimplifiedLayerNormalization', {
    inputs: [x, tensor(role, { dtypes: vectors, rank: 1 })],
    attributes: { axis: isOrLacks(attr.int(-1)), epsilon: { as: epsilon, otherwise: attr.float(1e-5) } },
  });
}

/** norm(x + skip), and the sum. */
export function sumNorm({ vectors }: Storages): Pattern {
  return op('SkipSimplifiedLayerNormalization', {
    inputs: [capture('x'), capture('skip'), tensor('norm', { dtypes: vectors, rank: 1 })],
    outputs: ['', '', 'sum'],
    attributes: { epsilon: { as: 'epsilon' } },
  });
}

/** What is added to the stream: what a block gives, or its norm. */
function added(storages: Storages, block: Pattern): Pattern {
  return oneOf(block, norm(storages, 'post_norm', 'post_epsilon', block));
}

/** What gate and up read of an FFN's input, where each reads a part: the first entries, and the others. */
export interface InputParts {
  readonly gateInputs: number;
  readonly hidden: number;
}

/** down(act(gate n) * up n), or down(relu(gate n) * relu(up n)). `activated` is what becomes of the gate. */
export function ffnPattern(storages: Storages, normed = any, activated = activation, parts?: InputParts): Pattern {
  const n = capture('n', normed);
  const part = (from: number, to: number) => phrase((g, x) => entries(g, x, from, to), n);
  const read = parts && { gate: part(0, parts.gateInputs), up: part(parts.gateInputs, parts.hidden) };
  const gate = capture('gate', linear(storages, 'gate', read?.gate ?? n));
  const up = linear(storages, 'up', read?.up ?? n);
  const product = oneOf(
    op('Mul', { inputs: [capture('act', activated(gate)), capture('up', up)] }),
    sets(
      'activation',
      attr.string('drelu'),
      op('Mul', { inputs: [capture('act', relu(gate)), capture('up', relu(up))] }),
    ),
  );
  return added(storages, linear(storages, 'down', capture('middle', product)));
}

function relu(x: Pattern): Pattern {
  return op('Relu', { inputs: [x] });
}

/** act(gate), where gates below a threshold or below a deviation may be 0 before or after. */
export function activatedAsTrained(gate: Pattern): Pattern {
  const attributes = { alpha: { as: 'threshold_below', otherwise: attr.float(1) } };
  const thresholded = op('ThresholdedRelu', { inputs: [gate], attributes });
  return oneOf(activation(cutOrWhole(gate)), sets('activation', attr.string('relu'), thresholded));
}

/** A gate, or what training left of it: max(gate - (mean + deviation * quantile), 0), in float32. */
function cutOrWhole(gate: Pattern): Pattern {
  const wide = capture('wide_gate', widened(gate));
  return oneOf(gate, cutGate(gate), op('Cast', { inputs: [cutGate(wide)], attributes: { to: is(FLOAT16) } }));
}

/** What Cast calls float16. */
const FLOAT16 = 10;

function cutGate(gate: Pattern): Pattern {
  const lastAxis = op('Constant', { attributes: { value: { among: [attr.tensor(int64Tensor([-1]))] } } });
  const mean = (of: Pattern) => op('ReduceMean', { inputs: [of, lastAxis], attributes: {}, strict: true });
  const middle = capture('gate_mean', mean(gate));
  const centred = capture('gate_centred', op('Sub', { inputs: [gate, middle] }));
  const deviation = op('Sqrt', { inputs: [mean(op('Mul', { inputs: [centred, centred] }))] });
  const factor = op('Constant', { attributes: { value_float: { as: 'quantile' } } });
  const cut = op('Add', { inputs: [middle, op('Mul', { inputs: [deviation, factor] })] });
  return op('Relu', { inputs: [op('Sub', { inputs: [gate, cut] })] });
}

function activation(x: Pattern): Pattern {
  const gives = (name: string, opType: string, inputs: readonly Pattern[], attributes = {}) =>
    sets('activation', attr.string(name), op(opType, { inputs, attributes }));
  return oneOf(
    gives('silu', 'Mul', [x, op('Sigmoid', { inputs: [x] })]),
    gives('silu', 'QuickGelu', [x], { alpha: { among: [attr.float(1)] } }),
    gives('gelu', 'Gelu', [x], { approximate: isOrLacks(attr.string('none')) }),
    gives('gelu_tanh', 'Gelu', [x], { approximate: { among: [attr.string('tanh')] } }),
    sets('activation', attr.string('relu'), relu(x)),
  );
}

const ATTENTION_INPUTS = ['past_key', 'past_value', 'seqlens_k', 'total_sequence_length', 'cosines', 'sines'];

/** output(attention(query n, key n, value n)), of one packed product or three. */
export function attentionPattern(storages: Storages): Pattern {
  const n = capture('n', oneOf(sumNorm(storages), norm(storages, 'norm', 'epsilon', capture('x'))));
  const packed = attend(linear(storages, 'query', n), absent('a key'), absent('a value'));
  const apart = attend(heads(storages, 'query', n), heads(storages, 'key', n), linear(storages, 'value', n));
  return added(storages, linear(storages, 'output', capture('middle', oneOf(packed, apart))));
}

function attend(...projections: readonly Pattern[]): Pattern {
  return op('GroupQueryAttention', {
    inputs: [...projections, ...ATTENTION_INPUTS.map((name) => capture(name))],
    outputs: ['present_key', 'present_value'],
    attributes: {
      do_rotary: is(1),
      rotary_interleaved: isOrLacks(attr.int(0)),
      num_heads: { as: 'num_heads' },
      kv_num_heads: { as: 'kv_num_heads' },
      scale: { as: 'scale' },
      softcap: { as: 'softcap', otherwise: attr.float(0) },
      local_window_size: { as: 'local_window_size', otherwise: attr.int(-1) },
    },
    strict: true,
  });
}

/** A projection, or the norm of each of its heads. */
function heads(storages: Storages, role: string, x: Pattern): Pattern {
  const projection = linear(storages, role, x);
  const reshape = (of: Pattern) => op('Reshape', { inputs: [of, op('Constant', {})] });
  return oneOf(projection, reshape(norm(storages, `${role}_norm`, 'head_epsilon', reshape(projection))));
}

/** weight norm(x + skip), or c tanh of a c-th of that. */
export function headPattern(storages: Storages): Pattern {
  const logits = capture('middle', product(storages, 'weight', sumNorm(storages)));
  const cap = capture('cap', op('Constant', { attributes: { value_float: { as: 'softcap' } } }));
  const bent = op('Tanh', { inputs: [op('Div', { inputs: [logits, cap] })] });
  return oneOf(sets('softcap', attr.float(0), logits), op('Mul', { inputs: [bent, cap] }));
}
