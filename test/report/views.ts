/** A page of `lacuna report` in Chromium: what a reader would find broken, in each theme and width, and its figures. */
import { statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';
import type { BenchReport, EvaluateResult } from '../../src/index.ts';
import { lookOf } from './look.ts';

export const VIEWS = (['light', 'dark'] as const).flatMap((scheme) => [400, 1400].map((width) => ({ scheme, width })));

export type View = (typeof VIEWS)[number];

/** A page that is open, and all that it said or asked for. */
export async function openPage(browser: Browser, path: string, { scheme, width }: View) {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme });
  const said: string[] = [];
  const url = pathToFileURL(path).href;
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('request', (request) => request.url() !== url && said.push(request.url()));
  await page.goto(url);
  return { page, said };
}

export const look = (page: Page) => page.evaluate(`(${lookOf})()`) as Promise<ReturnType<typeof lookOf>>;

/** That it stands as it is opened, and with all of its tables. */
export async function expectStands(browser: Browser, path: string, view: View): Promise<void> {
  const { page, said } = await openPage(browser, path, view);
  const closed = await look(page);
  await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
  const opened = await look(page);
  await page.close();
  for (const { width: taken, overlapping, outside, smallest, faint } of [closed, opened]) {
    expect(taken).toBeLessThanOrEqual(view.width);
    expect(overlapping).toEqual([]);
    expect(outside).toEqual([]);
    // Of chart letters on a phone, in pixels.
    expect(smallest).toBeGreaterThan(9);
    expect(faint).toEqual([]);
  }
  expect(closed.texts).toBeGreaterThan(20);
  expect(closed.isDark).toBe(view.scheme === 'dark');
  expect(said).toEqual([]);
}

export function expectSmall(path: string): void {
  const { size } = statSync(path);
  expect(size).toBeGreaterThan(5000);
  expect(size).toBeLessThan(1e6);
}

/** That a page of a sparse model has the figures of the files in its folder. */
export function expectFigures(html: string, { modes }: EvaluateResult, { subjects, speedup }: BenchReport): void {
  for (const { perplexityRatio, rounded, model, baseline, meanKl, top1Agreement, scoredTokens } of modes) {
    const ratios = [perplexityRatio, ...(rounded === null ? [] : [rounded.rounding, rounded.leavingOut])];
    for (const { value, standardError } of ratios)
      expect(html).toContain(`${value.toFixed(4)} ± ${standardError?.toFixed(4)}`);
    for (const figure of [perplexityRatio.upperBound, model.perplexity, baseline.perplexity, meanKl])
      expect(html).toContain(`<td class="number">${figure?.toFixed(4)}</td>`);
    expect(html).toContain(`${(100 * top1Agreement).toFixed(1)} %`);
    expect(html).toContain(`>${scoredTokens}<`);
  }
  for (const { decodeTokensPerSecond } of subjects) expect(html).toContain(decodeTokensPerSecond.median.toFixed(1));
  expect(html).toContain(`decodes ${speedup?.median.toFixed(2)} times as fast as dense `);
}
