/** The weight of a product, as converters store it and as GatedFFN takes it. */
import type { Initializer, Node } from '../core/graph.ts';
import { quantizeTurnable, type TurnableMatrix, transpose } from '../core/tensor.ts';
import { FFN_BLOCK_SIZE, type Storage } from '../ops/index.ts';
import { blockScales } from './block-scales.ts';
import type { GraphIndex } from './graph-index.ts';

/** A matrix [out, in]. */
export interface StoredWeight {
  readonly storage: Storage;
  readonly shape: readonly [number, number];
  /** The matrix, or its codes in blocks; a tensor of the graph, or one made of it. */
  readonly data: Initializer;
  /** Of blocks. */
  readonly scales: Initializer | undefined;
}

export type StoredWeightResult =
  | { readonly kind: 'stored'; readonly weight: StoredWeight; readonly nodes: readonly Node[] }
  | { readonly kind: 'refused'; readonly reason: string };

function refused(reason: string): StoredWeightResult {
  return { kind: 'refused', reason };
}

/** The weight of a FusedMatMul, MatMul or MatMulNBits, and the nodes between it and the product. */
export function storedWeight(index: GraphIndex, product: Node): StoredWeightResult {
  switch (product.opType) {
    case 'MatMulNBits':
      return blockWeight(index, product);
    case 'MatMul':
      return narrowWeight(index, product.inputs[1]);
    default:
      return floatWeight(index, product.inputs[1]);
  }
}

function floatWeight(index: GraphIndex, name: string): StoredWeightResult {
  const widened = index.producer(name);
  const isCast = widened?.opType === 'Cast';
  const data = index.initializers.get(isCast ? widened.inputs[0] : name);
  if (data === undefined) return refused(`${name} is no tensor of the model`);
  const { dtype, shape } = data.data;
  const storage = isCast ? 'bf16' : 'fp32';
  const wanted = isCast ? 'bfloat16' : 'float32';
  if (dtype !== wanted || shape.length !== 2)
    return refused(`${data.name} is ${dtype} [${shape}], wanted a ${wanted} matrix`);
  const weight: StoredWeight = { storage, shape: [shape[0], shape[1]], data, scales: undefined };
  return { kind: 'stored', weight, nodes: isCast ? [widened] : [] };
}

/** float16 is stored as MatMul takes it, [in, out], which GatedFFN does not. */
function narrowWeight(index: GraphIndex, name: string): StoredWeightResult {
  const stored = index.initializers.get(name);
  if (stored === undefined) return refused(`${name} is no tensor of the model`);
  const { dtype, shape } = stored.data;
  if (dtype !== 'float16' || shape.length !== 2)
    return refused(`${name} is ${dtype} [${shape}], wanted a float16 matrix`);
  const data = { name: name.replace(/\.transposed$/, ''), data: transpose(stored.data) };
  const weight: StoredWeight = { storage: 'fp16', shape: [shape[1], shape[0]], data, scales: undefined };
  return { kind: 'stored', weight, nodes: [] };
}

function blockWeight(index: GraphIndex, { inputs, attributes }: Node): StoredWeightResult {
  const [, codes, scales, zeroPoints = '', ...more] = inputs;
  const int = (name: string) => {
    const attribute = attributes[name];
    return attribute?.kind === 'int' ? attribute.value : 0;
  };
  const data = index.initializers.get(codes);
  if (data === undefined) return refused(`${codes} is no tensor of the model`);
  if (zeroPoints !== '') return refused(`${codes} has zero points, GatedFFN takes none`);
  if (int('block_size') !== FFN_BLOCK_SIZE)
    return refused(`${codes} is in blocks of ${int('block_size')}, GatedFFN takes ${FFN_BLOCK_SIZE}`);
  if (more.some((name) => name !== '')) return refused(`${codes} has a bias or an order of its groups`);
  if (![4, 8].includes(int('bits'))) return refused(`${codes} has ${int('bits')} bits, GatedFFN takes 4 or 8`);
  const found = blockScales(index, scales);
  if (found.kind === 'refused') return found;
  const storage = int('bits') === 8 ? 'int8' : 'int4';
  return {
    kind: 'stored',
    weight: { storage, shape: [int('N'), int('K')], data, scales: found.tensor },
    nodes: [found.widened],
  };
}

/** Turnable matrices that were rounded before, by the weight's name. */
export type RoundedTurnables = ReadonlyMap<string, TurnableMatrix>;

/**
 * A weight in blocks as one that is read along both of its axes, rounded once. It was either rounded before, or is
 * rounded from the floats, so the codes have to be an expression that knows them; undefined where they are not.
 */
export function turnableWeight(
  { data: { name, data } }: StoredWeight,
  rounded: RoundedTurnables,
): TurnableMatrix | undefined {
  const known = rounded.get(name.replace(/\.codes$/, ''));
  if (known !== undefined) return known;
  return data.kind === 'quantize' ? quantizeTurnable(data.from, data.scheme, data.importance) : undefined;
}
