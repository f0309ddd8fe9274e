import { expect, it } from 'vitest';
import { BASE_OPSETS, type Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { float32Tensor } from '../core/tensor.ts';
import { dropUnread } from './drop-unread.ts';

it('drops chains that end nowhere, with their weights, and keeps what an output needs', () => {
  const g = new GraphBuilder('small');
  const shared = g.op('Neg', ['x'], { outputs: ['shared'] });
  g.op('Add', [shared, g.initializer('used', float32Tensor([1]))], { outputs: ['y'] });
  const lost = g.op('Mul', [shared, g.initializer('unused', float32Tensor([2]))]);
  g.op('Abs', [lost], { outputs: ['nowhere'] });
  const body = g.body('small', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]);
  const graph: Graph = { ...body, functions: [], opsets: BASE_OPSETS, metadata: {} };
  const { graph: kept, report } = dropUnread.apply(graph, undefined);
  expect(kept.nodes.map(({ opType }) => opType)).toEqual(['Neg', 'Add']);
  expect(kept.initializers.map(({ name }) => name)).toEqual(['used']);
  expect(report.map(({ reason }) => reason)).toEqual(['nothing reads it', 'nothing reads it']);
  expect(dropUnread.apply(kept, undefined)).toEqual({ graph: kept, report: [] });
});
