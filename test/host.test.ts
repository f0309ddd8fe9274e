/** `lacuna host` at toy size, and the figures that plans and benchmarks expect by it. What it says of speed means nothing here. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { main } from '../src/cli/index.ts';
import { COSTS } from '../src/core/host-costs.ts';
import { temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const cacheFolder = join(folder, 'cache');
const nowhere = join(folder, 'no-native-core');

/** Ten models are written and timed, whatever else the machine does. */
const PATIENCE = 120_000;

/** What the command prints with that cache, and its exit code. */
async function lacuna(...args: readonly string[]) {
  let [stdout, stderr] = ['', ''];
  const code = await main(args, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    stdin: Readable.from([]),
    signal: new AbortController().signal,
    nativeFolder: nowhere,
    hub: { endpoint: 'https://localhost', cacheFolder },
  });
  return { stdout, stderr, code };
}

const toy = ['--megabytes', '1', '--threads', '1', '--quiet'];

describe('lacuna host', () => {
  it(
    'measures what is installed, keeps its costs and prints them',
    async () => {
      const { stdout, code } = await lacuna('host', '--dtype', 'int4', ...toy);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^stock host: .*, 1 threads, ONNX Runtime 1\./);
      for (const { name } of COSTS) expect(stdout).toMatch(new RegExp(`^${name}, .*  +[\\d.]+$`, 'm'));
      const [, file] = /^kept in (.*)$/m.exec(stdout) ?? [];
      expect(existsSync(file)).toBe(true);
    },
    PATIENCE,
  );

  it(
    'prints coefficients as JSON',
    async () => {
      const { stdout } = await lacuna('host', '--host', 'stock', '--dtype', 'int4', '--json', ...toy);
      const { costs, steps } = JSON.parse(stdout);
      expect(Object.keys(costs.precisions)).toEqual(['int4']);
      expect(Object.keys(costs.precisions.int4).sort()).toEqual(COSTS.map(({ name }) => name).sort());
      expect(steps.int4).toHaveLength(10);
      for (const { measured, fitted } of steps.int4) expect(Math.min(measured, fitted)).toBeGreaterThan(0);
    },
    PATIENCE,
  );

  it.each([
    [['--host', 'native'], /The native core is not built here.*\n.*build:native.*--host stock/],
    [['--host', 'gpu'], /native, stock/],
    [['--dtype', 'fp16'], /fp32, bf16, int8, int6, int5, int4 for dtype\[0\]/],
    [['--megabytes', '0'], /megabytes/],
  ])('refuses %j', async (args, message) => {
    const { stderr, code } = await lacuna('host', ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe('with the costs of a host', () => {
  const dense = join(folder, 'dense');
  beforeAll(async () => {
    await lacuna('convert', tinyLlama, '-o', dense, '--quiet');
  }, 60_000);

  it('a plan expects the times of blocks in the native kernels', async () => {
    const [statistics, plan] = ['statistics.json', 'plan.json'].map((name) => join(folder, name));
    await lacuna('calibrate', tinyLlama, '-o', statistics, '--tokens', '1100', '--threads', '1', '--quiet');
    const made = await lacuna('plan', statistics, '-o', plan, '--preset', 'top-k', '--dtype', 'int4', '--json');
    const { host, blocks } = JSON.parse(made.stdout).plan;
    expect(host).toEqual({ kind: 'native', dtype: 'int4' });
    for (const { expected } of blocks) expect(expected.time).toBeGreaterThan(0);
  });

  it('bench prints the expected speed beside the measured one', async () => {
    const few = ['--prompt-tokens', '8', '--repeats', '1', '--rounds', '1', '--steps', '2', '--threads', '1'];
    const { stdout } = await lacuna('bench', dense, '--against', dense, ...few, '--json', '--quiet');
    const { subjects, expectedSpeedup } = JSON.parse(stdout);
    expect(expectedSpeedup).toBe(1);
    for (const { expectedTokensPerSecond, expectedError, decodeTokensPerSecond } of subjects)
      expect(expectedError).toBeCloseTo(decodeTokensPerSecond.median / expectedTokensPerSecond - 1, 9);
  });
});
