/** Kernels in int8 and int4 compute each layer as Transformers does (fixtures/oracle/layer_compare.py). */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { calibrate, type PlanOptions, plan, sparsify } from '../../src/index.ts';
import { nativeLib } from '../native-lib.ts';
import { runScript } from '../python/host.ts';
import { temporaryFolder, texts, tinyLlama } from '../temporary.ts';
import { transformersPython as python, required, root } from './real-model.ts';

const folder = temporaryFolder();
const library = join(nativeLib, 'liblacuna_ort.so');

interface Difference {
  readonly tenth: number;
  readonly median: number;
}

const PRESETS: readonly PlanOptions[] = [
  // The script feeds a text in one call.
  { preset: 'ffn-skip', skip: 0.2, prefill: 'sparse' },
  { preset: 'top-k', keep: 0.5 },
];

/** Float sums of some hundred terms, over what a layer adds to values of ten times the size. */
const SUMS = 1e-5;
/** Half the tokens may have inputs with another code. One code is a step of 1/127 of a block's largest, among hundreds. */
const CODES = 2e-3;

describe.runIf(required || python !== undefined)('layer by layer', { timeout: 120_000 }, () => {
  const statistics = join(folder, 'statistics.json');
  beforeAll(() => calibrate({ checkpoint: tinyLlama, output: statistics, tokens: 2048 }), 60_000);

  describe.each(PRESETS)('$preset', (preset) => {
    it.each(['int8', 'int4'] as const)('is what Transformers computes in %s', async (dtype) => {
      const [planned, output] = ['plan.json', dtype].map((name) => join(folder, `${preset.preset}-${name}`));
      await plan({ statistics, output: planned, preset, force: true });
      await sparsify({ source: tinyLlama, plan: planned, output, dtype, tokens: 1024 });
      const args = [tinyLlama, planned, output, join(texts, 'test.txt'), '--library', library];
      const script = join(root, 'fixtures/oracle/layer_compare.py');
      const printed = await runScript(python ?? 'python3', script, args);
      const { layers, logits }: { layers: Difference[]; logits: Difference } = JSON.parse(printed);
      for (const { tenth, median } of [...layers, logits]) {
        expect(tenth).toBeLessThan(SUMS);
        expect(median).toBeLessThan(CODES);
      }
    });
  });
});
