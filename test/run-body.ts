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
import { Bodies, type Body } from '../src/ops/index.ts';
import { createOpenGraph } from '../src/runtime/index.ts';

export const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });

/** A node of the `lacuna` domain. Inputs are fed, so that nothing is folded ahead, but for those in `constants`. */
export interface OneNode {
  readonly node: Node;
  /** The one that the node calls. */
  readonly bodies: readonly OpFunction[];
  readonly feeds: Readonly<Record<string, RuntimeTensor>>;
  /** What no host can be fed, or what models hold as tensors of their own. */
  readonly constants?: readonly Initializer[];
  /** Types of the outputs, by name. */
  readonly outputs: Readonly<Record<string, RuntimeTensor['dtype']>>;
}

/** The node that `make` makes for a body, and the body under the op type that it is called by. */
export function calling(body: Body, make: (opType: string) => Node): Pick<OneNode, 'node' | 'bodies'> {
  const bodies = new Bodies([]);
  const node = make(bodies.opTypeOf(body));
  return { node, bodies: bodies.functions };
}

export function oneNodeGraph({ node, bodies, feeds, constants = [], outputs }: OneNode): Graph {
  return {
    name: 'one-node',
    inputs: Object.entries(feeds).map(([name, { dtype, dims }]) => value(name, dtype, dims)),
    outputs: Object.entries(outputs).map(([name, dtype]) => value(name, dtype, dimsLike(name))),
    initializers: constants,
    nodes: [node],
    functions: bodies,
    opsets: { ...BASE_OPSETS, [LACUNA_DOMAIN]: 1 },
    metadata: {},
  };
}

/** Outputs by name. */
export async function runBody(call: OneNode): Promise<Record<string, RuntimeTensor>> {
  return runGraph(oneNodeGraph(call), call.feeds);
}

export async function runGraph(graph: Graph, feeds: OneNode['feeds']): Promise<Record<string, RuntimeTensor>> {
  const runner = await openGraph(graph);
  try {
    return await runner.run(feeds);
  } finally {
    await runner.close();
  }
}

/** Graphs of one node side by side, each one's values called `<its name>.<value>`: a session for many costs as much as for one. */
export function sideBySide(calls: readonly { readonly name: string; readonly call: OneNode }[]): Graph {
  const parts = calls.map(({ name, call }) => withPrefix(oneNodeGraph(call), `${name}.`));
  return {
    ...parts[0],
    name: 'side-by-side',
    inputs: parts.flatMap(({ inputs }) => inputs),
    outputs: parts.flatMap(({ outputs }) => outputs),
    initializers: parts.flatMap(({ initializers }) => initializers),
    nodes: parts.flatMap(({ nodes }) => nodes),
    functions: parts.flatMap(({ functions }) => functions),
  };
}

function withPrefix(graph: Graph, prefix: string): Graph {
  const renamed = (name: string) => (name === '' ? '' : prefix + name);
  const rename = <Named extends { readonly name: string }>(named: Named): Named => ({
    ...named,
    name: renamed(named.name),
  });
  return {
    ...graph,
    inputs: graph.inputs.map(rename),
    outputs: graph.outputs.map(rename),
    initializers: graph.initializers.map(rename),
    nodes: graph.nodes.map((node) => ({
      ...rename(node),
      inputs: node.inputs.map(renamed),
      outputs: node.outputs.map(renamed),
    })),
  };
}

/** All outputs but the stream's have one value a token. */
function dimsLike(name: string): string[] {
  return name === 'y' || name === 'sum' ? ['batch', 'sequence', 'features'] : ['batch', 'sequence'];
}

export function floats(data: ArrayLike<number>, dims: readonly number[]): RuntimeTensor {
  return { dtype: 'float32', dims, data: Float32Array.from(data) };
}

/** A tensor's values as JavaScript numbers. */
export function numbers({ data }: RuntimeTensor): number[] {
  return data instanceof BigInt64Array ? Array.from(data, Number) : Array.from<number>(data);
}
