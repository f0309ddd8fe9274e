/** The weight of a product, as converters store it and as GatedFFN takes it. */
import type { Initializer } from '../core/graph.ts';
import { quantizeTurnable, type TurnableMatrix, transpose } from '../core/tensor.ts';
import { BLOCK_STORAGES, type BlockStorage, type Storage } from '../ops/index.ts';
import { type Match, numberOf } from './pattern.ts';

/** A matrix [out, in]. */
export interface StoredWeight {
  readonly storage: Storage;
  readonly shape: readonly [number, number];
  /** The matrix, or its codes in blocks; a tensor of the graph, or one made of it. */
  readonly data: Initializer;
  /** Of blocks. */
  readonly scales: Initializer | undefined;
}

/** The weight of a product that has been matched under `role`. */
export function storedWeight(match: Match, role: string): StoredWeight {
  const [data, scales] = [match.tensors[role], match.tensors[`${role}_scales`]];
  if (data === undefined) throw new RangeError(`No product is called ${role}`);
  const shape = shapeOf(match, role);
  if (scales !== undefined) return { storage: blockStorageOf(match), shape, data, scales };
  if (data.data.dtype !== 'float16')
    return { storage: data.data.dtype === 'bfloat16' ? 'bf16' : 'fp32', shape, data, scales };
  const turned = { name: data.name.replace(/\.transposed$/, ''), data: transpose(data.data) };
  return { storage: 'fp16', shape, data: turned, scales };
}

/** How weights in blocks of the codes that were matched are stored. */
export function blockStorageOf(match: Match): BlockStorage {
  const bits = numberOf(match, 'bits');
  const found = BLOCK_STORAGES.find((storage) => storage === `int${bits}`);
  if (found === undefined) throw new RangeError(`No storage has ${bits} bits`);
  return found;
}

/** Its rows and columns. float16 is stored as MatMul takes it, [in, out]. */
export function shapeOf(match: Match, role: string): readonly [rows: number, columns: number] {
  if (`${role}_scales` in match.tensors) return [numberOf(match, `${role}_rows`), numberOf(match, `${role}_columns`)];
  const { dtype = '', shape = [] } = match.tensors[role]?.data ?? {};
  return dtype === 'float16' ? [shape[1], shape[0]] : [shape[0], shape[1]];
}

/** Turnable matrices that were rounded before, by the weight's name. */
export type RoundedTurnables = ReadonlyMap<string, TurnableMatrix>;

/**
 * A weight in blocks as one that is read along both of its axes, rounded once. It was either rounded before, or is
 * rounded from the floats, so the codes have to be an expression that knows them; undefined where they are not.
 */
export function turnableWeight(weight: StoredWeight, rounded: RoundedTurnables): TurnableMatrix | undefined {
  const { name, data } = weight.data;
  const known = rounded.get(name.replace(/\.codes$/, ''));
  if (known !== undefined) return known;
  return data.kind === 'quantize' ? quantizeTurnable(data.from, data.scheme, data.importance) : undefined;
}
