import { describe, expect, it } from 'vitest';
import { weightKind } from '../../converters/index.ts';
import { byActivation, byGate, stackPlan } from '../../test/ffn-plan.ts';
import { ffnStack, HIDDEN, NEURONS, type StackOptions } from '../../test/ffn-stack.ts';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, openGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import { CHOICES, measureNamed, type NeuronChoice } from '../core/choice.ts';
import { attr, type Graph, type Node } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import { type Choice, neuronChoice, type PlanTensors } from '../core/plan.ts';
import { type BlockScheme, float32Tensor, quantize, type TensorExpr } from '../core/tensor.ts';
import { variantOfNode } from '../ops/index.ts';
import { type FfnWeights, gatedFfnToken } from '../ops/testing/reference.ts';
import { readTensorBytes } from '../tensors/index.ts';
import { applyPlan, fuseSkipNorms, withCounts, withNothingLeftOut } from './index.ts';

const WEIGHTS = Float32Array.from({ length: NEURONS }, (_, neuron) => 0.5 + neuron / NEURONS);
const TENSORS: PlanTensors = new Map([['scores', { shape: [NEURONS], data: WEIGHTS }]]);
const THRESHOLD = byActivation(0.4);
const STATISTICAL = byGate(0.3);
const TOKENS = 5;

async function run(graph: Graph, outputs: readonly string[]) {
  const infos = outputs.map((name) =>
    name.endsWith('kept')
      ? value(name, 'int32', ['batch_size', 'sequence_length'])
      : value(name, 'float32', ['batch_size', 'sequence_length', HIDDEN]),
  );
  const runner = await openGraph({ ...withCounts(graph), outputs: infos });
  const positions = { dtype: 'int64', dims: [1, TOKENS], data: new BigInt64Array(TOKENS) } as const;
  const results = await runner.run({
    'hidden.0': floats(seededFloats(3)(TOKENS * HIDDEN), [1, TOKENS, HIDDEN]),
    positions,
  });
  await runner.close();
  return outputs.map((name) => numbers(results[name]));
}

/** A plan's choice of that kind, by numbers that keep some neurons and leave out others. */
function planOf(choice: NeuronChoice): Choice {
  const stated = choice.cut === 'deviation' ? byGate(0.3, choice.mode) : byActivation(0.2, choice.cut);
  return { ...stated, measure: choice.measure };
}

function rowsOf(data: TensorExpr): Float32Array[] {
  if (data.kind !== 'bytes') throw new Error(`${data.kind} is not in memory`);
  const columns = data.shape[1] ?? data.shape[0];
  const all = new Float32Array(data.bytes.buffer, data.bytes.byteOffset, data.bytes.byteLength / 4);
  return Array.from({ length: all.length / columns }, (_, row) => all.subarray(row * columns, (row + 1) * columns));
}

function tensorRows(graph: Graph, layer: number, name: string): Float32Array[] {
  return rowsOf(graph.initializers.find((one) => one.name === `model.layers.${layer}.${name}`)?.data as TensorExpr);
}

/** What the layer's FFN multiplies. */
function normed(graph: Graph, layer: number, residual: readonly number[]): number[] {
  const [weight] = tensorRows(graph, layer, 'post_attention_layernorm.weight');
  const scale = 1 / Math.sqrt(residual.reduce((sum, value) => sum + value * value, 0) / HIDDEN + 1e-6);
  return residual.map((value, i) => value * scale * weight[i]);
}

/** The layer's FFN as the plain loops take it. */
function ffnOf(graph: Graph, layer: number, { bias, postNorm }: StackOptions): FfnWeights {
  const tensor = (name: string) => tensorRows(graph, layer, name);
  const down = tensor('mlp.down_proj.weight');
  return {
    gate: tensor('mlp.gate_proj.weight'),
    up: tensor('mlp.up_proj.weight'),
    down: Array.from({ length: NEURONS }, (_, neuron) => down.map((row) => row[neuron])),
    ...(bias && {
      gateBias: tensor('mlp.gate_proj.bias')[0],
      upBias: tensor('mlp.up_proj.bias')[0],
      downBias: tensor('mlp.down_proj.bias')[0],
    }),
    ...(postNorm && { postNorm: { weight: tensor('post_feedforward_layernorm.weight')[0], epsilon: 1e-6 } }),
  };
}

/** What the layer's neurons are predicted by: its 4-bit codes as numbers, each within a rounding of the weight. */
async function predictorOf(graph: Graph, layer: number, { gate, up }: FfnWeights) {
  const [codes, scales] = await Promise.all(
    ['predictor', 'predictor.scales'].map(async (name) => {
      const found = graph.initializers.find((one) => one.name === `layers.${layer}.ffn.${name}`);
      return found && readTensorBytes(found.data);
    }),
  );
  if (codes === undefined || scales === undefined) return undefined;
  const steps = float16Numbers(scales);
  const [blocks, rowBytes] = [Math.ceil(HIDDEN / 32), 16 * Math.ceil(HIDDEN / 32)];
  const rows = [...gate, ...up].map((weights, row) =>
    Array.from(weights, (weight, i) => {
      const byte = codes[row * rowBytes + (i >> 1)];
      const step = steps[row * blocks + Math.floor(i / 32)];
      const predicted = ((i % 2 === 0 ? byte & 15 : byte >> 4) - 8) * step;
      // Codes reach from -8 to 7, so the largest weight of a block may be a whole step off.
      expect(Math.abs(predicted - weight)).toBeLessThanOrEqual(1.001 * Math.abs(step));
      return predicted;
    }),
  );
  return { gate: rows.slice(0, gate.length), up: rows.slice(gate.length) };
}

const ours = (graph: Graph) => graph.nodes.filter(({ domain }) => domain === 'lacuna');
const change = (graph: Graph, output: string, edit: (node: Node) => Node): Graph => ({
  ...graph,
  nodes: graph.nodes.map((node) => (node.outputs.includes(output) ? edit(node) : node)),
});

/** The product that makes a tap of layer 0, its weight in blocks. */
function inBlocks(graph: Graph, tap: string, shape: readonly number[], scheme: Partial<BlockScheme>): Graph {
  const { bits, blockSize, ...rest } = {
    bits: 8,
    blockSize: 32,
    symmetric: true,
    method: 'nearest',
    ...scheme,
  } as const;
  const value = `layers.0.${tap}`;
  const { codes, scales, zeroPoints } = quantize(float32Tensor(new Float32Array(shape[0] * shape[1]), shape), {
    bits,
    blockSize,
    ...rest,
  });
  const parts = Object.entries({ codes, scales, zeroPoints }).flatMap(([name, data]) =>
    data === undefined ? [] : [{ name: `${value}.${name}`, data }],
  );
  const widened: Node = {
    name: `${value}.widen`,
    opType: 'Cast',
    domain: '',
    inputs: [`${value}.scales`],
    outputs: [`${value}.widened`],
    attributes: { to: attr.int(1) },
  };
  const attributes = { K: shape[1], N: shape[0], bits, block_size: blockSize };
  const changed = change(graph, value, (node) => ({
    ...node,
    opType: 'MatMulNBits',
    inputs: [node.inputs[0], ...parts.map(({ name }) => (name === widened.inputs[0] ? widened.outputs[0] : name))],
    attributes: Object.fromEntries(Object.entries(attributes).map(([name, size]) => [name, attr.int(size)])),
  }));
  return { ...changed, nodes: [widened, ...changed.nodes], initializers: [...changed.initializers, ...parts] };
}

describe('sparse-ffn', () => {
  it('gathers rows only where the plan expects few, and computes the same either way', async () => {
    const dense = ffnStack({ layers: 1 });
    const at = (density: number) =>
      applyPlan(dense, stackPlan(1, [{ layer: 0, choice: THRESHOLD, density }]), TENSORS).graph;
    const [few, many] = [at(0.29), at(0.3)];
    expect([few, many].map((graph) => variantOfNode(ours(graph)[0]).gather)).toEqual([true, false]);
    const [[y, kept], [yWhole, keptWhole]] = await Promise.all(
      [few, many].map((graph) => run(graph, ['out', 'layers.0.kept'])),
    );
    expect(keptWhole).toEqual(kept);
    // 24 products summed in another order, then normed to about 1.
    expectWithin(y, yWhole, NEURONS * 2 ** -23 * 8);
  });

  it('puts one operator in the place of a block’s nodes and leaves other blocks alone', () => {
    const dense = ffnStack({ layers: 3 });
    const { graph, report } = applyPlan(dense, stackPlan(3, [{ layer: 1, choice: THRESHOLD }]), TENSORS);
    expect(report).toEqual([
      {
        rule: 'sparse-ffn',
        block: 'layers.1.ffn',
        applied: true,
        reason: 'one operator in place of 6',
        nodes: ['layers.1.ffn.gated'],
      },
    ]);
    expect(ours(graph)).toEqual([
      expect.objectContaining({
        opType: 'GatedFFN_2_0',
        inputs: [
          'layers.1.ffn_in',
          ...new Array(4).fill(''),
          'model.layers.1.mlp.gate_proj.weight',
          ...['', ''],
          'model.layers.1.mlp.up_proj.weight',
          ...['', ''],
          'model.layers.1.mlp.down_proj.weight.neuron_major',
          ...new Array(8).fill(''),
          'layers.1.ffn.threshold',
          'layers.1.ffn.score_weights',
        ],
        outputs: ['layers.1.ffn_out'],
      }),
    ]);
    expect(graph.nodes.length).toBe(dense.nodes.length - 6 + 1);
    expect(graph.functions.map(({ name }) => name)).toEqual(['GatedFFN_2_0']);
    expect(graph.opsets).toEqual({ ...dense.opsets, lacuna: 1 });
  });

  it('is counted by a body of its own, once', () => {
    const { graph } = applyPlan(ffnStack({ layers: 1 }), stackPlan(1, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    const counting = withCounts(graph);
    expect(ours(counting)[0]).toMatchObject({
      opType: 'GatedFFN_2_1',
      outputs: ['layers.0.ffn_out', '', '', 'layers.0.kept'],
    });
    expect(withCounts(counting)).toEqual(counting);
    const renamed = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, name: `${node.name}.other` })) };
    expect(() => withCounts(renamed)).toThrow(
      expect.objectContaining({ code: 'mismatch', message: expect.stringContaining('layers.0.ffn.gated.other') }),
    );
  });

  it('cannot be measured whole, nor counted, where its operators are of another version', () => {
    const plan = stackPlan(1, [{ layer: 0, choice: THRESHOLD }]);
    const { graph } = applyPlan(ffnStack({ layers: 1 }), plan, TENSORS);
    expect(withNothingLeftOut(graph, plan)).toBeDefined();
    const older = (name: string) => name.replace('_2_', '_1_');
    const nodes = graph.nodes.map((node) => ({ ...node, opType: older(node.opType) }));
    const old = { ...graph, nodes, functions: graph.functions.map((one) => ({ ...one, name: older(one.name) })) };
    expect(withNothingLeftOut(old, plan)).toBeUndefined();
    expect(withCounts(old)).toEqual(old);
  });

  it('cannot be measured whole where its plan does what no threshold decides', () => {
    const plan = stackPlan(1, [{ layer: 0, choice: THRESHOLD }]);
    const { graph } = applyPlan(ffnStack({ layers: 1 }), plan, TENSORS);
    const further = { ...plan, blocks: plan.blocks.map((block) => ({ ...block, replaced: {} })) };
    expect(withNothingLeftOut(graph, further)).toBeUndefined();
  });

  it('makes weights whose names say that they are of FFNs', () => {
    const dense = ffnStack({ layers: 1 });
    const { graph } = applyPlan(dense, stackPlan(1, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    const before = new Set(dense.initializers.map(({ name }) => name));
    const made = graph.initializers.filter(({ name }) => !before.has(name));
    expect(new Set(made.map(({ name }) => weightKind(name)))).toEqual(new Set(['ffn']));
  });

  it('holds each weight once, the down projection neuron by neuron', () => {
    const { graph } = applyPlan(ffnStack({ layers: 2 }), stackPlan(2, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    const shapes = new Map(graph.initializers.map(({ name, data }) => [name, data.shape]));
    expect(shapes.get('model.layers.0.mlp.down_proj.weight')).toBeUndefined();
    expect(shapes.get('model.layers.0.mlp.down_proj.weight.neuron_major')).toEqual([NEURONS, HIDDEN]);
    expect(shapes.get('model.layers.1.mlp.down_proj.weight')).toEqual([HIDDEN, NEURONS]);
    expect(shapes.get('layers.0.ffn.threshold')).toEqual([]);
    expect(shapes.size).toBe(graph.initializers.length);
  });

  const cases: readonly (readonly [StackOptions, Choice])[] = [
    [{ layers: 2 }, THRESHOLD],
    [{ layers: 2, activation: 'silu' }, byActivation(0.4, 'mean')],
    [{ layers: 2, activation: 'gelu', bias: true }, THRESHOLD],
    [{ layers: 2, activation: 'gelu_tanh', postNorm: true }, STATISTICAL],
    [{ layers: 2, activation: 'relu', bias: true, postNorm: true }, byGate(0.3, 'hard')],
    [{ layers: 2, activation: 'drelu', bias: true }, THRESHOLD],
    ...CHOICES.filter(({ measure }) => measureNamed(measure).plannedFor.includes('floats')).map(
      (choice) => [{ layers: 2, activation: 'silu' }, planOf(choice)] as const,
    ),
  ];
  it.each(cases)('computes what the choice says: %j, %j', async (options, planned) => {
    const dense = fuseSkipNorms(ffnStack(options));
    const plan = stackPlan(
      2,
      [0, 1].map((layer) => ({ layer, choice: planned })),
    );
    const { graph, report } = applyPlan(dense, plan, TENSORS);
    expect(report.every(({ applied }) => applied)).toBe(true);
    const activation =
      options.activation === undefined || options.activation === 'silu-by-sigmoid' ? 'silu' : options.activation;
    const wantedChoice = { activation, choice: neuronChoice(planned) };
    const choice =
      planned.cut.kind === 'deviation'
        ? // Q(0.7), from a table of the standard normal distribution.
          { ...wantedChoice, quantile: 0.5244005127080407 }
        : { ...wantedChoice, threshold: planned.cut.threshold, weights: WEIGHTS };
    for (const layer of [0, 1]) {
      const [residual, y, kept] = await run(graph, [
        `layers.${layer}.ffn_residual`,
        `layers.${layer}.ffn_out`,
        `layers.${layer}.kept`,
      ]);
      const ffn = ffnOf(dense, layer, options);
      const predictor = await predictorOf(graph, layer, ffn);
      expect(predictor === undefined).toBe(planned.measure !== 'predicted');
      for (let token = 0; token < TOKENS; token++) {
        const x = normed(dense, layer, residual.slice(token * HIDDEN, (token + 1) * HIDDEN));
        const wanted = gatedFfnToken(x, ffn, { ...choice, predictor });
        expect(kept[token]).toBe(wanted.kept);
        // Sums of NEURONS products of sums of HIDDEN, of magnitudes below 100 in all.
        const tolerance = 100 * (NEURONS + 2 * HIDDEN) * 2 ** -23;
        expectWithin(y.slice(token * HIDDEN, (token + 1) * HIDDEN), wanted.y, tolerance);
      }
      expect(new Set(kept).size).toBeGreaterThan(1);
    }
  });

  it('takes the norm along, which makes the residual stream then', () => {
    const dense = fuseSkipNorms(ffnStack({ layers: 1 }));
    const { graph, report } = applyPlan(dense, stackPlan(1, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    const [block] = ours(graph);
    expect(block).toMatchObject({
      inputs: expect.arrayContaining(['model.layers.0.post_attention_layernorm.weight']),
      outputs: ['layers.0.ffn_out', 'layers.0.ffn_residual'],
    });
    expect(report[0].reason).toBe('one operator in place of 7');
    expect(graph.nodes.flatMap(({ outputs }) => outputs)).not.toContain('layers.0.ffn_in');
  });

  it.each<[string, (graph: Graph) => Graph]>([
    [
      'an output of the model',
      (graph) => ({ ...graph, outputs: [...graph.outputs, value('layers.0.ffn_in', 'float32', ['b', 's', HIDDEN])] }),
    ],
    [
      'read by others',
      (graph) => {
        const reader = { name: 'reader', opType: 'Identity', domain: '', attributes: {} };
        return { ...graph, nodes: [...graph.nodes, { ...reader, inputs: ['layers.0.ffn_in'], outputs: ['copy'] }] };
      },
    ],
    [
      'not all that the norm makes',
      (graph) =>
        change(graph, 'layers.0.ffn_in', (node) => ({
          ...node,
          outputs: [node.outputs[0], 'mean', '', node.outputs[3]],
        })),
    ],
  ])('leaves the norm outside where ffn_in is %s', (_, spoil) => {
    const dense = spoil(fuseSkipNorms(ffnStack({ layers: 1 })));
    const { graph } = applyPlan(dense, stackPlan(1, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    expect(variantOfNode(ours(graph)[0]).normed).toBe(false);
    expect(graph.nodes.flatMap(({ outputs }) => outputs)).toContain('layers.0.ffn_in');
  });

  it('leaves calls with several tokens dense when the plan says so', async () => {
    const dense = ffnStack({ layers: 1 });
    const plan = stackPlan(1, [{ layer: 0, choice: THRESHOLD }], { prefill: 'dense' });
    const { graph } = applyPlan(dense, plan, TENSORS);
    expect(variantOfNode(ours(graph)[0]).densePrefill).toBe(true);
    const [wanted] = await run(dense, ['out']);
    const [got, kept] = await run(graph, ['out', 'layers.0.kept']);
    expect(kept).toEqual(new Array(TOKENS).fill(NEURONS));
    // As above; the last norm keeps its input's relative error.
    expectWithin(got, wanted, 100 * (NEURONS + 2 * HIDDEN) * 2 ** -23);
  });

  it.each<[string, (graph: Graph) => Graph]>([
    [
      'MatMulInteger makes layers.0.gate, wanted FusedMatMul or MatMul or MatMulNBits or Add',
      (graph) => change(graph, 'layers.0.gate', (node) => ({ ...node, opType: 'MatMulInteger' })),
    ],
    [
      'gate, up and down are int4 [24,8], fp32 [24,8], fp32 [8,24]',
      (graph) => inBlocks(graph, 'gate', [NEURONS, HIDDEN], { bits: 4 }),
    ],
    [
      'MatMulNBits makes layers.0.up with block_size 64, wanted 32',
      (graph) => inBlocks(graph, 'up', [NEURONS, HIDDEN], { blockSize: 64 }),
    ],
    [
      'layers.0.up has zero points, layers.0.up.zeroPoints, wanted none',
      (graph) => inBlocks(graph, 'up', [NEURONS, HIDDEN], { symmetric: false }),
    ],
    [
      'layers.0.up.scales is float32, wanted float16',
      (graph) => {
        const blocks = inBlocks(graph, 'up', [NEURONS, HIDDEN], {});
        const scales = { name: 'layers.0.up.scales', data: float32Tensor(new Float32Array(NEURONS)) };
        return { ...blocks, initializers: blocks.initializers.map((one) => (one.name === scales.name ? scales : one)) };
      },
    ],
    [
      'layers.0.up.scales is not cast to float32',
      (graph) =>
        change(inBlocks(graph, 'up', [NEURONS, HIDDEN], {}), 'layers.0.up', (node) => ({
          ...node,
          inputs: [node.inputs[0], node.inputs[1], 'layers.0.up.scales'],
        })),
    ],
    [
      'the floats that layers.0.ffn_out.codes was rounded from are not known',
      (graph) => {
        const gate = inBlocks(graph, 'gate', [NEURONS, HIDDEN], {});
        const blocks = inBlocks(inBlocks(gate, 'up', [NEURONS, HIDDEN], {}), 'ffn_out', [HIDDEN, NEURONS], {});
        const codes = (data: TensorExpr): TensorExpr => ({ ...data, kind: 'bytes', bytes: new Uint8Array(0) });
        return {
          ...blocks,
          initializers: blocks.initializers.map((one) =>
            one.name === 'layers.0.ffn_out.codes' ? { ...one, data: codes(one.data) } : one,
          ),
        };
      },
    ],
    [
      'Tanh makes layers.0.act, wanted Mul or QuickGelu or Gelu or Relu or ThresholdedRelu',
      (graph) => change(graph, 'layers.0.act', (node) => ({ ...node, opType: 'Tanh', inputs: ['layers.0.gate'] })),
    ],
    [
      'layers.0.up is made from layers.0.attn_in, wanted layers.0.ffn_in',
      (graph) => change(graph, 'layers.0.up', (node) => ({ ...node, inputs: ['layers.0.attn_in', node.inputs[1]] })),
    ],
    [
      'layers.0.act is an output of the model',
      (graph) => ({ ...graph, outputs: [...graph.outputs, value('layers.0.act', 'float32', ['b', 's', NEURONS])] }),
    ],
    [
      'layers.0.gate is read by stack.node.Add_1 too',
      (graph) => change(graph, 'hidden.1', (node) => ({ ...node, inputs: [node.inputs[0], 'layers.0.gate'] })),
    ],
    [
      'FusedMatMul makes layers.0.gate with no transB, wanted 1',
      (graph) => change(graph, 'layers.0.gate', (node) => ({ ...node, attributes: {} })),
    ],
    [
      'model.layers.0.mlp.gate_proj.weight is float32 [24,8], wanted a float16 matrix',
      (graph) => change(graph, 'layers.0.gate', (node) => ({ ...node, opType: 'MatMul', domain: '', attributes: {} })),
    ],
    [
      'model.layers.0.mlp.gate_proj.weight is float16 [24,8], wanted a float32 matrix',
      (graph) => ({
        ...graph,
        initializers: graph.initializers.map((one) =>
          one.name.endsWith('gate_proj.weight')
            ? { ...one, data: { ...one.data, dtype: 'float16' } as TensorExpr }
            : one,
        ),
      }),
    ],
  ])('refuses: %s', (reason, spoil) => {
    const graph = spoil(ffnStack({ layers: 1 }));
    const result = applyPlan(graph, stackPlan(1, [{ layer: 0, choice: THRESHOLD }]), TENSORS);
    expect(result.report).toEqual([{ rule: 'sparse-ffn', block: 'layers.0.ffn', applied: false, reason }]);
    expect(result.graph).toBe(graph);
  });

  it('refuses a density without a quantile', () => {
    const choice = byGate(1);
    const { report } = applyPlan(ffnStack({ layers: 1 }), stackPlan(1, [{ layer: 0, choice }]), TENSORS);
    expect(report).toEqual([
      expect.objectContaining({ applied: false, reason: 'a density of 1 has no finite quantile' }),
    ]);
  });
});

describe('a plan of another model', () => {
  const dense = ffnStack({ layers: 2 });
  const blocks = [{ layer: 1, choice: THRESHOLD }];
  const { model } = stackPlan(2, []);

  it.each([
    ["The plan's block layers.1.ffn is not in the model", stackPlan(1, blocks), TENSORS],
    ["The plan's block layers.4.ffn is not in the model", stackPlan(9, [{ layer: 4, choice: THRESHOLD }]), TENSORS],
    [
      'layers.1.ffn has a gate of [24, 8], the plan wants [32, 8]',
      stackPlan(2, blocks, { model: { ...model, intermediateSize: 32 } }),
      TENSORS,
    ],
    ['The plan\'s layers.1.ffn names tensor "scores", which its file does not have', stackPlan(2, blocks), new Map()],
    [
      'The plan\'s tensor "scores" is [3], layers.1.ffn wants [24]',
      stackPlan(2, blocks),
      new Map([['scores', { shape: [3], data: new Float32Array(3) }]]),
    ],
    [
      'The plan\'s tensor "scores" has negative numbers or none; score weights are 0 or more',
      stackPlan(2, blocks),
      new Map([['scores', { shape: [NEURONS], data: WEIGHTS.map((weight, j) => (j === 3 ? Number.NaN : weight)) }]]),
    ],
    [
      'The plan lists layers.0.ffn after layers.1.ffn, wanted the order of layers',
      stackPlan(2, [...blocks, { layer: 0, choice: THRESHOLD }]),
      TENSORS,
    ],
  ])('is a mismatch: %s', (message, plan, tensors) => {
    expect(() => applyPlan(dense, plan, tensors)).toThrow(expect.objectContaining({ code: 'mismatch', message }));
  });
});
