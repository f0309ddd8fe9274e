/** Which costs a host is said to have: measured ones of this very host, else the package's own. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/temporary.ts';
import { COSTS, type CostsKey, costsOf, type HostCosts, type StorageCosts } from '../../core/host-costs.ts';
import { HOST_DTYPES } from '../../core/precision.ts';
import { DEFAULT_COSTS } from '../../plan/index.ts';
import { costsKey, costsOfHost, costsPath, saveCosts } from './costs.ts';

const folder = temporaryFolder();
const nowhere = join(folder, 'no-native-core');
const key: CostsKey = {
  host: 'native',
  processor: 'Some CPU',
  threads: 2,
  onnxruntime: '1.30.0',
  lacuna: '0.1.0',
  operatorSet: 2,
};
const seven = Object.fromEntries(COSTS.map(({ name }) => [name, 7])) as StorageCosts;
const measuredFor = (of: CostsKey): HostCosts => ({
  format: 'lacuna.costs',
  version: 1,
  key: of,
  precisions: { int4: seven },
});

/** A progress that keeps its notes. */
function listener() {
  const notes: string[] = [];
  const stage = () => ({ advance: () => {}, done: () => {} });
  return { notes, progress: { stage, note: (text: string) => notes.push(text) } };
}

it.each<Partial<CostsKey>>([
  { host: 'stock' },
  { processor: 'Another CPU' },
  { threads: 4 },
  { onnxruntime: '1.31.0' },
  { lacuna: '0.2.0' },
  { operatorSet: 3 },
])('costs of another host are kept elsewhere: %j', (change) => {
  expect(costsPath(folder, { ...key, ...change })).not.toBe(costsPath(folder, key));
  expect(costsPath(folder, { ...key })).toBe(costsPath(folder, key));
});

it('a key names this machine, and as many threads as it has cores where no number is given', async () => {
  const one = await costsKey('stock', { threads: 1 });
  expect(one).toMatchObject({
    host: 'stock',
    threads: 1,
    operatorSet: null,
    onnxruntime: expect.stringMatching(/^1\./),
  });
  expect(one.processor).not.toBe('');
  expect((await costsKey('stock', {})).threads).toBeGreaterThanOrEqual(1);
});

it('a host whose core is not built has no key', async () => {
  await expect(costsKey('native', { nativeFolder: nowhere })).rejects.toThrowError(
    expect.objectContaining({ code: 'not-found', hint: expect.stringContaining('npm run build:native') }),
  );
});

describe('the costs of a host', () => {
  it('stay when another precision is measured, and a file that cannot be used is replaced', async () => {
    const cacheFolder = join(folder, 'one-by-one');
    const own = await costsKey('stock', { threads: 2 });
    const precisionsIn = (path: string) => JSON.parse(readFileSync(path, 'utf8')).precisions;
    const path = await saveCosts(cacheFolder, measuredFor(own));
    const eight = Object.fromEntries(COSTS.map(({ name }) => [name, 8])) as StorageCosts;
    await saveCosts(cacheFolder, { ...measuredFor(own), precisions: { int8: eight } });
    expect(precisionsIn(path)).toEqual({ int4: seven, int8: eight });
    await saveCosts(cacheFolder, { ...measuredFor(own), precisions: { int4: eight } });
    expect(precisionsIn(path)).toEqual({ int4: eight, int8: eight });
    writeFileSync(path, '{"half');
    await saveCosts(cacheFolder, measuredFor(own));
    expect(precisionsIn(path)).toEqual({ int4: seven });
  });

  it('are what was measured of it, and the package’s own for other precisions', async () => {
    const cacheFolder = join(folder, 'measured');
    const own = await costsKey('stock', { threads: 2 });
    const path = await saveCosts(cacheFolder, measuredFor(own));
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(measuredFor(own));
    const found = await costsOfHost('stock', { cacheFolder, threads: 2 });
    expect(found.precisions).toEqual({ ...DEFAULT_COSTS.stock.precisions, int4: seven });
    // On another number of threads nothing was measured.
    expect(await costsOfHost('stock', { cacheFolder, threads: 1 })).toEqual(DEFAULT_COSTS.stock);
  });

  it.each([
    ['without a cache folder', undefined],
    ['with one in which nothing is', join(folder, 'empty')],
  ])('are the package’s own %s', async (_, cacheFolder) => {
    const { notes, progress } = listener();
    expect(await costsOfHost('native', { cacheFolder, progress })).toEqual(DEFAULT_COSTS.native);
    expect(notes).toEqual([]);
  });

  it('are the package’s own where the native core is not built', async () => {
    const cacheFolder = join(folder, 'measured');
    expect(await costsOfHost('native', { cacheFolder, nativeFolder: nowhere })).toEqual(DEFAULT_COSTS.native);
  });

  it.each([
    ['is damaged', '{"format": "lacuna.co', /is no JSON/],
    ['is of a later version', JSON.stringify({ ...measuredFor(key), version: 2 }), /version/],
    ['is something else', JSON.stringify({ format: 'lacuna.plan' }), /is no costs of a host/],
    [
      'has a negative cost',
      JSON.stringify({ ...measuredFor(key), precisions: { int4: { ...seven, row: -1 } } }),
      /row/,
    ],
  ])('are the package’s own where the file %s, and a note says so', async (what, text, problem) => {
    const cacheFolder = join(folder, what);
    const path = costsPath(cacheFolder, await costsKey('stock', { threads: 2 }));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    const { notes, progress } = listener();
    expect(await costsOfHost('stock', { cacheFolder, threads: 2, progress })).toEqual(DEFAULT_COSTS.stock);
    expect(notes).toEqual([expect.stringMatching(problem)]);
    expect(notes[0]).toContain('lacuna host measures them anew');
    expect(readdirSync(dirname(path))).toHaveLength(1);
  });
});

it('every host has costs of every precision that processors compute with, and of none for GPUs', () => {
  for (const costs of Object.values(DEFAULT_COSTS)) {
    for (const dtype of HOST_DTYPES) expect(costsOf(costs, dtype)).toBeDefined();
    expect(costsOf(costs, 'fp16')).toBeUndefined();
  }
  // A precision that has none takes those of the larger one before it.
  expect(costsOf({ precisions: { fp32: seven } }, 'int4')).toBe(seven);
  expect(costsOf({ precisions: { int4: seven } }, 'fp32')).toBeUndefined();
});
