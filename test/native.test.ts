/** The native library's kernels against the portable bodies, in the hosts that load custom operators. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import { readPlan } from '../formats/plan.ts';
import { writeSafetensors } from '../formats/safetensors/index.ts';
import { loadTokenizer } from '../formats/tokenizer/index.ts';
import { attr, type Graph } from '../src/core/graph.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { type BytesTensor, float32Tensor, int64Tensor } from '../src/core/tensor.ts';
import { callNode } from '../src/ops/contract.ts';
import {
  ACTIVATIONS,
  ffnSkipStartFunction,
  ffnSkipStartNode,
  ffnSkipStepFunction,
  ffnSkipStepNode,
  gatedFfnOpType,
  statisticalTopKFunction,
  statisticalTopKOpType,
  TOP_K_MODES,
} from '../src/ops/index.ts';
import { applyPlan, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openSession } from '../src/runtime/index.ts';
import {
  CHOICES,
  CUTS,
  callOf,
  EPSILON,
  H,
  isClear,
  randomBlock,
  randomTokens,
  reference,
  split,
  tolerances,
  variantOf,
} from './gated-ffn-block.ts';
import { seededFloats } from './random.ts';
import { hasPython, python, required, root } from './real/real-model.ts';
import { floats, type OneNode, oneNodeGraph, runBody } from './run-body.ts';
import { temporaryFolder, texts, tinyLlama } from './temporary.ts';

const library = join(root, 'native/build/release/lib/liblacuna_ort.so');
const hasNative = hasPython && (required || existsSync(library));
const oracle = join(root, 'fixtures/oracle');
const folder = temporaryFolder();

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

/** Every op type of GatedFFN, on a block of its own, away from the cut so that rounding decides nothing. */
function gatedFfnCases(): Case[] {
  const flags = [false, true];
  const variants = CHOICES.flatMap((selector) =>
    flags.flatMap((masked) =>
      flags.flatMap((decode) => flags.map((gather) => variantOf(selector, { masked, decode, gather }))),
    ),
  );
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
      const perToken = rows.map((x) => 2 * tolerances(block, x, reference(variant, block, x, cut).raw));
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
  const step = [false, true].map((reArm) => ({
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
  }));
  return [...topK, ...start, ...step];
}

async function writeCase(to: string, { name, call, tolerances: slack }: Case): Promise<void> {
  await writeOnnx(oneNodeGraph(call), join(to, `${name}.onnx`));
  const results = await runBody(call);
  const tensor = ({ dtype, dims, data }: RuntimeTensor): BytesTensor => ({
    kind: 'bytes',
    dtype,
    shape: dims,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
  const filled = (value: number | readonly number[], { data, dims }: RuntimeTensor) =>
    float32Tensor(typeof value === 'number' ? new Array<number>(data.length).fill(value) : value, dims);
  await writeSafetensors(join(to, `${name}.safetensors`), [
    ...Object.entries(call.feeds).map(([input, value]) => ({ name: `in.${input}`, data: tensor(value) })),
    ...Object.entries(results).flatMap(([output, value]) => [
      { name: `out.${output}`, data: tensor(value) },
      { name: `tolerance.${output}`, data: filled(slack[output], value) },
    ]),
  ]);
}

describe.runIf(hasNative)('every operator', { timeout: 300_000 }, () => {
  it('gives by its kernel what it gives by its body', async () => {
    const cases = [...gatedFfnCases(), ...otherCases()];
    for (const one of cases) await writeCase(folder, one);
    const output = runOracle('kernel_compare.py', folder, '--library', library);
    expect(output).toMatch(new RegExp(`${cases.length} of ${cases.length} agree`));
  });
});

describe.runIf(hasNative)('a sparse model', { timeout: 600_000 }, () => {
  let graph: Graph;
  let tokens: number[];
  beforeAll(async () => {
    graph = fuseSkipNorms(assemble(openModel(await openCheckpoint(tinyLlama), { precision: 'fp32' })));
    const text = readFileSync(join(texts, 'test.txt'), 'utf8');
    tokens = (await loadTokenizer(tinyLlama)).encode(text).slice(0, 128);
  });

  const plans = readdirSync(join(oracle, 'plans')).filter((file) => file.endsWith('.json'));
  const cases = plans.flatMap((file) => (['sparse', 'dense'] as const).map((prefill) => ({ file, prefill })));

  it.each(cases)(
    'gives the same logits by kernels as by bodies: $file, prefill $prefill',
    async ({ file, prefill }) => {
      const { plan, tensors } = await readPlan(join(oracle, 'plans', file));
      const model = join(folder, `${file}-${prefill}`);
      mkdirSync(model);
      await writeOnnx(applyPlan(graph, { ...plan, prefill }, tensors).graph, join(model, 'model.onnx'));
      const session = await openSession(model, { threads: 1 });
      const { logits, vocab } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
      await session.close();
      const expected = `${model}.safetensors`;
      await writeSafetensors(expected, [
        { name: 'input_ids', data: int64Tensor(tokens) },
        { name: 'logits', data: float32Tensor(logits, [tokens.length, vocab]) },
      ]);
      // With a dense prefill, one call of many tokens and many calls of one are two different computations by contract.
      for (const feed of prefill === 'dense' ? ['chunk'] : ['chunk', 'token']) {
        // A token whose score lies within rounding of a threshold may fall on its other side: one position of 128.
        const output = runOracle(
          ...(['ort_compare.py', model, expected, '--feed', feed, '--flips', '1', '--library', library] as const),
        );
        expect(output).toMatch(/kernels: .*(GatedFFN|FFNSkip)/);
      }
      if (!required && !existsSync(join(oracle, '.cache', `onnxruntime-${RELEASES[0]}`))) return;
      if (prefill === 'sparse')
        runOracle(
          ...(['across_runtimes.py', model, expected, '--flips', '1', '--library', library, '--only'] as const),
          ...RELEASES,
        );
    },
  );
});
