import { describe, expect, it } from 'vitest';
import { type BlockChoice, byActivation, byGate, stackPlan } from '../../test/ffn-plan.ts';
import { ffnStack, NEURONS } from '../../test/ffn-stack.ts';
import type { Graph } from '../core/graph.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import { applyPlan, fuseSkipNorms, withSparsePrefill } from './index.ts';

const LAYERS = 4;
const TENSORS: PlanTensors = new Map([['scores', { shape: [NEURONS], data: new Float32Array(NEURONS).fill(1) }]]);
const SKIP = { threshold: 0.9, runLength: 1 };

function sparse(blocks: readonly BlockChoice[], prefill: Plan['prefill']) {
  const plan = stackPlan(LAYERS, blocks, { prefill, skipping: { warmUpTokens: 3, reArm: false } });
  return applyPlan(fuseSkipNorms(ffnStack({ layers: LAYERS })), plan, TENSORS).graph;
}

/** The order of bodies means nothing. */
function ordered(graph: Graph): Graph {
  return { ...graph, functions: graph.functions.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

describe('withSparsePrefill', () => {
  const choices = [byActivation(0.3), byGate(0.3)];

  it.each<[string, readonly BlockChoice[]]>([
    ['skips blocks', [1, 2].map((layer) => ({ layer, skip: SKIP }))],
    ['chooses neurons', choices.map((choice, layer) => ({ layer, choice }))],
    [
      'does both, here and there',
      [{ layer: 0, choice: choices[1] }, ...choices.map((choice, i) => ({ layer: i + 1, choice, skip: SKIP }))],
    ],
  ])('makes the graph of a sparse prefill where a plan %s', (_, blocks) => {
    const [wanted, dense] = [sparse(blocks, 'sparse'), sparse(blocks, 'dense')];
    expect(JSON.stringify(dense)).toContain('dense_prefill');
    expect(dense).not.toEqual(wanted);
    expect(ordered(withSparsePrefill(dense))).toEqual(ordered(wanted));
    expect(withSparsePrefill(wanted)).toEqual(wanted);
  });

  it('refuses operators of another version, whose bodies it does not know', () => {
    const graph = sparse(
      [0, 1].map((layer) => ({ layer, skip: SKIP })),
      'dense',
    );
    const nodes = graph.nodes.map((node) => ({
      ...node,
      opType: node.opType.replace('FFNSkipStart_2', 'FFNSkipStart_1'),
    }));
    expect(() => withSparsePrefill({ ...graph, nodes })).toThrowError(
      expect.objectContaining({ code: 'mismatch', hint: expect.stringContaining('lacuna sparsify') }),
    );
  });
});
