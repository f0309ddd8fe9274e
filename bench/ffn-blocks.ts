/** Models of FFN blocks alone, as converters and rewrites make them: what benchmarks of operators run. */
import { attr, BASE_OPSETS, type Graph, LACUNA_DOMAIN, type OpFunction } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { boolTensor, float32Tensor, type TensorExpr } from '../src/core/tensor.ts';
import { GATHER_SHARE, type GatedFfnVariant, gatedFfnFunction, gatedFfnNode } from '../src/ops/index.ts';

export interface Shape {
  readonly hidden: number;
  readonly neurons: number;
  readonly layers: number;
}

export interface Contender {
  readonly name: string;
  /** undefined: the dense block as converters write it. */
  readonly variant?: Pick<GatedFfnVariant, 'selector' | 'masked'>;
  readonly density?: number;
  readonly active?: boolean;
}

/** Q(1 - 0.08), Q being the standard normal quantile. */
const QUANTILE_8_PERCENT = 1.405072;

/** Numbers from -1/4 to 1/4 that look random enough for arithmetic; a linear congruential generator (Numerical Recipes). */
function noise(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 33;
  }
  return values;
}

function weights({ hidden, neurons }: Shape, layer: number): Record<'gate' | 'up' | 'down', TensorExpr> {
  const matrix = (seed: number) => float32Tensor(noise(hidden * neurons, seed), [neurons, hidden]);
  return { gate: matrix(3 * layer + 1), up: matrix(3 * layer + 2), down: matrix(3 * layer + 3) };
}

export function stack(contender: Contender, shape: Shape): Graph {
  const g = new GraphBuilder('bench');
  const functions = new Map<string, OpFunction>();
  let sum = 'x';
  for (let layer = 0; layer < shape.layers; layer++) {
    const names = Object.fromEntries(
      Object.entries(weights(shape, layer)).map(([name, data]) => [name, g.initializer(`${layer}.${name}`, data)]),
    );
    // Every block reads the same x: in a chain of random blocks numbers would grow beyond all bounds.
    sum = g.op('Add', [sum, block(g, contender, shape, 'x', names, layer, functions)]);
  }
  g.op('Identity', [sum], { outputs: ['out'] });
  const stream = (name: string) => value(name, 'float32', [1, 'tokens', shape.hidden]);
  const active = value('active', 'bool', [1, 'tokens']);
  return {
    ...g.body('bench', contender.variant?.masked ? [stream('x'), active] : [stream('x')], [stream('out')]),
    functions: [...functions.values()],
    opsets: { ...BASE_OPSETS, [LACUNA_DOMAIN]: 1 },
    metadata: {},
  };
}

function block(
  g: GraphBuilder,
  { variant: choice, density = 1 }: Contender,
  { neurons }: Shape,
  x: string,
  { gate, up, down }: Readonly<Record<string, string>>,
  layer: number,
  functions: Map<string, OpFunction>,
): string {
  if (choice === undefined) {
    const multiply = (input: string, weight: string) =>
      g.contrib('FusedMatMul', [input, weight], { attributes: { transB: attr.int(1) } });
    const act = g.contrib('QuickGelu', [multiply(x, gate)], { attributes: { alpha: attr.float(1) } });
    return g.op('MatMul', [g.op('Mul', [act, multiply(x, up)]), down]);
  }
  const variant: GatedFfnVariant = {
    ...choice,
    storage: 'fp32',
    decode: false,
    gather: density < GATHER_SHARE || choice.selector.kind === 'statistical',
    activation: 'silu',
    gateBias: false,
    upBias: false,
    downBias: false,
    postNorm: false,
  };
  const body = gatedFfnFunction(variant);
  functions.set(body.name, body);
  const y = g.fresh('y');
  // Any activation passes where the weight is 1 and none where it is 0: the rows kept are random, their number is exact.
  const kept = noise(neurons, layer + 77).map((v) => (2 * v + 0.5 < density ? 1 : 0));
  const node = gatedFfnNode(variant, {
    node: g.fresh('ffn'),
    quantile: QUANTILE_8_PERCENT,
    inputs: {
      x,
      gate,
      up,
      down,
      ...(choice.masked && { active: 'active', residual: x }),
      ...(choice.selector.kind === 'threshold' && {
        threshold: g.initializer(`${layer}.threshold`, float32Tensor([1e-30], [])),
        weights: g.initializer(`${layer}.weights`, float32Tensor(kept)),
      }),
    },
    outputs: {
      y,
      ...(choice.masked && { saturation: g.fresh('saturation') }),
      ...(choice.selector.kind !== 'none' && { kept: g.fresh('kept') }),
    },
  });
  g.nodes.push(node);
  return y;
}

export function feedsOf({ variant, active = true }: Contender, { hidden }: Shape): Record<string, RuntimeTensor> {
  const x: RuntimeTensor = { dtype: 'float32', dims: [1, 1, hidden], data: noise(hidden, 5) };
  const { bytes } = boolTensor([active], [1, 1]);
  return variant?.masked ? { x, active: { dtype: 'bool', dims: [1, 1], data: bytes } } : { x };
}
