import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { openBytes } from '../../test/open-bytes.ts';
import type { Graph } from '../core/graph.ts';
import { choosePrecision, type PrecisionOptions } from '../core/precision.ts';
import { fuseParts } from './fuse-parts.ts';
import { fuseSkipNorms } from './index.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');

async function graphOf(name: string, precision = 'int4', options: PrecisionOptions = {}): Promise<Graph> {
  const checkpoint = await openCheckpoint(join(fixtures, name));
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision: choosePrecision(precision, options) })));
}

function countsOf({ nodes }: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { domain, opType } of nodes)
    if (domain === 'lacuna' || opType === 'MatMulNBits') counts[opType] = (counts[opType] ?? 0) + 1;
  return counts;
}

async function logitsOf(graph: Graph) {
  const session = await openBytes(await encodeModel(graph));
  const ids = Array.from({ length: 16 }, (_, i) => (i * 7) % 50);
  const first = await session.step(ids.slice(0, 11), session.emptyCache(), { logits: 'all' });
  const second = await session.step(ids.slice(11), first.cache, { logits: 'all' });
  await session.close();
  return [...first.logits, ...second.logits];
}

const variants = ['llama-variants', 'gemma-variants'].flatMap((family) =>
  readdirSync(join(fixtures, family), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${family}/${name}`),
);

describe('fuse-parts', () => {
  it('makes attention, FFN and head of a LLaMA one operator each, and leaves no product outside', async () => {
    const { graph, report } = fuseParts.apply(await graphOf('llama-variants/gqa-tied-bf16'), undefined);
    expect(countsOf(graph)).toEqual({
      NormAttention_int4_first: 1,
      NormAttention_int4: 1,
      NormFFN_int4: 2,
      NormProduct_int8: 1,
    });
    expect(report.filter(({ applied }) => applied)).toHaveLength(5);
    expect(graph.functions.map(({ name }) => name).sort()).toEqual([
      'NormAttention_int4',
      'NormAttention_int4_first',
      'NormFFN_int4',
      'NormProduct_int8',
    ]);
  });

  it("makes one operator of Gemma 3's layers too, with windows and tables of their own", async () => {
    const { graph } = fuseParts.apply(await graphOf('gemma-variants/gemma3-pattern'), undefined);
    const layers = graph.nodes.filter(({ opType }) => opType.startsWith('NormAttention_int4'));
    expect(countsOf(graph).MatMulNBits).toBeUndefined();
    expect(new Set(layers.map(({ attributes }) => JSON.stringify(attributes.local_window_size))).size).toBe(2);
    expect(new Set(layers.map(({ inputs }) => inputs[10])).size).toBe(2);
  });

  it("takes a soft cap of the logits into the head, and the body takes it from the head's attribute", async () => {
    const { graph } = fuseParts.apply(await graphOf('gemma-variants/gemma2-softcap'), undefined);
    const [head] = graph.nodes.filter(({ opType }) => opType === 'NormProduct_int8');
    expect(head).toMatchObject({ outputs: ['logits'], attributes: { softcap: { kind: 'float', value: 3 } } });
    expect(graph.nodes.map(({ opType }) => opType)).not.toContain('Tanh');
    const body = graph.functions.find(({ name }) => name === 'NormProduct_int8');
    expect(body?.nodes.find(({ opType }) => opType === 'Constant')?.attributes.value_float).toMatchObject({
      kind: 'reference',
      name: 'softcap',
    });
  });

  it.each(variants)('changes no number in a runtime without kernels: %s', async (name) => {
    const plain = await graphOf(name, 'int4', { vocabulary: 'int4' });
    expect(await logitsOf(fuseParts.apply(plain, undefined).graph)).toEqual(await logitsOf(plain));
  });

  it('leaves products with biases, zero points and other blocks where they are, and says why', async () => {
    const reasons = async (name: string, options?: PrecisionOptions) => {
      const { graph, report } = fuseParts.apply(await graphOf(name, 'int4', options), undefined);
      return { counts: countsOf(graph), reasons: report.filter(({ applied }) => !applied).map(({ reason }) => reason) };
    };
    const biases = await reasons('llama-variants/attention-bias');
    expect(biases.counts).toMatchObject({ NormFFN_int4: 2 });
    expect(biases.reasons).toContain('Add where a product was wanted');
    const zeros = await reasons('llama-variants/gqa-tied-bf16', { asymmetric: true });
    expect(Object.keys(zeros.counts)).toEqual(['MatMulNBits']);
    expect(zeros.reasons.filter((reason) => reason.endsWith('has zero points or a bias'))).not.toHaveLength(0);
    const blocks = await reasons('llama-variants/gqa-tied-bf16', { blockSize: 64 });
    expect(Object.keys(blocks.counts)).toEqual(['MatMulNBits']);
    expect(blocks.reasons.filter((reason) => reason.endsWith('blocks of another size than 32'))).not.toHaveLength(0);
  });

  it('touches nothing where weights are floats', async () => {
    const plain = await graphOf('llama-variants/gqa-tied-bf16', 'fp32');
    expect(fuseParts.apply(plain, undefined)).toEqual({ graph: plain, report: [] });
  });
});
