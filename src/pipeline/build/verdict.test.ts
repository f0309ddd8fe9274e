/** Refusals by invented figures: which models they name, and when they name none. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/temporary.ts';
import { LacunaError } from '../../core/errors.ts';
import { choosePrecision } from '../../core/precision.ts';
import type { Speedup } from '../../eval/index.ts';
import { DEFAULT_COSTS } from '../../plan/index.ts';
import type { BenchReport } from '../bench.ts';
import type { Build, BuildOptions } from './options.ts';
import { refuseSlower } from './verdict.ts';
import { keyOf } from './workspace.ts';

const folder = temporaryFolder();
const keys = Object.fromEntries(
  ['dense', 'rounding', 'floats', 'statistics', 'plan', 'bench', 'evaluation', 'alternative', 'build'].map((name) => [
    name,
    `key-of-${name}`,
  ]),
) as unknown as Build['keys'];

/** With rounds that spread further than the bounds of their mean. */
const speed = (median: number, lowerBound: number | null, upperBound: number | null): Speedup => {
  return { median, p10: 0.7 * median, p90: 1.5 * median, lowerBound, upperBound };
};

/** Windows with mean negative log-likelihoods this far above those of the floats. */
const scores = (...above: readonly number[]) => ({ windows: above.map((more) => [3 + more, 3 + more]) });

let count = 0;

/** A build that has measured the floats, its own dense model, and the next smaller one. */
function measured(dtype: 'fp32' | 'int8' | 'int4', options: Partial<BuildOptions> = {}, smaller = speed(2, 1.8, 2.2)) {
  const work = join(folder, `work-${count++}`);
  const write = (path: string, content: unknown) => {
    mkdirSync(dirname(join(work, path)), { recursive: true });
    writeFileSync(join(work, path), JSON.stringify(content));
  };
  write(`floats-${keys.floats}/scores.json`, scores(0, 0, 0));
  write(`scores-${keyOf(keys.dense, keys.floats)}/scores.json`, scores(0.05, 0.06, 0.07));
  for (const name of ['int8', 'int6'])
    write(`alternative-${keys.alternative}/${name}.json`, { speedup: smaller, scores: scores(0.01, 0.02, 0.03) });
  const texts = { fit: ['my fit.txt'], choose: ['choose.txt'], test: ['test.txt'] };
  const preset = { preset: 'top-k' } as const;
  const build: Build = {
    work,
    keys,
    precision: choosePrecision(dtype),
    host: { kind: 'native' },
    engine: 'native',
    costs: DEFAULT_COSTS.native,
    options: { checkpoint: './model', output: './sparse', preset, dtype, ...options, texts },
  };
  return build;
}

async function refusalOf(build: Build, speedup: Speedup | null): Promise<LacunaError | undefined> {
  try {
    await refuseSlower(build, { speedup } as BenchReport);
    return undefined;
  } catch (error) {
    if (error instanceof LacunaError) return error;
    throw error;
  }
}

const SLOWER = speed(0.8, 0.7, 0.99);

describe('a sparse model that decodes slower than the dense one', () => {
  it('is refused, with the next smaller precision that is faster, and the dense model itself', async () => {
    const error = await refusalOf(measured('fp32'), SLOWER);
    expect(error).toMatchObject({ code: 'check-failed' });
    expect(error?.message).toBe(
      'The sparse fp32 model decodes 0.80 times (0.56 to 1.20) as fast as the dense fp32 model in the native core, on average at most 0.99 times: nothing was written',
    );
    const [int8, fp32, others] = error?.hint?.split('\n') ?? [];
    // exp of the mean of 0.01, 0.02 and 0.03. int8 is made as it was measured, without a text.
    expect(int8).toBe(
      'Dense int8 is 2.00 times (1.40 to 3.00) as fast as dense fp32 and has a perplexity ratio of 1.0202: lacuna convert ./model -o DIR --dtype int8',
    );
    expect(fp32.trim()).toBe('Dense fp32 is faster and loses nothing: lacuna convert ./model -o DIR --dtype fp32');
    expect(others.trim()).toMatch(/^Or leave out more .*--allow-slower\.$/);
  });

  it('is refused with commands that make what was measured', async () => {
    const error = await refusalOf(measured('int8', { adapter: './lora' }), SLOWER);
    expect(error?.hint).toContain("--dtype int6 --data 'my fit.txt' --adapter ./lora\n");
    expect(error?.hint).toContain(
      "has a perplexity ratio of 1.0618: lacuna convert ./model -o DIR --dtype int8 --data 'my fit.txt'",
    );
  });

  it('is refused without models over its budget, by their upper bounds', async () => {
    // The bound of 1.0202 is above the budget: three windows prove little.
    const tight = await refusalOf(measured('int4', { maxPplRatio: 1.062 }), SLOWER);
    expect(tight?.hint).toMatch(/^Leave out more/);
    const wide = await refusalOf(measured('int4', { maxPplRatio: 1.2 }), SLOWER);
    expect(wide?.hint).toMatch(/^Dense int4 is faster and has a perplexity ratio of 1.0618/);
  });

  it('is refused without a smaller model that gains nothing', async () => {
    const error = await refusalOf(measured('fp32', {}, speed(1.1, 0.99, 1.3)), SLOWER);
    expect(error?.hint).toMatch(/^Dense fp32 is faster and loses nothing/);
  });

  it('is shipped where that is allowed', async () => {
    expect(await refusalOf(measured('fp32', { allowSlower: true }), SLOWER)).toBeUndefined();
  });
});

it.each([speed(0.95, 0.8, 1), speed(0.8, null, null), speed(1.2, 1.1, 1.3), null])(
  'a model of speed %j is not refused',
  async (speedup) => {
    expect(await refusalOf(measured('fp32'), speedup)).toBeUndefined();
  },
);
