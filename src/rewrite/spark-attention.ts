/** Gives Spark Transformer's attention one operator a layer, whose kernel reads no more of a key than its scores need. */
import { LacunaError } from '../core/errors.ts';
import { type Graph, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import { tapName } from '../core/model.ts';
import {
  type SparkAttentionInputs,
  type SparkAttentionOutputs,
  type SparkAttentionSizes,
  sparkAttentionScope,
} from '../core/spark-attention.ts';
import {
  attendedOf,
  Bodies,
  type SparkAttentionVariant,
  sparkAttentionBody,
  sparkAttentionNode,
  sparkAttentionNodes,
  sparkVariantOf,
} from '../ops/index.ts';
import { dropUnusedInitializers, type GraphIndex, indexGraph, replaceNodes } from './graph-index.ts';
import type { Pass, RuleReport } from './pass.ts';
import type { Refusal } from './pattern.ts';

/**
 * Before: the nodes of `writeSparkAttention`, from `projected` and the caches to `layers.<i>.attended`
 * After:  the same by SparkAttention, whose body is these nodes
 *
 * Concerns layers in float32 that attend so. Refuses nodes that are not just what a converter writes.
 */
export const sparkAttention: Pass = {
  name: 'spark-attention',
  description: 'scores, threshold, softmax and softplus in standard operators -> SparkAttention',
  apply(graph) {
    const layers = sparkLayers(graph);
    if (layers.length === 0) return { graph, report: [] };
    const index = indexGraph(graph);
    const bodies = new Bodies(graph.functions);
    const replacements = new Map<Node, readonly Node[]>();
    const found = layers.map((layer) => ({ layer, match: matchLayer(index, layer) }));
    for (const { layer, match } of found) {
      if (match.kind === 'refused') continue;
      const variant: SparkAttentionVariant = { ...match.sizes, counted: false };
      const node = sparkAttentionNode(variant, {
        node: nodeName(layer),
        opType: bodies.opTypeOf(sparkAttentionBody(variant)),
        inputs: match.inputs,
        outputs: match.outputs,
      });
      for (const old of match.nodes) replacements.set(old, []);
      replacements.set(match.nodes[match.nodes.length - 1], [node]);
    }
    const report = found.map(({ layer, match }) => reportOf(layer, match));
    if (replacements.size === 0) return { graph, report };
    const values = found.flatMap(({ match }) => (match.kind === 'refused' ? [] : [attendedValue(match)]));
    const replaced = dropUnusedInitializers(replaceNodes(graph, replacements));
    return {
      graph: {
        ...replaced,
        valueInfo: [...(graph.valueInfo ?? []), ...values],
        functions: bodies.functions,
        opsets: { ...replaced.opsets, [LACUNA_DOMAIN]: 1 },
      },
      report,
    };
  },
};

const NODE = /^layers\.(\d+)\.attention\.spark$/;

function nodeName(layer: number): string {
  return `${sparkAttentionScope(layer)}.spark`;
}

/**
 * A calling node as the same call of the body that counts, `layers.<i>.attended_keys` naming its count. Throws `mismatch` where
 * the node is not named as this pass names it.
 */
export function countedAttention(graph: Graph, node: Node, bodies: Bodies): Node {
  if (attendedOf(node) !== undefined) return node;
  const [, layer] = NODE.exec(node.name) ?? [];
  const shape = graph.inputs.find(({ name }) => name === node.inputs[1])?.shape;
  if (layer === undefined || typeof shape?.[3] !== 'number')
    throw new LacunaError('mismatch', `What ${node.name} attends to cannot be counted: it is not named as a layer is`, {
      hint: 'Measure the folder as lacuna convert wrote it.',
    });
  const variant = { ...sparkVariantOf(node, shape[3]), counted: true };
  const opType = bodies.opTypeOf(sparkAttentionBody(variant));
  return { ...node, opType, outputs: [...node.outputs, `layers.${layer}.attended_keys`] };
}

/** Layers with nodes of that scope. */
function sparkLayers({ nodes }: Graph): number[] {
  const layers = nodes.flatMap(({ name, opType }) => {
    const [, layer] = opType === 'Softplus' ? (/^layers\.(\d+)\.attention\./.exec(name) ?? []) : [];
    return layer === undefined ? [] : [Number(layer)];
  });
  return [...new Set(layers)];
}

interface LayerMatch {
  readonly kind: 'match';
  readonly nodes: readonly Node[];
  readonly inputs: SparkAttentionInputs;
  readonly outputs: SparkAttentionOutputs;
  readonly sizes: SparkAttentionSizes;
}

/** Reads sizes and values off a layer's nodes, writes the nodes anew, and compares. */
function matchLayer(index: GraphIndex, layer: number): LayerMatch | Refusal {
  const scope = sparkAttentionScope(layer);
  const nodes = index.graph.nodes.filter(({ name }) => name.startsWith(`${scope}.`));
  const past = { past_key: `past_key_values.${layer}.key`, past_value: `past_key_values.${layer}.value` };
  const read = readLayer(index, nodes, past.past_key);
  if (read === undefined) return { kind: 'refused', reason: `the nodes of ${scope} are others` };
  const lengths = { seqlens_k: 'seqlens_k', total_sequence_length: 'total_sequence_length' };
  const inputs = { ...past, ...lengths, ...read.values };
  const outputs = {
    y: tapName(layer, 'attended'),
    present_key: `present.${layer}.key`,
    present_value: `present.${layer}.value`,
  };
  if (index.graph.inputs.find(({ name }) => name === past.past_key)?.dtype !== 'float32')
    return { kind: 'refused', reason: `${past.past_key} is no float32 cache` };
  const written = sparkAttentionNodes(scope, inputs, outputs, read.sizes);
  const other = written.find((node, at) => nodes[at] === undefined || textOf(node) !== textOf(nodes[at]));
  if (other !== undefined || written.length !== nodes.length)
    return { kind: 'refused', reason: `${other?.name ?? scope} is not as a converter writes it` };
  return { kind: 'match', nodes, inputs, outputs, sizes: read.sizes };
}

type ReadValues = Omit<SparkAttentionInputs, 'past_key' | 'past_value' | 'seqlens_k' | 'total_sequence_length'>;

/** What the nodes name; undefined where one is not there. */
function readLayer(
  { graph, initializers, producer }: GraphIndex,
  nodes: readonly Node[],
  past: string,
): { readonly values: ReadValues; readonly sizes: SparkAttentionSizes } | undefined {
  const of = (opType: string) => nodes.filter((node) => node.opType === opType);
  const [first, rest] = of('RotaryEmbedding');
  const [apart] = of('Reshape');
  const gather = of('Gather').find(({ inputs }) => initializers.has(inputs[0]));
  const shape = graph.inputs.find(({ name }) => name === past)?.shape;
  const [kvHeads, headDim] = [shape?.[1], shape?.[3]];
  const tables = first === undefined ? undefined : initializers.get(first.inputs[2]);
  if (tables === undefined || rest === undefined || gather === undefined || apart === undefined) return undefined;
  if (typeof kvHeads !== 'number' || typeof headDim !== 'number') return undefined;
  const [, , all] = numbersIn(producer(apart.inputs[1]));
  // A layer that reads no such constant is refused, and not written anew.
  const heads = (all ?? 0) - 2 * kvHeads;
  if (!Number.isInteger(heads) || heads < 1) return undefined;
  const [cap] = of('Tanh').flatMap(({ inputs }) => numbersIn(producer(producer(inputs[0])?.inputs[1] ?? '')));
  return {
    values: {
      projected: apart.inputs[0],
      quantiles: gather.inputs[0],
      cosines: first.inputs[2],
      sines: first.inputs[3],
      other_cosines: rest.inputs[2],
      other_sines: rest.inputs[3],
    },
    sizes: {
      heads,
      kvHeads,
      headDim,
      predictorSize: 2 * tables.data.shape[1],
      softcap: cap,
      floats: 'float32',
    },
  };
}

/** The numbers of a constant of int64 or float32. */
function numbersIn(node: Node | undefined): number[] {
  const constant = node?.attributes.value;
  if (constant?.kind !== 'tensor' || constant.value.kind !== 'bytes') return [];
  const { bytes, dtype } = constant.value;
  const copy = bytes.slice().buffer;
  return dtype === 'int64' ? Array.from(new BigInt64Array(copy), Number) : Array.from(new Float32Array(copy));
}

function textOf(node: Node): string {
  return JSON.stringify(node);
}

function attendedValue({ outputs, sizes: { heads, headDim } }: LayerMatch) {
  return value(outputs.y, 'float32', ['batch_size', 'sequence_length', heads * headDim]);
}

function reportOf(layer: number, match: LayerMatch | Refusal): RuleReport {
  const place = { rule: sparkAttention.name, block: tapName(layer, 'attended') };
  if (match.kind === 'refused') return { ...place, applied: false, reason: match.reason };
  const reason = `one operator in place of ${match.nodes.length}`;
  return { ...place, applied: true, reason, nodes: [nodeName(layer)] };
}
