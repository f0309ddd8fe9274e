/** Spark Transformer through the pipeline: its FFNs and its attention as operators, in every precision and by every host. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, modelLayout, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { readOnnx } from '../formats/onnx/index.ts';
import { readSafetensors } from '../formats/safetensors/index.ts';
import type { Graph } from '../src/core/graph.ts';
import { PRECISION_NAMES, type PrecisionName } from '../src/core/precision.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import { convert, evaluate } from '../src/index.ts';
import { operatorOf } from '../src/ops/index.ts';
import { openMeasuredSession } from '../src/pipeline/engine/measured-session.ts';
import { checkOurCache } from '../src/pipeline/engine/narrow-cache.ts';
import { fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openNativeSession, openSession } from '../src/runtime/index.ts';
import { readTensorBytes } from '../src/tensors/index.ts';
import { RELATIVE, readExpected, relativeError } from './expected-logits.ts';
import { hasNative, library, runOracle } from './native/library.ts';
import { nativeLib } from './native-lib.ts';
import { root, temporaryFolder } from './temporary.ts';
import { chosen, logitsOf, written } from './trained-models.ts';

const folder = temporaryFolder();
const addon = join(nativeLib, 'lacuna_node.node');
const variant = (name: string) => join(root, 'fixtures/gemma-variants', name);
const expectedOf = (name: string) => join(variant(name), 'expected.safetensors');
const NAMES = ['spark', 'spark-ffn', 'spark-attention'];

const attending = ({ nodes }: Graph) => nodes.filter((node) => operatorOf(node) === 'SparkAttention');

async function opened(name: string, precision: PrecisionName = 'fp32') {
  const checkpoint = await openCheckpoint(variant(name));
  return { checkpoint, graph: fuseSkipNorms(assemble(openModel(checkpoint, { precision }))) };
}

describe.each(NAMES)('%s with its blocks as operators', (name) => {
  it('chooses neurons in the layers that were trained to, and still has the expected logits', async () => {
    const { checkpoint, graph } = await opened(name);
    const sparse = fuseDecoderParts(graph);
    const layers = modelLayout(checkpoint).layers.filter(({ gateQuantile }) => gateQuantile !== undefined);
    expect(chosen(sparse)).toHaveLength(layers.length);
    expect(attending(sparse)).toHaveLength(name === 'spark-ffn' ? 0 : 3);
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, sparse);
    for (const chunk of [ids.length, 5, 1])
      expect(relativeError(await logitsOf(await openSession(model), ids, chunk), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(existsSync(addon))('has them by our kernels', async () => {
    const { graph } = await opened(name);
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, fuseDecoderParts(graph));
    for (const chunk of [ids.length, 5, 1]) {
      const session = await openNativeSession(model, { addon, operators: library });
      expect(relativeError(await logitsOf(session, ids, chunk), logits)).toBeLessThan(RELATIVE);
    }
  });

  it.runIf(hasNative)('has them in Python’s ONNX Runtime, with the library and without', async () => {
    const { graph } = await opened(name);
    const fused = fuseDecoderParts(graph);
    const model = await written(folder, fused);
    for (const feed of ['chunk', 'token']) {
      await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed);
      const output = await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed, '--library', library);
      if (chosen(fused).length > 0) expect(output).toMatch(/kernels: .*GatedFFN_2_\d x/);
      if (attending(fused).length > 0) expect(output).toMatch(/kernels: .*SparkAttention_2_\d x/);
    }
  });
});

describe('the trained model', () => {
  const trained = join(root, 'fixtures/spark/spark');
  const expected = join(trained, 'expected.safetensors');
  const { held_out: heldOut, margin } = JSON.parse(readFileSync(join(trained, 'expected.json'), 'utf8'));
  const dense = JSON.parse(readFileSync(join(root, 'fixtures/spark/dense/expected.json'), 'utf8'));

  async function fused() {
    const checkpoint = await openCheckpoint(trained);
    return {
      checkpoint,
      graph: fuseDecoderParts(fuseSkipNorms(assemble(openModel(checkpoint, { precision: 'fp32' })))),
    };
  }

  it('leaves out what it was trained to, and predicts held-out text as well as its dense twin', () => {
    const config = JSON.parse(readFileSync(join(trained, 'config.json'), 'utf8'));
    for (const share of heldOut.kept_share) expect(Math.abs(share - 0.08)).toBeLessThan(0.01);
    for (const keys of heldOut.attended) expect(Math.abs(keys / config.attended_tokens - 1)).toBeLessThan(0.1);
    expect(heldOut.loss / dense.held_out.loss).toBeLessThan(1.02);
  });

  it('has one operator for its head, and for each sum with the norm after it', async () => {
    const dense = fuseSkipNorms(assemble(openModel(await openCheckpoint(trained), { precision: 'int4' })));
    const { nodes } = fuseDecoderParts(dense);
    const count = (name: string) => nodes.filter((node) => operatorOf(node) === name || node.opType === name).length;
    const layers = attending({ ...dense, nodes }).length;
    expect(count('NormProduct')).toBe(1);
    // Layers have two sums, of which the last is the head's.
    expect(count('SkipSimplifiedLayerNormalization')).toBe(2 * layers - 1);
    expect(count('Add')).toBe(0);
  });

  it('has the logits of the training code, and its counts of neurons and keys', async () => {
    const { checkpoint, graph } = await fused();
    const { ids, logits } = await readExpected(expected);
    // No score is nearer to its threshold than rounding moves it.
    expect(margin).toBeGreaterThan(5e-6);
    const model = await written(folder, graph);
    for (const chunk of [ids.length, 7])
      expect(relativeError(await logitsOf(await openSession(model), ids, chunk), logits)).toBeLessThan(RELATIVE);
    const native = existsSync(addon) ? { addon, operators: library } : undefined;
    const session = await openMeasuredSession(join(model, 'model.onnx'), await readOnnx(join(model, 'model.onnx')), {
      native,
    });
    const { extras } = await session.step(ids, session.emptyCache()).finally(() => session.close());
    const { tensors } = await readSafetensors(expected);
    const counts = async (name: string) =>
      new Int32Array((await readTensorBytes(tensors.get(name) as TensorExpr)).slice().buffer);
    const [kept, attended] = [await counts('kept'), await counts('attended')];
    for (let layer = 0; layer < modelLayout(checkpoint).layers.length; layer++) {
      const of = (all: Int32Array) => Array.from(all.subarray(layer * ids.length, (layer + 1) * ids.length));
      expect(Array.from(extras[`layers.${layer}.attended_keys`].data, Number)).toEqual(of(attended));
      // A gate within rounding of the cut adds nothing whether it is counted or not.
      const off = of(kept).filter((count, token) => Number(extras[`layers.${layer}.kept`].data[token]) !== count);
      expect(off.length).toBeLessThan(3);
    }
  });

  it.runIf(existsSync(addon))('has them token by token by our kernels', async () => {
    const { graph } = await fused();
    const { ids, logits } = await readExpected(expected);
    const session = await openNativeSession(await written(folder, graph), { addon, operators: library });
    expect(relativeError(await logitsOf(session, ids, 1), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(existsSync(addon))(
    'has its perplexity in a folder, and eval counts what is left out',
    async () => {
      const output = join(folder, 'trained');
      await convert({ checkpoint: trained, output, dtype: ['fp32', 'int8'] });
      const measured = await evaluate({ folder: output, tokens: heldOut.scored_tokens });
      expect(measured.perplexity?.scoredTokens).toBe(heldOut.scored_tokens);
      expect(measured.perplexity?.meanNll).toBeCloseTo(heldOut.loss, 4);
      const { modes } = await evaluate({
        folder: output,
        dtype: 'int8',
        againstDtype: 'fp32',
        tokens: 4000,
        modes: ['all'],
      });
      const [{ perplexityRatio, realised }] = modes;
      expect(Math.abs(perplexityRatio.value - 1)).toBeLessThan(0.01);
      expect(Math.abs((realised?.density ?? 0) - 0.08)).toBeLessThan(0.01);
      // The first tokens of a window see fewer keys.
      expect(realised?.attendedKeys).toBeGreaterThan(28);
      expect(realised?.attendedKeys).toBeLessThan(36);
    },
    300_000,
  );
});

describe('caches', () => {
  it.each([
    [{ cache: 'int8' }, 'its caches cannot be in int8'],
    [{ attended: 64 }, 'its queries cannot attend to 64 tokens'],
  ] as const)('are as the operator has them: %j is refused', async (use, message) => {
    const output = join(folder, `caches-${Object.keys(use)[0]}`);
    await convert({ checkpoint: variant('spark'), output, dtype: 'int4' });
    const path = join(output, 'onnx/model.onnx');
    await expect(checkOurCache({ cache: undefined, attended: undefined, ...use }, path)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(message),
      hint: expect.stringContaining('trained to attend to few tokens'),
    });
  });
});

describe('rounding by a text', () => {
  /** Of logits: what rounding to 4 bits costs. */
  async function lossOf(output: string): Promise<number> {
    const { ids, logits } = await readExpected(join(root, 'fixtures/spark/spark/expected.safetensors'));
    const rounded = await logitsOf(await openSession(output), ids);
    return Math.sqrt(logits.reduce((sum, logit, i) => sum + (logit - rounded[i]) ** 2, 0) / logits.length);
  }

  it('gives gate and up the Gram matrix, or the moments, of the entries that each reads', async () => {
    const checkpoint = join(root, 'fixtures/spark/spark');
    const options = { checkpoint, dtype: 'int4' } as const;
    const text = { data: [join(root, 'texts/fit.txt')], tokens: 2048 };
    await convert({ ...options, output: join(folder, 'plain') });
    await convert({ ...options, ...text, output: join(folder, 'gptq') });
    await convert({ ...options, ...text, rounding: 'search', output: join(folder, 'search') });
    const plain = await lossOf(join(folder, 'plain'));
    expect(await lossOf(join(folder, 'gptq'))).toBeLessThan(plain);
    expect(await lossOf(join(folder, 'search'))).toBeLessThan(1.05 * plain);
  }, 120_000);
});

describe('precisions', () => {
  /** Of the dense graph: its products in blocks round activations to 8 bits, one way or another at a tie. */
  const FLOATS: Readonly<Record<string, number>> = { fp32: 1e-5, bf16: 1e-5, fp16: 1e-2 };
  /** A fraction of what the precision itself may cost (converters/precisions.test.ts), as a share of the largest logit. */
  const BLOCKS: Readonly<Record<string, number>> = { int8: 0.08, int6: 0.16, int5: 0.3, int4: 0.6 };

  it.each(PRECISION_NAMES)(
    '%s: one operator a trained block, and nearly the logits of the graph without',
    async (precision) => {
      const { graph } = await opened('spark-ffn', precision);
      const sparse = fuseDecoderParts(graph);
      expect(chosen(sparse)).toHaveLength(3);
      const { ids } = await readExpected(expectedOf('spark-ffn'));
      const whole = await logitsOf(await openSession(await written(folder, graph)), ids);
      const model = await written(folder, sparse);
      // `down` of a chosen row has the codes of its own blocks: another rounding to the same bits.
      const limit = FLOATS[precision] ?? BLOCKS[precision];
      expect(relativeError(await logitsOf(await openSession(model), ids), whole)).toBeLessThan(limit);
      if (!existsSync(addon)) return;
      const native = await openNativeSession(model, { addon, operators: library });
      expect(relativeError(await logitsOf(native, ids), whole)).toBeLessThan(limit);
    },
  );
});
