import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { byActivation } from '../../test/ffn-plan.ts';
import { numbers, openGraph } from '../../test/run-body.ts';
import type { Graph } from '../core/graph.ts';
import type { ModelSpec } from '../core/model.ts';
import type { BlockPlan, Plan } from '../core/plan.ts';
import { applyPlan, fuseSkipNorms, PASSES } from './index.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');
/** Names every kind of FFN and attention that converters write. */
const CHECKPOINTS = ['tiny-llama', 'llama-variants/mlp-bias', 'llama-variants/gelu', 'llama-variants/odd-sizes'];
const TOKENS = 7;

async function convert(name: string) {
  const pieces = openModel(await openCheckpoint(join(fixtures, name)), { precision: 'fp32' });
  return { spec: pieces.spec, graph: assemble(pieces) };
}

async function logits(graph: Graph, spec: ModelSpec): Promise<number[]> {
  const runner = await openGraph(graph);
  onTestFinished(() => runner.close());
  const cacheDims = [1, spec.numKeyValueHeads, 0, spec.headDim];
  const caches = graph.inputs.filter(({ name }) => name.startsWith('past_key_values.'));
  const tokens = BigInt64Array.from({ length: TOKENS }, (_, at) => BigInt((7 * at + 3) % spec.vocabSize));
  const results = await runner.run(
    {
      input_ids: { dtype: 'int64', dims: [1, TOKENS], data: tokens },
      attention_mask: { dtype: 'int64', dims: [1, TOKENS], data: new BigInt64Array(TOKENS).fill(1n) },
      ...Object.fromEntries(
        caches.map(({ name }) => [name, { dtype: 'float32', dims: cacheDims, data: new Float32Array(0) } as const]),
      ),
    },
    ['logits'],
  );
  return numbers(results.logits);
}

function planOf(spec: ModelSpec, blocks: readonly Pick<BlockPlan, 'choice' | 'skip'>[]): Plan {
  const { modelType, numHiddenLayers, hiddenSize, intermediateSize } = spec;
  return {
    format: 'lacuna.plan',
    version: 2,
    preset: 'top-k',
    host: { kind: 'native' },
    model: { modelType, fingerprint: '', numHiddenLayers, hiddenSize, intermediateSize },
    statistics: '',
    tensors: null,
    target: { kind: 'density', value: 1 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 2, reArm: true },
    blocks: blocks.map((block, layer) => ({
      block: `layers.${layer}.ffn`,
      ...block,
      expected: { bytesPerToken: 0 },
      why: '',
    })),
  };
}

describe.each(CHECKPOINTS)('on the converted %s', (name) => {
  it('fuses every residual addition with the norm after it and changes nothing', async () => {
    const { spec, graph } = await convert(name);
    const fused = fuseSkipNorms(graph);
    const count = (opType: string) => fused.nodes.filter((node) => node.opType === opType).length;
    expect(count('SkipSimplifiedLayerNormalization')).toBe(2 * spec.numHiddenLayers);
    expect(count('SimplifiedLayerNormalization')).toBe(1);
    expectClose(await logits(fused, spec), await logits(graph, spec), spec);
  });

  it('applies a plan to every block; where it leaves out nothing, logits are the dense ones', async () => {
    const { spec, graph } = await convert(name);
    const { intermediateSize, numHiddenLayers } = spec;
    const choice = byActivation(0, 'absolute', 'ones');
    const tensors = new Map([
      ['ones', { shape: [intermediateSize], data: new Float32Array(intermediateSize).fill(1) }],
    ]);
    // No cosine reaches 2. Every third block selects, every third may skip, every third does both.
    const kinds = [
      { choice },
      { skip: { threshold: 2, runLength: 1 } },
      { choice, skip: { threshold: 2, runLength: 1 } },
    ];
    const blocks = Array.from({ length: numHiddenLayers }, (_, layer) => kinds[layer % 3]);
    const { graph: sparse, report } = applyPlan(fuseSkipNorms(graph), planOf(spec, blocks), tensors);
    expect(report.filter(({ applied }) => !applied)).toEqual([]);
    expect(report.length).toBe(numHiddenLayers);
    expectClose(await logits(sparse, spec), await logits(graph, spec), spec);
  });
});

/** Both sum the same terms in another order: the longest sum rounds to eps a term, and layers follow each other. */
function expectClose(got: readonly number[], wanted: readonly number[], spec: ModelSpec): void {
  const scale = Math.max(...wanted.map(Math.abs));
  const terms = Math.max(spec.intermediateSize, spec.hiddenSize);
  expect(got.length).toBe(TOKENS * spec.vocabSize);
  const worst = got.reduce((most, entry, at) => Math.max(most, Math.abs(entry - wanted[at])), 0);
  expect(worst).toBeLessThanOrEqual(scale * spec.numHiddenLayers * terms * 2 ** -23);
}

describe('PASSES', () => {
  it('lists passes in the order in which they run', () => {
    const names = PASSES.map(({ name }) => name);
    // Plans find their blocks once norms are fused, and before parts are.
    const ofPlans = names.slice(1, -2);
    expect(names).toEqual(['fuse-skip-norm', ...ofPlans, 'fuse-parts', 'drop-unread']);
    expect(ofPlans.filter((name) => ['sparse-ffn', 'ffn-skip'].includes(name))).toEqual(['sparse-ffn', 'ffn-skip']);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(existsSync(join(import.meta.dirname, `${name}.ts`))).toBe(true);
    for (const { description } of PASSES) expect(description).toContain(' -> ');
  });
});
