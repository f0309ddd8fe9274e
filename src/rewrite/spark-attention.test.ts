/** Attention to few keys is taken where its nodes are just what converters write, and nowhere else. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { FIXTURES } from '../../test/variants.ts';
import { attr, type Graph, type Node } from '../core/graph.ts';
import type { PrecisionName } from '../core/precision.ts';
import { int64Tensor } from '../core/tensor.ts';
import { operatorOf } from '../ops/index.ts';
import { indexGraph } from './graph-index.ts';
import { fuseSkipNorms, withCounts } from './index.ts';
import { matchFfn } from './match-ffn.ts';
import { sparkAttention } from './spark-attention.ts';

async function graphOf(name: string, precision: PrecisionName = 'fp32'): Promise<Graph> {
  const checkpoint = await openCheckpoint(join(FIXTURES, 'gemma-variants', name));
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision })));
}

const calls = ({ nodes }: Graph) => nodes.filter((node) => operatorOf(node) === 'SparkAttention');

describe('spark-attention', () => {
  it.each(['spark', 'spark-attention'])('makes one operator of each layer of %s, all with one body', async (name) => {
    const { graph, report } = sparkAttention.apply(await graphOf(name), undefined);
    expect(calls(graph).map((node) => node.name)).toEqual([0, 1, 2].map((layer) => `layers.${layer}.attention.spark`));
    expect(graph.functions).toHaveLength(1);
    expect(report.every(({ applied }) => applied)).toBe(true);
    expect(graph.nodes.map(({ opType }) => opType)).not.toContain('Softplus');
    const [first] = calls(graph);
    expect(first.attributes.softcap).toEqual(attr.float(name === 'spark' ? 0 : 4));
  });

  it('leaves models alone that attend to all tokens, and caches in float16', async () => {
    for (const graph of [await graphOf('spark-ffn'), await graphOf('spark', 'fp16')]) {
      const result = sparkAttention.apply(graph, undefined);
      expect(result.graph).toBe(graph);
      expect(result.report.every(({ applied, reason }) => !applied && reason.includes('no float32 cache'))).toBe(true);
    }
  });

  it('refuses a layer of which any node is otherwise, with its name', async () => {
    const graph = await graphOf('spark-attention');
    const scope = 'layers.1.attention.';
    const own = graph.nodes.filter(({ name }) => name.startsWith(scope));
    expect(own.length).toBeGreaterThan(80);
    const edits: readonly ((node: Node) => Partial<Node>)[] = [
      () => ({ opType: 'Other' }),
      ({ inputs }) => ({ inputs: [...inputs, 'elsewhere'] }),
      ({ attributes }) => ({ attributes: { ...attributes, more: attr.int(1) } }),
    ];
    for (const [at, node] of own.entries()) {
      const edited = { ...node, ...edits[at % edits.length](node) };
      const nodes = graph.nodes.map((one) => (one === node ? edited : one));
      const { graph: after, report } = sparkAttention.apply({ ...graph, nodes }, undefined);
      // Without its softplus a layer is not even looked at.
      expect(calls(after).map(({ name }) => name)).not.toContain('layers.1.attention.spark');
      for (const { applied, reason } of report) if (!applied) expect(reason).toContain(scope.slice(0, -1));
      expect(calls(after)).toHaveLength(2);
    }
  });

  it('is beside FFNs whose gate and up read parts of the input that meet', async () => {
    const graph = await graphOf('spark-ffn');
    expect(matchFfn(indexGraph(graph), 0)).toMatchObject({ kind: 'match', gateInputs: 32, hidden: 64 });
    const parts = graph.nodes.filter(({ inputs }) => inputs[0] === 'layers.0.ffn_in');
    expect(parts.map(({ opType }) => opType)).toEqual(['Slice', 'Slice']);
    for (const part of parts)
      for (const input of part.inputs.slice(1)) {
        const nodes = graph.nodes.map((node) =>
          node.outputs[0] === input ? { ...node, attributes: { value: attr.tensor(int64Tensor([31])) } } : node,
        );
        expect(matchFfn(indexGraph({ ...graph, nodes }), 0).kind).toBe('refused');
      }
  });

  it('counts by another body, and is not named otherwise', async () => {
    const { graph } = sparkAttention.apply(await graphOf('spark'), undefined);
    const counted = withCounts(graph);
    expect(calls(counted).map(({ outputs }) => outputs[3])).toEqual(
      [0, 1, 2].map((at) => `layers.${at}.attended_keys`),
    );
    expect(withCounts(counted)).toEqual(counted);
    const renamed = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, name: `x.${node.name}` })) };
    expect(() => withCounts(renamed)).toThrow(/attends to cannot be counted/);
  });
});
