/** Which engine a figure is from, and how the other engine's figure differs. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeReferencing } from '../../formats/onnx/index.ts';
import { nativeLib } from '../../test/native-lib.ts';
import { required, root } from '../../test/real/real-model.ts';
import { temporaryFolder, tinyLlama } from '../../test/temporary.ts';
import { attr, type Graph, type Node } from '../core/graph.ts';
import type { Plan } from '../core/plan.ts';
import { type Comparison, compare, ratioOfScores } from '../eval/index.ts';
import { convert, type EvaluateOptions, evaluate, sparsify } from '../index.ts';
import { openSession } from '../runtime/index.ts';
import { checkOurCache } from './engine/narrow-cache.ts';
import { compareWith, scoreModel } from './evaluate.ts';
import { openModelFolder } from './folder/model-folder.ts';
import { readWindows } from './texts/windows.ts';

const native = { addon: join(nativeLib, 'lacuna_node.node'), operators: join(nativeLib, 'liblacuna_ort.so') };
const folder = temporaryFolder();
const few = { tokens: 500, window: 128, threads: 1 };

const dense = join(folder, 'dense');
await convert({ checkpoint: tinyLlama, output: dense });

/** A folder by a plan of the fixtures, which name tiny-llama as their model. */
async function sparseFolder(name: string, dtype?: 'int8', prefill: Plan['prefill'] = 'sparse'): Promise<string> {
  const plans = join(root, 'fixtures/oracle/plans');
  const { fingerprint } = JSON.parse(readFileSync(join(dense, 'lacuna.json'), 'utf8'));
  const made = JSON.parse(readFileSync(join(plans, `${name}.json`), 'utf8'));
  const plan = join(folder, `${name}.json`);
  copyFileSync(join(plans, 'weights.safetensors'), join(folder, 'weights.safetensors'));
  writeFileSync(plan, JSON.stringify({ ...made, prefill, model: { ...made.model, fingerprint } }));
  const output = join(folder, `${name}-${dtype}-${prefill}`);
  await sparsify({ source: dtype === undefined ? dense : tinyLlama, plan, output, dtype, tokens: dtype && 1024 });
  return output;
}

/** The same weights, multiplied by inputs that are not rounded to 8 bits. */
function withoutRounding(graph: Graph): Graph {
  const whole = (nodes: readonly Node[]) =>
    nodes.map(({ attributes: { accuracy_level: _, ...attributes }, ...node }) => ({ ...node, attributes }));
  const functions = graph.functions.map((body) => ({ ...body, nodes: whole(body.nodes) }));
  return { ...graph, nodes: whole(graph.nodes), functions };
}

/** Compares the engines with each other, and each with the folder's model with unrounded inputs. */
async function compareEngines(path: string): Promise<Readonly<Record<'between' | 'stock' | 'native', Comparison>>> {
  const { modelPath, graph, manifest } = await openModelFolder(path);
  const { windows } = await readWindows(path, manifest.spec.contextLength, few);
  const [inStock, inCore, unrounded] = await Promise.all([
    openSession(modelPath, { threads: 1 }),
    openSession(modelPath, { threads: 1, native }),
    openSession(await encodeReferencing(withoutRounding(graph), modelPath), { threads: 1 }),
  ]);
  const options = { mode: 'all', ffn: manifest.spec } as const;
  try {
    return {
      between: await compare(inStock, inCore, windows, options),
      stock: await compare(unrounded, inStock, windows, options),
      native: await compare(unrounded, inCore, windows, options),
    };
  } finally {
    await Promise.all([inStock, inCore, unrounded].map((session) => session.close()));
  }
}

describe.skipIf(!required && !existsSync(native.addon))(
  'an evaluation in the native core',
  { timeout: 120_000 },
  () => {
    it.each(['int8', 'int4', 'sparse int8'] as const)(
      'of %s differs from that in stock ONNX Runtime by how inputs are rounded, and by no more',
      async (name) => {
        const path = name === 'sparse int8' ? await sparseFolder('absolute', 'int8') : join(folder, name);
        if (name !== 'sparse int8') await convert({ checkpoint: tinyLlama, output: path, dtype: name });
        const { between, stock, native } = await compareEngines(path);
        // Both engines round the input of a product to 8 bits a block: their errors have the same size but are not the
        // same. So both are equally far from the model with unrounded inputs. A token's KL is about as large as its
        // mean, so the mean over 500 is known to 1 / sqrt(500) of it, 4.5 %. The bound is four times that.
        expect(stock.meanKl).toBeGreaterThan(0);
        expect(Math.abs(Math.log(native.meanKl / stock.meanKl))).toBeLessThan(0.18);
        // Small KLs are half the variance of a difference of logits. Deviations add up at most.
        expect(between.meanKl).toBeLessThan((Math.sqrt(stock.meanKl) + Math.sqrt(native.meanKl)) ** 2);
        // A token's log-likelihood then differs by a deviation of sqrt(2 KL) around the KL itself. The bound is four
        // deviations of the mean.
        const { meanKl, scoredTokens, baseline, model } = between;
        const deviation = Math.sqrt((2 * meanKl) / scoredTokens);
        expect(Math.abs(model.meanNll - baseline.meanNll)).toBeLessThan(meanKl + 4 * deviation);
      },
    );

    it('is that of stock ONNX Runtime, in floats, with the same blocks and neurons left out, in both modes', async () => {
      const path = await sparseFolder('skip-and-select');
      const [ours, theirs] = await Promise.all(
        (['native', 'stock'] as const).map((engine) =>
          evaluate({ folder: path, against: dense, engine, nativeFolder: nativeLib, ...few }),
        ),
      );
      expect([ours.engine, ours.againstEngine, theirs.engine]).toEqual(['native', 'native', 'stock']);
      expect(ours.modes.map(({ mode }) => mode)).toEqual(['all', 'decode']);
      for (const [index, { model, meanKl, realised }] of ours.modes.entries()) {
        const wanted = theirs.modes[index];
        // As src/eval/oracle.test.ts derives it: rounding may change a decision at a threshold.
        expect(Math.abs(model.meanNll - wanted.model.meanNll)).toBeLessThan(8e-4);
        expect(Math.abs(meanKl - wanted.meanKl)).toBeLessThan(1e-3 * wanted.meanKl + 1e-6);
        expect(realised?.skippedBlocks).toBeGreaterThan(0);
        expect(Math.abs((realised?.skippedBlocks ?? 0) - (wanted.realised?.skippedBlocks ?? 0))).toBeLessThanOrEqual(1);
        expect(realised?.density).toBeCloseTo(wanted.realised?.density ?? 0, 4);
      }
    });

    it('goes on from caches of the other engine', async () => {
      const options = {
        folder: dense,
        againstEngine: 'stock',
        modes: ['decode'],
        nativeFolder: nativeLib,
        ...few,
      } as const;
      const { engine, againstEngine, against, modes } = await evaluate(options);
      expect([engine, againstEngine, against]).toEqual(['native', 'stock', dense]);
      // Both run the same operators, because the library has none for floats.
      expect(modes[0].meanKl).toBeLessThan(1e-9);
      expect(modes[0].top1Agreement).toBe(1);
    });

    it('shows what a cache in int8 costs, against the same folder with one in fp32', async () => {
      const int8 = join(folder, 'cached-int8');
      await convert({ checkpoint: tinyLlama, output: int8, dtype: 'int8' });
      const options = { folder: int8, nativeFolder: nativeLib, ...few } as const;
      const { modes } = await evaluate({ ...options, cache: 'int8', againstCache: 'fp32' });
      // A narrow cache cannot be handed over, so there is no mode "decode".
      expect(modes.map(({ mode }) => mode)).toEqual(['all']);
      expect(modes[0].meanKl).toBeGreaterThan(0);
      // A 254th of a head's largest entry at most, which rounding inputs to 8 bits costs as well: int8 weights cost more.
      expect(modes[0].meanKl).toBeLessThan(1e-3);
      expect((await evaluate({ ...options, cache: 'fp16' })).perplexity?.scoredTokens).toBeGreaterThan(0);
    });

    it('shows what attending to few tokens costs while decoding, and nothing where all are few', async () => {
      const int8 = join(folder, 'few-int8');
      await convert({ checkpoint: tinyLlama, output: int8, dtype: 'int8' });
      const options = { folder: int8, nativeFolder: nativeLib, tokens: 500, window: 256, threads: 1 } as const;
      const { modes, against, engine } = await evaluate({ ...options, attended: 64 });
      // The baseline is the same folder. A text that is fed in one call attends to all, so there is no mode "all".
      expect([modes.map(({ mode }) => mode), against, engine]).toEqual([['decode'], int8, 'native']);
      expect(modes[0].scoredTokens).toBeGreaterThan(250);
      expect(modes[0].meanKl).toBeGreaterThan(0);
      // Half of the tokens and what they leave out matter less than the words that come before: without these, the
      // distribution would be as far off as that of another text, by nats.
      expect(modes[0].meanKl).toBeLessThan(0.05);
      // Tokens that are decoded one by one have the bits of those that are fed in one call.
      const whole = await evaluate({ ...options, attended: 256 });
      // A KL of equal distributions is a sum of products with zeros, but for the logarithm of their own sum.
      expect(whole.modes[0].meanKl).toBeLessThan(1e-15);
      expect(whole.modes[0].model).toEqual(whole.modes[0].baseline);
      const [both] = (await evaluate({ ...options, attended: 64, againstAttended: 64, cache: 'int8' })).modes;
      expect(both.meanKl).toBeGreaterThan(0);
      expect(both.meanKl).toBeLessThan(modes[0].meanKl);
    });

    it('refuses to attend to few tokens where that is not done', async () => {
      const int8 = join(folder, 'few-int8');
      const options = { nativeFolder: nativeLib, attended: 64, ...few } as const;
      const refused = (given: Partial<EvaluateOptions>) =>
        expect(evaluate({ ...options, folder: int8, ...given })).rejects;
      await refused({ folder: dense }).toThrow(/cannot attend to 64 tokens: GroupQueryAttention reads its caches/);
      await refused({ engine: 'stock' }).toThrow(/Only the native core attends to few tokens/);
      await refused({ modes: ['all'] }).toThrow(/Mode all feeds a text in one call/);
      for (const attended of [63, 100.5, Number.NaN]) await refused({ attended }).toThrow(/attended/);
    });

    it('refuses it where every layer has a window', async () => {
      const { graph, modelPath } = await openModelFolder(join(folder, 'few-int8'));
      const windowed = (nodes: readonly Node[], layers: number) =>
        nodes.map((node) => {
          const isAttention = node.attributes.local_window_size !== undefined && layers-- > 0;
          return isAttention ? { ...node, attributes: { ...node.attributes, local_window_size: attr.int(32) } } : node;
        });
      const use = { attended: 64 };
      const check = (layers: number) =>
        checkOurCache(use, modelPath, { ...graph, nodes: windowed(graph.nodes, layers) });
      await check(1);
      await expect(check(Number.POSITIVE_INFINITY)).rejects.toThrow(/every layer has a window/);
    });

    it('refuses a narrow cache where there is none', async () => {
      const int8 = join(folder, 'cached-int8');
      const options = { nativeFolder: nativeLib, cache: 'int8', ...few } as const;
      await expect(evaluate({ ...options, folder: dense })).rejects.toThrow(/GroupQueryAttention reads its caches/);
      await expect(evaluate({ ...options, folder: int8, engine: 'stock' })).rejects.toThrow(/Only the native core/);
      await expect(evaluate({ ...options, folder: int8, modes: ['decode'], against: dense })).rejects.toThrow(
        /handed over/,
      );
      const sparse = await sparseFolder('skip-and-select', 'int8');
      await expect(evaluate({ ...options, folder: sparse })).rejects.toThrow(/leaves something out/);
      const attended = { ...options, cache: 'fp32', attended: 64 } as const;
      await expect(evaluate({ ...attended, folder: sparse })).rejects.toThrow(/leaves something out/);
    });
  },
);

it('is of what decoding leaves out where prompts run dense', { timeout: 120_000 }, async () => {
  const [sparse, prompted] = await Promise.all(
    (['sparse', 'dense'] as const).map((prefill) => sparseFolder('skip', undefined, prefill)),
  );
  const score = (path: string, against?: string) => evaluate({ folder: path, against, engine: 'stock', ...few });
  const [wanted, got] = [await score(sparse, dense), await score(prompted, dense)];
  expect(wanted.modes[0].realised?.skippedBlocks).toBeGreaterThan(0);
  expect(got.modes).toEqual(wanted.modes);
  // So are the perplexity alone, and that of a baseline.
  expect((await score(prompted)).perplexity?.perplexity).toBeCloseTo(wanted.modes[0].model.perplexity, 6);
  for (const { perplexityRatio, top1Agreement } of (await score(sparse, prompted)).modes)
    expect([perplexityRatio.value, top1Agreement]).toEqual([1, 1]);
});

const BY_DENSE = 'tells rounding apart by the dense model of the precision where a plan has no thresholds to move';

it(BY_DENSE, { timeout: 120_000 }, async () => {
  const path = await sparseFolder('statistical', 'int8');
  const rounded = join(folder, 'rounded');
  await convert({ checkpoint: tinyLlama, output: rounded, dtype: 'int8' });
  const [model, twin, floats] = await Promise.all([path, rounded, dense].map((one) => openModelFolder(one)));
  const { windows } = await readWindows(path, model.manifest.spec.contextLength, few);
  const job = { threads: 1, modes: ['all'] } as const;
  const [wanted, exact] = await Promise.all([twin, floats].map((one) => scoreModel(one, windows, job)));
  const [{ rounded: apart, perplexityRatio }] = await compareWith(model, twin, windows, { ...job, floats: exact });
  if (apart === null) throw new Error('not told apart');
  expect(apart.rounding.value).toBeCloseTo(ratioOfScores(wanted, exact).value, 9);
  expect(apart.rounding.value * apart.leavingOut.value).toBeCloseTo(perplexityRatio.value, 9);
});

describe('an evaluation without the native core', () => {
  const nowhere = join(folder, 'nowhere');
  const score = (options: Partial<EvaluateOptions>) => evaluate({ folder: dense, ...few, ...options });

  it('is in stock ONNX Runtime, and refuses to be in the core', async () => {
    expect(await score({ nativeFolder: nowhere })).toMatchObject({ engine: 'stock', againstEngine: undefined });
    for (const asked of [{ engine: 'native' }, { againstEngine: 'native' }] as const)
      await expect(score({ ...asked, nativeFolder: nowhere })).rejects.toMatchObject({
        code: 'not-found',
        hint: expect.stringMatching(/npm run build:native.*--engine stock/),
      });
  });

  it('says why a core that does not load is not used', async () => {
    const broken = join(folder, 'broken');
    mkdirSync(broken);
    writeFileSync(join(broken, 'lacuna_node.node'), 'no library');
    const notes: string[] = [];
    const progress = { stage: () => ({ advance() {}, done() {} }), note: (text: string) => void notes.push(text) };
    expect((await score({ nativeFolder: broken, progress })).engine).toBe('stock');
    expect(notes).toContainEqual(expect.stringMatching(/^Stock ONNX Runtime is used: .*lacuna_node\.node/));
    await expect(score({ nativeFolder: broken, engine: 'native' })).rejects.toMatchObject({ code: 'runtime' });
  });
});
