/** As much shape inference as deciding whether two values have equal shapes takes; what it does not know it says. */
import type { Dim, Node } from '../core/graph.ts';
import type { TensorExpr } from '../core/tensor.ts';
import type { GraphIndex } from './graph-index.ts';

/** Undefined dimensions are unknown. */
export type Shape = readonly (Dim | undefined)[];

export type ShapeOf = (value: string) => Shape | undefined;

/** Shapes of values, found once each by walking back to inputs and initializers. */
export function inferShapes(index: GraphIndex): ShapeOf {
  const known = new Map<string, Shape | undefined>();
  const shapeOf = (name: string) => known.get(name);
  for (const { name, shape } of index.graph.inputs) known.set(name, shape);
  for (const { name, data } of index.graph.initializers) known.set(name, data.shape);
  // Graphs list nodes in order, so a value's inputs are known before it and the walk needs no recursion.
  for (const node of index.graph.nodes) {
    for (const [position, output] of node.outputs.entries())
      if (output !== '') known.set(output, shapeOfOutput(node, position, index, shapeOf));
  }
  return shapeOf;
}

/** Whether both shapes are known in full and equal. */
export function sameShape(a: Shape | undefined, b: Shape | undefined): boolean {
  return (
    a !== undefined &&
    b !== undefined &&
    a.length === b.length &&
    a.every((dim, axis) => dim !== undefined && dim === b[axis])
  );
}

const LIKE_FIRST_INPUT = [
  'SimplifiedLayerNormalization',
  'SkipSimplifiedLayerNormalization',
  'QuickGelu',
  'Gelu',
  'Sigmoid',
  'Tanh',
  'Relu',
  'ThresholdedRelu',
  'Identity',
  'Cast',
];

function shapeOfOutput(node: Node, position: number, index: GraphIndex, shapeOf: ShapeOf): Shape | undefined {
  const first = shapeOf(node.inputs[0]);
  if (LIKE_FIRST_INPUT.includes(node.opType)) return first;
  switch (node.opType) {
    case 'Constant':
      return constantOf(node)?.shape;
    case 'Add':
    case 'Sub':
    case 'Mul':
    case 'Div':
      return broadcast(first, shapeOf(node.inputs[1]));
    case 'Gather':
      return gathered(node, first, shapeOf(node.inputs[1]));
    case 'MatMul':
    case 'FusedMatMul':
      return product(node, first, shapeOf(node.inputs[1]));
    case 'MatMulNBits':
      return first && [...first.slice(0, -1), intOf(node, 'N')];
    case 'GatherBlockQuantized':
      return rowsOfBlocks(node, first, shapeOf(node.inputs[1]));
    case 'GroupQueryAttention':
      return position === 0 ? attended(node, first, shapeOf) : undefined;
    case 'Reshape':
      return integers(node.inputs[1], index)?.map((size, axis) =>
        size === 0 ? first?.[axis] : size === -1 ? undefined : size,
      );
    case 'Pad':
    case 'Slice':
      return first && resized(node, first, index);
    default:
      // An operator of ours gives y like x.
      return node.domain === 'lacuna' && position === 0 ? first : undefined;
  }
}

/** The shape of an elementwise result, where one operand has it already or has a known one that stretches. */
function broadcast(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (sameShape(a, b)) return a;
  if (a === undefined || b === undefined) return undefined;
  const [wide, narrow] = a.length >= b.length ? [a, b] : [b, a];
  const tail = wide.slice(wide.length - narrow.length);
  return narrow.every((dim, axis) => dim === 1 || (dim !== undefined && dim === tail[axis])) ? wide : undefined;
}

function gathered(node: Node, data: Shape | undefined, indices: Shape | undefined): Shape | undefined {
  const axis = node.attributes.axis;
  if (data === undefined || indices === undefined || (axis?.kind === 'int' && axis.value !== 0)) return undefined;
  return [...indices, ...data.slice(1)];
}

/** Rows are looked up by axis 0, their codes packed into bytes. */
function rowsOfBlocks(node: Node, codes: Shape | undefined, indices: Shape | undefined): Shape | undefined {
  const [bits, width] = [intOf(node, 'bits'), codes?.at(-1)];
  if (indices === undefined || bits === undefined || typeof width !== 'number') return undefined;
  return [...indices, (8 / bits) * width];
}

function product(node: Node, a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (a === undefined || b === undefined || b.length !== 2 || isSet(node, 'transA')) return undefined;
  return [...a.slice(0, -1), isSet(node, 'transB') ? b[0] : b[1]];
}

/** The query's shape; out of a packed one, the share of its heads. */
function attended(node: Node, query: Shape | undefined, shapeOf: ShapeOf): Shape | undefined {
  if (query === undefined || (node.inputs[1] !== '' && shapeOf(node.inputs[1]) !== undefined)) return query;
  const [heads, kvHeads] = [intOf(node, 'num_heads'), intOf(node, 'kv_num_heads')];
  const width = query[query.length - 1];
  if (heads === undefined || kvHeads === undefined || typeof width !== 'number') return undefined;
  return [...query.slice(0, -1), (width / (heads + 2 * kvHeads)) * heads];
}

/** Pad and Slice leave alone the axes that they do not name. */
function resized(node: Node, from: Shape, index: GraphIndex): Shape | undefined {
  if (node.opType === 'Slice') {
    const axes = integers(node.inputs[3] ?? '', index);
    return (
      axes && from.map((dim, axis) => (axes.includes(axis) || axes.includes(axis - from.length) ? undefined : dim))
    );
  }
  const pads = integers(node.inputs[1] ?? '', index);
  return pads && from.map((dim, axis) => (pads[axis] === 0 && pads[axis + from.length] === 0 ? dim : undefined));
}

function isSet(node: Node, attribute: string): boolean {
  return intOf(node, attribute) === 1;
}

function intOf(node: Node, name: string): number | undefined {
  const attribute = node.attributes[name];
  return attribute?.kind === 'int' ? attribute.value : undefined;
}

/** The values of an int64 constant or initializer that is in memory. */
function integers(name: string, index: GraphIndex): readonly number[] | undefined {
  const producer = index.producer(name);
  const data = producer === undefined ? index.initializers.get(name)?.data : constantOf(producer);
  if (data?.kind !== 'bytes' || data.dtype !== 'int64') return undefined;
  return Array.from(new BigInt64Array(data.bytes.slice().buffer), Number);
}

function constantOf(node: Node): TensorExpr | undefined {
  const { value } = node.attributes;
  return value?.kind === 'tensor' ? value.value : undefined;
}
