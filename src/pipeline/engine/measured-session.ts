/** Opens a sparse model with its counts of what it left out as graph outputs. Weights stay on disk. */
import { encodeReferencing } from '../../../formats/onnx/index.ts';
import type { Graph } from '../../core/graph.ts';
import { value } from '../../core/graph-builder.ts';
import type { Plan } from '../../core/plan.ts';
import type { JobOptions } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import type { Feed } from '../../eval/index.ts';
import { withCounts } from '../../rewrite/index.ts';
import { openSession, type SessionOptions } from '../../runtime/index.ts';

/** `layers.<i>.kept` (neurons computed, by `withCounts`) and `layers.<i>.active` (whether the block ran, by the rewrite). */
const COUNTS = /^layers\.\d+\.(kept|active)$/;

/** A job of measuring. Without a native core, stock ONNX Runtime runs it. */
export interface MeasuringJob extends JobOptions, Pick<SessionOptions, 'native'> {}

/** How a model is fed for measuring: one that runs calls of several tokens dense is sparse only token by token. */
export function feedOf(plan: Plan | null): Feed {
  return plan?.prefill === 'dense' ? 'token' : 'chunk';
}

/** Opens `graph`, with weights beside `modelPath`. Every count of its nodes is a further output. */
export async function openMeasuredSession(modelPath: string, graph: Graph, options: MeasuringJob): Promise<Session> {
  const counting = withCounts(graph);
  const made = counting.nodes.flatMap(({ outputs }) => outputs).filter((name) => COUNTS.test(name));
  const counts = made.map((name) =>
    value(name, name.endsWith('kept') ? 'int32' : 'bool', ['batch_size', 'sequence_length']),
  );
  const model = await encodeReferencing({ ...counting, outputs: [...graph.outputs, ...counts] }, modelPath);
  return openSession(model, options);
}
