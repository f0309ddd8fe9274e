/** A sparse model opened so that it tells what it left out: its counts are added as graph outputs, weights stay on disk. */
import { encodeReferencing } from '../../../formats/onnx/index.ts';
import type { Graph } from '../../core/graph.ts';
import { value } from '../../core/graph-builder.ts';
import type { Plan } from '../../core/plan.ts';
import type { JobOptions } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import { withCounts } from '../../rewrite/index.ts';
import { openSession } from '../../runtime/index.ts';
import type { MeasuringEngine } from './engine.ts';

/** `layers.<i>.kept` (neurons computed, by `withCounts`) and `layers.<i>.active` (whether the block ran, by the rewrite). */
const COUNTS = /^layers\.\d+\.(kept|active)$/;

/** A job of measuring; by stock ONNX Runtime where no native core is given. */
export interface MeasuringJob extends JobOptions, Partial<Pick<MeasuringEngine, 'native'>> {}

/** How a model is fed to be measured: one that keeps calls of several tokens dense shows its sparsity only token by token. */
export function feedOf(plan: Plan | null): 'chunk' | 'token' {
  return plan?.prefill === 'dense' ? 'token' : 'chunk';
}

/** Opens `graph`, whose weights lie beside `modelPath`, with every count that its nodes make as a further output. */
export async function openMeasuredSession(modelPath: string, graph: Graph, options: MeasuringJob): Promise<Session> {
  const counting = withCounts(graph);
  const made = counting.nodes.flatMap(({ outputs }) => outputs).filter((name) => COUNTS.test(name));
  const counts = made.map((name) =>
    value(name, name.endsWith('kept') ? 'int32' : 'bool', ['batch_size', 'sequence_length']),
  );
  const model = await encodeReferencing({ ...counting, outputs: [...graph.outputs, ...counts] }, modelPath);
  return openSession(model, options);
}
