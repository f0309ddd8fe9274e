/** Whole models by the native kernels against the portable bodies, in the hosts that load custom operators. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { readOnnx, writeOnnx } from '../formats/onnx/index.ts';
import { readPlan } from '../formats/plan.ts';
import { writeSafetensors } from '../formats/safetensors/index.ts';
import { loadTokenizer } from '../formats/tokenizer/index.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { attr, type Graph, type Node } from '../src/core/graph.ts';
import type { Choice, Plan, PlanTensors } from '../src/core/plan.ts';
import { choosePrecision, type PrecisionName, type PrecisionOptions } from '../src/core/precision.ts';
import { float32Tensor, int64Tensor } from '../src/core/tensor.ts';
import { calibrate, convert, plan, sparsify } from '../src/index.ts';
import { applyPlan, fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openSession } from '../src/runtime/index.ts';
import { hasNative, library, oracle, runOracle } from './native/library.ts';
import { hasPython, python, required, root } from './real/real-model.ts';
import { lacuna, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const hasGenai = required || (hasPython && spawnSync(python, ['-c', 'import onnxruntime_genai']).status === 0);
const folder = temporaryFolder();

/** ort_compare.py's own: how far off a logit may be, as a share of the largest. */
const TOLERANCE = 2e-5;

/** A score in float32, as a share: logits where nothing is near a threshold differ by up to 8e-7. */
const SCORE_TOLERANCE = 1e-6;

/** What a score's error is as a density: the normal distribution has at most 0.4 in a deviation. */
const DENSITY_TOLERANCE = 0.4 * SCORE_TOLERANCE;

/** cos(h, h + FFN h) is near 1 and its error a few roundings of float32 (6e-8), whatever the errors of h. */
const COSINE_TOLERANCE = 1e-6;

/**
 * The plan with every threshold moved by the error of what is compared with it; scores may be as far off as logits.
 * Where logits stay as they were with thresholds moved up and down, no decision behind them hangs on rounding.
 */
function withThresholdsMoved(plan: Plan, side: number): Plan {
  const moveCut = (cut: Choice['cut']): Choice['cut'] =>
    cut.kind === 'deviation'
      ? { ...cut, density: cut.density + side * DENSITY_TOLERANCE }
      : { ...cut, threshold: cut.threshold * (1 + side * SCORE_TOLERANCE) };
  const blocks = plan.blocks.map(({ choice, skip, ...block }) => ({
    ...block,
    ...(choice && { choice: { ...choice, cut: moveCut(choice.cut) } }),
    ...(skip && { skip: { ...skip, threshold: skip.threshold + side * COSINE_TOLERANCE } }),
  }));
  return { ...plan, blocks };
}

const ASYMMETRIC: PrecisionOptions = { asymmetric: true };

/** Oldest and newest release that models promise to run in. */
const RELEASES = ['1.21.1', '1.32.0'];

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

  /** The model of a plan, and the logits that its bodies give; `undecided` are positions where those hang on rounding. */
  async function writeModel(file: string, prefill: 'sparse' | 'dense', dense = graph, undecided: boolean[] = []) {
    const { made, tensors } = await readCase(file, prefill);
    const { model, logits, vocab } = await runBodies(dense, made, tensors);
    const expected = `${model}.safetensors`;
    await writeSafetensors(expected, [
      { name: 'input_ids', data: int64Tensor(tokens) },
      { name: 'logits', data: float32Tensor(logits, [tokens.length, vocab]) },
      { name: 'undecided', data: int64Tensor(tokens.map((_, t) => Number(undecided[t] ?? false))) },
    ]);
    return { model, expected };
  }

  /** Positions whose logits by the bodies change with thresholds moved by what rounding makes of a score. */
  async function undecidedPositions(file: string, prefill: 'sparse' | 'dense'): Promise<boolean[]> {
    const { made, tensors } = await readCase(file, prefill);
    const { logits, vocab } = await runBodies(graph, made, tensors);
    const limit = TOLERANCE * logits.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
    const undecided = tokens.map(() => false);
    for (const side of [-1, 1]) {
      const moved = await runBodies(graph, withThresholdsMoved(made, side), tensors);
      logits.forEach((x, i) => {
        if (Math.abs(x - (moved.logits[i] ?? Number.NaN)) > limit) undecided[Math.floor(i / vocab)] = true;
      });
    }
    return undecided;
  }

  async function readCase(file: string, prefill: 'sparse' | 'dense') {
    const { plan: made, tensors } = await readPlan(join(oracle, 'plans', file));
    return { made: { ...made, prefill }, tensors };
  }

  async function runBodies(dense: Graph, made: Plan, tensors: PlanTensors) {
    const model = mkdtempSync(join(folder, 'model-'));
    await writeOnnx(applyPlan(dense, made, tensors).graph, join(model, 'model.onnx'));
    const session = await openSession(model, { threads: 1 });
    const { logits, vocab } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
    await session.close();
    return { model, logits, vocab };
  }

  // Whole blocks are replaced by standard operators alone, so there are no kernels to compare.
  const isOurs = (file: string) => file.endsWith('.json') && file !== 'replaced-whole.json';
  const plans = readdirSync(join(oracle, 'plans')).filter(isOurs);
  const cases = plans.flatMap((file) => (['sparse', 'dense'] as const).map((prefill) => ({ file, prefill })));

  it.each(cases)(
    'gives the same logits by kernels as by bodies: $file, prefill $prefill',
    async ({ file, prefill }) => {
      const undecided = await undecidedPositions(file, prefill);
      // Were most undecided, little would be compared.
      expect(undecided.filter(Boolean).length).toBeLessThan(tokens.length / 4);
      const { model, expected } = await writeModel(file, prefill, graph, undecided);
      // With a dense prefill, one call of many tokens and many calls of one are two different computations by contract.
      for (const feed of prefill === 'dense' ? ['chunk'] : ['chunk', 'token']) {
        const args = ['--feed', feed, '--library', library];
        const output = await runOracle('ort_compare.py', model, expected, ...args);
        expect(output).toMatch(/kernels: .*(GatedFFN|FFNSkip)/);
      }
    },
  );

  it('gives the same logits by kernels as by bodies in fp16, as near as float16 is', async () => {
    const dense = denseGraph('fp16', await openCheckpoint(tinyLlama));
    const { model, expected } = await writeModel('skip-and-select.json', 'sparse', dense);
    for (const feed of ['chunk', 'token']) {
      const args = ['--feed', feed, '--tolerance', '1e-2', '--library', library];
      expect(await runOracle('ort_compare.py', model, expected, ...args)).toMatch(/kernels: .*GatedFFN_2_\d x/);
    }
  });

  const hasReleases = required || existsSync(join(oracle, '.cache', `onnxruntime-${RELEASES[0]}`));
  it.runIf(hasReleases)('does so in the oldest and in the newest release', async () => {
    const undecided = await undecidedPositions('skip-and-select.json', 'sparse');
    const { model, expected } = await writeModel('skip-and-select.json', 'sparse', graph, undecided);
    const args = ['--library', library, '--only', ...RELEASES];
    expect(await runOracle('across_runtimes.py', model, expected, ...args)).toMatch(/2 of 2 releases agree/);
  });

  it.runIf(hasGenai)('generates the same text in onnxruntime-genai', async () => {
    const [statistics, planned, sparse] = ['statistics.json', 'plan.json', 'sparse'].map((file) => join(folder, file));
    await calibrate({ checkpoint: tinyLlama, data: [join(texts, 'fit.txt')], output: statistics, tokens: 2048 });
    await plan({ statistics, output: planned, preset: { preset: 'top-k', keep: 0.2 } });
    await sparsify({ source: tinyLlama, plan: planned, output: sparse });
    expect(await runOracle('genai_compare.py', sparse, '--library', library)).toMatch(/kernels: GatedFFN_2_0/);
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

  /** Each part runs by its kernel; a layer without a skip before it is a body of its own. */
  const KERNELS = /kernels: GatedFFN_2_0 x\d+, NormAttention_2_0 x\d+, NormAttention_2_1 x\d+, NormProduct_2_0 x\d+$/m;

  const cases: readonly (readonly [checkpoint: string, precision: PrecisionName, options: PrecisionOptions])[] = [
    ['tiny-llama', 'int4', {}],
    ['tiny-llama', 'int8', {}],
    ['tiny-llama', 'int4', ASYMMETRIC],
    ['tiny-llama', 'int8', ASYMMETRIC],
    ['llama-variants/mistral-window', 'int4', {}],
    ['llama-variants/mlp-bias', 'int8', {}],
    ['llama-variants/attention-bias', 'int4', {}],
    ['llama-variants/attention-bias', 'int8', ASYMMETRIC],
    ['random-models/48-gemma3_text', 'int8', ASYMMETRIC],
    ['gemma-variants/gemma2-softcap', 'int4', {}],
    ['gemma-variants/gemma2-softcap', 'int4', ASYMMETRIC],
    ['gemma-variants/gemma3-pattern', 'int4', {}],
    ['gemma-variants/gemma3-multimodal', 'int8', {}],
  ];

  // ONNX Runtime rounds activations to 8 bits a block as the kernels do, and where a value lies at a tie each may round it
  // another way. So neither is held against the other, but both against products by floats. The root mean square of all that
  // is off is steadier than the largest: a little more than 8 bits cost a trained model, and one of random weights.
  const offBy = (name: string) => (name === 'tiny-llama' ? 0.006 : 0.04);
  const size = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

  it.each(cases)(
    'is near to products by floats by kernels and by bodies: %s, %s, %j',
    async (name, precision, options) => {
      const pieces = openModel(await openCheckpoint(join(root, 'fixtures', name)), {
        precision: choosePrecision(precision, options),
      });
      const plain = fuseSkipNorms(assemble(pieces));
      const exact = await logitsOf(await written('exact', withExactProducts(plain)));
      const model = await written('blocks', fuseDecoderParts(plain));
      const bodies = await logitsOf(model);
      const errors = bodies.logits.map((entry, at) => entry - exact.logits[at]);
      expect(size(errors) / size(exact.logits)).toBeLessThan(offBy(name));
      const expected = `${model}.safetensors`;
      await writeSafetensors(expected, [
        { name: 'input_ids', data: int64Tensor(tokens) },
        { name: 'logits', data: float32Tensor(exact.logits, [tokens.length, exact.vocab]) },
      ]);
      for (const feed of ['chunk', 'token']) {
        const args = ['--feed', feed, '--rms', String(offBy(name)), '--library', library];
        expect(await runOracle('ort_compare.py', model, expected, ...args)).toMatch(KERNELS);
      }
    },
  );

  it('names operators of a later version, and runs their bodies', async () => {
    const path = join(folder, 'later');
    await convert({ checkpoint: tinyLlama, output: path, dtype: 'int4' });
    const run = () => lacuna(['run', path, 'Once upon a time', '--max-tokens', '8', '--json']);
    const before = await run();
    const graph = await readOnnx(join(path, 'onnx/model.onnx'));
    const later = (name: string) => name.replace(/_2_(?=\d+$)/, '_3_');
    const renamed = {
      ...graph,
      nodes: graph.nodes.map((node) => ({ ...node, opType: later(node.opType) })),
      functions: graph.functions.map((one) => ({ ...one, name: later(one.name) })),
    };
    await writeOnnx(renamed, join(path, 'onnx/model_later.onnx'));
    const file = join(path, 'lacuna.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8'));
    const models = [{ ...manifest.models[0], file: 'onnx/model_later.onnx', operatorSet: 3 }];
    writeFileSync(file, JSON.stringify({ ...manifest, models }));
    const after = await run();
    const note = 'The model calls operators of version 3, and the native core has kernels for version 2';
    expect(after.stderr).toContain(note);
    expect(JSON.parse(after.stdout)).toMatchObject({ engine: 'native', text: JSON.parse(before.stdout).text });
    // A bench opens the model for each repeat.
    const short = ['--repeats', '3', '--rounds', '1', '--steps', '1', '--prompt-tokens', '4'];
    const { code, stderr } = await lacuna(['bench', path, ...short]);
    expect(code).toBe(0);
    expect(stderr.split(note)).toHaveLength(2);
  });

  it('computes the logits that are wanted, and those alone', async () => {
    const pieces = openModel(await openCheckpoint(tinyLlama), { precision: choosePrecision('int4') });
    const model = await written('wanted', fuseDecoderParts(fuseSkipNorms(assemble(pieces))));
    const said = await runOracle('wanted_logits.py', model, '--library', library);
    const leftOut = (wish: string) => Number(new RegExp(`${wish}: (\\d+) left out`).exec(said)?.[1]);
    expect(leftOut('tokens 1, largest 1')).toBeGreaterThan(1000);
    expect(leftOut('tokens 1, largest 8')).toBeGreaterThan(100);
    for (const all of [0, 2048, 10 ** 12]) expect(leftOut(`tokens 1, largest ${all}`)).toBe(0);
  });
});
