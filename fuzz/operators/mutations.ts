/** Changes to a sound node. Each change could come from a file or from a caller. */
import { DTYPE_BYTES, ELEMENT_TYPES, elementCount } from '../../src/core/dtype.ts';
import type { Random } from '../harness/random.ts';
import {
  type AttributeValue,
  type HostileNode,
  type Input,
  type Tensor,
  TYPES,
  type TypeName,
} from './hostile-node.ts';
import { anything } from './tensors.ts';

type Apply = (node: HostileNode, random: Random) => HostileNode;

export interface Mutation {
  readonly weight: number;
  readonly name: string;
  readonly apply: Apply;
}

/** Changes that a caller can make in an open session. */
export const CALL_MUTATIONS: readonly Mutation[] = [
  { weight: 6, name: 'dimension', apply: changeDimension },
  { weight: 3, name: 'one dimension everywhere', apply: changeEverywhere },
  { weight: 2, name: 'rank', apply: changeRank },
  { weight: 1, name: 'type', apply: changeType },
  { weight: 6, name: 'values', apply: changeValues },
  { weight: 1, name: 'tensors exchanged', apply: exchangeTensors },
];

export const ATTRIBUTE_MUTATIONS: readonly Mutation[] = [
  { weight: 30, name: 'attribute', apply: changeAttribute },
  { weight: 3, name: 'attribute gone', apply: dropAttribute },
];

/** Further changes that a file can make. */
export const NODE_MUTATIONS: readonly Mutation[] = [
  ...CALL_MUTATIONS,
  ...ATTRIBUTE_MUTATIONS,
  { weight: 3, name: 'declared size', apply: declareMore },
  { weight: 4, name: 'input gone', apply: dropInput },
  { weight: 2, name: 'inputs exchanged', apply: exchangeInputs },
  { weight: 2, name: 'input twice', apply: repeatInput },
  { weight: 2, name: 'input more', apply: addInput },
  { weight: 3, name: 'constant or fed', apply: turnConstant },
  { weight: 4, name: 'output', apply: changeOutputs },
];

const I64_MAX = 2n ** 63n - 1n;
const INTS: readonly bigint[] = [
  ...[0n, 1n, -1n, 2n, 3n, 16n, 4096n, 4097n, 2n ** 15n, 2n ** 20n],
  ...[2n ** 31n - 1n, 2n ** 31n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 58n, 2n ** 59n, 2n ** 60n, 2n ** 60n + 4n],
  ...[2n ** 61n + 4n, 2n ** 62n, 2n ** 62n + 1n, I64_MAX, -I64_MAX - 1n, -I64_MAX],
];
const FLOATS: readonly number[] = [
  ...[0, -0, 1, -1, 1e-45, 1e-38, 3.4e38, -3.4e38],
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
];
const BYTES = [0, 1, 2, 127, 128, 255];
/** Values of each type that are extreme. Those of narrow floats are given by their bits. */
const EXTREMES: Readonly<Record<TypeName, readonly (number | bigint)[]>> = {
  float32: FLOATS,
  float64: FLOATS,
  int64: INTS,
  int32: [0, 1, -1, -2, 5, 63, 64, 1000, 2 ** 31 - 1, -(2 ** 31)],
  float16: [0, 0x8000, 1, 0x7c00, 0xfc00, 0x7e00, 0x7bff, 0xfbff],
  bfloat16: [0, 0x8000, 1, 0x7f80, 0xff80, 0x7fc0, 0x7f7f, 0xff7f],
  bool: BYTES,
  uint8: BYTES,
  int8: BYTES,
};
const STRINGS = ['', 'silu', 'gelu_tanh', 'gelu', 'relu', 'drelu', 'tanh', 'silu\0', 'é', 'a'.repeat(70_000)];
/** New values of a dimension. The largest is used only if the tensor has no elements. */
const DIMENSIONS = [0, 0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 65, 128, 512, 528, 1024] as const;
/** Limit of all sizes together: no more than an unoptimised library computes in a moment. */
const SMALL_DIMENSIONS = DIMENSIONS.filter((size) => size <= 128);
const HUGE = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52] as const;
/** The most elements of an invented tensor. */
const MOST_ELEMENTS = 1 << 16;

function attributeOf(kind: AttributeValue['kind'], random: Random): AttributeValue {
  switch (kind) {
    case 'int':
      return { kind, value: random.pick(INTS) };
    case 'float':
      return { kind, value: random.pick(FLOATS) };
    case 'string':
      return { kind, value: random.pick(STRINGS) };
    case 'ints':
      return { kind, value: [random.pick(INTS), random.pick(INTS)] };
  }
}

function changeAttribute(node: HostileNode, random: Random): HostileNode {
  const names = Object.keys(node.attributes);
  if (names.length === 0) return node;
  const name = random.pick(names);
  const kind = random.chance(0.85)
    ? node.attributes[name].kind
    : random.pick(['int', 'float', 'string', 'ints'] as const);
  return { ...node, attributes: { ...node.attributes, [name]: attributeOf(kind, random) } };
}

function dropAttribute(node: HostileNode, random: Random): HostileNode {
  const names = Object.keys(node.attributes);
  if (names.length === 0) return node;
  const { [random.pick(names)]: _, ...attributes } = node.attributes;
  return { ...node, attributes };
}

/** Changes one of the given inputs. */
function change(node: HostileNode, random: Random, of: (tensor: Tensor) => Tensor): HostileNode {
  const given = node.inputs.flatMap((input, at) => (input.tensor === undefined ? [] : [at]));
  return given.length === 0 ? node : withInput(node, random.pick(given), (input) => withTensor(input, of));
}

function withInput(node: HostileNode, at: number, of: (input: Input) => Input): HostileNode {
  return { ...node, inputs: node.inputs.map((input, i) => (i === at ? of(input) : input)) };
}

function withTensor(input: Input, of: (tensor: Tensor) => Tensor): Input {
  return { ...input, ...(input.tensor && { tensor: of(input.tensor) }) };
}

/** With other dimensions, and as many bytes as they need. Unchanged if they need too many. */
function resized(tensor: Tensor, dims: readonly number[], random: Random): Tensor {
  const elements = elementCount(dims);
  if (elements > MOST_ELEMENTS) return tensor;
  const made = anything(random, tensor.type, dims);
  // Old values stay as far as they go, because sound numbers reach further than random bytes.
  made.bytes.set(tensor.bytes.subarray(0, made.bytes.length));
  return { ...tensor, dims, bytes: made.bytes };
}

function changeDimension(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    if (tensor.dims.length === 0) return tensor;
    const at = random.int(tensor.dims.length);
    const dims = tensor.dims.map((size, i) => (i === at ? random.pick([...DIMENSIONS, size + 1, size - 1]) : size));
    const isEmpty = dims.includes(0);
    const huge = dims.map((size, i) => {
      const mayGrow = isEmpty && size !== 0 && i !== at;
      return Math.max(0, mayGrow && random.chance(0.5) ? random.pick(HUGE) : size);
    });
    return resized(tensor, huge, random);
  });
}

/** A size of several inputs changes in all of them, so checks of one against the other see nothing. */
function changeEverywhere(node: HostileNode, random: Random): HostileNode {
  const sizes = [...new Set(node.inputs.flatMap(({ tensor }) => tensor?.dims ?? []))];
  if (sizes.length === 0) return node;
  const [from, to] = [random.pick(sizes), random.pick(SMALL_DIMENSIONS)];
  const exchanged = (tensor: Tensor) => {
    const dims = tensor.dims.map((size) => (size === from ? to : size));
    return resized(tensor, dims, random);
  };
  return { ...node, inputs: node.inputs.map((input) => withTensor(input, exchanged)) };
}

function changeRank(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const { dims } = tensor;
    const changed = random.pick([
      [],
      [elementCount(dims)],
      [1, ...dims],
      dims.slice(1),
      dims.slice(0, -1),
      [...dims].reverse(),
      [...dims, ...Array.from({ length: 9 }, () => 1)],
    ]);
    return resized(tensor, changed, random);
  });
}

/** More or fewer elements than there are bytes, in an initializer, as a file may have it. */
function declareMore(node: HostileNode, random: Random): HostileNode {
  const given = node.inputs.flatMap((input, at) => (input.tensor?.dims.length ? [at] : []));
  if (given.length === 0) return node;
  const declared = (tensor: Tensor): Tensor => {
    const at = random.int(tensor.dims.length);
    const dims = tensor.dims.map((size, i) => (i === at ? random.pick([...HUGE, size + 1, 0]) : size));
    return { ...tensor, dims };
  };
  return withInput(node, random.pick(given), (input) => withTensor({ ...input, isConstant: true }, declared));
}

function changeType(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const type = random.pick(TYPES);
    // Dimensions may be larger than memory. The bytes then do not match anyway.
    const isHuge = elementCount(tensor.dims) > MOST_ELEMENTS;
    return isHuge ? { ...tensor, type } : anything(random, type, tensor.dims);
  });
}

function changeValues(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const bytes = tensor.bytes.slice();
    if (bytes.length === 0) return tensor;
    const all = random.chance(0.5);
    const width = DTYPE_BYTES[tensor.type];
    const pattern = patternOf(tensor.type, random);
    const count = bytes.length / width;
    const places = all ? Array(count).keys() : [random.int(count)];
    for (const place of places) bytes.set(pattern, place * width);
    return { ...tensor, bytes };
  });
}

/** The bytes of one extreme value. */
function patternOf(type: TypeName, random: Random): Uint8Array {
  // Values are of the kind that the type's array takes.
  const { array } = ELEMENT_TYPES[type] as unknown as { readonly array: { of(value: number | bigint): Uint8Array } };
  return new Uint8Array(array.of(random.pick(EXTREMES[type])).buffer);
}

function dropInput(node: HostileNode, random: Random): HostileNode {
  const at = random.int(node.inputs.length);
  if (random.chance(0.2)) return { ...node, inputs: node.inputs.slice(0, at) };
  return withInput(node, at, ({ name, isConstant }) => ({ name, isConstant }));
}

/** Names keep their places. */
function exchangeTensors(node: HostileNode, random: Random): HostileNode {
  const [a, b] = [random.pick(node.inputs), random.pick(node.inputs)];
  if (a.tensor === undefined || b.tensor === undefined) return node;
  const inputs = node.inputs.map((input) => {
    if (input === a) return { ...a, tensor: b.tensor };
    return input === b ? { ...b, tensor: a.tensor } : input;
  });
  return { ...node, inputs };
}

function exchangeInputs(node: HostileNode, random: Random): HostileNode {
  const [a, b] = [random.int(node.inputs.length), random.int(node.inputs.length)];
  const inputs = [...node.inputs];
  [inputs[a], inputs[b]] = [inputs[b], inputs[a]];
  return { ...node, inputs };
}

function repeatInput(node: HostileNode, random: Random): HostileNode {
  return withInput(node, random.int(node.inputs.length), () => random.pick(node.inputs));
}

function addInput(node: HostileNode, random: Random): HostileNode {
  const more = Array.from({ length: 1 + random.int(3) }, (_, i) => ({
    name: `more.${i}`,
    isConstant: random.chance(0.5),
    tensor: anything(random, random.pick(TYPES), [random.int(4), random.int(4)]),
  }));
  return { ...node, inputs: [...node.inputs, ...more] };
}

function turnConstant(node: HostileNode, random: Random): HostileNode {
  return withInput(node, random.int(node.inputs.length), (input) => ({ ...input, isConstant: !input.isConstant }));
}

function changeOutputs(node: HostileNode, random: Random): HostileNode {
  const outputs = [...node.outputs];
  const at = random.int(outputs.length);
  switch (random.int(4)) {
    case 0:
      outputs[at] = { ...outputs[at], name: '' };
      break;
    case 1:
      outputs.splice(at);
      break;
    case 2:
      outputs.push({ name: 'more', type: 'float32' });
      break;
    default:
      outputs[at] = { ...outputs[at], type: random.pick(TYPES) };
  }
  return { ...node, outputs };
}
