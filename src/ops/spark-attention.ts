/** SparkAttention: Spark Transformer's attention (2506.06644, section 3), whose mathematics are in core/spark-attention.ts. */
import { attr, type Node } from '../core/graph.ts';
import { GraphBuilder } from '../core/graph-builder.ts';
import {
  SPARK_ATTENTION_INPUTS,
  type SparkAttentionInputs,
  type SparkAttentionSizes,
  writeSparkAttention,
} from '../core/spark-attention.ts';
import type { Body } from './bodies.ts';
import { operatorBody } from './body.ts';
import { type AttributeName, callNode, outputOf, type PlainCall } from './contract.ts';

/** The operators' values are float32. */
export type SparkAttentionVariant = Omit<SparkAttentionSizes, 'floats'> & {
  /** How many keys a token attends to is an output: a few operators more. */
  readonly counted: boolean;
};

/** `variant` in standard operators. Its numbers are in the body; the node says those that a kernel reads. */
export function sparkAttentionBody({ counted, ...sizes }: SparkAttentionVariant): Body {
  const names = { y: 'y', present_key: 'present_key', present_value: 'present_value' };
  const outputs = counted ? { ...names, attended: 'attended' } : names;
  const given = Object.fromEntries(SPARK_ATTENTION_INPUTS.map((name) => [name, name])) as SparkAttentionInputs;
  const made = counted ? (['attended'] as const) : [];
  return operatorBody('SparkAttention', DOC, ['y', 'present_key', 'present_value', ...made], (g) =>
    writeSparkAttention(g, given, outputs, { ...sizes, floats: 'float32' }),
  );
}

const DOC = 'Attention to the keys whose scores reach mean + deviation * Q(1 - k / n).';

export function sparkAttentionNode(
  { heads, kvHeads, predictorSize, softcap = 0 }: SparkAttentionVariant,
  call: PlainCall<'SparkAttention'>,
): Node {
  return callNode('SparkAttention', {
    ...call,
    attributes: {
      num_heads: attr.int(heads),
      kv_num_heads: attr.int(kvHeads),
      predictor_size: attr.int(predictorSize),
      softcap: attr.float(softcap),
    },
  });
}

/** What a node says of its variant; the width of heads is that of its caches. */
export function sparkVariantOf(node: Node, headDim: number): SparkAttentionVariant {
  const number = (name: AttributeName<'SparkAttention'>) => {
    const attribute = node.attributes[name];
    return attribute?.kind === 'int' || attribute?.kind === 'float' ? attribute.value : 0;
  };
  return {
    heads: number('num_heads'),
    kvHeads: number('kv_num_heads'),
    headDim,
    predictorSize: number('predictor_size'),
    softcap: number('softcap') || undefined,
    counted: attendedOf(node) !== undefined,
  };
}

/** The name of its count, where a node has that output. */
export function attendedOf(node: Node): string | undefined {
  return outputOf('SparkAttention', node, 'attended') || undefined;
}

/** The nodes that `sparkAttentionBody` has, as a converter writes them under `scope`. */
export function sparkAttentionNodes(
  scope: string,
  inputs: SparkAttentionInputs,
  outputs: Parameters<typeof writeSparkAttention>[2],
  sizes: SparkAttentionSizes,
): readonly Node[] {
  const g = new GraphBuilder(scope);
  writeSparkAttention(g, inputs, outputs, sizes);
  return g.nodes;
}
