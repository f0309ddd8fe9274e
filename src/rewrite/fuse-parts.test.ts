import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { openBytes } from '../../test/open-bytes.ts';
import { FIXTURES, VARIANTS } from '../../test/variants.ts';
import type { Graph } from '../core/graph.ts';
import { choosePrecision, type PrecisionName, type PrecisionOptions } from '../core/precision.ts';
import { float32Tensor } from '../core/tensor.ts';
import { inputOf, type OperatorName, operatorOf } from '../ops/index.ts';
import { fuseParts } from './fuse-parts.ts';
import { fuseSkipNorms } from './index.ts';

const ASYMMETRIC: PrecisionOptions = { asymmetric: true };

async function graphOf(
  name: string,
  precision: PrecisionName = 'int4',
  options: PrecisionOptions = {},
): Promise<Graph> {
  const checkpoint = await openCheckpoint(join(FIXTURES, name));
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision: choosePrecision(precision, options) })));
}

/** Calls by operator and storage, and the products that are left. */
function countsOf({ nodes }: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const node of nodes) {
    const operator = operatorOf(node);
    const { storage } = node.attributes;
    const name = operator === undefined ? node.opType : `${operator} ${storage?.kind === 'string' && storage.value}`;
    if (operator !== undefined || name === 'MatMulNBits') counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const callsOf = (graph: Graph, operator: OperatorName) => graph.nodes.filter((node) => operatorOf(node) === operator);

async function logitsOf(graph: Graph) {
  const session = await openBytes(await encodeModel(graph));
  const ids = Array.from({ length: 16 }, (_, i) => (i * 7) % 50);
  const first = await session.step(ids.slice(0, 11), session.emptyCache(), { logits: 'all' });
  const second = await session.step(ids.slice(11), first.cache, { logits: 'all' });
  await session.close();
  return [...first.logits, ...second.logits];
}

describe('fuse-parts', () => {
  it('makes attention, FFN and head of a LLaMA one operator each, and leaves no product outside', async () => {
    const { graph, report } = fuseParts.apply(await graphOf('llama-variants/gqa-tied-bf16'), undefined);
    expect(countsOf(graph)).toEqual({
      'NormAttention int4': 2,
      'GatedFFN int4': 2,
      'NormProduct int8': 1,
    });
    expect(report.filter(({ applied }) => applied)).toHaveLength(5);
    // The first layer adds nothing before its norm, which is another body.
    expect(graph.functions.map(({ name }) => name).sort()).toEqual([
      'GatedFFN_2_0',
      'NormAttention_2_0',
      'NormAttention_2_1',
      'NormProduct_2_0',
    ]);
  });

  it("makes one operator of Gemma 3's layers too, with windows and tables of their own", async () => {
    const { graph } = fuseParts.apply(await graphOf('gemma-variants/gemma3-pattern'), undefined);
    const layers = callsOf(graph, 'NormAttention');
    expect(countsOf(graph).MatMulNBits).toBeUndefined();
    expect(new Set(layers.map(({ attributes }) => JSON.stringify(attributes.local_window_size))).size).toBe(2);
    expect(new Set(layers.map((node) => inputOf('NormAttention', node, 'cosines'))).size).toBe(2);
  });

  it("takes a soft cap of the logits into the head, and the body takes it from the head's attribute", async () => {
    const { graph } = fuseParts.apply(await graphOf('gemma-variants/gemma2-softcap'), undefined);
    const [head] = callsOf(graph, 'NormProduct');
    expect(head).toMatchObject({ outputs: ['logits'], attributes: { softcap: { kind: 'float', value: 3 } } });
    expect(graph.nodes.map(({ opType }) => opType)).not.toContain('Tanh');
    const body = graph.functions.find(({ name }) => name === head.opType);
    expect(body?.nodes.find(({ opType }) => opType === 'Constant')?.attributes.value_float).toMatchObject({
      kind: 'reference',
      name: 'softcap',
    });
  });

  it('takes zero points into each part', async () => {
    const { graph } = fuseParts.apply(await graphOf('llama-variants/gqa-tied-bf16', 'int4', ASYMMETRIC), undefined);
    expect(countsOf(graph)).toEqual({
      'NormAttention int4': 2,
      'GatedFFN int4': 2,
      'NormProduct int8': 1,
    });
    const zeros = graph.nodes.flatMap(({ inputs }) => inputs).filter((name) => name.endsWith('.zero_points'));
    expect(zeros).toHaveLength(2 * (2 + 3) + 1);
  });

  it.each([
    ['llama-variants/attention-bias', 'NormAttention', 2],
    ['llama-variants/mlp-bias', 'GatedFFN', 3],
    ['random-models/48-gemma3_text', 'NormAttention', 4],
  ] as const)('takes biases into the parts that have them: %s', async (name, operator, count) => {
    const { graph } = fuseParts.apply(await graphOf(name), undefined);
    expect(Object.keys(countsOf(graph)).sort()).toEqual(['GatedFFN int4', 'NormAttention int4', 'NormProduct int8']);
    for (const { inputs } of callsOf(graph, operator))
      expect(inputs.filter((input) => input.endsWith('.bias'))).toHaveLength(count);
  });

  it.each(VARIANTS.flatMap(({ path: name }) => [[name, {}] as const, [name, ASYMMETRIC] as const]))(
    'changes no number in a runtime without kernels: %s, %j',
    async (name, options) => {
      const plain = await graphOf(name, 'int4', { vocabulary: 'int4', ...options });
      expect(await logitsOf(fuseParts.apply(plain, undefined).graph)).toEqual(await logitsOf(plain));
    },
  );

  it('leaves products with other blocks where they are, and says why', async () => {
    const plain = await graphOf('llama-variants/gqa-tied-bf16', 'int4', { blockSize: 64 });
    const { graph, report } = fuseParts.apply(plain, undefined);
    expect(Object.keys(countsOf(graph))).toEqual(['MatMulNBits']);
    expect(report.filter(({ reason }) => reason.endsWith('with block_size 64, wanted 32'))).not.toHaveLength(0);
  });

  it('leaves products whose scales are no float16 where they are, and says why', async () => {
    const plain = await graphOf('llama-variants/gqa-tied-bf16');
    const initializers = plain.initializers.map(({ name, data }) =>
      name.endsWith('up_proj.weight.scales')
        ? { name, data: float32Tensor(new Float32Array(data.shape[0])) }
        : { name, data },
    );
    const { graph, report } = fuseParts.apply({ ...plain, initializers }, undefined);
    expect(callsOf(graph, 'GatedFFN')).toEqual([]);
    const reasons = report.map(({ reason }) => reason);
    expect(reasons).toContain('model.layers.0.mlp.up_proj.weight.scales is float32, wanted float16');
  });

  it('leaves what is added to a product outside where it is no bias of its rows', async () => {
    const plain = await graphOf('llama-variants/mlp-bias');
    const initializers = plain.initializers.map((one) =>
      one.name.endsWith('gate_proj.bias') ? { ...one, data: { ...one.data, shape: [1] } } : one,
    );
    const { graph, report } = fuseParts.apply({ ...plain, initializers }, undefined);
    expect(callsOf(graph, 'GatedFFN')).toEqual([]);
    expect(report.filter(({ reason }) => /gate_proj.bias is no bias of \d+ rows/.test(reason))).not.toHaveLength(0);
  });

  it('touches nothing where weights are floats', async () => {
    const plain = await graphOf('llama-variants/gqa-tied-bf16', 'fp32');
    expect(fuseParts.apply(plain, undefined)).toEqual({ graph: plain, report: [] });
  });
});
