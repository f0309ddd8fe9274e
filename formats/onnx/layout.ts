/** The place of each weight of a model: inside the model's own bytes, or at an offset of the external data. */
import { byteLength } from '../../src/core/dtype.ts';
import type { Graph } from '../../src/core/graph.ts';
import type { TensorExpr } from '../../src/core/tensor.ts';

export interface Slot {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly data: TensorExpr;
  /** Name of the file, if it is not the model's own. */
  readonly location?: string;
}

export interface Layout {
  /** Slots in the order of their offsets. Each is written once. */
  readonly slots: readonly Slot[];
  /** The slot of an initializer of the main graph, by its name. The others are inline. */
  readonly slotOf: ReadonlyMap<string, Slot>;
  /** Length of the external data; 0 if there are none. */
  readonly totalBytes: number;
}

/** Up to this many bytes a tensor stays inline: runtimes fold small constants that are in the model itself. */
const INLINE_BYTES = 1024;
/** Slots start at a page, so that a runtime can map a weight alone. */
const ALIGNMENT = 4096;

/** Lays out the external data from dtypes and shapes alone, without reading anything. Equal data share a slot. */
export function layOut(graph: Graph): Layout {
  const slots: Slot[] = [];
  const slotOf = new Map<string, Slot>();
  const slotByContent = new Map<string, Slot>();
  const contentKey = contentKeys();
  let end = 0;
  for (const { name, data } of graph.initializers) {
    const length = byteLength(data.dtype, data.shape);
    if (length <= INLINE_BYTES) continue;
    const key = contentKey(data);
    let slot = slotByContent.get(key);
    if (slot === undefined) {
      slot = { byteOffset: Math.ceil(end / ALIGNMENT) * ALIGNMENT, byteLength: length, data };
      end = slot.byteOffset + length;
      slots.push(slot);
      slotByContent.set(key, slot);
    }
    slotOf.set(name, slot);
  }
  return { slots, slotOf, totalBytes: end };
}

/** Bytes of a model's weights on disk. Weights that several initializers share count once. */
export function weightBytesOf(graph: Graph): number {
  const { slots, slotOf } = layOut(graph);
  const inline = graph.initializers.filter(({ name }) => !slotOf.has(name));
  const inlineBytes = inline.reduce((sum, { data }) => sum + byteLength(data.dtype, data.shape), 0);
  return slots.reduce((sum, slot) => sum + slot.byteLength, inlineBytes);
}

/** Keys that are equal only if the bytes are: one range of a file, or the very same array, with one treatment. */
function contentKeys(): (data: TensorExpr) => string {
  const arrays = new Map<Uint8Array, number>();
  const told = function (this: Partial<TensorExpr>, key: string): unknown {
    // Not the shape of codes: an embedding and the head that shares it want the same ones in other shapes.
    if (key === 'name' || (key === 'shape' && this.kind === 'quantize')) return undefined;
    const value: unknown = this[key as keyof TensorExpr];
    if (!(value instanceof Uint8Array)) return value;
    const id = arrays.get(value) ?? arrays.size;
    arrays.set(value, id);
    return id;
  };
  return (data) => JSON.stringify(data, told);
}
