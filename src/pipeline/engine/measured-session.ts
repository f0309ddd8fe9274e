/** Opens a sparse model with its counts of what it left out as graph outputs. Weights stay on disk. */
import { encodeReferencing } from '../../../formats/onnx/index.ts';
import type { Graph } from '../../core/graph.ts';
import { value } from '../../core/graph-builder.ts';
import type { JobOptions } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import { withCounts, withSparsePrefill } from '../../rewrite/index.ts';
import { openSession, type SessionOptions } from '../../runtime/index.ts';

/**
 * `layers.<i>.kept` (neurons computed, by `withCounts`), `layers.<i>.attended_keys` (of all heads, by the same) and
 * `layers.<i>.active` (whether the block ran, by the rewrite).
 */
const COUNTS = /^layers\.\d+\.(kept|attended_keys|active)$/;

/** A job of measuring. Without a native core, stock ONNX Runtime runs it. */
export interface MeasuringJob extends JobOptions, Pick<SessionOptions, 'native'> {}

/**
 * Opens `graph`, with weights beside `modelPath`. Every count of its nodes is a further output. Calls of several tokens
 * leave out what decoding does, whatever the plan's prefill, so that whole texts are measured in one call.
 */
export async function openMeasuredSession(modelPath: string, graph: Graph, options: MeasuringJob): Promise<Session> {
  const counting = withCounts(withSparsePrefill(graph));
  const made = counting.nodes.flatMap(({ outputs }) => outputs).filter((name) => COUNTS.test(name));
  const counts = made.map((name) =>
    value(name, name.endsWith('active') ? 'bool' : 'int32', ['batch_size', 'sequence_length']),
  );
  const model = await encodeReferencing({ ...counting, outputs: [...graph.outputs, ...counts] }, modelPath);
  return openSession(model, options);
}
