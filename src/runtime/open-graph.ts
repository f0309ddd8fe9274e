/** Runs graphs that are not on disk: the `OpenGraph` that calibration and checks use. */
import type { Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import type { EncodedModel, Multiply, OpenGraph, Runner } from '../core/runner.ts';
import { openOrtSession, type SessionOptions } from './ort-session.ts';

export interface OpenGraphOptions extends SessionOptions {
  /** Graph to bytes: this folder runs models and knows no file format. */
  readonly encode: (graph: Graph) => Promise<EncodedModel>;
}

/** Runners of graphs in memory. Errors of ONNX Runtime become `runtime`, with its message and as cause. */
export function createOpenGraph(options: OpenGraphOptions): OpenGraph {
  return async (graph) => {
    const encoded = await options.encode(graph);
    const session = await openOrtSession({ kind: 'memory', ...encoded }, options);
    return {
      run: (feeds, fetches = session.metadata.outputNames) => session.run(feeds, fetches),
      close: () => session.close(),
    };
  };
}

/** A session that only multiplies two matrices, in float32, with the number of threads that it was opened with. */
export async function openMultiplier(openGraph: OpenGraph): Promise<Pick<Runner, 'close'> & { multiply: Multiply }> {
  const g = new GraphBuilder('product');
  g.op('MatMul', ['a', 'b'], { outputs: ['c'] });
  const matrix = (name: string, rows: string, columns: string) => value(name, 'float32', [rows, columns]);
  const product = g.graph([matrix('a', 'm', 'k'), matrix('b', 'k', 'n')], [matrix('c', 'm', 'n')]);
  const runner = await openGraph(product);
  return {
    multiply: async (a, b, { m, k, n }) => {
      const { c } = await runner.run({
        a: { dtype: 'float32', dims: [m, k], data: a },
        b: { dtype: 'float32', dims: [k, n], data: b },
      });
      return c.data as Float32Array;
    },
    close: () => runner.close(),
  };
}
