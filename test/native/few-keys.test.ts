/** Decoding that attends to few tokens: what a session makes of it, whatever came before. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { KvCache } from '../../src/core/session.ts';
import { convert, open } from '../../src/index.ts';
import { openNativeSession } from '../../src/runtime/index.ts';
import { nativeLib } from '../native-lib.ts';
import { required } from '../real/real-model.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';

const native = { addon: join(nativeLib, 'lacuna_node.node'), operators: join(nativeLib, 'liblacuna_ort.so') };
const folder = join(temporaryFolder(), 'int8');
const model = join(folder, 'onnx/model.onnx');

/** Tokens of a text, which differ by `seed`. */
const tokensOf = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => (i * (7 * seed + 3) + (i >> 3) * 11 + seed) % 2000);

type Session = Awaited<ReturnType<typeof openNativeSession>>;

async function withSession<T>(attended: number | undefined, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openNativeSession(model, native, { attended, threads: 2 });
  return use(session).finally(() => session.close());
}

/** The last logits of tokens that are decoded one by one. */
async function decoded(session: Session, tokens: readonly number[], from: KvCache) {
  let [cache, logits] = [from, new Float32Array()];
  for (const token of tokens) {
    const step = await session.step([token], cache);
    cache = step.cache;
    logits = step.logits.slice();
  }
  return { cache, logits };
}

describe.skipIf(!required && !existsSync(native.addon))(
  'decoding with few tokens attended to',
  { timeout: 120_000 },
  () => {
    beforeAll(async () => {
      await convert({ checkpoint: tinyLlama, output: folder, dtype: 'int8' });
    }, 120_000);

    it('is decoding as long as there are no more tokens, and another thing from then on', async () => {
      const run = (attended: number | undefined) =>
        withSession(attended, async (session) => {
          const { cache } = await session.step(tokensOf(95, 1), session.emptyCache());
          const within = await decoded(session, tokensOf(5, 2), cache);
          return [within.logits, (await decoded(session, tokensOf(5, 3), within.cache)).logits];
        });
      const [all, few] = [await run(undefined), await run(100)];
      expect(few[0]).toEqual(all[0]);
      expect(few[1]).not.toEqual(all[1]);
    });

    it('goes on from an older cache as from a new one, also where its memory has grown since', async () => {
      const [first, second] = [tokensOf(90, 4), tokensOf(220, 5)];
      const wanted = await withSession(64, async (session) => {
        const { cache } = await session.step(first, session.emptyCache());
        return (await decoded(session, second, cache)).logits;
      });
      const got = await withSession(64, async (session) => {
        const { cache } = await session.step(first, session.emptyCache());
        // Past 256 tokens, where caches are made anew.
        const other = await decoded(session, tokensOf(200, 6), cache);
        expect(other.cache.length).toBe(290);
        return (await decoded(session, second, cache)).logits;
      });
      expect(got).toEqual(wanted);
    });

    it('gives each of several texts what it would get alone, also when another has ended', async () => {
      const opened = await open(folder, { attended: 64, threads: 2, nativeFolder: nativeLib });
      try {
        const prompts = [
          'The first of these is short.',
          'Once upon a time there was '.repeat(20),
          'One two three four. '.repeat(9),
        ];
        const options = { maxTokens: 40, ignoreEos: true } as const;
        const { rows } = await opened.generateAll(prompts, options);
        for (const [row, prompt] of prompts.entries())
          expect(rows[row].tokens).toEqual((await opened.generate(prompt, options)).tokens);
      } finally {
        await opened.close();
      }
    });
  },
);
