/** Long texts of the native core, which leaves out logits that do not count, against those by all logits. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { SamplingOptions } from '../../src/core/sampling.ts';
import type { Session } from '../../src/core/session.ts';
import { type GeneratingSession, generateRows, openNativeSession } from '../../src/runtime/index.ts';
import { nativeLib } from '../native-lib.ts';
import { converted } from './converted.ts';
import { gemma, hasGemma, hasSmollm2, required, smollm2, THREADS } from './real-model.ts';

const files = { addon: join(nativeLib, 'lacuna_node.node'), operators: join(nativeLib, 'liblacuna_ort.so') };
const isBuilt = required || existsSync(files.addon);

const MODELS = [
  { name: 'SmolLM2-135M', checkpoint: smollm2, isThere: hasSmollm2, length: 600, asymmetric: false, threads: THREADS },
  {
    name: 'SmolLM2-135M, asymmetric',
    checkpoint: smollm2,
    isThere: hasSmollm2,
    length: 300,
    asymmetric: true,
    threads: 2,
  },
  { name: 'Gemma-3-270M', checkpoint: gemma, isThere: hasGemma, length: 300, asymmetric: false, threads: THREADS },
];

describe.each(MODELS)('texts by the logits that count: $name', { timeout: 600_000 }, ({ isThere, ...model }) => {
  describe.skipIf(!isBuilt || !isThere)('of the native core', () => {
    const { checkpoint, length, asymmetric, threads } = model;
    let session: GeneratingSession;
    let prompt: readonly number[];

    beforeAll(async () => {
      const output = await converted(checkpoint, 'int4', asymmetric);
      session = await openNativeSession(output, files, { threads });
      prompt = (await loadTokenizer(output)).encode('The history of the lighthouse begins');
    }, 300_000);

    afterAll(() => session.close());

    async function textOf(by: Session, sampling: SamplingOptions): Promise<number[]> {
      const tokens: number[] = [];
      const options = { maxTokens: length, eosTokenIds: [], ...sampling };
      for await (const { token } of generateRows(by, [prompt], options)) tokens.push(token);
      return tokens;
    }

    it.each<SamplingOptions>([
      {},
      { temperature: 1, topK: 50, seed: 1 },
      { temperature: 0.8, topK: 20, topP: 0.95, repetitionPenalty: 1.1, seed: 2 },
    ])('are those by all logits: %o', async (sampling) => {
      const { generateRows: _, ...stepwise } = session;
      expect(await textOf(session, sampling)).toEqual(await textOf(stepwise, sampling));
    });
  });
});
