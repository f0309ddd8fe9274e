/** The sizes of a graph's files. */
import type { Graph } from '../../src/core/graph.ts';
import { encodeGraph } from './encode.ts';
import { layOut } from './layout.ts';

/** Bytes of the model's own file and of its external data called `location`; 0 if there are none. */
export async function sizesOf(
  graph: Graph,
  location: string,
): Promise<{ readonly modelBytes: number; readonly dataBytes: number }> {
  const layout = layOut(graph);
  return { modelBytes: (await encodeGraph(graph, layout, location)).length, dataBytes: layout.totalBytes };
}
