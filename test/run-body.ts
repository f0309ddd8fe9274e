/** Runs one operator of the `lacuna` domain by its portable body, as stock ONNX Runtime does. */
import { encodeModel } from '../formats/onnx/index.ts';
import {
  BASE_OPSETS,
  type Graph,
  type Initializer,
  LACUNA_DOMAIN,
  type Node,
  type OpFunction,
} from '../src/core/graph.ts';
import { value } from '../src/core/graph-builder.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { createOpenGraph } from '../src/runtime/index.ts';

export const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });

/** A node of the `lacuna` domain. Inputs are fed, so that nothing is folded ahead, but for those in `constants`. */
export interface OneNode {
  readonly node: Node;
  readonly body: OpFunction;
  readonly feeds: Readonly<Record<string, RuntimeTensor>>;
  /** What no host can be fed, or what models hold as tensors of their own. */
  readonly constants?: readonly Initializer[];
  /** Types of the outputs, by name. */
  readonly outputs: Readonly<Record<string, RuntimeTensor['dtype']>>;
}

export function oneNodeGraph({ node, body, feeds, constants = [], outputs }: OneNode): Graph {
  return {
    name: 'one-node',
    inputs: Object.entries(feeds).map(([name, { dtype, dims }]) => value(name, dtype, dims)),
    outputs: Object.entries(outputs).map(([name, dtype]) => value(name, dtype, dimsLike(name))),
    initializers: constants,
    nodes: [node],
    functions: [body],
    opsets: { ...BASE_OPSETS, [LACUNA_DOMAIN]: 1 },
    metadata: {},
  };
}

/** Outputs by name. */
export async function runBody(call: OneNode): Promise<Record<string, RuntimeTensor>> {
  const runner = await openGraph(oneNodeGraph(call));
  try {
    return await runner.run(call.feeds);
  } finally {
    await runner.close();
  }
}

/** All outputs but `y` have one value a token. */
function dimsLike(name: string): string[] {
  return name === 'y' ? ['batch', 'sequence', 'features'] : ['batch', 'sequence'];
}

export function floats(data: ArrayLike<number>, dims: readonly number[]): RuntimeTensor {
  return { dtype: 'float32', dims, data: Float32Array.from(data) };
}

/** A tensor's values as JavaScript numbers. */
export function numbers({ data }: RuntimeTensor): number[] {
  return data instanceof BigInt64Array ? Array.from(data, Number) : Array.from<number>(data);
}
