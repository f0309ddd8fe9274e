/** Sparse models with weights in each storage: what they compute, and what their folders say. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import { readPlan } from '../formats/plan.ts';
import type { Graph } from '../src/core/graph.ts';
import type { BlockPlan, Plan } from '../src/core/plan.ts';
import { choosePrecision } from '../src/core/precision.ts';
import { STORAGES } from '../src/ops/index.ts';
import { applyPlan, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openSession } from '../src/runtime/index.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const TOKENS = Array.from({ length: 24 }, (_, index) => 3 + 7 * index);

async function denseGraph(precision: string): Promise<Graph> {
  const checkpoint = await openCheckpoint(tinyLlama);
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision: choosePrecision(precision) })));
}

async function logitsOf(graph: Graph): Promise<Float32Array> {
  const path = mkdtempSync(join(folder, 'model-'));
  await writeOnnx(graph, join(path, 'model.onnx'));
  const session = await openSession(path, { threads: 1 });
  const { logits } = await session.step(TOKENS, session.emptyCache(), { logits: 'all' });
  await session.close();
  return logits;
}

const planned = () => readPlan(join(root, 'fixtures/oracle/plans/absolute.json'));

function withThreshold(plan: Plan, threshold: number): Plan {
  const change = (block: BlockPlan): BlockPlan =>
    block.select?.kind === 'threshold' ? { ...block, select: { ...block.select, threshold } } : block;
  return { ...plan, blocks: plan.blocks.map(change) };
}

describe.each(STORAGES)('a sparse model in %s', (precision) => {
  it('computes what the dense one does when every neuron passes', async () => {
    const dense = await denseGraph(precision);
    const { plan, tensors } = await planned();
    const { graph, report } = applyPlan(dense, withThreshold(plan, 0), tensors);
    expect(report.every(({ applied }) => applied)).toBe(true);
    expect(graph.functions.map(({ name }) => name)).toEqual([expect.stringContaining(`_${precision}`)]);
    const [wanted, got] = [await logitsOf(dense), await logitsOf(graph)];
    const size = Math.max(...wanted.map(Math.abs));
    // Floats are summed in another order; products with blocks are the same ones.
    const tolerance = precision === 'int8' || precision === 'int4' ? 0 : 2e-5 * size;
    wanted.forEach((value, at) => {
      expect(Math.abs(got[at] - value)).toBeLessThanOrEqual(tolerance);
    });
  });

  it('leaves neurons out when they do not, and less so the lower the threshold', async () => {
    const dense = await denseGraph(precision);
    const { plan, tensors } = await planned();
    const wanted = await logitsOf(dense);
    const distance = async (threshold: number) => {
      const got = await logitsOf(applyPlan(dense, withThreshold(plan, threshold), tensors).graph);
      return Math.hypot(...got.map((value, at) => value - wanted[at]));
    };
    const { select } = plan.blocks[0];
    const threshold = select?.kind === 'threshold' ? select.threshold : Number.NaN;
    const [few, many] = [await distance(threshold), await distance(threshold / 8)];
    expect(many).toBeGreaterThan(0);
    expect(few).toBeGreaterThan(many);
  });
});
