/** The native library's kernels against the portable bodies, in the hosts that load custom operators. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import { readPlan } from '../formats/plan.ts';
import { writeSafetensors } from '../formats/safetensors/index.ts';
import { loadTokenizer } from '../formats/tokenizer/index.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { attr, BASE_OPSETS, type Graph, LACUNA_DOMAIN, type Node } from '../src/core/graph.ts';
import { choosePrecision, type PrecisionName, type PrecisionOptions } from '../src/core/precision.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { type BytesTensor, float32Tensor, int64Tensor } from '../src/core/tensor.ts';
import { calibrate, plan, sparsify } from '../src/index.ts';
import { callNode } from '../src/ops/contract.ts';
import {
  ACTIVATIONS,
  ffnSkipStartFunction,
  ffnSkipStartNode,
  ffnSkipStepFunction,
  ffnSkipStepNode,
  gatedFfnOpType,
  STORAGES,
  sparkFfnOpType,
  statisticalTopKFunction,
  statisticalTopKOpType,
  TOP_K_MODES,
} from '../src/ops/index.ts';
import { applyPlan, fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openSession } from '../src/runtime/index.ts';
import {
  CHOICES,
  CUTS,
  callOf,
  D,
  EPSILON,
  H,
  isClear,
  randomBlock,
  randomTokens,
  reference,
  split,
  storagesOf,
  tolerances,
  variantOf,
} from './gated-ffn-block.ts';
import { seededFloats } from './random.ts';
import { hasPython, python, required, root } from './real/real-model.ts';
import { floats, type OneNode, oneNodeGraph, runBody } from './run-body.ts';
import {
  isSparkClear,
  SPARK,
  sparkBlock,
  sparkCall,
  sparkTokens,
  sparkTolerance,
  sparkVariant,
} from './spark-ffn-block.ts';
import { temporaryFolder, texts, tinyLlama } from './temporary.ts';

const library = join(root, 'native/build/release/lib/liblacuna_ort.so');
const hasNative = hasPython && (required || existsSync(library));
const hasGenai = required || (hasPython && spawnSync(python, ['-c', 'import onnxruntime_genai']).status === 0);
const oracle = join(root, 'fixtures/oracle');
const folder = temporaryFolder();

const ASYMMETRIC: PrecisionOptions = { asymmetric: true };

/** Oldest and newest release that models promise to run in. */
const RELEASES = ['1.21.1', '1.32.0'];

/** Runs a script of fixtures/oracle in Python's newest ONNX Runtime. */
function runOracle(script: string, ...args: string[]): string {
  try {
    return execFileSync(python, [join(oracle, script), ...args], { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${script} failed:\n${stdout}\n${stderr}`);
  }
}

interface Case {
  readonly name: string;
  readonly call: OneNode;
  /** How far an output may be from the body's, which is as far from the truth again: a number, or one an entry. */
  readonly tolerances: Readonly<Record<string, number | readonly number[]>>;
}

const ALL = { kind: 'none' } as const;

/** Every op type of GatedFFN, on a block of its own, away from the cut so that rounding decides nothing. */
function gatedFfnCases(): Case[] {
  const flags = [false, true];
  const settings = flags.flatMap((masked) =>
    flags.flatMap((decode) => flags.flatMap((gather) => flags.map((counted) => ({ masked, decode, gather, counted })))),
  );
  const all = CHOICES.flatMap((selector) =>
    storagesOf(selector).flatMap((storage) => settings.map((setting) => variantOf(selector, { storage, ...setting }))),
  );
  // Not every setting is one to every selector and storage.
  const variants = [...new Map(all.map((variant) => [gatedFfnOpType(variant), variant])).values()];
  return variants.map((plain, index) => {
    for (let seed = 100 * index; ; seed++) {
      const [gateBias, upBias, downBias, postNorm] = seededFloats(seed)(4).map((value) => (value > 0 ? 1 : 0));
      const activation = ACTIVATIONS[seed % ACTIVATIONS.length].name;
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
      const rows = split(tokens.x);
      if (!rows.every((x) => isClear(variant, block, x, cut))) continue;
      // Of several tokens a row, these compute every neuron.
      const computed = variant.decode && dims[1] > 1 ? { ...variant, selector: ALL } : variant;
      const perToken = rows.map((x) => 2 * tolerances(block, x, reference(computed, block, x, cut)));
      const residuals = split(tokens.residual).map((h) => Math.hypot(...h));
      return {
        name: `${index}-${gatedFfnOpType(variant)}`,
        call: callOf(variant, block, tokens, cut),
        tolerances: {
          y: perToken.flatMap((tolerance) => new Array<number>(H).fill(tolerance)),
          saturation: perToken.map((tolerance, t) => (2 * Math.sqrt(H) * tolerance) / residuals[t] + 8 * H * EPSILON),
          kept: 0,
        },
      };
    }
  });
}

/** Neurons of weight 0, which a threshold of 0 lets pass and no other. */
function weightlessCases(): Case[] {
  return [0, 0.3].map((cut) => {
    const variant = variantOf({ kind: 'threshold', scale: 'absolute' });
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

/** Every op type of SparkFFN. */
function sparkFfnCases(): Case[] {
  const shapes = [
    [1, 1],
    [1, 5],
    [3, 2],
  ] as const;
  const variants = STORAGES.flatMap((storage) =>
    TOP_K_MODES.flatMap((mode) => [false, true].map((postNorm) => sparkVariant(mode, { storage, postNorm }))),
  );
  return variants.map((plain, index) => {
    for (let seed = 100 * index; ; seed++) {
      const variant = { ...plain, activation: ACTIVATIONS[seed % ACTIVATIONS.length].name };
      const block = sparkBlock(seed, variant);
      const shape = shapes[(seed + index) % 3];
      const quantile = [0.3, 1.2][index % 2];
      const tokens = sparkTokens(block, variant, shape[0] * shape[1]);
      if (!tokens.every((x) => isSparkClear(variant, block, x, quantile))) continue;
      const y = tokens.flatMap((x) => new Array<number>(SPARK.h).fill(2 * sparkTolerance(variant, block, x, quantile)));
      return {
        name: `spark-${index}-${sparkFfnOpType(variant)}`,
        call: sparkCall(variant, block, tokens, shape, quantile),
        tolerances: { y, kept: 0 },
      };
    }
  });
}

function otherCases(): Case[] {
  const x = seededFloats(5)(3 * 37);
  const topK = TOP_K_MODES.map((mode) => ({
    name: statisticalTopKOpType(mode),
    call: {
      node: callNode('StatisticalTopK', {
        node: 'top_k',
        opType: statisticalTopKOpType(mode),
        inputs: { x: 'x' },
        outputs: { y: 'y', kept: 'kept' },
        attributes: { quantile: attr.float(0.7) },
      }),
      body: statisticalTopKFunction(mode),
      feeds: { x: floats(x, [1, 3, 37]) },
      outputs: { y: 'float32', kept: 'int32' },
    } as const,
    // Two sums of 37 numbers below 1.
    tolerances: { y: 4 * 37 * EPSILON, kept: 0 },
  }));
  const positions = { dtype: 'int64', dims: [2, 3], data: BigInt64Array.from([0n, 1n, 2n, 5n, 6n, 7n]) } as const;
  const start = [false, true].map((decode) => ({
    name: decode ? 'start-decode' : 'start',
    call: {
      node: ffnSkipStartNode({
        node: 'start',
        decode,
        warmUpTokens: 2,
        inputs: { position_ids: 'position_ids' },
        outputs: { state: 'state', active: 'active' },
      }),
      body: ffnSkipStartFunction(decode),
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
      node: ffnSkipStepNode({
        node: 'step',
        runLength: 3,
        reArm,
        inputs: { state: 'state', saturation: 'saturation', threshold: 'threshold' },
        outputs: { next_state: 'next_state', next_active: 'next_active' },
      }),
      body: ffnSkipStepFunction(reArm),
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

function inputsOf({ feeds }: OneNode) {
  return Object.entries(feeds).map(([input, value]) => ({ name: `in.${input}`, data: tensor(value) }));
}

async function writeCase(to: string, { name, call, tolerances: slack }: Case): Promise<void> {
  await writeOnnx(oneNodeGraph(call), join(to, `${name}.onnx`));
  const results = await runBody(call);
  const filled = (value: number | readonly number[], { data, dims }: RuntimeTensor) =>
    float32Tensor(typeof value === 'number' ? new Array<number>(data.length).fill(value) : value, dims);
  await writeSafetensors(join(to, `${name}.safetensors`), [
    ...inputsOf(call),
    ...Object.entries(results).flatMap(([output, value]) => [
      { name: `out.${output}`, data: tensor(value) },
      { name: `tolerance.${output}`, data: filled(slack[output], value) },
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
  const attributes = { epsilon: attr.float(EPSILON), softcap: attr.float(0) };
  const opType = 'NormProduct_int4_asymmetric';
  const codes = (shape: number[]): BytesTensor => ({
    kind: 'bytes',
    dtype: 'uint8',
    shape,
    bytes: new Uint8Array(shape.reduce((a, b) => a * b, 1)),
  });
  return {
    node: callNode('NormProduct', { node: 'head', opType, inputs, outputs: { y: 'y' }, attributes }),
    // Never run: there is a kernel.
    body: {
      domain: LACUNA_DOMAIN,
      name: opType,
      inputs: Object.keys(inputs),
      outputs: ['y'],
      attributes: Object.keys(attributes),
      nodes: [{ name: 'y', opType: 'Identity', domain: '', inputs: ['x'], outputs: ['y'], attributes: {} }],
      opsets: BASE_OPSETS,
    },
    feeds: { x: floats(new Float32Array(32), [1, 1, 32]), skip: floats(new Float32Array(32), [1, 1, 32]) },
    constants: [
      { name: 'norm', data: float32Tensor(new Float32Array(32)) },
      { name: 'weight', data: codes([4, 1, 16]) },
      { name: 'weight_scales', data: float32Tensor(new Float32Array(4)) },
      { name: 'weight_zero_points', data: codes([bytes]) },
    ],
    outputs: { y: 'float32' },
  };
}

/** Nodes that contradict the contract, and what the kernel says of them. */
function refusedCases(): { name: string; call: OneNode; error: string }[] {
  const variant = variantOf({ kind: 'threshold', scale: 'absolute' }, { masked: true });
  const block = randomBlock(1, variant);
  const good = callOf(variant, block, randomTokens(block, [1, 2], [true, true]), 0.1);
  const fed = (feeds: OneNode['feeds']): OneNode => ({ ...good, feeds: { ...good.feeds, ...feeds } });
  const saying = (call: OneNode, attributes: Node['attributes']): OneNode => ({
    ...call,
    node: { ...call.node, attributes: { ...call.node.attributes, ...attributes } },
  });
  const zeros = (...dims: number[]) => floats(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);
  const step = skipStepCase(true).call;
  const split = sparkVariant('soft');
  const sparkWeights = sparkBlock(3, split);
  const spark = sparkCall(split, sparkWeights, sparkTokens(sparkWeights, split, 1), [1, 1], 0.5);
  const stored = variantOf({ kind: 'none' }, { storage: 'int4' });
  const blocks = randomBlock(2, stored);
  const int4 = callOf(stored, blocks, randomTokens(blocks, [1, 1]), 0);
  const inPlanes = variantOf({ kind: 'nested', scale: 'absolute' });
  const planes = randomBlock(4, inPlanes);
  const nested = callOf(inPlanes, planes, randomTokens(planes, [1, 1]), 0);
  return [
    {
      name: 'activation',
      call: saying(good, { activation: attr.string('swish') }),
      error: 'expected silu, gelu_tanh, gelu or relu for attribute activation but received "swish"',
    },
    {
      name: 'up',
      call: fed({ up: zeros(D - 1, H) }),
      error: `GatedFFN_threshold_fp32_masked_counted: expected [${D}, ${H}] for input up but received [${D - 1}, ${H}]`,
    },
    { name: 'down', call: fed({ down: zeros(D, H + 1) }), error: `for input down but received [${D}, ${H + 1}]` },
    { name: 'residual', call: fed({ residual: zeros(1, 1, 1) }), error: 'for input residual but received [1, 1, 1]' },
    { name: 'threshold', call: fed({ threshold: zeros(2) }), error: 'expected [] for input threshold' },
    { name: 'x', call: fed({ x: zeros(2, H) }), error: 'expected [b, s, h] for input x' },
    {
      name: 'codes',
      call: withConstant(int4, 'gate_up', { dtype: 'uint8', shape: [2 * D, 1, 16], bytes: new Uint8Array(2 * D * 16) }),
      error: `GatedFFN_none_int4: expected [${2 * D}, 2, 16] for input gate_up but received [${2 * D}, 1, 16]`,
    },
    {
      name: 'scales',
      call: withConstant(int4, 'gate_up_scales', float32Tensor(new Float32Array(D))),
      error: `expected [${4 * D}] for input gate_up_scales but received [${D}]`,
    },
    {
      name: 'records',
      call: withConstant(int4, 'records', { dtype: 'uint8', shape: [D, 40], bytes: new Uint8Array(40 * D) }),
      error: `expected [${D}, 64] for input records but received [${D}, 40]`,
    },
    {
      name: 'plane',
      call: withConstant(nested, 'gate_up', { dtype: 'uint8', shape: [2 * D, 2, 32], bytes: new Uint8Array(D * 128) }),
      error: `GatedFFN_nested_int8_counted: expected [${2 * D}, 2, 16] for input gate_up but received [${2 * D}, 2, 32]`,
    },
    {
      name: 'planes-records',
      call: withConstant(nested, 'records', { dtype: 'uint8', shape: [D, 64], bytes: new Uint8Array(64 * D) }),
      error: `expected [${D}, 192] for input records but received [${D}, 64]`,
    },
    {
      name: 'zero-points',
      call: headWithZeroPoints(2),
      error: 'NormProduct_int4_asymmetric: expected [4, 1] for input weight_zero_points but received [2]',
    },
    {
      name: 'gate-inputs',
      call: saying(spark, { gate_inputs: attr.int(SPARK.h) }),
      error: `expected 1 to ${SPARK.h - 1} for attribute gate_inputs but received ${SPARK.h}`,
    },
    {
      name: 'split',
      call: saying(spark, { gate_inputs: attr.int(SPARK.gate - 1) }),
      error: `expected [${SPARK.d}, ${SPARK.gate - 1}] for input gate but received [${SPARK.d}, ${SPARK.gate}]`,
    },
    {
      name: 'run-length',
      call: saying(step, { run_length: attr.int(-1) }),
      error: 'expected 0 to 2^31 - 1 for attribute run_length but received -1',
    },
  ];
}

describe.runIf(hasNative)('every operator', { timeout: 300_000 }, () => {
  it('gives by its kernel what it gives by its body', async () => {
    const cases = [...gatedFfnCases(), ...weightlessCases(), ...sparkFfnCases(), ...otherCases()];
    const models = mkdtempSync(join(folder, 'operators-'));
    for (const one of cases) await writeCase(models, one);
    const output = runOracle('kernel_compare.py', models, '--library', library);
    expect(output).toMatch(new RegExp(`${cases.length} of ${cases.length} agree`));
  });

  it('refuses what contradicts its contract, and says how', async () => {
    const cases = refusedCases();
    const models = mkdtempSync(join(folder, 'refused-'));
    for (const { name, call, error } of cases) {
      await writeOnnx(oneNodeGraph(call), join(models, `${name}.onnx`));
      await writeSafetensors(join(models, `${name}.safetensors`), inputsOf(call));
      writeFileSync(join(models, `${name}.error.txt`), error);
    }
    const output = runOracle('kernel_compare.py', models, '--library', library);
    expect(output).toMatch(new RegExp(`${cases.length} of ${cases.length} agree`));
  });
});

function denseGraph(precision: PrecisionName, checkpoint: Checkpoint): Graph {
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision: choosePrecision(precision) })));
}

describe.runIf(hasNative)('a sparse model', { timeout: 600_000 }, () => {
  let graph: Graph;
  let tokens: number[];
  beforeAll(async () => {
    graph = denseGraph('fp32', await openCheckpoint(tinyLlama));
    const text = readFileSync(join(texts, 'test.txt'), 'utf8');
    tokens = (await loadTokenizer(tinyLlama)).encode(text).slice(0, 128);
  });

  /** The model of a plan, and the logits that its bodies give. */
  async function writeModel(file: string, prefill: 'sparse' | 'dense', dense = graph) {
    const { plan: made, tensors } = await readPlan(join(oracle, 'plans', file));
    const model = mkdtempSync(join(folder, 'model-'));
    await writeOnnx(applyPlan(dense, { ...made, prefill }, tensors).graph, join(model, 'model.onnx'));
    const session = await openSession(model, { threads: 1 });
    const { logits, vocab } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
    await session.close();
    const expected = `${model}.safetensors`;
    await writeSafetensors(expected, [
      { name: 'input_ids', data: int64Tensor(tokens) },
      { name: 'logits', data: float32Tensor(logits, [tokens.length, vocab]) },
    ]);
    return { model, expected };
  }

  const plans = readdirSync(join(oracle, 'plans')).filter((file) => file.endsWith('.json'));
  const cases = plans.flatMap((file) => (['sparse', 'dense'] as const).map((prefill) => ({ file, prefill })));

  it.each(cases)(
    'gives the same logits by kernels as by bodies: $file, prefill $prefill',
    async ({ file, prefill }) => {
      const { model, expected } = await writeModel(file, prefill);
      // With a dense prefill, one call of many tokens and many calls of one are two different computations by contract.
      for (const feed of prefill === 'dense' ? ['chunk'] : ['chunk', 'token']) {
        // A token whose score lies within rounding of a threshold may fall on its other side: one position of 128.
        const args = ['--feed', feed, '--flips', '1', '--library', library];
        const output = runOracle('ort_compare.py', model, expected, ...args);
        expect(output).toMatch(/kernels: .*(GatedFFN|FFNSkip)/);
      }
    },
  );

  it('gives the same logits by kernels as by bodies in fp16, as near as float16 is', async () => {
    const dense = denseGraph('fp16', await openCheckpoint(tinyLlama));
    const { model, expected } = await writeModel('skip-and-select.json', 'sparse', dense);
    for (const feed of ['chunk', 'token']) {
      const args = ['--feed', feed, '--tolerance', '1e-2', '--library', library];
      expect(runOracle('ort_compare.py', model, expected, ...args)).toMatch(/kernels: .*GatedFFN_threshold_fp16/);
    }
  });

  const hasReleases = required || existsSync(join(oracle, '.cache', `onnxruntime-${RELEASES[0]}`));
  it.runIf(hasReleases)('does so in the oldest and in the newest release', async () => {
    const { model, expected } = await writeModel('skip-and-select.json', 'sparse');
    const args = ['--flips', '1', '--library', library, '--only', ...RELEASES];
    expect(runOracle('across_runtimes.py', model, expected, ...args)).toMatch(/2 of 2 releases agree/);
  });

  it.runIf(hasGenai)('generates the same text in onnxruntime-genai', async () => {
    const [statistics, planned, sparse] = ['statistics.json', 'plan.json', 'sparse'].map((file) => join(folder, file));
    await calibrate({ checkpoint: tinyLlama, data: [join(texts, 'fit.txt')], output: statistics, tokens: 2048 });
    await plan({ statistics, output: planned, preset: { preset: 'top-k', density: 0.2 } });
    await sparsify({ source: tinyLlama, plan: planned, output: sparse });
    expect(runOracle('genai_compare.py', sparse, '--library', library)).toMatch(/kernels: GatedFFN_threshold_fp32/);
  });
});

describe.runIf(hasNative)('a model in blocks', { timeout: 600_000 }, () => {
  // As many as the rotary tables of the smallest have positions for, of the smallest vocabulary.
  const tokens = Array.from({ length: 64 }, (_, i) => (i * 7) % 61);

  /** The graph with products by floats: what rounding activations to 8 bits is off from. */
  function withExactProducts(graph: Graph): Graph {
    const exact = (node: Node): Node =>
      node.opType === 'MatMulNBits'
        ? { ...node, attributes: { ...node.attributes, accuracy_level: attr.int(1) } }
        : node;
    return { ...graph, nodes: graph.nodes.map(exact) };
  }

  async function written(name: string, graph: Graph) {
    const model = mkdtempSync(join(folder, `${name}-`));
    await writeOnnx(graph, join(model, 'model.onnx'));
    return model;
  }

  async function logitsOf(model: string) {
    const session = await openSession(model, { threads: 1 });
    const step = await session.step(tokens, session.emptyCache(), { logits: 'all' });
    await session.close();
    return step;
  }

  const cases: readonly (readonly [
    checkpoint: string,
    precision: PrecisionName,
    options: PrecisionOptions,
    kernels: RegExp,
  ])[] = [
    [
      'tiny-llama',
      'int4',
      {},
      /NormAttention_int4 x\d+, NormAttention_int4_first x\d+, NormFFN_int4 x\d+, NormProduct_int8 x/,
    ],
    [
      'tiny-llama',
      'int8',
      {},
      /NormAttention_int8 x\d+, NormAttention_int8_first x\d+, NormFFN_int8 x\d+, NormProduct_int8 x/,
    ],
    [
      'tiny-llama',
      'int4',
      ASYMMETRIC,
      /NormAttention_int4_asymmetric x.* NormAttention_int4_asymmetric_first x.* NormFFN_int4_asymmetric x.* NormProduct_int8_asymmetric x/,
    ],
    ['tiny-llama', 'int8', ASYMMETRIC, /NormAttention_int8_asymmetric x.* NormFFN_int8_asymmetric x/],
    ['llama-variants/mistral-window', 'int4', {}, /NormAttention_int4 .*NormFFN_int4/],
    ['llama-variants/mlp-bias', 'int8', {}, /NormAttention_int8 x.* NormFFN_int8_biased x/],
    ['llama-variants/attention-bias', 'int4', {}, /NormAttention_int4_biased x.* NormFFN_int4 x/],
    ['llama-variants/attention-bias', 'int8', ASYMMETRIC, /NormAttention_int8_asymmetric_biased x/],
    ['random-models/48-gemma3_text', 'int8', ASYMMETRIC, /NormAttention_int8_asymmetric_biased x/],
    ['gemma-variants/gemma2-softcap', 'int4', {}, /NormAttention_int4 .*NormFFN_int4/],
    ['gemma-variants/gemma2-softcap', 'int4', ASYMMETRIC, /NormAttention_int4_asymmetric .*NormFFN_int4_asymmetric/],
    ['gemma-variants/gemma3-pattern', 'int4', {}, /NormAttention_int4 .*NormFFN_int4/],
    ['gemma-variants/gemma3-multimodal', 'int8', {}, /NormAttention_int8 .*NormFFN_int8/],
  ];

  // ONNX Runtime rounds activations to 8 bits a block as the kernels do, and where a value lies at a tie each may round it
  // another way. So the kernels may be off from products by floats as far as bodies are, with room for their luck.
  it.each(cases)(
    'is as near to products by floats by kernels as by bodies: %s, %s, %j',
    async (name, precision, options, kernels) => {
      const pieces = openModel(await openCheckpoint(join(root, 'fixtures', name)), {
        precision: choosePrecision(precision, options),
      });
      const plain = fuseSkipNorms(assemble(pieces));
      const exact = await logitsOf(await written('exact', withExactProducts(plain)));
      const model = await written('blocks', fuseDecoderParts(plain));
      const bodies = await logitsOf(model);
      const worst = (row: Float32Array) =>
        row.reduce((most, entry, at) => Math.max(most, Math.abs(entry - exact.logits[at])), 0);
      const off = worst(bodies.logits) / exact.logits.reduce((most, entry) => Math.max(most, Math.abs(entry)), 0);
      expect(off).toBeLessThan(0.2);
      const expected = `${model}.safetensors`;
      await writeSafetensors(expected, [
        { name: 'input_ids', data: int64Tensor(tokens) },
        { name: 'logits', data: float32Tensor(exact.logits, [tokens.length, exact.vocab]) },
      ]);
      for (const feed of ['chunk', 'token']) {
        const args = ['--feed', feed, '--tolerance', String(2 * off), '--library', library];
        expect(runOracle('ort_compare.py', model, expected, ...args)).toMatch(kernels);
      }
    },
  );

  it('computes the logits that are wanted, and those alone', async () => {
    const pieces = openModel(await openCheckpoint(tinyLlama), { precision: choosePrecision('int4') });
    const model = await written('wanted', fuseDecoderParts(fuseSkipNorms(assemble(pieces))));
    const said = runOracle('wanted_logits.py', model, '--library', library);
    const leftOut = (wish: string) => Number(new RegExp(`${wish}: (\\d+) left out`).exec(said)?.[1]);
    expect(leftOut('tokens 1, largest 1')).toBeGreaterThan(1000);
    expect(leftOut('tokens 1, largest 8')).toBeGreaterThan(100);
    for (const all of [0, 2048, 10 ** 12]) expect(leftOut(`tokens 1, largest ${all}`)).toBe(0);
  });
});
