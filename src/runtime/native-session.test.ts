/** The native session against the portable one, and its behaviour when it is misused. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeLib } from '../../test/native-lib.ts';
import { required, root } from '../../test/real/real-model.ts';
import { temporaryFolder, tinyLlama } from '../../test/temporary.ts';
import type { KvCache, Session, Step } from '../core/session.ts';
import { convert, sparsify } from '../index.ts';
import { generateRows } from './generate.ts';
import { runtimeLibrary } from './native-addon.ts';
import { openNativeSession } from './native-session.ts';
import { openSession } from './session.ts';

const addon = join(nativeLib, 'lacuna_node.node');
const operators = join(nativeLib, 'liblacuna_ort.so');
const folder = temporaryFolder();

/** 300 tokens: the cache outgrows its first 256. */
const PROMPT = Array.from({ length: 300 }, (_, i) => (i * 389) % 2048);

/**
 * Both run the same operators on the same values. A cache that is read in place is multiplied in other blocks. So
 * float32 sums of up to 384 terms differ in their rounding: by 384 * 2^-24 = 2.3e-5 of the largest logit at most.
 */
const TOLERANCE = 2.3e-5;

function difference(a: Float32Array, b: Float32Array): number {
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0) / largest;
}

function bytesOf(logits: Float32Array): Uint8Array {
  return new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
}

/** A plan of the fixtures, which name tiny-llama as their model, for the folder converted from it. */
function planFor(model: string, name: string): string {
  const plans = join(root, 'fixtures/oracle/plans');
  const { fingerprint } = JSON.parse(readFileSync(join(model, 'lacuna.json'), 'utf8'));
  const plan = JSON.parse(readFileSync(join(plans, `${name}.json`), 'utf8'));
  const file = join(folder, `${name}.json`);
  copyFileSync(join(plans, 'weights.safetensors'), join(folder, 'weights.safetensors'));
  writeFileSync(file, JSON.stringify({ ...plan, model: { ...plan.model, fingerprint } }));
  return file;
}

describe.skipIf(!required && !existsSync(addon))('a native session', { timeout: 120_000 }, () => {
  let dense: string;
  let portable: Session;
  let native: Session;

  beforeAll(async () => {
    dense = join(folder, 'dense');
    await convert({ checkpoint: tinyLlama, output: dense });
    portable = await openSession(dense, { threads: 2 });
    native = await openNativeSession(dense, { addon }, { threads: 2 });
  }, 120_000);
  afterAll(async () => {
    await portable.close();
    await native.close();
  });

  it('has the logits of the portable one: at once, in chunks, token by token, over a growing cache', async () => {
    for (const sizes of [[300], [200, 100], [255, 1, 1, 43], Array(300).fill(1)]) {
      let [ours, theirs]: KvCache[] = [native.emptyCache(), portable.emptyCache()];
      let at = 0;
      for (const size of sizes) {
        const chunk = PROMPT.slice(at, at + size);
        const [a, b] = [await native.step(chunk, ours), await portable.step(chunk, theirs)];
        expect(difference(a.logits, b.logits), `${sizes.length} chunks, at ${at}`).toBeLessThan(TOLERANCE);
        [ours, theirs] = [a.cache, b.cache];
        at += size;
      }
      expect(ours.length).toBe(300);
    }
  });

  it("has each token's logits where they are wanted, also of a step that is fed in chunks", async () => {
    const tokens = [...PROMPT, ...PROMPT];
    let [ours, theirs]: KvCache[] = [native.emptyCache(), portable.emptyCache()];
    for (const chunk of [tokens, [7], PROMPT.slice(0, 3)]) {
      const [a, b] = [
        await native.step(chunk, ours, { logits: 'all' }),
        await portable.step(chunk, theirs, { logits: 'all' }),
      ];
      expect([a.rows, a.logits.length]).toEqual([chunk.length, b.logits.length]);
      for (let row = 0; row < a.rows; row++) {
        const of = ({ logits, vocab }: Step) => logits.subarray(row * vocab, (row + 1) * vocab);
        expect(difference(of(a), of(b)), `row ${row} of ${chunk.length}`).toBeLessThan(TOLERANCE);
      }
      [ours, theirs] = [a.cache, b.cache];
    }
  });

  it('feeds heads that are widened around the operator', async () => {
    const output = join(folder, 'odd');
    await convert({ checkpoint: join(root, 'fixtures/llama-variants/odd-sizes'), output });
    const [odd, expected] = [await openNativeSession(output, { addon }), await openSession(output)];
    let [ours, theirs]: KvCache[] = [odd.emptyCache(), expected.emptyCache()];
    for (const chunk of [[3, 1, 4, 1], [5], [9, 2], [6]]) {
      const [a, b] = [await odd.step(chunk, ours), await expected.step(chunk, theirs)];
      expect(difference(a.logits, b.logits)).toBeLessThan(TOLERANCE);
      [ours, theirs] = [a.cache, b.cache];
    }
    await Promise.all([odd.close(), expected.close()]);
  });

  it('decodes weights with zero points by kernels', async () => {
    const output = join(folder, 'asymmetric');
    await convert({ checkpoint: tinyLlama, output, dtype: 'int4', asymmetric: true });
    const [kernels, bodies] = [await openNativeSession(output, { addon, operators }), await openSession(output)];
    let [ours, theirs]: KvCache[] = [kernels.emptyCache(), bodies.emptyCache()];
    for (const chunk of [PROMPT.slice(0, 90), ...PROMPT.slice(90, 110).map((token) => [token])]) {
      const [a, b] = [await kernels.step(chunk, ours), await bodies.step(chunk, theirs)];
      // Both round inputs to 8 bits. Few inputs lie so near a tie that they get different codes, and these are off by a
      // 127th of their block's largest. Weights with another zero point are off by as much as they are large.
      expect(difference(a.logits, b.logits)).toBeLessThan(1 / 50);
      [ours, theirs] = [a.cache, b.cache];
    }
    await Promise.all([kernels.close(), bodies.close()]);
  });

  it.each(['int8', 'int4'] as const)('decodes in %s what is measured of it, bit for bit', async (dtype) => {
    const output = join(folder, `measured-${dtype}`);
    await convert({ checkpoint: tinyLlama, output, dtype });
    const core = { addon, operators };
    const [measured, executed] = [await openSession(output, { native: core }), await openNativeSession(output, core)];
    const tokens = PROMPT.slice(0, 70);
    const { logits, rows, vocab } = await measured.step(tokens, measured.emptyCache(), { logits: 'all' });
    expect(rows).toBe(70);
    let cache = executed.emptyCache();
    for (const [row, token] of tokens.entries()) {
      const step = await executed.step([token], cache);
      expect(Buffer.compare(bytesOf(step.logits), bytesOf(logits.subarray(row * vocab, (row + 1) * vocab)))).toBe(0);
      cache = step.cache;
    }
    await Promise.all([measured.close(), executed.close()]);
  });

  it.each(['fp16', 'int8'] as const)('keeps its cache in %s: the same bits in one call and in many', async (cache) => {
    const output = join(folder, `cache-${cache}`);
    await convert({ checkpoint: tinyLlama, output, dtype: 'int8' });
    const core = { addon, operators };
    const open = (options = {}) => openNativeSession(output, core, { threads: 2, ...options });
    const [wide, once, byOne] = await Promise.all([open(), open({ cache }), open({ cache })]);
    // Longer than the capacity at first, 256, so that runs of 64 positions are copied to larger caches.
    const tokens = Array.from({ length: 300 }, (_, i) => PROMPT[i % 110]);
    const [floats, whole] = [await wide.step(tokens, wide.emptyCache()), await once.step(tokens, once.emptyCache())];
    const first = await byOne.step(tokens.slice(0, 150), byOne.emptyCache());
    const decode = byOne.decode ?? expect.fail('no steps of one token');
    const last = await decode(tokens.slice(150), first.cache);
    expect(Buffer.compare(bytesOf(last.logits), bytesOf(whole.logits))).toBe(0);
    // It is another format: entries are off by 2^-12 of themselves, or by a 254th of their head's largest. An int8 one also
    // moves inputs of products across ties of their own rounding, as in the test above.
    const off = difference(whole.logits, floats.logits);
    expect(off).toBeGreaterThan(0);
    expect(off).toBeLessThan(1 / 50);
    // Back to a place within a run, and on from there.
    const again = await decode(tokens.slice(150), first.cache);
    expect(Buffer.compare(bytesOf(again.logits), bytesOf(whole.logits))).toBe(0);
    await Promise.all([wide.close(), once.close(), byOne.close()]);
  });

  it('is measured in one whose caches are gone on from as often as one likes, and by the portable one', async () => {
    const measured = await openSession(dense, { threads: 2, native: { addon } });
    const { cache } = await measured.step(PROMPT.slice(0, 100), measured.emptyCache());
    const once = await measured.step(PROMPT.slice(100, 110), cache, { logits: 'all' });
    const again = await measured.step(PROMPT.slice(100, 110), cache, { logits: 'all' });
    const elsewhere = await portable.step(PROMPT.slice(100, 110), cache, { logits: 'all' });
    const whole = await portable.step(PROMPT.slice(0, 110), portable.emptyCache());
    expect(again.logits).toEqual(once.logits);
    expect(difference(elsewhere.logits, once.logits)).toBeLessThan(TOLERANCE);
    expect(difference(once.logits.subarray(-once.vocab), whole.logits)).toBeLessThan(TOLERANCE);
    await measured.close();
    await expect(measured.step([1], cache)).rejects.toMatchObject({ code: 'runtime' });
  });

  it('generates what the portable one does', async () => {
    const texts = await Promise.all(
      [native, portable].map(async (session) => {
        const made: number[] = [];
        for await (const { token } of generateRows(session, [PROMPT.slice(0, 20)], { maxTokens: 40, eosTokenIds: [] }))
          made.push(token);
        return made;
      }),
    );
    expect(texts[0]).toEqual(texts[1]);
    expect(texts[0]).toHaveLength(40);
  });

  it('goes back to an older cache, which ends the newer ones', async () => {
    const start = await native.step(PROMPT.slice(0, 10), native.emptyCache());
    const first = await native.step([5], start.cache);
    const logits = first.logits.slice();
    const other = await native.step([6], start.cache);
    expect(difference(other.logits, logits)).toBeGreaterThan(1e-3);
    await expect(native.step([1], first.cache)).rejects.toMatchObject({ code: 'mismatch' });
    const again = await native.step([5], start.cache);
    expect(again.logits).toEqual(logits);
  });

  it('ends the newer ones also when the step that goes back fails', async () => {
    const start = await native.step(PROMPT.slice(0, 10), native.emptyCache());
    const newer = await native.step([5], start.cache);
    const tooLong = Array.from({ length: 2000 }, () => 7);
    await expect(native.step(tooLong, start.cache)).rejects.toMatchObject({ code: 'usage' });
    await expect(native.step([1], newer.cache)).rejects.toMatchObject({ code: 'mismatch' });
    expect((await native.step([5], start.cache)).logits).toEqual(newer.logits);
  });

  it('runs sparse folders by kernels, as their bodies compute', async () => {
    for (const plan of ['absolute', 'token-mean', 'skip', 'skip-and-select']) {
      const file = planFor(dense, plan);
      const output = join(folder, plan);
      await sparsify({ source: dense, plan: file, output });
      const [kernels, bodies] = [
        await openNativeSession(output, { addon, operators }, { threads: 2 }),
        await openSession(output, { threads: 2 }),
      ];
      try {
        let [ours, theirs]: KvCache[] = [kernels.emptyCache(), bodies.emptyCache()];
        for (const chunk of [PROMPT.slice(0, 40), [1], [2], [3]]) {
          const [a, b] = [await kernels.step(chunk, ours), await bodies.step(chunk, theirs)];
          expect(difference(a.logits, b.logits), plan).toBeLessThan(TOLERANCE);
          [ours, theirs] = [a.cache, b.cache];
        }
      } finally {
        await kernels.close();
        await bodies.close();
      }
    }
  });

  it('keeps its memory while it generates, and gives it back', async () => {
    const session = await openNativeSession(dense, { addon }, { threads: 1 });
    const resident = () => process.memoryUsage().rss / 1e6;
    let cache = session.emptyCache();
    const decode = async (tokens: number) => {
      for (let i = 0; i < tokens; i++) ({ cache } = await session.step([i % 2048], cache));
    };
    await decode(600);
    const before = resident();
    await decode(400);
    // 400 tokens of 12 layers, 2 heads of 32, keys and values: 2.4 MB. There is room for them already.
    expect(resident() - before).toBeLessThan(30);
    await session.close();
    await expect(session.step([1], cache)).rejects.toMatchObject({ message: expect.stringMatching(/disposed/) });
    await session.close();
  });

  it('does one thing at a time, and stops what runs when it is closed', async () => {
    const session = await openNativeSession(dense, { addon }, { threads: 1 });
    const long = session.step(PROMPT, session.emptyCache());
    await expect(session.step([1], session.emptyCache())).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/busy/),
    });
    await session.close();
    // It was cancelled, or had ended just before. Either way it settles and nothing crashes.
    await long.catch((error) => expect(error).toMatchObject({ code: 'runtime' }));
  });

  it('feeds a long step in chunks, between which it can be stopped', async () => {
    const session = await openNativeSession(dense, { addon }, { threads: 1 });
    const tokens = Array.from({ length: 1000 }, (_, i) => i);
    const stop = new AbortController();
    const step = session.step(tokens, session.emptyCache(), { signal: stop.signal });
    stop.abort();
    await expect(step).rejects.toMatchObject({ code: 'interrupted' });
    // It continues where it was.
    const whole = await session.step(tokens, session.emptyCache());
    const expected = await portable.step(tokens, portable.emptyCache());
    expect(difference(whole.logits, expected.logits)).toBeLessThan(TOLERANCE);
    await session.close();
  });

  it('is not opened for who has stopped', async () => {
    await expect(openNativeSession(dense, { addon }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'interrupted',
    });
  });

  it('works in several sessions at once and in worker threads', async () => {
    const session = await openNativeSession(dense, { addon }, { threads: 1 });
    const [a, b] = await Promise.all([
      session.step(PROMPT, session.emptyCache()),
      native.step(PROMPT, native.emptyCache()),
    ]);
    expect(difference(a.logits, b.logits)).toBeLessThan(TOLERANCE);
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      require(workerData.addon).openDecoder(workerData.options).then(async (decoder) => {
        const logits = new Float32Array(decoder.vocab);
        await decoder.feed(BigInt64Array.from(workerData.tokens, BigInt), logits);
        parentPort.postMessage(logits);
      });`;
    const options = { runtime: await runtimeLibrary(), model: join(dense, 'onnx/model.onnx') };
    const worker = new Worker(source, { eval: true, workerData: { addon, options, tokens: PROMPT } });
    const logits = await new Promise<Float32Array>((resolve, reject) => {
      worker.on('message', resolve);
      worker.on('error', reject);
    });
    await worker.terminate();
    expect(difference(logits, a.logits)).toBeLessThan(TOLERANCE);
    await session.close();
  });

  it('refuses what it cannot open or feed, and never crashes', async () => {
    const notAModel = join(folder, 'broken');
    mkdirSync(notAModel);
    writeFileSync(join(notAModel, 'model.onnx'), 'not a model');
    await expect(openNativeSession(notAModel, { addon })).rejects.toMatchObject({ code: 'runtime' });
    await expect(openNativeSession(dense, { addon: join(folder, 'none.node') })).rejects.toMatchObject({
      code: 'runtime',
    });
    await expect(openNativeSession(dense, { addon, operators: addon })).rejects.toMatchObject({ code: 'runtime' });
    for (const tokens of [[], [-1], [2048], [0.5]])
      await expect(native.step(tokens, native.emptyCache())).rejects.toMatchObject({ code: 'usage' });
    await expect(native.step([1], portable.emptyCache())).rejects.toMatchObject({ code: 'mismatch' });
  });
});
