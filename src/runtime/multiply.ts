/** Large matrix products, for stages that know no runtime. */
import { BASE_OPSETS } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import type { Multiply, OpenGraph } from '../core/runner.ts';

export interface Multiplier {
  readonly multiply: Multiply;
  close(): Promise<void>;
}

/** A session that only multiplies two matrices, in float32, with the number of threads that it was opened with. */
export async function openMultiplier(openGraph: OpenGraph): Promise<Multiplier> {
  const g = new GraphBuilder('product');
  g.op('MatMul', ['a', 'b'], { outputs: ['c'] });
  const matrix = (name: string, rows: string, columns: string) => value(name, 'float32', [rows, columns]);
  const body = g.body('product', [matrix('a', 'm', 'k'), matrix('b', 'k', 'n')], [matrix('c', 'm', 'n')]);
  const runner = await openGraph({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} });
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
