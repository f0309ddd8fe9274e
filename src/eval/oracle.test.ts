/** Sparse models from plan to figures, compared with the same in PyTorch (fixtures/oracle). */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { encodeModel, writeOnnx } from '../../formats/onnx/index.ts';
import { readPlan } from '../../formats/plan.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { openBytes } from '../../test/open-bytes.ts';
import type { Graph } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import type { ModelSpec } from '../core/model.ts';
import type { Plan } from '../core/plan.ts';
import type { Session, Step } from '../core/session.ts';
import { applyPlan, fuseSkipNorms, withCounts, withSparsePrefill } from '../rewrite/index.ts';
import { openSession } from '../runtime/index.ts';
import { COMPARE_MODES, type Comparison, compare, cutWindows } from './index.ts';

const fixtures = join(import.meta.dirname, '..', '..', 'fixtures');
const plansFolder = join(fixtures, 'oracle', 'plans');
const oracle = JSON.parse(readFileSync(join(fixtures, 'oracle', 'expected.json'), 'utf8'));
const PLANS = Object.keys(oracle.plans);

let folder: string;
let dense: Session;
let graph: Graph;
let spec: ModelSpec;
let windows: readonly (readonly number[])[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lacuna-oracle-'));
  const checkpoint = join(fixtures, 'tiny-llama');
  const pieces = openModel(await openCheckpoint(checkpoint), { precision: 'fp32' });
  spec = pieces.spec;
  graph = fuseSkipNorms(assemble(pieces));
  await writeOnnx(graph, join(folder, 'model.onnx'));
  dense = await openSession(folder, { threads: 1 });
  const tokens = (await loadTokenizer(checkpoint)).encode(
    readFileSync(join(fixtures, '../texts', oracle.text), 'utf8'),
    {
      addSpecialTokens: false,
    },
  );
  windows = cutWindows(tokens, { length: oracle.window }).slice(0, 4);
});
afterAll(async () => {
  await dense.close();
  rmSync(folder, { recursive: true });
});

/** `change` is made to the graph that the plan asks for. */
async function openSparse(
  name: string,
  prefill: Plan['prefill'],
  change = (sparse: Graph) => sparse,
): Promise<Session> {
  const { plan, tensors } = await readPlan(join(plansFolder, `${name}.json`));
  const { graph: sparse, report } = applyPlan(graph, { ...plan, prefill }, tensors);
  expect(report.filter(({ applied }) => !applied)).toEqual([]);
  const counting = withCounts(change(sparse));
  const made = counting.nodes
    .flatMap(({ outputs }) => outputs)
    .filter((output) => /^layers\.\d+\.(kept|active)$/.test(output));
  const counts = made.map((output) =>
    value(output, output.endsWith('kept') ? 'int32' : 'bool', ['batch_size', 'sequence_length']),
  );
  return openBytes(await encodeModel({ ...counting, outputs: [...sparse.outputs, ...counts] }));
}

/**
 * Logits agree to 2e-5 of the largest, which is below 20, so a log-likelihood agrees to twice 4e-4. Rounding may change
 * a decision at a threshold. Among a few thousand scored blocks and a million neurons, it changes one block or ten
 * neurons at most. One neuron moves the KL of its token by some percent, which is below 1e-3 of the mean over 252
 * tokens.
 */
function expectEqual(got: Comparison, wanted: typeof oracle): void {
  expect(got.scoredTokens).toBe(wanted.scoredTokens);
  expectClose(Math.log(got.baseline.perplexity), Math.log(wanted.dense.perplexity), 8e-4);
  expectClose(Math.log(got.perplexityRatio.value), Math.log(wanted.perplexityRatio), 1e-4);
  expectClose(got.meanKl, wanted.meanKl, 1e-3 * wanted.meanKl + 1e-6);
  expectClose(got.top1Agreement, wanted.top1Agreement, 1.01 / got.scoredTokens);
  const { realised } = got;
  if (realised === null) throw new Error('the sparse model told nothing');
  const blocks = got.scoredTokens * spec.numHiddenLayers;
  expectClose(realised.skippedShare, wanted.realised.skippedShare, 1.01 / blocks);
  realised.layers.forEach(({ skippedShare, density }, layer) => {
    expectClose(skippedShare, wanted.realised.layers[layer].skippedShare, 1.01 / got.scoredTokens);
    expectClose(density ?? 0, wanted.realised.layers[layer].density, 10 / (got.scoredTokens * spec.intermediateSize));
  });
}

function expectClose(got: number, wanted: number, tolerance: number): void {
  expect(Math.abs(got - wanted), `${got}, wanted ${wanted}`).toBeLessThanOrEqual(tolerance);
}

describe('the oracle', () => {
  it('has figures for every plan', () => {
    const files = readdirSync(plansFolder).filter((file) => file.endsWith('.json'));
    expect(files.sort()).toEqual(PLANS.map((name) => `${name}.json`).sort());
    expect(PLANS.length).toBeGreaterThan(4);
    const weights = readFileSync(join(fixtures, 'tiny-llama', 'model.safetensors'));
    const hash = createHash('sha256').update(weights).digest('hex');
    expect(hash, 'tiny-llama is another: run fixtures/oracle/make.py').toBe(oracle.model);
  });

  it.each(PLANS)('agrees on %s, in both modes', async (name) => {
    const sparse = await openSparse(name, 'sparse');
    for (const mode of COMPARE_MODES)
      expectEqual(await compare(dense, sparse, windows, { mode, ffn: spec }), oracle.plans[name][mode]);
    await sparse.close();
  });

  // The same figures for what such a model decodes, and for what is measured in its place.
  it.each(['token-mean', 'skip-and-select'])('agrees on %s with a dense prefill', async (name) => {
    const decoding = await openSparse(name, 'dense');
    const measured = await openSparse(name, 'dense', withSparsePrefill);
    for (const mode of COMPARE_MODES)
      for (const model of [oneByOne(decoding), measured])
        expectEqual(await compare(dense, model, windows, { mode, ffn: spec }), oracle.plans[name][mode]);
    await Promise.all([decoding.close(), measured.close()]);
  });

  it('differs from a dense prefill that is measured in one call: it leaves out nothing', async () => {
    const prompted = await openSparse('skip-and-select', 'dense');
    const { realised, meanKl } = await compare(dense, prompted, windows, { mode: 'all', ffn: spec });
    expect(realised).toMatchObject({ skippedBlocks: 0, density: 1 });
    expect(meanKl).toBeLessThan(1e-6);
    await prompted.close();
  });
});

/** The session, which gets the tokens of a call one by one. */
function oneByOne(session: Session): Session {
  return {
    ...session,
    async step(tokens, cache, options) {
      const steps: Step[] = [];
      for (const token of Array.from(tokens))
        steps.push(await session.step([token], steps.at(-1)?.cache ?? cache, options));
      return { ...steps[steps.length - 1], rows: steps.length, ...joined(steps) };
    },
  };
}

function joined(steps: readonly Step[]): Pick<Step, 'logits' | 'extras'> {
  const extras = Object.keys(steps[0].extras).map((name) => {
    const parts = steps.map((step) => step.extras[name]);
    const data = parts[0].data instanceof Int32Array ? Int32Array : Uint8Array;
    const all = data.from(parts.flatMap((part) => Array.from(part.data as Int32Array | Uint8Array)));
    return [name, { ...parts[0], dims: [1, steps.length], data: all }] as const;
  });
  return {
    logits: Float32Array.from(steps.flatMap(({ logits }) => Array.from(logits))),
    extras: Object.fromEntries(extras),
  };
}
