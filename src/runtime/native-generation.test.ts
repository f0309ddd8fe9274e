/** Texts that the native session continues by itself equal those by steps and `createSampler`, alone and in rows. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeOnnx } from '../../formats/onnx/index.ts';
import { bigramDecoder } from '../../test/bigram-decoder.ts';
import { nativeLib } from '../../test/native-lib.ts';
import { seededFloats } from '../../test/random.ts';
import { required } from '../../test/real/real-model.ts';
import { temporaryFolder, tinyLlama } from '../../test/temporary.ts';
import type { SamplingOptions } from '../core/sampling.ts';
import type { Session } from '../core/session.ts';
import { convert } from '../index.ts';
import { type GenerateOptions, type GeneratingSession, generateRows, type StopReason } from './generate.ts';
import { openNativeSession } from './native-session.ts';
import { openSession } from './session.ts';

const addon = join(nativeLib, 'lacuna_node.node');
const operators = join(nativeLib, 'liblacuna_ort.so');
const folder = temporaryFolder();

interface Text {
  readonly tokens: number[];
  readonly reason: StopReason;
}

async function textOf(session: Session, prompt: readonly number[], options: GenerateOptions): Promise<Text> {
  const [text] = await textsOf(session, [prompt], options);
  return text;
}

async function textsOf(session: Session, prompts: readonly (readonly number[])[], options: GenerateOptions) {
  const texts: number[][] = prompts.map(() => []);
  const running = generateRows(session, prompts, options);
  let next = await running.next();
  for (; !next.done; next = await running.next()) texts[next.value.row].push(next.value.token);
  const reasons = next.value;
  return texts.map((tokens, row): Text => ({ tokens, reason: reasons[row] }));
}

/** The same model for both. The session by steps uses the sampler of sample.ts. */
interface Pair {
  readonly native: Session;
  readonly stepwise: Session;
}

async function openPair(model: string): Promise<Pair> {
  return {
    native: await openNativeSession(model, { addon, operators }, { threads: 1 }),
    stepwise: await openSession(model, { threads: 1 }),
  };
}

const close = ({ native, stepwise }: Pair) => Promise.all([native.close(), stepwise.close()]);

/** Sampling options as drawn by fast-check. Each may be missing. */
const sampling: fc.Arbitrary<SamplingOptions> = fc.record(
  {
    temperature: fc.oneof(fc.constant(0), fc.double({ min: 0.05, max: 20, noNaN: true })),
    topK: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 100, max: 400 })),
    topP: fc.oneof(fc.constant(1), fc.double({ min: 0.01, max: 1, noNaN: true })),
    minP: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
    repetitionPenalty: fc.double({ min: 0.5, max: 2, noNaN: true }),
    seed: fc.maxSafeInteger(),
  },
  { requiredKeys: [] },
);

describe.skipIf(!required && !existsSync(addon))('a native session that samples', { timeout: 120_000 }, () => {
  /** Logits of many sizes, with equal ones and with tokens that are ruled out. */
  const VOCAB = 257;
  const tables = {
    spread: seededFloats(1)(VOCAB * VOCAB).map((x) => 8 * x),
    coarse: seededFloats(2)(VOCAB * VOCAB).map((x) => Math.round(3 * x)),
    narrow: seededFloats(3)(VOCAB * VOCAB).map((x) => 1e-3 * x),
    masked: seededFloats(4)(VOCAB * VOCAB).map((x) => (x > 0 ? 60 * x : -Infinity)),
    steep: seededFloats(5)(VOCAB * VOCAB).map((x) => 2000 * x),
  };
  const pairs: Pair[] = [];
  beforeAll(async () => {
    for (const [name, table] of Object.entries(tables)) {
      await writeOnnx(bigramDecoder(table), join(folder, `${name}.onnx`));
      pairs.push(await openPair(join(folder, `${name}.onnx`)));
    }
  });
  afterAll(() => Promise.all(pairs.map(close)));

  it('draws the tokens of the sampler in TypeScript, bit for bit', async () => {
    const distinct = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(pairs.length - 1),
        sampling,
        fc.array(fc.nat(VOCAB - 1), { minLength: 1, maxLength: 5 }),
        async (which, options, prompt) => {
          const { native, stepwise } = pairs[which];
          const request = { maxTokens: 40, eosTokenIds: [0, 100], ...options };
          const text = await textOf(native, prompt, request);
          expect(text).toEqual(await textOf(stepwise, prompt, request));
          distinct.add(text.tokens.join());
        },
      ),
      { numRuns: 300, seed: 5 },
    );
    // If all texts were alike, the test would prove little.
    expect(distinct.size).toBeGreaterThan(100);
  });

  it('draws rows by seeds that follow each other, each ending where it would alone', async () => {
    const { native, stepwise } = pairs[0];
    const prompts = [[5], [6, 7, 8], [5], [9, 1], [200]];
    const options = { maxTokens: 60, eosTokenIds: [3, 50, 90, 120, 121], temperature: 1, topK: 40, seed: 11 };
    const rows = await textsOf(native, prompts, options);
    expect(rows).toEqual(await textsOf(stepwise, prompts, options));
    for (const [row, prompt] of prompts.entries())
      expect(rows[row]).toEqual(await textOf(native, prompt, { ...options, seed: 11 + row }));
    expect(new Set(rows.map(({ tokens }) => tokens.length)).size).toBeGreaterThan(2);
  });

  it('refuses logits that are not finite, in either sampler', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const table = seededFloats(6)(16).map((x, i) => (i === 6 ? bad : x));
      const model = join(folder, `bad-${bad}.onnx`);
      await writeOnnx(bigramDecoder(table), model);
      const pair = await openPair(model);
      const request = { maxTokens: 3, eosTokenIds: [] };
      await expect(textOf(pair.native, [1], request)).rejects.toMatchObject({ code: 'non-finite' });
      await expect(textOf(pair.stepwise, [1], request)).rejects.toMatchObject({ code: 'non-finite' });
      // Afterwards it continues.
      expect(await textOf(pair.native, [0], { ...request, maxTokens: 1 })).toMatchObject({ reason: 'length' });
      await close(pair);
    }
  });
});

const CASES = ['fp32', 'int4'] as const;

describe.skipIf(!required && !existsSync(addon)).each(CASES)(
  'rows of a native session: %s',
  { timeout: 120_000 },
  (dtype) => {
    const model = join(folder, dtype);
    let pair: Pair;
    beforeAll(async () => {
      await convert({ checkpoint: tinyLlama, output: model, dtype });
      pair = await openPair(model);
    }, 120_000);
    afterAll(() => close(pair));

    const prompt = (length: number, step: number) => Array.from({ length }, (_, i) => (i * step + 7) % 2048);
    /** One is longer than the first capacity of the caches, one is longer than a chunk of a prompt. */
    const PROMPTS = [prompt(3, 389), prompt(300, 53), prompt(1, 1), prompt(520, 97), prompt(40, 11)];

    it('have the texts that each has alone, whatever their lengths', async () => {
      const alone: Text[] = [];
      for (const row of PROMPTS) alone.push(await textOf(pair.native, row, { maxTokens: 60, eosTokenIds: [] }));
      // Only some texts reach an end, at different times: their places change while others continue.
      const eosTokenIds = [alone[0].tokens[7], alone[3].tokens[30]];
      const options = { maxTokens: 60, eosTokenIds };
      for (const [row, tokens] of PROMPTS.entries()) alone[row] = await textOf(pair.native, tokens, options);
      expect(new Set(alone.map(({ tokens }) => tokens.length)).size).toBeGreaterThan(1);
      expect(await textsOf(pair.native, PROMPTS, options)).toEqual(alone);
      expect(await textsOf(pair.native, [...PROMPTS].reverse(), options)).toEqual([...alone].reverse());
      // Stock ONNX Runtime rounds products of codes differently, which may lead to another token.
      if (dtype === 'fp32') expect(await textsOf(pair.stepwise, PROMPTS, options)).toEqual(alone);
    });

    // By steps every logit is computed. By itself, the session computes only those that may count.
    it.each<SamplingOptions>([
      {},
      { temperature: 1, topK: 3, seed: 4 },
      { temperature: 0.7, topK: 8, topP: 0.9, minP: 0.01, seed: 5 },
      { repetitionPenalty: 1.3 },
      { temperature: 1, topK: 2, repetitionPenalty: 0.9 },
      { temperature: 1, topK: 4096 },
      { temperature: 1 },
    ])('have the texts that steps would give: %o', async (sampling) => {
      const { generateRows: _, ...stepwise } = pair.native as GeneratingSession;
      for (const length of [2, 60]) {
        const options = { maxTokens: 80, eosTokenIds: [], ...sampling };
        const text = await textOf(pair.native, prompt(length, 31), options);
        expect(text).toEqual(await textOf(stepwise, prompt(length, 31), options));
      }
    });

    it('stop at the context, each for itself', async () => {
      const options = { maxTokens: 50, eosTokenIds: [], contextLength: 310 };
      const rows = await textsOf(pair.native, PROMPTS.slice(0, 3), options);
      expect(rows.map(({ reason }) => reason)).toEqual(['length', 'context', 'length']);
      expect(rows[1].tokens).toHaveLength(11);
      await expect(textsOf(pair.native, PROMPTS, options)).rejects.toMatchObject({ code: 'usage' });
    });

    it('stop when aborted or no longer read, and leave a session that goes on', async () => {
      const abort = new AbortController();
      const seen: number[] = [];
      const reading = (async () => {
        const options = { maxTokens: 1500, eosTokenIds: [], signal: abort.signal };
        for await (const { token } of generateRows(pair.native, PROMPTS, options)) {
          seen.push(token);
          if (seen.length === 20) abort.abort();
        }
      })();
      await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
      expect(seen).toHaveLength(20);
      let read = 0;
      for await (const _ of generateRows(pair.native, PROMPTS, { maxTokens: 1500, eosTokenIds: [] }))
        if (++read === 3) break;
      const already = AbortSignal.abort();
      await expect(textOf(pair.native, [1], { maxTokens: 5, eosTokenIds: [], signal: already })).rejects.toMatchObject({
        code: 'interrupted',
      });
      const { logits } = await pair.native.step(PROMPTS[4], pair.native.emptyCache());
      expect(logits.every(Number.isFinite)).toBe(true);
    });

    it('leave the event loop to others', async () => {
      let turns = 0;
      let isOver = false;
      const turn = () => {
        turns++;
        if (!isOver) setImmediate(turn);
      };
      turn();
      await textOf(pair.native, PROMPTS[0], { maxTokens: 300, eosTokenIds: [] });
      isOver = true;
      // A loop that waited for each token would turn once or twice for each. This one turns on its own.
      expect(turns).toBeGreaterThan(4 * 300);
    });

    it('refuse a token that is none, and a session that is closed meanwhile', async () => {
      await expect(textOf(pair.native, [2048], { maxTokens: 1, eosTokenIds: [] })).rejects.toMatchObject({
        code: 'usage',
      });
      const session = await openNativeSession(model, { addon, operators }, { threads: 1 });
      const running = textOf(session, PROMPTS[0], { maxTokens: 2000, eosTokenIds: [] });
      const failed = expect(running).rejects.toMatchObject({
        code: 'runtime',
        message: expect.stringMatching(/the decoder was disposed of during the call/),
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      await session.close();
      await failed;
      await expect(textOf(session, [1], { maxTokens: 1, eosTokenIds: [] })).rejects.toThrow(/was disposed of/);
    });
  },
);
