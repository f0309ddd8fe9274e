/** Runs graphs that are not on disk: the `OpenGraph` that calibration and checks are handed. */
import type { InferenceSession } from 'onnxruntime-node';
import type { Graph } from '../core/graph.ts';
import type { OpenGraph, Runner, RuntimeTensor } from '../core/runner.ts';
import { openOrtSession, runOrtSession, type SessionOptions } from './ort-session.ts';
import { fromOrtTensor, toOrtTensor } from './tensors.ts';

export interface EncodedModel {
  readonly model: Uint8Array;
  /** Bytes of `model.onnx_data`, when the model refers to it. */
  readonly externalData: Uint8Array | undefined;
}

export interface OpenGraphOptions extends SessionOptions {
  /** Graph to bytes: this folder runs models and knows no file format. */
  readonly encode: (graph: Graph) => Promise<EncodedModel>;
}

/**
 * Errors of ONNX Runtime arrive as `runtime`, with its message and as cause.
 *
 * @example
 * const openGraph = createOpenGraph({ encode: encodeModel, threads: 2 });
 * const runner = await openGraph(graph);
 * const { logits } = await runner.run({ input_ids }, ['logits']);
 */
export function createOpenGraph(options: OpenGraphOptions): OpenGraph {
  return async (graph) => {
    const encoded = await options.encode(graph);
    return runnerOf(await openOrtSession({ kind: 'memory', ...encoded }, options));
  };
}

function runnerOf(session: InferenceSession): Runner {
  return {
    async run(feeds, fetches = session.outputNames) {
      const inputs = Object.entries(feeds).map(([name, tensor]) => [name, toOrtTensor(name, tensor)] as const);
      const outputs = await runOrtSession(session, Object.fromEntries(inputs), fetches);
      const results: Record<string, RuntimeTensor> = {};
      for (const name of fetches) results[name] = fromOrtTensor(name, outputs[name]);
      return results;
    },
    close: () => session.release(),
  };
}
