/** Models of FFN blocks alone, as converters and rewrites make them, for benchmarks of operators. */
import { GATHER_SHARE } from '../src/core/choice.ts';
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { boolTensor, cast, float32Tensor, quantizedParts, type TensorExpr } from '../src/core/tensor.ts';
import {
  Bodies,
  FFN_BLOCK_SIZE,
  type GatedFfnVariant,
  gatedFfnBody,
  gatedFfnNode,
  recordedBy,
  type Storage,
} from '../src/ops/index.ts';

export interface Shape {
  readonly hidden: number;
  readonly neurons: number;
  readonly layers: number;
}

/** Shapes as `--shapes` names them, HIDDENxNEURONS with commas between, each of `layers` blocks; those that a script times where it names none. */
export function shapesOf(
  named: string | undefined,
  layers: string | undefined,
  usual: readonly Shape[],
): readonly Shape[] {
  const shapes = named?.split(',').map((shape): Shape => {
    const [hidden, neurons] = shape.split('x').map(Number);
    return { hidden, neurons, layers: 1 };
  });
  return (shapes ?? usual).map((shape) => ({ ...shape, layers: Number(layers ?? shape.layers) }));
}

export interface Contender {
  readonly name: string;
  /** undefined: the dense block as converters write it. */
  readonly variant?: Pick<GatedFfnVariant, 'choice' | 'masked'>;
  readonly density?: number;
  readonly active?: boolean;
}

/**
 * Storages of the blocks: those of CPUs. bf16 is missing, because it is widened when a model is loaded and then equals
 * fp32.
 */
export type BlockStorage = Exclude<Storage, 'bf16' | 'fp16'>;

/** A block that only chooses neurons. */
export const PLAIN = {
  split: false,
  masked: false,
  densePrefill: false,
  normed: false,
  counted: false,
  gateBias: false,
  upBias: false,
  downBias: false,
  postNorm: false,
} as const;

/** Q(1 - 0.08), where Q is the standard normal quantile. */
const QUANTILE_8_PERCENT = 1.405072;

/**
 * Numbers from -1/4 to 1/4 that look random enough for arithmetic: a linear congruential generator (Numerical Recipes).
 */
function noise(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 33;
  }
  return values;
}

/** Tensors of a layer by GatedFFN's inputs: matrices, or codes and scales. */
function weights(
  { variant }: Contender,
  { hidden, neurons }: Shape,
  storage: BlockStorage,
  layer: number,
): Record<string, TensorExpr> {
  const isDense = variant === undefined;
  const wide = [neurons, hidden];
  const inputs = storage === 'fp32' || isDense ? { gate: wide, up: wide } : { gate_up: [2 * neurons, hidden] };
  const down = storage === 'fp32' ? { down: wide } : { down: [hidden, neurons] };
  // Only kernels read records. Bodies then have `down` in 8 bits.
  const hasRecords = storage !== 'fp32' && !isDense && recordedBy(variant.choice).length > 0;
  const made = Object.fromEntries(
    Object.entries({ ...inputs, ...down }).flatMap(([name, shape], index): [string, TensorExpr][] => {
      const seed = 3 * layer + index + 1;
      if (storage === 'fp32') return [[name, float32Tensor(noise(hidden * neurons, seed), shape)]];
      const { codes, scales } = quantizedParts(shape, {
        ...schemeOf(storage),
        ...(hasRecords && name === 'down' && { bits: 8 }),
      });
      const bytes = new Uint8Array(noise((codes.shape[0] * codes.shape[1] * codes.shape[2]) / 4, seed).buffer);
      return [
        [name, { kind: 'bytes', dtype: 'uint8', shape: codes.shape, bytes }],
        [`${name}_scales`, cast(float32Tensor(new Float32Array(scales.shape[0]).fill(2 ** -9)), 'float16')],
      ];
    }),
  );
  return hasRecords ? { ...made, records: float32Tensor([0]) } : made;
}

function schemeOf(storage: Exclude<BlockStorage, 'fp32'>) {
  return { bits: storage === 'int4' ? 4 : 8, blockSize: FFN_BLOCK_SIZE, symmetric: true, method: 'search' } as const;
}

export function stack(contender: Contender, shape: Shape, storage: BlockStorage = 'fp32'): Graph {
  const g = new GraphBuilder('bench');
  const bodies = new Bodies([]);
  let sum = 'x';
  for (let layer = 0; layer < shape.layers; layer++) {
    const names = Object.fromEntries(
      Object.entries(weights(contender, shape, storage, layer)).map(([name, data]) => [
        name,
        g.initializer(`${layer}.${name}`, data),
      ]),
    );
    // Every block reads the same x. In a chain of random blocks, numbers would grow without limit.
    sum = g.op('Add', [sum, block(g, contender, { shape, storage, layer, names }, bodies)]);
  }
  g.op('Identity', [sum], { outputs: ['out'] });
  const stream = (name: string) => value(name, 'float32', [1, 'tokens', shape.hidden]);
  const active = value('active', 'bool', [1, 'tokens']);
  const inputs = contender.variant?.masked ? [stream('x'), active] : [stream('x')];
  return g.graph(inputs, [stream('out')], bodies.functions);
}

interface Layer {
  readonly shape: Shape;
  readonly storage: BlockStorage;
  readonly layer: number;
  /** Those of the weights in the graph, by input. */
  readonly names: Readonly<Record<string, string>>;
}

function block(
  g: GraphBuilder,
  { variant: chosen, density = 1 }: Contender,
  { shape, storage, layer, names }: Layer,
  bodies: Bodies,
): string {
  const { hidden, neurons } = shape;
  if (chosen === undefined) return denseBlock(g, shape, storage, names);
  const variant: GatedFfnVariant = {
    ...PLAIN,
    ...chosen,
    storage,
    gather: density < GATHER_SHARE || chosen.choice?.measure === 'gate',
    activation: 'silu',
  };
  const y = g.fresh('y');
  // Any activation passes with weight 1, and none with weight 0: the kept rows are random, and their number is exact.
  const kept = noise(neurons, layer + 77).map((v) => (2 * v + 0.5 < density ? 1 : 0));
  const node = gatedFfnNode(variant, {
    node: g.fresh('ffn'),
    opType: bodies.opTypeOf(gatedFfnBody(variant)),
    quantile: QUANTILE_8_PERCENT,
    sizes: { hidden, neurons },
    inputs: {
      x: 'x',
      ...names,
      ...(chosen.masked && { active: 'active', residual: 'x' }),
      ...(chosen.choice?.measure === 'activation' && {
        threshold: g.initializer(`${layer}.threshold`, float32Tensor([1e-30], [])),
        weights: g.initializer(`${layer}.weights`, float32Tensor(kept)),
      }),
    },
    outputs: { y, ...(chosen.masked && { saturation: g.fresh('saturation') }) },
  });
  g.nodes.push(node);
  return y;
}

/** As the converters write it. */
function denseBlock(
  g: GraphBuilder,
  { hidden, neurons }: Shape,
  storage: BlockStorage,
  names: Readonly<Record<string, string>>,
): string {
  const multiply = (input: string, name: string, [rows, columns]: readonly [number, number]) => {
    if (storage === 'fp32')
      return g.contrib('FusedMatMul', [input, names[name]], { attributes: { transB: attr.int(1) } });
    const scales = g.cast(names[`${name}_scales`], 'float32');
    return g.contrib('MatMulNBits', [input, names[name], scales], {
      attributes: {
        K: attr.int(columns),
        N: attr.int(rows),
        bits: attr.int(schemeOf(storage).bits),
        block_size: attr.int(FFN_BLOCK_SIZE),
        accuracy_level: attr.int(4),
      },
    });
  };
  const gate = multiply('x', 'gate', [neurons, hidden]);
  const act = g.contrib('QuickGelu', [gate], { attributes: { alpha: attr.float(1) } });
  const products = g.op('Mul', [act, multiply('x', 'up', [neurons, hidden])]);
  return storage === 'fp32' ? g.op('MatMul', [products, names.down]) : multiply(products, 'down', [hidden, neurons]);
}

export function feedsOf({ variant, active = true }: Contender, { hidden }: Shape): Record<string, RuntimeTensor> {
  const x: RuntimeTensor = { dtype: 'float32', dims: [1, 1, hidden], data: noise(hidden, 5) };
  const { bytes } = boolTensor([active], [1, 1]);
  return variant?.masked ? { x, active: { dtype: 'bool', dims: [1, 1], data: bytes } } : { x };
}
