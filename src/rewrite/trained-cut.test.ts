import { describe, expect, it } from 'vitest';
import { byActivation, byGate, stackPlan } from '../../test/ffn-plan.ts';
import { ffnStack, HIDDEN, NEURONS, type StackOptions } from '../../test/ffn-stack.ts';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, openGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import { attr, type Graph } from '../core/graph.ts';
import { float32Tensor } from '../core/tensor.ts';
import { variantOfNode } from '../ops/index.ts';
import { applyPlan, fuseDecoderParts, fuseSkipNorms, withCounts, withNothingLeftOut } from './index.ts';
import { trainedCut } from './trained-cut.ts';

/** Q(0.75): a quarter of the gates are left. */
const QUANTILE = 0.6744897501960817;
const TOKENS = 6;

const stack = (options: Partial<StackOptions> = {}) =>
  fuseSkipNorms(ffnStack({ layers: 2, gateQuantile: QUANTILE, ...options }));
const cut = (graph: Graph) => trainedCut.apply(graph, { rounded: new Map() });
const ours = ({ nodes }: Graph) => nodes.filter(({ domain }) => domain === 'lacuna');

const edited = (graph: Graph, opType: string, edit: (node: Graph['nodes'][number]) => Graph['nodes'][number]) => ({
  ...graph,
  nodes: graph.nodes.map((node) => (node.opType === opType ? edit(node) : node)),
});

async function run(graph: Graph, tokens = TOKENS): Promise<number[]> {
  const runner = await openGraph(graph);
  const results = await runner.run({
    'hidden.0': floats(seededFloats(3)(tokens * HIDDEN), [1, tokens, HIDDEN]),
    positions: { dtype: 'int64', dims: [1, tokens], data: BigInt64Array.from({ length: tokens }, (_, i) => BigInt(i)) },
  });
  await runner.close();
  return numbers(results.out);
}

/**
 * Outputs are normed, some 3 at most. Each sums some 100 float32 products in each of two layers, in another order: half an
 * epsilon (6e-8) each, and as much again for a gate around the cut, which is continuous.
 */
const TOLERANCE = 4 * 100 * 6e-8;

describe('a trained cut', () => {
  it.each<Partial<StackOptions>>([
    {},
    { activation: 'gelu_tanh' },
    { activation: 'gelu', bias: true },
    { activation: 'relu', postNorm: true },
    { gateQuantile: 0 },
    { gateQuantile: -1 },
  ])('becomes one operator a block that gives the same numbers: %j', async (options) => {
    const graph = stack(options);
    const { graph: sparse, report } = cut(graph);
    expect(report.map(({ block, applied }) => [block, applied])).toEqual([
      ['layers.0.ffn', true],
      ['layers.1.ffn', true],
    ]);
    expect(ours(sparse).map(({ name }) => name)).toEqual(['layers.0.ffn.gated', 'layers.1.ffn.gated']);
    for (const node of ours(sparse)) {
      expect(variantOfNode(node).choice).toEqual({ measure: 'gate', cut: 'deviation', mode: 'soft' });
      expect(node.attributes.quantile).toEqual(attr.float(options.gateQuantile ?? QUANTILE));
    }
    expectWithin(await run(sparse), await run(graph), TOLERANCE);
  });

  it('gathers rows where the share that is left is small', () => {
    const gathers = (gateQuantile: number) => ours(cut(stack({ gateQuantile })).graph)[0].attributes.gather;
    // Q(0.95), and half of all.
    expect(gathers(1.6448536)).toEqual(attr.int(1));
    expect(gathers(0)).toBeUndefined();
  });

  it('shows: without the cut the numbers are others', async () => {
    const [some, all] = [await run(stack()), await run(stack({ gateQuantile: undefined }))];
    expect(Math.max(...some.map((value, i) => Math.abs(value - all[i])))).toBeGreaterThan(100 * TOLERANCE);
  });

  it('leaves graphs alone that have none', () => {
    const graph = stack({ gateQuantile: undefined });
    expect(cut(graph)).toEqual({ graph, report: [] });
  });

  it('is the last but one: what a plan takes is taken', () => {
    const { graph } = applyPlan(stack(), stackPlan(2, [{ layer: 0, skip: { threshold: 2, runLength: 1 } }]), new Map());
    expect(cut(graph).report.map(({ block }) => block)).toEqual(['layers.1.ffn']);
    expect(ours(fuseDecoderParts(graph)).filter(({ opType }) => opType.startsWith('GatedFFN'))).toHaveLength(2);
  });
});

describe('zeros of an activation', () => {
  const threshold = (graph: Graph, layer: number) =>
    graph.initializers.find(({ name }) => name === `layers.${layer}.ffn.threshold`)?.data;

  it.each<[Partial<StackOptions>, number]>([
    [{ activation: 'relu' }, 2 ** -126],
    [{ activation: 'relu', bias: true, postNorm: true }, 2 ** -126],
    [{ activation: 'drelu' }, 2 ** -126],
    [{ activation: 'drelu', bias: true, postNorm: true }, 2 ** -126],
    [{ gateThreshold: 0.3 }, Math.fround(0.3)],
    [{ gateThreshold: 1, bias: true }, 1],
    [{ gateThreshold: 2 ** -149 }, 2 ** -126],
  ])('are left out by one operator a block that gives the same numbers: %j', async (options, least) => {
    const graph = fuseSkipNorms(ffnStack({ layers: 2, ...options }));
    const { graph: sparse, report } = cut(graph);
    expect(report.map(({ block, applied }) => [block, applied])).toEqual([
      ['layers.0.ffn', true],
      ['layers.1.ffn', true],
    ]);
    for (const node of ours(sparse))
      expect(variantOfNode(node)).toMatchObject({
        activation: options.activation ?? 'relu',
        gather: true,
        choice: { measure: 'activation', cut: 'absolute' },
      });
    for (const layer of [0, 1]) expect(threshold(sparse, layer)).toEqual(float32Tensor([least], []));
    expectWithin(await run(sparse), await run(graph), TOLERANCE);
    expectWithin(await run(sparse, 1), await run(graph, 1), TOLERANCE);
  });

  it('show: another threshold gives other numbers', async () => {
    const [some, all] = [0.3, 2 ** -126].map((gateThreshold) => fuseSkipNorms(ffnStack({ layers: 2, gateThreshold })));
    const [a, b] = [await run(cut(some).graph), await run(all)];
    expect(Math.max(...a.map((value, i) => Math.abs(value - b[i])))).toBeGreaterThan(100 * TOLERANCE);
  });

  it('refuses a threshold below 0, which lets negative gates pass', () => {
    const graph = fuseSkipNorms(ffnStack({ layers: 1, gateThreshold: 0.3 }));
    const negative = edited(graph, 'ThresholdedRelu', (node) => ({ ...node, attributes: { alpha: attr.float(-0.5) } }));
    expect(cut(negative).report).toEqual([
      expect.objectContaining({ applied: false, reason: 'gates up to -0.5 become 0, wanted all negative ones' }),
    ]);
    expect(cut(negative).graph).toBe(negative);
  });

  it('leave plans to choose from the rest; a threshold of the model is not chosen from again', () => {
    const scores = new Map([['scores', { shape: [NEURONS], data: new Float32Array(NEURONS).fill(1) }]]);
    const plan = stackPlan(2, [{ layer: 0, choice: byActivation(0.5) }]);
    const relu = applyPlan(fuseSkipNorms(ffnStack({ layers: 2, activation: 'relu' })), plan, scores);
    expect(relu.report.map(({ applied }) => applied)).toEqual([true]);
    expect(threshold(relu.graph, 0)).toEqual(float32Tensor([0.5], []));
    expect(threshold(fuseDecoderParts(relu.graph), 1)).toEqual(float32Tensor([2 ** -126], []));
    const fat = applyPlan(fuseSkipNorms(ffnStack({ layers: 2, gateThreshold: 0.3 })), plan, scores);
    expect(fat.report).toEqual([
      expect.objectContaining({ applied: false, reason: expect.stringMatching(/was trained to choose/) }),
    ]);
  });

  it('are found once: a plan for the rewritten graph is refused, and says what it wants', () => {
    const graph = fuseDecoderParts(fuseSkipNorms(ffnStack({ layers: 1, activation: 'relu' })));
    const { report } = applyPlan(graph, stackPlan(1, [{ layer: 0, choice: byGate(0.3) }]), new Map());
    const reason = 'layers.0.ffn.gated is one operator already; plans want the checkpoint';
    expect(report).toEqual([expect.objectContaining({ applied: false, reason })]);
  });

  it('stay zeros where a plan’s thresholds are moved out of the way', async () => {
    const skip = { threshold: 2, runLength: 1 };
    const plan = stackPlan(2, [
      { layer: 0, skip },
      { layer: 1, skip },
    ]);
    const graph = fuseSkipNorms(ffnStack({ layers: 2, gateThreshold: 0.3 }));
    const { graph: skipping } = applyPlan(graph, plan, new Map());
    const whole = withNothingLeftOut(skipping, plan) ?? expect.fail('no twin');
    for (const model of [skipping, whole]) expectWithin(await run(model), await run(graph), TOLERANCE);
  });
});

describe('refuses', () => {
  it('a mean over another axis, or one that is kept in another way', () => {
    const graph = stack({ layers: 1 });
    const squeezed = edited(graph, 'ReduceMean', (node) => ({ ...node, attributes: { keepdims: attr.int(0) } }));
    expect(cut(squeezed).report).toEqual([
      expect.objectContaining({ applied: false, reason: expect.stringMatching(/keepdims/) }),
    ]);
  });

  it('something else between the gate and its activation', () => {
    const graph = stack({ layers: 1 });
    const clipped = edited(graph, 'Relu', (node) => ({ ...node, opType: 'Abs' }));
    expect(cut(clipped).report).toEqual([
      expect.objectContaining({ applied: false, reason: expect.stringMatching(/act is made from stack.Relu/) }),
    ]);
    expect(cut(clipped).graph).toBe(clipped);
  });

  it('a cut gate that is read elsewhere', () => {
    const graph = stack({ layers: 1 });
    const relu = graph.nodes.find(({ opType }) => opType === 'Relu')?.outputs[0] ?? '';
    const reader = { name: 'reader', opType: 'Neg', domain: '', inputs: [relu], outputs: ['read'], attributes: {} };
    const { report } = cut({ ...graph, nodes: [...graph.nodes, reader] });
    expect(report).toEqual([
      expect.objectContaining({ applied: false, reason: expect.stringMatching(/read by reader/) }),
    ]);
  });
});

describe('plans for such a model', () => {
  it('skip its blocks, which choose as before where they run', async () => {
    const graph = stack();
    // No cosine reaches 2, so all blocks run.
    const skip = { threshold: 2, runLength: 1 };
    const plan = stackPlan(2, [
      { layer: 0, skip },
      { layer: 1, skip },
    ]);
    const { graph: skipping, report } = applyPlan(graph, plan, new Map());
    expect(report.every(({ applied }) => applied)).toBe(true);
    const nodes = ours(skipping).filter(({ opType }) => opType.startsWith('GatedFFN'));
    for (const node of nodes) expect(variantOfNode(node)).toMatchObject({ masked: true, choice: { measure: 'gate' } });
    expectWithin(await run(skipping), await run(graph), TOLERANCE);
    // Blocks are put back in, and the model still chooses as it was trained to.
    const whole = withNothingLeftOut(skipping, plan);
    expectWithin(await run(whole ?? expect.fail('no twin')), await run(graph), TOLERANCE);
  });

  it('leave out nothing in a dense prefill, but what the model was trained to leave out', async () => {
    const plan = stackPlan(
      2,
      [
        { layer: 0, skip: { threshold: -1, runLength: 1 } },
        { layer: 1, skip: { threshold: -1, runLength: 1 } },
      ],
      {
        prefill: 'dense',
      },
    );
    const graph = stack();
    const { graph: skipping } = applyPlan(graph, plan, new Map());
    expectWithin(await run(skipping), await run(graph), TOLERANCE);
  });

  it.each([byGate(0.3), byActivation(0.1)])('do not choose from its neurons again: %j', (choice) => {
    const scores = new Map([['scores', { shape: [NEURONS], data: new Float32Array(NEURONS).fill(1) }]]);
    const { report } = applyPlan(stack(), stackPlan(2, [{ layer: 0, choice }]), scores);
    expect(report).toEqual([
      expect.objectContaining({ applied: false, reason: expect.stringMatching(/was trained to choose/) }),
    ]);
  });

  it('and its neurons are counted', () => {
    const counted = withCounts(cut(stack()).graph);
    expect(ours(counted).flatMap(({ outputs }) => outputs)).toEqual(
      expect.arrayContaining(['layers.0.kept', 'layers.1.kept']),
    );
  });
});
