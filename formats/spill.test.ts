/** Sums from the spill file equal the sums put there, and the file does not remain. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { calibrate, inputGrams, mergeStatistics, summarise, USUAL_STATISTICS } from '../calibrate/index.ts';
import { openDouble, PIECES, readFloats } from '../calibrate/testing/double.ts';
import type { Statistics } from '../src/core/statistics.ts';
import { sha256File } from './files.ts';
import { type Spill, withSpill } from './spill.ts';
import { readStatistics, readSums, writeStatistics } from './statistics.ts';

const input = {
  texts: [{ name: 'a', sha256: 'a'.repeat(64), tokens: [1, 2, 3, 4, 5, 6, 7, 8, 9] }],
  sequenceLength: 3,
};

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** All statistics: those that are kept by layer, and those that are not. */
const MEASURED = [...USUAL_STATISTICS, inputGrams];

const measure = (keep: Spill, shard = { index: 0, count: 1 }) =>
  calibrate(
    PIECES,
    { ...input, shard },
    { openGraph: openDouble(), readFloats, fingerprint: 'f', statistics: MEASURED, keeper: { keep } },
  );

/** The number of layers with sums in the file. */
const spilled = ({ layerSums }: Statistics) =>
  Object.values(layerSums)
    .flat()
    .flatMap((sums) => Object.values(sums))
    .filter((sum) => !('data' in sum)).length;

const tensorsOf = (name: string) => sha256File(join(folder, `${name}.safetensors`));

/** Measures with room for some bytes of sums, and writes. Returns how many sums found no room. */
const measureInto = (name: string, room: number, shard?: { index: number; count: number }) =>
  withSpill(
    join(folder, `${name}.json`),
    async (keep) => {
      const statistics = await measure(keep, shard);
      await writeStatistics(statistics, join(folder, `${name}.json`), await summarise(statistics, readSums));
      return spilled(statistics);
    },
    room,
  );

// A layer has three matrices of 6 x 6 and one of 10 x 10, the head one of 6 x 6. Of each, the triangle in two parts. A
// layer also has 10 histograms of 114 bins, and the 113 edges of these.
const GRAMS = 8 * 2 * (3 * 21 + 55);
const HISTOGRAMS = 4 * 10 * 114 + 8 * 113;
const SUMS = 5 * (4 + 2) + 1;
it.each([
  [0, SUMS],
  [GRAMS + HISTOGRAMS, SUMS - 6],
  [1 << 20, 0],
])('with room for %d bytes, %d sums lie in a file, and what is written is the same', async (room, wanted) => {
  await measureInto('whole', 1 << 20);
  expect(await measureInto('spilled', room)).toBe(wanted);
  expect(await tensorsOf('spilled')).toEqual(await tensorsOf('whole'));
});

it('shards that lie in files merge to the whole, through a file', async () => {
  await measureInto('whole', 1 << 20);
  const names = ['shard-0', 'shard-1', 'shard-2'];
  for (const [index, name] of names.entries()) await measureInto(name, 0, { index, count: 3 });
  const parts = await Promise.all(names.toReversed().map((name) => readStatistics(join(folder, `${name}.json`))));
  expect(parts.map(spilled)).toEqual([SUMS, SUMS, SUMS]);
  const merged = join(folder, 'merged.json');
  await withSpill(
    merged,
    async (keep) => {
      const statistics = await mergeStatistics(parts, { readSums, keep });
      expect(spilled(statistics)).toBe(SUMS);
      await writeStatistics(statistics, merged, await summarise(statistics, readSums));
    },
    0,
  );
  expect(await tensorsOf('merged')).toEqual(await tensorsOf('whole'));
});

it('leaves no file behind, when what it was for fails too', async () => {
  const output = join(folder, 'failing.json');
  const failing = withSpill(
    output,
    async (keep) => {
      await measure(keep);
      expect((await readdir(folder)).some((name) => name.startsWith('failing.json.partial-'))).toBe(true);
      throw new Error('on purpose');
    },
    0,
  );
  await expect(failing).rejects.toThrowError('on purpose');
  expect((await readdir(folder)).filter((name) => name.includes('.partial-'))).toEqual([]);
});
