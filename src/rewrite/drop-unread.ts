/** Nodes that nothing reads. */
import type { Graph } from '../core/graph.ts';
import { dropUnusedInitializers, indexGraph } from './graph-index.ts';
import type { Pass } from './pass.ts';

/** Whether a block runs for a token. `eval` counts by it, also where a block that never runs leaves nobody to read it. */
const COUNTED = /^layers\.\d+\.active$/;

/**
 * Before: nodes whose values are read by no node, are no outputs and count nothing
 * After:  without them, what only they read, and weights of theirs: runtimes compute what is in a graph, wanted or not
 */
export const dropUnread: Pass = {
  name: 'drop-unread',
  description: 'nodes that nothing reads -> nothing',
  apply(graph) {
    const kept = withoutUnread(graph);
    const report = graph.nodes
      .filter((node) => !kept.nodes.includes(node))
      .map((node) => ({ rule: 'drop-unread', block: node.name, applied: true, reason: 'nothing reads it' }));
    return { graph: report.length === 0 ? graph : kept, report };
  },
};

function withoutUnread(graph: Graph): Graph {
  const { consumers, isOutput } = indexGraph(graph);
  const read = new Set<string>();
  // From the last node on, since a node is read only if one after it is.
  const isWanted = (output: string) =>
    isOutput(output) || COUNTED.test(output) || consumers(output).some(({ name }) => read.has(name));
  const nodes = graph.nodes.toReversed().filter((node) => {
    const isRead = node.outputs.some((output) => output !== '' && isWanted(output));
    if (isRead) read.add(node.name);
    return isRead;
  });
  return dropUnusedInitializers({ ...graph, nodes: nodes.toReversed() });
}
