/** A trained fixture, from checkpoint to perplexity, compared with Transformers. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { writeOnnx } from '../../formats/onnx/index.ts';
import { readSafetensors } from '../../formats/safetensors/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Session } from '../core/session.ts';
import { generateRows, openSession } from '../runtime/index.ts';
import { readFloats } from '../tensors/index.ts';
import { compare, cutWindows, measurePerplexity } from './index.ts';

const fixtures = join(import.meta.dirname, '..', '..', 'fixtures');
const checkpoint = join(fixtures, 'tiny-llama');
const expected = JSON.parse(readFileSync(join(checkpoint, 'expected.json'), 'utf8'));

let folder: string;
let session: Session;
let tokens: number[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lacuna-tiny-'));
  const pieces = openModel(await openCheckpoint(checkpoint), { precision: 'fp32' });
  await writeOnnx(assemble(pieces), join(folder, 'model.onnx'));
  session = await openSession(folder, { threads: 1 });
  const text = readFileSync(join(fixtures, '../texts', expected.perplexity.text), 'utf8');
  tokens = (await loadTokenizer(checkpoint)).encode(text, { addSpecialTokens: false });
});
afterAll(async () => {
  await session.close();
  rmSync(folder, { recursive: true });
});

describe('tiny-llama', () => {
  it("has Transformers' logits, at once and with a cache", async () => {
    const { tensors } = await readSafetensors(join(checkpoint, 'expected.safetensors'));
    const wanted = tensors.get('logits');
    if (wanted === undefined) throw new Error('expected.safetensors has no logits');
    const logits = await readFloats(wanted);
    const ids: number[] = expected.prompt_ids;
    const whole = await session.step(ids, session.emptyCache(), { logits: 'all' });
    const first = await session.step(ids.slice(0, 100), session.emptyCache(), { logits: 'all' });
    const second = await session.step(ids.slice(100), first.cache, { logits: 'all' });
    const parts = Float32Array.from([...first.logits, ...second.logits]);
    for (const got of [whole.logits, parts]) expect(relativeDifference(got, logits)).toBeLessThanOrEqual(TOLERANCE);
  });

  it('continues a prompt as Transformers does, greedily', async () => {
    const { prompt_ids: prompt, tokens: wanted } = expected.greedy;
    const made: number[] = [];
    for await (const { token } of generateRows(session, [prompt], { maxTokens: wanted.length, eosTokenIds: [] }))
      made.push(token);
    expect(made).toEqual(wanted);
  });

  // 60,000 tokens: a busy machine needs more than the usual time.
  it('has the perplexity that Transformers gives it', async () => {
    const windows = cutWindows(tokens, { length: expected.perplexity.window });
    const { perplexity, scoredTokens, windows: count } = await measurePerplexity(session, windows);
    expect({ scoredTokens, count }).toEqual({
      scoredTokens: expected.perplexity.scored_tokens,
      count: expected.perplexity.windows,
    });
    // A logit is off by TOLERANCE of the largest, about 20; a mean negative log-likelihood by at most twice that.
    expect(Math.abs(Math.log(perplexity / expected.perplexity.value))).toBeLessThanOrEqual(2 * 20 * TOLERANCE);
  }, 120_000);

  it('equals itself in both modes', async () => {
    const windows = cutWindows(tokens.slice(0, 256), { length: 64 });
    const ffn = { numHiddenLayers: 12, intermediateSize: 384 };
    for (const mode of ['all', 'decode'] as const) {
      const result = await compare(session, session, windows, { mode, ffn });
      expect(Math.abs(result.perplexityRatio.value - 1)).toBeLessThanOrEqual(2 * 20 * TOLERANCE);
      expect(result.meanKl).toBeLessThanOrEqual((20 * TOLERANCE) ** 2);
      expect(result.scoredTokens).toBe(mode === 'all' ? 4 * 63 : 4 * 31);
    }
  });
});

/** The exactness of converted models: sums of up to 384 products in another order, through 12 layers. */
const TOLERANCE = 2e-5;

function relativeDifference(got: Float32Array, wanted: Float32Array): number {
  let difference = 0;
  let largest = 0;
  wanted.forEach((value, index) => {
    difference = Math.max(difference, Math.abs(got[index] - value));
    largest = Math.max(largest, Math.abs(value));
  });
  return got.length === wanted.length ? difference / largest : Number.NaN;
}
