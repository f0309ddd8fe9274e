/** Runs graphs that are not on disk: the `OpenGraph` that calibration and checks use. */
import type { Graph } from '../core/graph.ts';
import type { EncodedModel, OpenGraph, Runner } from '../core/runner.ts';
import { type OrtSession, openOrtSession, type SessionOptions } from './ort-session.ts';

export interface OpenGraphOptions extends SessionOptions {
  /** Graph to bytes: this folder runs models and knows no file format. */
  readonly encode: (graph: Graph) => Promise<EncodedModel>;
}

/** Runners of graphs in memory. Errors of ONNX Runtime become `runtime`, with its message and as cause. */
export function createOpenGraph(options: OpenGraphOptions): OpenGraph {
  return async (graph) => {
    const encoded = await options.encode(graph);
    return runnerOf(await openOrtSession({ kind: 'memory', ...encoded }, options));
  };
}

function runnerOf(session: OrtSession): Runner {
  return {
    run: (feeds, fetches = session.metadata.outputNames) => session.run(feeds, fetches),
    close: () => session.close(),
  };
}
