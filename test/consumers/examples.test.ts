/** The programs in examples/, run as their first lines say: each writes the text that our own session writes. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { chromium as browsers } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { convert, evaluate, run } from '../../src/index.ts';
import { root, temporaryFolder, tinyLlama } from '../temporary.ts';
import { chromium, hasChromium, hasPython, python } from './consumers.ts';
import { PROMPT } from './folders.ts';

/** As many tokens as the examples write. */
const COUNT = 24;

const parent = temporaryFolder();
const folder = join(parent, 'int4');
const example = (name: string) => join(root, 'examples', name);
const printed = (program: string, ...args: string[]) =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

let text: string;

describe('the example', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    // In WebAssembly, transformers.js has no kernel for an embedding in blocks.
    await convert({ checkpoint: tinyLlama, output: folder, dtype: 'int4', vocabulary: 'fp32' });
    ({ text } = await run({ folder, prompt: PROMPT, maxTokens: COUNT, threads: 1, engine: 'stock' }));
  }, 60_000);

  it('node.mjs streams a text', () => {
    expect(printed(process.execPath, example('node.mjs'), folder, PROMPT)).toBe(`${text}\n`);
  });

  it('measure.mts compiles, and prints the ratio that eval gives', async () => {
    const packages = join(parent, 'node_modules');
    mkdirSync(packages);
    symlinkSync(root, join(packages, 'lacuna'));
    symlinkSync(join(root, 'node_modules/@types'), join(packages, '@types'));
    cpSync(example('measure.mts'), join(parent, 'measure.mts'));
    const options = ['--ignoreConfig', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    expect(
      printed(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), ...options, join(parent, 'measure.mts')),
    ).toBe('');
    const [fp32, int4] = ['fp32', 'int4'].map((name) => join(parent, 'measured', name));
    const line = printed(process.execPath, join(parent, 'measure.mjs'), tinyLlama, join(parent, 'measured'));
    const { modes } = await evaluate({ folder: int4, against: fp32, tokens: 1000 });
    expect(line).toContain(`over that of the floats: ${modes[0].perplexityRatio.value.toFixed(4)} ± `);
  });

  it.runIf(hasPython)('run_onnxruntime.py writes a text', () => {
    expect(printed(python, example('run_onnxruntime.py'), folder, PROMPT)).toBe(`${text}\n`);
  });

  it.runIf(hasPython)('run_genai.py streams a text', () => {
    expect(printed(python, example('run_genai.py'), folder, PROMPT)).toBe(`${text}\n`);
  });

  it.runIf(hasChromium)('browser/ streams a text into a page', async () => {
    const server = spawn(process.execPath, [example('browser/serve.js'), folder, '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox'] });
    try {
      const [address] = await once(server.stdout, 'data');
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
      await page.goto(String(address).trim());
      // Code for the page is text: its names mean nothing to the compiler of tests.
      await page.evaluate(`{
        window.lengths = [];
        const output = document.querySelector('output');
        new MutationObserver(() => lengths.push(output.textContent.length)).observe(output, { childList: true });
      }`);
      await page.fill('input', PROMPT);
      await page.click('button:enabled', { timeout: 60_000 });
      await page.waitForFunction(`document.querySelector('#state').textContent.includes('a second')`);
      expect(await page.textContent('output')).toBe(text);
      // Piece by piece, as it was written.
      expect(await page.evaluate('lengths.length')).toBeGreaterThan(3);
      expect(await page.textContent('#state')).toMatch(/^\d+ tokens, \d+\.\d a second$/);
      expect(errors).toEqual([]);
    } finally {
      await browser.close();
      server.kill();
    }
  });

  it('browser/ says what it needs, and serves nothing else', async () => {
    const nothing = spawn(process.execPath, [example('browser/serve.js')], { stdio: 'ignore' });
    expect((await once(nothing, 'exit'))[0]).toBe(2);
    const server = spawn(process.execPath, [example('browser/serve.js'), folder, '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const address = String((await once(server.stdout, 'data'))[0]).trim();
      const config = await fetch(new URL('model/config.json', address));
      expect(await config.text()).toBe(readFileSync(join(folder, 'config.json'), 'utf8'));
      for (const path of [
        'model/..%2f..%2fetc/passwd',
        '..%2f..%2fpackage.json',
        'model/',
        'node_modules/%2e%2e/package.json',
        'no',
        '%',
        'model/a%00b',
      ])
        expect((await fetch(new URL(path, address))).status, path).toBe(404);
    } finally {
      server.kill();
    }
  });
});
