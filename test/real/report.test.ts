/** The page that `build` writes of a real model, in Chromium: both themes, wide and narrow, with the figures in the folder. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium as browsers } from 'playwright-core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { build } from '../../src/index.ts';
import { chromium, hasChromium } from '../consumers/consumers.ts';
import { expectFigures, expectSmall, expectStands, VIEWS } from '../report/views.ts';
import { temporaryFolder } from '../temporary.ts';
import { required, smollm2, THREADS } from './real-model.ts';

/** A page shows the same whatever it was measured on. */
const TOKENS = 1100;

describe.runIf(required && hasChromium)('the page of SmolLM2-135M', { timeout: 60_000 }, () => {
  const output = join(temporaryFolder(), 'SmolLM2-135M');
  const path = join(output, 'lacuna/report.html');
  let browser: Browser;

  beforeAll(async () => {
    const preset = { preset: 'top-k', keep: 0.5, host: { kind: 'native' } } as const;
    const how = { preset, dtype: 'int8', allowSlower: true } as const;
    await build({ checkpoint: smollm2, output, ...how, tokens: TOKENS, threads: THREADS });
    browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox'] });
  }, 1_800_000);
  afterAll(() => browser?.close());

  it.each(VIEWS)('stands in $scheme at $width pixels, and says nothing', (view) => expectStands(browser, path, view));

  it('is small, and has the figures of evaluation.json and bench.json', () => {
    expectSmall(path);
    const json = (file: string) => JSON.parse(readFileSync(join(output, 'lacuna', file), 'utf8'));
    expectFigures(readFileSync(path, 'utf8'), json('evaluation.json'), json('bench.json'));
  });
});
