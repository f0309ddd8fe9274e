/** Sparse models with weights in each storage: what they compute, and what their folders say. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import { readPlan } from '../formats/plan.ts';
import { attr, type Graph, type Node } from '../src/core/graph.ts';
import type { BlockPlan, Plan } from '../src/core/plan.ts';
import { choosePrecision, HOST_DTYPES, type PrecisionName, type WeightStorage } from '../src/core/precision.ts';
import { quantizeTurnable, type TensorExpr } from '../src/core/tensor.ts';
import { choosesNeurons, inputOf, operatorOf, STORAGES, variantOfNode } from '../src/ops/index.ts';
import { applyPlan, fuseSkipNorms, withNothingLeftOut } from '../src/rewrite/index.ts';
import { openSession } from '../src/runtime/index.ts';
import { stackPlan } from './ffn-plan.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';
import { expectWithin } from './within.ts';

const folder = temporaryFolder();
const TOKENS = Array.from({ length: 24 }, (_, index) => 3 + 7 * index);

/** Blocks are rounded to the nearest codes: better ones take longer to find, and all graphs here have the same. */
async function denseGraph(precision: PrecisionName, path = tinyLlama): Promise<Graph> {
  const checkpoint = await openCheckpoint(path);
  const { linear, vocabulary, ...rest } = choosePrecision(precision);
  const quick = (of: WeightStorage): WeightStorage => (of.kind === 'blocks' ? { ...of, method: 'nearest' } : of);
  const model = openModel(checkpoint, { precision: { ...rest, linear: quick(linear), vocabulary: quick(vocabulary) } });
  return fuseSkipNorms(assemble(model));
}

const denseLogits = new Map<string, Promise<Float32Array>>();

/** Those of the small trained model, computed once for all plans that make the same blocks turnable. */
function logitsOfDense(precision: PrecisionName, dense: Graph, plan: Plan): Promise<Float32Array> {
  const chosen = plan.blocks.filter(({ choice }) => choice !== undefined).map(({ block }) => block);
  const key = [precision, ...chosen].join(' ');
  const logits = denseLogits.get(key) ?? logitsOf(withTurnableDown(dense, plan));
  denseLogits.set(key, logits);
  return logits;
}

/** A dense graph with `down` turnable where it is in blocks and the plan chooses neurons, as in the sparse one. */
function withTurnableDown(graph: Graph, { blocks }: Plan): Graph {
  const chosen = blocks.flatMap(({ block, choice }) => (choice === undefined ? [] : [block.replace(/ffn$/, 'mlp.')]));
  const turnables = new Map<string, TensorExpr>();
  for (const { name, data } of graph.initializers) {
    const isRead = name.endsWith('down_proj.weight.codes') && chosen.some((block) => name.includes(block));
    if (!isRead || data.kind !== 'quantize') continue;
    const { codes, scales } = quantizeTurnable(data.from, data.scheme, data.importance);
    turnables.set(name, codes).set(name.replace(/codes$/, 'scales'), scales);
  }
  const initializers = graph.initializers.map((one) => ({ ...one, data: turnables.get(one.name) ?? one.data }));
  // What is made of codes in planes, by value: those of 8 bits need no joining.
  const codesOf = new Map([...turnables.keys()].map((name) => [name, name]));
  const nodes = graph.nodes.flatMap((node): Node[] => {
    const codes = node.inputs.map((input) => codesOf.get(input)).find((name) => name?.endsWith('codes'));
    if (codes === undefined) return [node];
    if (node.opType !== 'MatMulNBits') {
      codesOf.set(node.outputs[0], codes);
      return [];
    }
    const [x, , ...others] = node.inputs;
    return [{ ...node, inputs: [x, codes, ...others], attributes: { ...node.attributes, bits: attr.int(8) } }];
  });
  return { ...graph, initializers, nodes };
}

async function logitsOf(graph: Graph, tokens = TOKENS): Promise<Float32Array> {
  const path = mkdtempSync(join(folder, 'model-'));
  await writeOnnx(graph, join(path, 'model.onnx'));
  const session = await openSession(path, { threads: 1 });
  const { logits } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
  await session.close();
  return logits;
}

/** The share of the largest logit by which `verify` lets a model in fp16 differ from one in fp32. */
const NARROW = 1e-2;

/** `share` is of the largest value. */
function expectClose(got: Float32Array, wanted: Float32Array, share: number): void {
  expectWithin(got, wanted, share * Math.max(...wanted.map(Math.abs)));
}

const planned = () => readPlan(join(root, 'fixtures/oracle/plans/absolute.json'));

function withThreshold(plan: Plan, threshold: number): Plan {
  const change = (block: BlockPlan): BlockPlan =>
    block.choice === undefined || block.choice.cut.kind === 'deviation'
      ? block
      : { ...block, choice: { ...block.choice, cut: { ...block.choice.cut, threshold } } };
  return { ...plan, blocks: plan.blocks.map(change) };
}

it('every storage but that for GPUs is one that plans for stock ONNX Runtime know', () => {
  expect(HOST_DTYPES).toEqual(STORAGES.filter((storage) => storage !== 'fp16'));
});

describe.each(STORAGES)('a sparse model in %s', (precision) => {
  it('computes what the dense one does when every neuron passes', async () => {
    const dense = await denseGraph(precision);
    const { plan, tensors } = await planned();
    const { graph, report } = applyPlan(dense, withThreshold(plan, 0), tensors);
    expect(report.every(({ applied }) => applied)).toBe(true);
    const blocks = graph.nodes.filter(choosesNeurons).map(variantOfNode);
    expect(blocks).toHaveLength(plan.blocks.length);
    // Graphs in float16 keep their norms.
    for (const block of blocks) expect(block).toMatchObject({ storage: precision, normed: precision !== 'fp16' });
    expect(graph.functions).toHaveLength(1);
    const [wanted, got] = [await logitsOfDense(precision, dense, plan), await logitsOf(graph)];
    // Floats are summed in another order, in float16 also rounded in other places; products with blocks are the same ones.
    const shares = { fp32: 2e-5, fp16: NARROW, bf16: 2e-5, int8: 0, int6: 0, int5: 0, int4: 0 };
    expectClose(got, wanted, shares[precision]);
  });

  it('leaves neurons out when they do not, and less so the lower the threshold', async () => {
    const dense = await denseGraph(precision);
    const { plan, tensors } = await planned();
    const wanted = await logitsOf(dense);
    const distance = async (threshold: number) => {
      const got = await logitsOf(applyPlan(dense, withThreshold(plan, threshold), tensors).graph);
      return Math.hypot(...got.map((value, at) => value - wanted[at]));
    };
    const { choice } = plan.blocks[0];
    const threshold = choice?.cut.kind === 'absolute' ? choice.cut.threshold : Number.NaN;
    const [few, many] = [await distance(threshold), await distance(threshold / 8)];
    expect(many).toBeGreaterThan(0);
    expect(few).toBeGreaterThan(many);
  });
});

it.each(['activation', 'product'] as const)('blocks of a choice by %s have records', async (measure) => {
  const { plan, tensors } = await planned();
  const blocks = plan.blocks.map((block) => ({ ...block, choice: block.choice && { ...block.choice, measure } }));
  const { graph } = applyPlan(await denseGraph('int8'), { ...plan, blocks } as Plan, tensors);
  const gated = graph.nodes.filter((node) => operatorOf(node) === 'GatedFFN');
  expect(gated).toHaveLength(blocks.length);
  for (const node of gated) expect(inputOf('GatedFFN', node, 'records')).not.toBe('');
});

describe.each(['absolute', 'token-mean', 'skip', 'skip-and-select', 'replaced'])(
  'the plan %s with nothing left out',
  (name) => {
    it.each(STORAGES)('computes what the dense model does, in %s', async (precision) => {
      const dense = await denseGraph(precision);
      const { plan, tensors } = await readPlan(join(root, `fixtures/oracle/plans/${name}.json`));
      const { graph } = applyPlan(dense, plan, tensors);
      const whole = withNothingLeftOut(graph, plan);
      if (whole === undefined) throw new Error('no thresholds');
      const [wanted, sparse, got] = [
        await logitsOfDense(precision, dense, plan),
        await logitsOf(graph),
        await logitsOf(whole),
      ];
      expect(sparse).not.toEqual(got);
      const rounded = { int8: 2e-5, int6: 2e-5, int5: 2e-5, int4: 2e-5 };
      const shares = { fp32: 2e-5, fp16: NARROW, bf16: 2e-5, ...rounded };
      expectClose(got, wanted, shares[precision]);
    });
  },
);

it('what follows from the token itself cannot be put back in', async () => {
  const { plan, tensors } = await readPlan(join(root, 'fixtures/oracle/plans/statistical.json'));
  expect(withNothingLeftOut(applyPlan(await denseGraph('fp32'), plan, tensors).graph, plan)).toBeUndefined();
});

/** Nodes of all bodies and of the branches in them. */
function nodesIn({ functions }: Graph): Node[] {
  const within = (nodes: readonly Node[]): Node[] =>
    nodes.flatMap((node) => [
      node,
      ...Object.values(node.attributes).flatMap((one) => (one.kind === 'graph' ? within(one.value.nodes) : [])),
    ]);
  return functions.flatMap(({ nodes }) => within(nodes));
}

describe('a sparse model in fp16', () => {
  it.each(['absolute', 'token-mean', 'statistical', 'skip', 'skip-and-select'])(
    'answers as the same plan in fp32: %s',
    async (name) => {
      const { plan, tensors } = await readPlan(join(root, `fixtures/oracle/plans/${name}.json`));
      const [narrow, wide] = await Promise.all(
        (['fp16', 'fp32'] as const).map(async (precision) => applyPlan(await denseGraph(precision), plan, tensors)),
      );
      expect(narrow.report).toEqual(wide.report.map((rule) => ({ ...rule, reason: expect.any(String) })));
      expectClose(await logitsOf(narrow.graph), await logitsOf(wide.graph), NARROW);
    },
  );

  it.each([
    ['llama-variants/mlp-bias', 'biases'],
    ['gemma-variants/gemma2-softcap', 'a norm after the FFN'],
  ])('answers as the same plan in fp32: %s, which has %s', async (name) => {
    const path = join(root, 'fixtures', name);
    const spec = openModel(await openCheckpoint(path), { precision: choosePrecision('fp32') }).spec;
    const select = { kind: 'statistical', density: 0.4, mode: 'soft' } as const;
    const layers = Array.from({ length: spec.numHiddenLayers }, (_, layer) => ({ layer, select }));
    const { model, ...plan } = stackPlan(layers.length, layers);
    const sizes = { hiddenSize: spec.hiddenSize, intermediateSize: spec.intermediateSize };
    const sparse = async (precision: PrecisionName) => {
      const { graph, report } = applyPlan(
        await denseGraph(precision, path),
        { ...plan, model: { ...model, ...sizes } },
        new Map(),
      );
      expect(report.every(({ applied }) => applied)).toBe(true);
      return logitsOf(
        graph,
        TOKENS.map((token) => token % 96),
      );
    };
    expectClose(await sparse('fp16'), await sparse('fp32'), NARROW);
  });

  it('holds its weights once, as float16, neuron-major, and has nothing that a GPU’s host would wait for', async () => {
    const { plan, tensors } = await readPlan(join(root, 'fixtures/oracle/plans/skip-and-select.json'));
    const { graph } = applyPlan(await denseGraph('fp16'), plan, tensors);
    const of = new Map(graph.initializers.map(({ name, data }) => [name, data]));
    const gated = graph.nodes.filter((node) => operatorOf(node) === 'GatedFFN');
    expect(gated.length).toBeGreaterThan(0);
    for (const node of gated) {
      const [gate, up, down] = (['gate', 'up', 'down'] as const).map((name) => of.get(inputOf('GatedFFN', node, name)));
      expect(gate).toMatchObject({ dtype: 'float16', shape: [plan.model.intermediateSize, plan.model.hiddenSize] });
      expect([up?.dtype, up?.shape, down?.dtype, down?.shape]).toEqual([
        'float16',
        gate?.shape,
        'float16',
        gate?.shape,
      ]);
    }
    const layers = plan.blocks.map(({ block }) => block.replace(/ffn$/, 'mlp'));
    expect([...of.keys()].filter((name) => layers.some((layer) => name.includes(`${layer}.`))).length).toBe(
      3 * gated.length,
    );
    expect(nodesIn(graph).filter(({ opType }) => ['If', 'Loop', 'NonZero'].includes(opType))).toEqual([]);
  });
});
