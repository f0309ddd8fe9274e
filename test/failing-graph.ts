/** A program whose graph fails while it runs, and while it is opened: what ONNX Runtime prints of that shows on stderr. */
import { encodeModel } from '../formats/onnx/index.ts';
import type { Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { createOpenGraph } from '../src/runtime/index.ts';

/** y = table[ids], of a table of two rows. */
function lookUp(opType: string): Graph {
  const g = new GraphBuilder('look-up');
  g.op(opType, [g.initializer('table', float32Tensor(Float32Array.of(1, 2))), 'ids'], { outputs: ['y'] });
  return g.graph([value('ids', 'int64', ['n'])], [value('y', 'float32', ['n'])]);
}

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });

async function codeOf(action: () => Promise<unknown>): Promise<unknown> {
  return action().then(
    () => 'no error',
    (error) => error.code,
  );
}

const runner = await openGraph(lookUp('Gather'));
const ids = { dtype: 'int64', dims: [1], data: BigInt64Array.of(7n) } as const;
const codes = [await codeOf(() => runner.run({ ids })), await codeOf(() => openGraph(lookUp('NoSuchOperator')))];
process.stdout.write(codes.join(' '));
