/** Changes to a sound node. Each change could come from a file or from a caller. */
import type { Random } from '../harness/random.ts';
import {
  type AttributeValue,
  elementsOf,
  type HostileNode,
  type Input,
  type Tensor,
  TYPE_BYTES,
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
  ...[
    0n,
    1n,
    -1n,
    2n,
    3n,
    16n,
    4096n,
    4097n,
    2n ** 15n,
    2n ** 20n,
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n,
    2n ** 32n + 1n,
  ],
  ...[
    2n ** 58n,
    2n ** 59n,
    2n ** 60n,
    2n ** 60n + 4n,
    2n ** 61n + 4n,
    2n ** 62n,
    2n ** 62n + 1n,
    I64_MAX,
    -I64_MAX - 1n,
    -I64_MAX,
  ],
];
const FLOATS = [
  0,
  -0,
  1,
  -1,
  1e-45,
  1e-38,
  3.4e38,
  -3.4e38,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];
const STRINGS = ['', 'silu', 'gelu_tanh', 'gelu', 'relu', 'tanh', 'silu\0', 'é', 'a'.repeat(70_000)];
/** New values of a dimension. The largest is used only if the tensor has no elements. */
const DIMENSIONS = [0, 0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 65, 128, 512, 528, 1024] as const;
/** Limit of all sizes together: no more than an unoptimised library computes in a moment. */
const SMALL_DIMENSIONS = DIMENSIONS.filter((size) => size <= 128);
const HUGE = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52] as const;
/** The most elements of an invented tensor. */
const MOST_ELEMENTS = 1 << 16;

function intOf(random: Random): bigint {
  return random.pick(INTS);
}

function attributeOf(kind: AttributeValue['kind'], random: Random): AttributeValue {
  switch (kind) {
    case 'int':
      return { kind, value: intOf(random) };
    case 'float':
      return { kind, value: random.pick(FLOATS) };
    case 'string':
      return { kind, value: random.pick(STRINGS) };
    case 'ints':
      return { kind, value: [intOf(random), intOf(random)] };
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
  if (given.length === 0) return node;
  const at = random.pick(given);
  return withInput(node, at, (input) => ({ ...input, ...(input.tensor && { tensor: of(input.tensor) }) }));
}

function withInput(node: HostileNode, at: number, of: (input: Input) => Input): HostileNode {
  return { ...node, inputs: node.inputs.map((input, i) => (i === at ? of(input) : input)) };
}

/** With other dimensions, and as many bytes as they need. Unchanged if they need too many. */
function resized(tensor: Tensor, dims: readonly number[], random: Random): Tensor {
  const elements = elementsOf(dims);
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
    const huge = dims.map((size, i) =>
      isEmpty && size !== 0 && i !== at && random.chance(0.5) ? random.pick(HUGE) : size,
    );
    return resized(
      tensor,
      huge.map((size) => Math.max(0, size)),
      random,
    );
  });
}

/** A size of several inputs changes in all of them, so checks of one against the other see nothing. */
function changeEverywhere(node: HostileNode, random: Random): HostileNode {
  const sizes = [...new Set(node.inputs.flatMap(({ tensor }) => tensor?.dims ?? []))];
  if (sizes.length === 0) return node;
  const [from, to] = [random.pick(sizes), random.pick(SMALL_DIMENSIONS)];
  return {
    ...node,
    inputs: node.inputs.map((input) =>
      input.tensor === undefined
        ? input
        : {
            ...input,
            tensor: resized(
              input.tensor,
              input.tensor.dims.map((size) => (size === from ? to : size)),
              random,
            ),
          },
    ),
  };
}

function changeRank(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const { dims } = tensor;
    const changed = random.pick([
      [],
      [elementsOf(dims)],
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
  const given = node.inputs.flatMap((input, at) =>
    input.tensor === undefined || input.tensor.dims.length === 0 ? [] : [at],
  );
  if (given.length === 0) return node;
  return withInput(node, random.pick(given), ({ name, tensor }) => {
    if (tensor === undefined) return { name, isConstant: true };
    const at = random.int(tensor.dims.length);
    const dims = tensor.dims.map((size, i) => (i === at ? random.pick([...HUGE, size + 1, 0]) : size));
    return { name, isConstant: true, tensor: { ...tensor, dims } };
  });
}

function changeType(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const type = random.pick(Object.keys(TYPES) as TypeName[]);
    // Dimensions may be larger than memory. The bytes then do not match anyway.
    const isHuge = elementsOf(tensor.dims) > MOST_ELEMENTS;
    return isHuge ? { ...tensor, type } : anything(random, type, tensor.dims);
  });
}

function changeValues(node: HostileNode, random: Random): HostileNode {
  return change(node, random, (tensor) => {
    const bytes = tensor.bytes.slice();
    if (bytes.length === 0) return tensor;
    const all = random.chance(0.5);
    const width = TYPE_BYTES[tensor.type];
    const pattern = patternOf(tensor.type, random);
    const count = bytes.length / width;
    const places = all ? Array.from({ length: count }, (_, i) => i) : [random.int(count)];
    for (const place of places) bytes.set(pattern, place * width);
    return { ...tensor, bytes };
  });
}

/** The bytes of one extreme value. */
function patternOf(type: TypeName, random: Random): Uint8Array {
  const as = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  switch (type) {
    case 'float':
      return as(Float32Array.of(random.pick(FLOATS)));
    case 'double':
      return as(Float64Array.of(random.pick(FLOATS)));
    case 'int64':
      return as(BigInt64Array.of(intOf(random)));
    case 'int32':
      return as(Int32Array.of(random.pick([0, 1, -1, -2, 5, 63, 64, 1000, 2 ** 31 - 1, -(2 ** 31)])));
    case 'float16':
      return as(Uint16Array.of(random.pick([0, 0x8000, 1, 0x7c00, 0xfc00, 0x7e00, 0x7bff, 0xfbff])));
    case 'bfloat16':
      return as(Uint16Array.of(random.pick([0, 0x8000, 1, 0x7f80, 0xff80, 0x7fc0, 0x7f7f, 0xff7f])));
    case 'bool':
    case 'uint8':
    case 'int8':
      return Uint8Array.of(random.pick([0, 1, 2, 127, 128, 255]));
  }
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
    if (input === a) return { ...a, ...(b.tensor && { tensor: b.tensor }) };
    return input === b ? { ...b, ...(a.tensor && { tensor: a.tensor }) } : input;
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
    tensor: anything(random, random.pick(Object.keys(TYPES) as TypeName[]), [random.int(4), random.int(4)]),
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
      outputs.push({ name: 'more', type: 'float' });
      break;
    default:
      outputs[at] = { ...outputs[at], type: random.pick(Object.keys(TYPES) as TypeName[]) };
  }
  return { ...node, outputs };
}
