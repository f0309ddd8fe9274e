/** Native decoders and the life of a process: it ends cleanly in the middle of a text, and nothing is leaked. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { convert } from '../../src/index.ts';
import { runtimeLibrary } from '../../src/runtime/native-addon.ts';
import { nativeLib } from '../native-lib.ts';
import { required, root } from '../real/real-model.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';

const released = join(nativeLib, 'lacuna_node.node');
const sanitized = join(root, 'native/build/address/lib/lacuna_node.node');
const runtime = await runtimeLibrary();
const folder = temporaryFolder();
const dense = join(folder, 'dense/onnx/model.onnx');

function decode(how: string, { model = dense, flags = [] as string[], addon = released, env = {} } = {}) {
  const options = JSON.stringify({ addon, runtime, model });
  const script = join(import.meta.dirname, 'decode.js');
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...flags, script, how, options], {
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, ...env },
  });
  return { status, signal, stdout, stderr };
}

/** MiB between the middle of a series, when everything has been used once, and its end. */
function growth(series: readonly number[]): number {
  const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const quarter = series.length >> 2;
  return median(series.slice(-quarter)) - median(series.slice(quarter, 2 * quarter));
}

describe.skipIf(!required && !existsSync(released))('a process with native decoders', { timeout: 240_000 }, () => {
  beforeAll(async () => {
    await convert({ checkpoint: tinyLlama, output: join(folder, 'dense') });
  }, 120_000);

  it.each(['exit', 'opening', 'signal', 'modelExit'])('ends with its own code: %s', (how) => {
    expect(decode(how)).toEqual({ status: 7, signal: null, stdout: '', stderr: '' });
  });

  it('ends by what a callback throws, as by any exception that nobody catches', () => {
    const { status, signal, stderr } = decode('throw');
    expect({ status, signal }).toEqual({ status: 1, signal: null });
    expect(stderr).toMatch(/Error: a callback failed/);
  });

  it.runIf(spawnSync('prlimit', ['--version']).status === 0)('goes on where memory is missing for a call', () => {
    expect(decode('memory')).toEqual({ status: 7, signal: null, stdout: 'std::bad_alloc\n', stderr: '' });
  });

  it('waits for a text that nobody awaits', () => {
    expect(decode('unawaited')).toMatchObject({ status: 0, signal: null, stdout: 'length\n' });
  });

  it('goes on when worker threads are terminated in the middle of their texts', () => {
    expect(decode('terminate')).toMatchObject({ status: 0, signal: null, stdout: 'length\n' });
  });

  // A decoder of this model takes 8 MB or more; were each kept, or every third, that would be 240 MB or 80 between the
  // quarters of 120, and 120 MB between those of 60.
  it.each(['cycles', 'forgotten', 'models'])('gives memory back: %s', (how) => {
    const { status, stdout } = decode(how, { flags: ['--expose-gc'] });
    expect(status).toBe(0);
    const series: number[] = JSON.parse(stdout);
    expect(series.length).toBeGreaterThanOrEqual(60);
    expect(growth(series)).toBeLessThan(20);
  });

  it('keeps its memory over a text of 10,000 tokens: only the cache grows', async () => {
    const checkpoint = join(folder, 'long-context');
    cpSync(join(root, 'fixtures/llama-variants/gqa-tied-bf16'), checkpoint, { recursive: true });
    const config = JSON.parse(readFileSync(join(checkpoint, 'config.json'), 'utf8'));
    writeFileSync(join(checkpoint, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 10_240 }));
    await convert({ checkpoint, output: join(folder, 'long') });
    const { status, stdout } = decode('long', { model: join(folder, 'long/onnx/model.onnx'), flags: ['--expose-gc'] });
    expect(status).toBe(0);
    const series: number[] = JSON.parse(stdout);
    expect(series).toHaveLength(20);
    console.info(`resident MiB at every 1,000 tokens of two texts of 10,000: ${series.join(' ')}`);
    // The first text makes the cache (2 layers of 2 heads of 16 floats, keys and values: 512 bytes a token, 5 MiB) and
    // ONNX Runtime's buffers for scores, which its arena rounds up as they grow. The second finds all of that: what is not
    // given back would show, from 4 MiB / 10,000 = 420 bytes a token on.
    expect(series[9] - series[1]).toBeLessThan(24);
    expect(series[19] - series[9]).toBeLessThan(4);
  });

  it.skipIf(!required && !existsSync(sanitized))('does nothing that the address sanitizer finds', () => {
    const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
      execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
    );
    // Node and ONNX Runtime are not built with it: leaks and mismatched allocations of theirs are not ours to find.
    const env = {
      LD_PRELOAD: libraries.join(':'),
      ASAN_OPTIONS: 'detect_leaks=0:alloc_dealloc_mismatch=0:exitcode=99',
    };
    for (const [how, status] of [
      ['exit', 7],
      ['modelExit', 7],
      ['terminate', 0],
      ['cycles', 0],
      ['models', 0],
    ] as const) {
      const found = decode(how, { addon: sanitized, env, flags: ['--expose-gc'] });
      expect({ how, status: found.status, stderr: found.stderr }).toEqual({ how, status, stderr: '' });
    }
  });
});
