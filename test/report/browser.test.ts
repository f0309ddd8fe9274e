/** Pages in Chromium, in light and dark, wide and narrow, and on paper: nothing breaks, overlaps or asks for anything. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium as browsers } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportPage } from '../../src/report/index.ts';
import { folderData, manifest, SEARCH, STATISTICS } from '../../src/report/testing/data.ts';
import { chromium, hasChromium } from '../consumers/consumers.ts';
import { lacuna, temporaryFolder, tinyLlama } from '../temporary.ts';
import { expectSmall, expectStands, look, openPage, VIEWS } from './views.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const FEW = ['--tokens', '1100', '--threads', '1', '--quiet'];

async function run(...args: readonly string[]): Promise<void> {
  expect(await lacuna(args)).toMatchObject({ code: 0, stderr: '' });
}

/** What made them, by the name of the page. */
const PAGES: Readonly<Record<string, () => Promise<void>>> = {
  'of neurons left out': async () => {
    const top = ['--preset', 'top-k', '--measure', 'product', '--dtype', 'int8', '--budget', 'ppl<=3'];
    await run('build', tinyLlama, '-o', at('a'), ...top, '--host', 'native', '--allow-slower', ...FEW);
    await run('report', at('a'), '-o', pathOf('of neurons left out'));
  },
  'of blocks skipped': async () => {
    const skip = ['--preset', 'ffn-skip', '--skip', '0.15', '--host', 'native', '--allow-slower'];
    await run('build', tinyLlama, '-o', at('b'), ...skip, ...FEW);
    await run('report', at('b'), '-o', pathOf('of blocks skipped'));
  },
  'of a search': async () => {
    await run('build', tinyLlama, '-o', at('c'), '--budget', 'bytes<=2.4MB', '--host', 'stock', ...FEW);
    await run('report', at('c'), '-o', pathOf('of a search'));
  },
  'of what was not measured': async () => {
    await run('convert', tinyLlama, '-o', at('d'), '--quiet');
    await run('report', at('d'), '-o', pathOf('of what was not measured'));
  },
  'of statistics': () => run('report', at('a/lacuna/statistics.json'), '-o', pathOf('of statistics')),
  'of hostile names': async () => {
    const evil = '</script><img src=x onerror=alert(1)>'.repeat(9);
    const names = { name: evil, statistics: { ...STATISTICS, warnings: [evil] }, search: SEARCH };
    const sample = { text: evil, tokens: [{ text: evil, computed: 0.1, ran: 1 }] };
    writeFileSync(pathOf('of hostile names'), reportPage(folderData({ ...names, sample })).html);
  },
  'of crowded points': async () => {
    // Names in a chart must not stand upon each other, however near the points are.
    const { evaluation, bench } = folderData();
    const others = ['int4', 'int5', 'int6', 'int8', 'fp32', 'bf16'] as const;
    const beside = others.map((precision) => {
      const { models, ...rest } = manifest(null);
      return { name: precision, manifest: { ...rest, models: [{ ...models[0], precision }] }, evaluation, bench };
    });
    writeFileSync(pathOf('of crowded points'), reportPage(folderData({ beside })).html);
  },
};

function pathOf(name: string): string {
  return at(`${name}.html`);
}

describe.runIf(hasChromium)('a page', { timeout: 60_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    for (const make of Object.values(PAGES)) await make();
    // As root, which continuous integration is, Chromium has no sandbox.
    browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox'] });
  }, 300_000);
  afterAll(() => browser?.close());

  describe.each(Object.keys(PAGES))('%s', (name) => {
    it('is small', () => expectSmall(pathOf(name)));

    it.each(VIEWS)('stands in $scheme at $width pixels', (view) => expectStands(browser, pathOf(name), view));

    it('is light on paper, and as wide as it', async () => {
      const { page, said } = await openPage(browser, pathOf(name), { scheme: 'dark', width: 794 });
      await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
      const { width, isDark, overlapping, faint } = await look(page);
      await page.close();
      expect({ isDark, overlapping, faint, said }).toEqual({ isDark: false, overlapping: [], faint: [], said: [] });
      expect(width).toBeLessThanOrEqual(794);
    });
  });

  it('holds charts that are described, and tables that a keyboard scrolls', async () => {
    const { page } = await openPage(browser, pathOf('of neurons left out'), { scheme: 'light', width: 1400 });
    const charts = page.getByRole('img');
    expect(await charts.count()).toBeGreaterThan(6);
    for (const chart of await charts.all())
      expect(await chart.evaluate((one) => one.querySelectorAll('title, desc').length)).toBe(2);
    const named = await page.getByRole('img', { name: 'Added to the perplexity, %' }).count();
    expect(named).toBe(1);
    await page.close();
  });
});
