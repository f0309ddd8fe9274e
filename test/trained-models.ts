/** What the tests of models whose FFNs were trained to be sparse have in common. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { writeOnnx } from '../formats/onnx/index.ts';
import type { Graph } from '../src/core/graph.ts';
import type { Session } from '../src/core/session.ts';
import { operatorOf, variantOfNode } from '../src/ops/index.ts';

/** The blocks that leave something out. */
export const chosen = ({ nodes }: Graph) =>
  nodes.filter((node) => operatorOf(node) === 'GatedFFN' && variantOfNode(node).choice !== undefined);

/** A new folder in `folder` with the model. */
export async function written(folder: string, graph: Graph): Promise<string> {
  const model = mkdtempSync(join(folder, 'model-'));
  await writeOnnx(graph, join(model, 'model.onnx'));
  return model;
}

/** Logits of all tokens, [tokens, vocabulary], fed in chunks. The session is closed with the test. */
export async function logitsOf(session: Session, ids: readonly number[], chunk = ids.length): Promise<Float32Array> {
  onTestFinished(() => session.close());
  const logits: number[] = [];
  let cache = session.emptyCache();
  for (let at = 0; at < ids.length; at += chunk) {
    const step = await session.step(ids.slice(at, at + chunk), cache, { logits: 'all' });
    for (const logit of step.logits) logits.push(logit);
    cache = step.cache;
  }
  return Float32Array.from(logits);
}
