/** Who makes and who uses each value of a graph; and the edits that passes share. */
import type { Body, Graph, Initializer, Node } from '../core/graph.ts';

export interface GraphIndex {
  readonly graph: Graph;
  readonly initializers: ReadonlyMap<string, Initializer>;
  /** The node that makes a value; undefined for inputs and initializers. */
  readonly producer: (value: string) => Node | undefined;
  /** Nodes that read a value, in order; a node whose branches read it counts. */
  readonly consumers: (value: string) => readonly Node[];
  readonly isOutput: (value: string) => boolean;
}

export function indexGraph(graph: Graph): GraphIndex {
  const producers = new Map<string, Node>();
  const consumers = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== '') producers.set(output, node);
    for (const input of readBy(node)) consumers.set(input, [...(consumers.get(input) ?? []), node]);
  }
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  return {
    graph,
    initializers: new Map(graph.initializers.map((initializer) => [initializer.name, initializer])),
    producer: (value) => producers.get(value),
    consumers: (value) => consumers.get(value) ?? [],
    isOutput: (value) => outputs.has(value),
  };
}

/** Values that a node reads, its branches' own values included: they are never those of the graph around. */
function readBy(node: Node): ReadonlySet<string> {
  const names = new Set(node.inputs.filter((input) => input !== ''));
  for (const attribute of Object.values(node.attributes)) {
    if (attribute.kind === 'graph') for (const name of readInside(attribute.value)) names.add(name);
  }
  return names;
}

function readInside({ nodes, outputs }: Body): string[] {
  return [...nodes.flatMap((node) => [...readBy(node)]), ...outputs.map(({ name }) => name)];
}

/** Each node gives way to the nodes listed for it, in its place. */
export type Replacements = ReadonlyMap<Node, readonly Node[]>;

export function replaceNodes(graph: Graph, replacements: Replacements): Graph {
  return { ...graph, nodes: graph.nodes.flatMap((node) => replacements.get(node) ?? [node]) };
}

export function dropUnusedInitializers(graph: Graph): Graph {
  const used = new Set([...graph.nodes.flatMap((node) => [...readBy(node)]), ...graph.outputs.map(({ name }) => name)]);
  return { ...graph, initializers: graph.initializers.filter(({ name }) => used.has(name)) };
}
