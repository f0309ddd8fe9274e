/** Every operator by its kernel against its body, in Python's ONNX Runtime, and calls that kernels refuse. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeOnnx } from '../../formats/onnx/index.ts';
import { writeSafetensors } from '../../formats/safetensors/index.ts';
import { MODES } from '../../src/core/choice.ts';
import { attr, BASE_OPSETS, LACUNA_DOMAIN, type Node } from '../../src/core/graph.ts';
import type { RuntimeTensor } from '../../src/core/runner.ts';
import { type BytesTensor, float32Tensor } from '../../src/core/tensor.ts';
import { callNode, opTypeOf } from '../../src/ops/contract.ts';
import {
  ACTIVATIONS,
  ffnSkipStartBody,
  ffnSkipStartNode,
  ffnSkipStepBody,
  ffnSkipStepNode,
  type GatedFfnVariant,
  statisticalTopKBody,
  statisticalTopKNode,
} from '../../src/ops/index.ts';
import {
  ALL_CHOICES,
  BY_ACTIVATION,
  CUTS,
  callOf,
  D,
  EPSILON,
  GATE_INPUTS,
  H,
  isClear,
  randomBlock,
  randomTokens,
  reference,
  SPLIT_H,
  split,
  storagesOf,
  tolerances,
  variantOf,
} from '../gated-ffn-block.ts';
import { seededFloats } from '../random.ts';
import { calling, floats, type OneNode, oneNodeGraph, runGraph, sideBySide } from '../run-body.ts';
import { temporaryFolder } from '../temporary.ts';
import { hasNative, library, runOracle } from './library.ts';

const folder = temporaryFolder();

interface Case {
  readonly name: string;
  readonly call: OneNode;
  /** How far an output may be from the body's, which is as far from the truth again: a number, or one an entry. */
  readonly tolerances: Readonly<Record<string, number | readonly number[]>>;
}

/** Settings of which each pair of any two comes up, whatever the third. */
const SETTINGS: readonly Partial<GatedFfnVariant>[] = [
  { masked: false, densePrefill: false, normed: false, counted: true },
  { masked: true, densePrefill: false, normed: true, counted: false, gather: false },
  { masked: false, densePrefill: true, normed: true, counted: true, gather: false },
  { masked: true, densePrefill: true, normed: false, counted: true },
];

/** Every choice in every storage, on blocks of their own, away from the cut so that rounding decides nothing. */
function gatedFfnCases(): Case[] {
  const variants = ALL_CHOICES.flatMap((choice) =>
    storagesOf(choice).flatMap((storage) =>
      SETTINGS.flatMap((setting) => {
        // Graphs in float16 keep their norms.
        const normed = setting.normed && storage !== 'fp16';
        const variant = variantOf(choice, { storage, ...setting, normed });
        return choice?.measure === 'gate' ? [variant, { ...variant, split: true }] : [variant];
      }),
    ),
  );
  return variants.map((plain, index) => {
    for (let seed = 100 * index; ; seed++) {
      const [gateBias, upBias, downBias, postNorm] = seededFloats(seed)(4).map((value) => (value > 0 ? 1 : 0));
      const activation = ACTIVATIONS[seed % ACTIVATIONS.length];
      const options = { gateBias: gateBias > 0, upBias: upBias > 0, downBias: downBias > 0, postNorm: postNorm > 0 };
      const variant = { ...plain, activation, ...options };
      const block = randomBlock(seed, variant);
      const dims = (
        [
          [1, 1],
          [2, 1],
          [1, 5],
          [3, 2],
        ] as const
      )[(seed + index) % 4];
      const active = plain.masked
        ? Array.from({ length: dims[0] * dims[1] }, (_, t) => (seed + t) % 3 !== 0)
        : undefined;
      const tokens = randomTokens(block, dims, active);
      const cut = CUTS[(seed + index) % CUTS.length];
      const rows = split(tokens.x, block.h);
      if (!rows.every((x) => isClear(variant, block, x, cut))) continue;
      // Of several tokens a row, these compute every neuron.
      const computed = variant.densePrefill && dims[1] > 1 ? { ...variant, choice: undefined } : variant;
      const perToken = rows.map((x) => 2 * tolerances(block, x, reference(computed, block, x, cut)));
      const residuals = split(tokens.residual, block.h).map((row) => Math.hypot(...row));
      return {
        name: `gated-${index}`,
        call: callOf(variant, block, tokens, cut),
        tolerances: {
          y: perToken.flatMap((tolerance) => new Array<number>(block.h).fill(tolerance)),
          saturation: perToken.map(
            (tolerance, t) => (2 * Math.sqrt(block.h) * tolerance) / residuals[t] + 8 * block.h * EPSILON,
          ),
          kept: 0,
          sum: 0,
        },
      };
    }
  });
}

/** Neurons of weight 0, which a threshold of 0 lets pass and no other. */
function weightlessCases(): Case[] {
  return [0, 0.3].map((cut) => {
    const variant = variantOf(BY_ACTIVATION);
    const block = randomBlock(5, variant);
    const weightless = { ...block, scoreWeights: block.scoreWeights.map((weight, j) => (j % 2 === 0 ? 0 : weight)) };
    const tokens = randomTokens(block, [1, 3]);
    const y = split(tokens.x).flatMap((x) => {
      const tolerance = 2 * tolerances(weightless, x, reference(variant, weightless, x, cut));
      return new Array<number>(H).fill(tolerance);
    });
    return { name: `weightless-${cut}`, call: callOf(variant, weightless, tokens, cut), tolerances: { y, kept: 0 } };
  });
}

function otherCases(): Case[] {
  const x = seededFloats(5)(3 * 37);
  const topK = MODES.map((mode) => ({
    name: `top-k-${mode}`,
    call: {
      ...calling(statisticalTopKBody(mode), (opType) =>
        statisticalTopKNode({
          ...{ node: 'top_k', opType, mode, quantile: 0.7 },
          ...{ inputs: { x: 'x' }, outputs: { y: 'y', kept: 'kept' } },
        }),
      ),
      feeds: { x: floats(x, [1, 3, 37]) },
      outputs: { y: 'float32', kept: 'int32' },
    } as const,
    // Two sums of 37 numbers below 1.
    tolerances: { y: 4 * 37 * EPSILON, kept: 0 },
  }));
  const positions = { dtype: 'int64', dims: [2, 3], data: BigInt64Array.from([0n, 1n, 2n, 5n, 6n, 7n]) } as const;
  const start = [false, true].map((densePrefill) => ({
    name: densePrefill ? 'start-dense-prefill' : 'start',
    call: {
      ...calling(ffnSkipStartBody(densePrefill), (opType) =>
        ffnSkipStartNode({
          ...{ node: 'start', opType, densePrefill, warmUpTokens: 2 },
          ...{ inputs: { position_ids: 'position_ids' }, outputs: { state: 'state', active: 'active' } },
        }),
      ),
      feeds: { position_ids: positions },
      outputs: { state: 'int32', active: 'bool' },
    } as const,
    tolerances: { state: 0, active: 0 },
  }));
  return [...topK, ...start, skipStepCase(true), skipStepCase(false)];
}

function skipStepCase(reArm: boolean) {
  return {
    name: reArm ? 'step' : 'step-once',
    call: {
      ...calling(ffnSkipStepBody(reArm), (opType) =>
        ffnSkipStepNode({
          ...{ node: 'step', opType, runLength: 3, reArm },
          inputs: { state: 'state', saturation: 'saturation', threshold: 'threshold' },
          outputs: { next_state: 'next_state', next_active: 'next_active' },
        }),
      ),
      feeds: {
        state: { dtype: 'int32', dims: [1, 6], data: Int32Array.from([-1, 0, 0, 1, 2, 5]) },
        saturation: floats([1, 0.9, 0.5, 0.9, 0.9, 0], [1, 6]),
        threshold: floats([0.9], []),
      },
      outputs: { next_state: 'int32', next_active: 'bool' },
    } as const,
    tolerances: { next_state: 0, next_active: 0 },
  };
}

function tensor({ dtype, dims, data }: RuntimeTensor): BytesTensor {
  return { kind: 'bytes', dtype, shape: dims, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

function inputsOf(feeds: OneNode['feeds']) {
  return Object.entries(feeds).map(([input, value]) => ({ name: `in.${input}`, data: tensor(value) }));
}

/** Cases for one model each: it holds one body of an op type. */
function groupsOf(cases: readonly Case[]): readonly (readonly Case[])[] {
  const groups: Case[][] = [];
  for (const one of cases) {
    const fits = (group: readonly Case[]) =>
      group.length < 32 && group.every(({ call }) => call.node.opType !== one.call.node.opType);
    const group = groups.find(fits);
    if (group === undefined) groups.push([one]);
    else group.push(one);
  }
  return groups;
}

/** A model of some cases, with what their bodies give. */
async function writeCases(path: string, cases: readonly Case[]): Promise<void> {
  const graph = sideBySide(cases);
  await writeOnnx(graph, `${path}.onnx`);
  const named = cases.map(({ name, call, tolerances: slack }) => ({ prefix: `${name}.`, call, slack }));
  const feeds = Object.fromEntries(
    named.flatMap(({ prefix, call }) =>
      Object.entries(call.feeds).map(([input, value]) => [prefix + input, value] as const),
    ),
  );
  const results = await runGraph(graph, feeds);
  const filled = (value: number | readonly number[], { data, dims }: RuntimeTensor) =>
    float32Tensor(typeof value === 'number' ? new Array<number>(data.length).fill(value) : value, dims);
  const outputs = named.flatMap(({ prefix, call, slack }) =>
    Object.keys(call.outputs).map((output) => ({ name: prefix + output, tolerance: slack[output] })),
  );
  await writeSafetensors(`${path}.safetensors`, [
    ...inputsOf(feeds),
    ...outputs.flatMap(({ name, tolerance }) => [
      { name: `out.${name}`, data: tensor(results[name]) },
      { name: `tolerance.${name}`, data: filled(tolerance, results[name]) },
    ]),
  ]);
}

function withConstant(call: OneNode, name: string, data: Omit<BytesTensor, 'kind'>): OneNode {
  const others = (call.constants ?? []).filter((constant) => constant.name !== name);
  return { ...call, constants: [...others, { name, data: { ...data, kind: 'bytes' } }] };
}

/** A head of four rows of 32 zeros in int4, with so many bytes of zero points. */
function headWithZeroPoints(bytes: number): OneNode {
  const weights = { weight: 'weight', weight_scales: 'weight_scales', weight_zero_points: 'weight_zero_points' };
  const inputs = { x: 'x', skip: 'skip', norm: 'norm', ...weights };
  const attributes = { storage: attr.string('int4'), epsilon: attr.float(EPSILON), softcap: attr.float(0) };
  const opType = opTypeOf('NormProduct', 0);
  const codes = (shape: number[]): BytesTensor => ({
    kind: 'bytes',
    dtype: 'uint8',
    shape,
    bytes: new Uint8Array(shape.reduce((a, b) => a * b, 1)),
  });
  return {
    node: callNode('NormProduct', { node: 'head', opType, inputs, outputs: { y: 'y' }, attributes }),
    // Never run: there is a kernel.
    bodies: [
      {
        domain: LACUNA_DOMAIN,
        name: opType,
        inputs: Object.keys(inputs),
        outputs: ['y'],
        attributes: Object.keys(attributes),
        nodes: [{ name: 'y', opType: 'Identity', domain: '', inputs: ['x'], outputs: ['y'], attributes: {} }],
        opsets: BASE_OPSETS,
      },
    ],
    feeds: { x: floats(new Float32Array(32), [1, 1, 32]), skip: floats(new Float32Array(32), [1, 1, 32]) },
    constants: [
      { name: 'norm', data: float32Tensor(new Float32Array(32)) },
      { name: 'weight', data: codes([4, 1, 16]) },
      { name: 'weight_scales', data: { kind: 'bytes', dtype: 'float16', shape: [4], bytes: new Uint8Array(8) } },
      { name: 'weight_zero_points', data: codes([bytes]) },
    ],
    outputs: { y: 'float32' },
  };
}

/** Nodes that contradict the contract, and what the kernel says of them. */
function refusedCases(): { name: string; call: OneNode; error: string }[] {
  const variant = variantOf(BY_ACTIVATION, { masked: true });
  const block = randomBlock(1, variant);
  const good = callOf(variant, block, randomTokens(block, [1, 2], [true, true]), 0.1);
  const fed = (feeds: OneNode['feeds']): OneNode => ({ ...good, feeds: { ...good.feeds, ...feeds } });
  const saying = (call: OneNode, attributes: Node['attributes']): OneNode => ({
    ...call,
    node: { ...call.node, attributes: { ...call.node.attributes, ...attributes } },
  });
  const zeros = (...dims: number[]) => floats(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);
  const step = skipStepCase(true).call;
  const inParts = variantOf({ measure: 'gate', cut: 'deviation', mode: 'soft' }, { split: true });
  const parts = randomBlock(3, inParts);
  const spark = callOf(inParts, parts, randomTokens(parts, [1, 1]), 0.5);
  const stored = variantOf(undefined, { storage: 'int4' });
  const blocks = randomBlock(2, stored);
  const int4 = callOf(stored, blocks, randomTokens(blocks, [1, 1]), 0);
  const chosen = variantOf(BY_ACTIVATION, { storage: 'int4' });
  const chosenBlock = randomBlock(2, chosen);
  const recorded = callOf(chosen, chosenBlock, randomTokens(chosenBlock, [1, 1]), 0.1);
  const inStream = variantOf(undefined, { normed: true });
  const streamBlock = randomBlock(2, inStream);
  const normed = callOf(inStream, streamBlock, randomTokens(streamBlock, [1, 1]), 0);
  const inPlanes = variantOf({ measure: 'nested', cut: 'absolute' });
  const planes = randomBlock(4, inPlanes);
  const nested = callOf(inPlanes, planes, randomTokens(planes, [1, 1]), 0);
  return [
    {
      name: 'activation',
      call: saying(good, { activation: attr.string('swish') }),
      error: 'expected silu, gelu_tanh, gelu, relu or drelu for attribute activation but received "swish"',
    },
    {
      name: 'up',
      call: fed({ up: zeros(D - 1, H) }),
      error: `GatedFFN_2_0: expected [${D}, ${H}] for input up but received [${D - 1}, ${H}]`,
    },
    { name: 'down', call: fed({ down: zeros(D, H + 1) }), error: `for input down but received [${D}, ${H + 1}]` },
    { name: 'residual', call: fed({ residual: zeros(1, 1, 1) }), error: 'for input residual but received [1, 1, 1]' },
    { name: 'threshold', call: fed({ threshold: zeros(2) }), error: 'expected [] for input threshold' },
    { name: 'x', call: fed({ x: zeros(2, H) }), error: 'expected [b, s, h] for input x' },
    {
      name: 'codes',
      call: withConstant(int4, 'gate_up', { dtype: 'uint8', shape: [2 * D, 1, 16], bytes: new Uint8Array(2 * D * 16) }),
      error: `GatedFFN_2_0: expected [${2 * D}, 2, 16] for input gate_up but received [${2 * D}, 1, 16]`,
    },
    {
      name: 'scales',
      call: withConstant(int4, 'gate_up_scales', { dtype: 'float16', shape: [D], bytes: new Uint8Array(2 * D) }),
      error: `expected [${2 * D}, 2] for input gate_up_scales but received [${D}]`,
    },
    {
      name: 'wide-scales',
      call: withConstant(int4, 'gate_up_scales', float32Tensor(new Float32Array(4 * D))),
      error: "Type 'tensor(float)' of input parameter (gate_up_scales)",
    },
    {
      name: 'records',
      call: withConstant(recorded, 'records', { dtype: 'uint8', shape: [D, 40], bytes: new Uint8Array(40 * D) }),
      error: `expected [${D}, 128] for input records but received [${D}, 40]`,
    },
    {
      name: 'down-codes',
      call: withConstant(int4, 'down', { dtype: 'uint8', shape: [H, 2, 16], bytes: new Uint8Array(H * 32) }),
      error: `GatedFFN_2_0: expected [${H}, 3, 16] for input down but received [${H}, 2, 16]`,
    },
    {
      name: 'skip',
      call: { ...normed, feeds: { ...normed.feeds, skip: zeros(1, 1, 1) } },
      error: 'for input skip but received [1, 1, 1]',
    },
    {
      name: 'plane',
      call: withConstant(nested, 'gate_up', { dtype: 'uint8', shape: [2 * D, 2, 32], bytes: new Uint8Array(D * 128) }),
      error: `GatedFFN_2_0: expected [${2 * D}, 2, 16] for input gate_up but received [${2 * D}, 2, 32]`,
    },
    {
      name: 'planes-records',
      call: withConstant(nested, 'records', { dtype: 'uint8', shape: [D, 64], bytes: new Uint8Array(64 * D) }),
      error: `expected [${D}, 192] for input records but received [${D}, 64]`,
    },
    {
      name: 'zero-points',
      call: headWithZeroPoints(2),
      error: 'NormProduct_2_0: expected [4, 1] for input weight_zero_points but received [2]',
    },
    {
      name: 'gate-inputs',
      call: saying(spark, { gate_inputs: attr.int(SPLIT_H) }),
      error: `expected 1 to ${SPLIT_H - 1} for attribute gate_inputs but received ${SPLIT_H}`,
    },
    {
      name: 'split',
      call: saying(spark, { gate_inputs: attr.int(GATE_INPUTS - 1) }),
      error: `expected [${D}, ${GATE_INPUTS - 1}] for input gate but received [${D}, ${GATE_INPUTS}]`,
    },
    {
      name: 'two-cuts',
      call: saying(good, { quantile: attr.float(1) }),
      error: 'expected no attribute quantile where the cut is a threshold',
    },
    {
      name: 'cut-of-another-measure',
      call: saying(good, { cut: attr.string('deviation') }),
      error: 'expected cut absolute or mean for measure activation but received deviation',
    },
    {
      name: 'storage-of-another-measure',
      call: saying(nested, { storage: attr.string('int4') }),
      error: 'expected storage int8 for measure nested',
    },
    {
      name: 'run-length',
      call: saying(step, { run_length: attr.int(-1) }),
      error: 'expected 0 to 2147483647 for attribute run_length but received -1',
    },
  ];
}

describe.runIf(hasNative)('every operator', { timeout: 300_000 }, () => {
  it('gives by its kernel what it gives by its body', async () => {
    const cases = [...gatedFfnCases(), ...weightlessCases(), ...otherCases()];
    const models = mkdtempSync(join(folder, 'operators-'));
    for (const [index, group] of groupsOf(cases).entries()) await writeCases(join(models, `${index}`), group);
    const output = await runOracle('kernel_compare.py', models, '--library', library);
    expect(output).toMatch(new RegExp(`${cases.length} of ${cases.length} agree`));
  });

  it('refuses what contradicts its contract, and says how', async () => {
    const cases = refusedCases();
    const models = mkdtempSync(join(folder, 'refused-'));
    for (const { name, call, error } of cases) {
      await writeOnnx(oneNodeGraph(call), join(models, `${name}.onnx`));
      await writeSafetensors(join(models, `${name}.safetensors`), inputsOf(call.feeds));
      writeFileSync(join(models, `${name}.error.txt`), error);
    }
    const output = await runOracle('kernel_compare.py', models, '--library', library);
    expect(output).toMatch(new RegExp(`${cases.length} of ${cases.length} agree`));
  });
});
