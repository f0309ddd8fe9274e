import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { calibrate, summarise } from '../calibrate/index.ts';
import { openDouble, PIECES, readFloats } from '../calibrate/testing/double.ts';
import type { Statistics, Sums } from '../src/core/statistics.ts';
import { float32Tensor, type TensorExpr } from '../src/core/tensor.ts';
import { sha256File } from './files.ts';
import { readSafetensors, writeSafetensors } from './safetensors/index.ts';
import { readStatistics, readSums, writeStatistics } from './statistics.ts';

const TEXTS = [{ name: 'a', sha256: 'a'.repeat(64), tokens: [1, 2, 3, 4, 5, 6, 7] }];

let folder = '';
let path = '';
let statistics: Statistics;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-'));
  path = join(folder, 'statistics.json');
  statistics = await calibrate(
    PIECES,
    { texts: TEXTS, sequenceLength: 4 },
    { openGraph: openDouble(), readFloats, fingerprint: 'f' },
  );
});
afterAll(() => rm(folder, { recursive: true }));

const write = async (changed: Statistics = statistics) =>
  writeStatistics(changed, path, await summarise(statistics, readSums));

/** What the file holds, with all sums in memory. */
async function readWhole(): Promise<Statistics> {
  const read = await readStatistics(path);
  const layerSums: Record<string, Sums[]> = {};
  for (const [name, layers] of Object.entries(read.layerSums))
    layerSums[name] = await Promise.all(layers.map((sums) => readSums(sums)));
  return { ...read, layerSums };
}

/** As earlier versions had them: activation histograms of all layers were one tensor. */
function asBefore({ sums, layerSums, ...facts }: Statistics): Statistics {
  const { 'activation-histogram': layers, ...others } = layerSums;
  const histograms = layers.slice(0, -1) as readonly Sums[];
  const [{ counts, edges }] = histograms;
  const all = Uint32Array.from(histograms.flatMap((one) => [...one.counts.data]));
  const whole = { counts: { shape: [histograms.length, ...counts.shape], data: all }, edges };
  return { ...facts, sums: { ...sums, 'activation-histogram': whole }, layerSums: others };
}

describe('statistics files', () => {
  it('give back what was written, bit for bit', async () => {
    await write();
    expect(await readWhole()).toEqual({ ...statistics, file: path });
  });

  it('of earlier versions had the histograms of all layers in one tensor, and are read like others', async () => {
    await writeStatistics(asBefore(statistics), path, {});
    const names = [...(await readSafetensors(path.replace('.json', '.safetensors'))).tensors.keys()];
    expect(names).toContain('activation-histogram/counts');
    expect(await readWhole()).toEqual({ ...statistics, file: path });
  });

  it('are refused where these are not of the layers of the model', async () => {
    const { sums, ...facts } = asBefore(statistics);
    const { counts, edges } = sums['activation-histogram'];
    const flat = { shape: [counts.data.length], data: counts.data };
    for (const histogram of [{ edges }, { edges, counts: flat }] as readonly Sums[]) {
      await writeStatistics({ ...facts, sums: { ...sums, 'activation-histogram': histogram } }, path, {});
      await expect(readStatistics(path)).rejects.toMatchObject({
        code: 'bad-file',
        message: `${path}: the activation histograms are not those of 5 layers`,
        hint: expect.stringContaining('lacuna calibrate'),
      });
    }
  });

  it('are named by the hash that is returned, the same for the same statistics', async () => {
    const first = await write();
    expect(first).toBe(await sha256File(path));
    expect(await write()).toBe(first);
  });

  it('state definitions and figures for people', async () => {
    await write();
    const json = JSON.parse(await readFile(path, 'utf8'));
    expect(json.definitions.saturation).toMatch(/^cos\(h, h \+ y\)/);
    expect(json.summary.layers).toHaveLength(PIECES.spec.numHiddenLayers);
  });
});

describe('broken statistics files', () => {
  beforeEach(async () => {
    await write();
  });

  /** Changes the JSON and reads it. */
  const edited = async (edit: (json: Record<string, unknown>) => void) => {
    const json = JSON.parse(await readFile(path, 'utf8'));
    edit(json);
    await writeFile(path, JSON.stringify(json));
    return readStatistics(path);
  };

  /** Changes the tensors, binds them anew and reads them. */
  const withTensors = async (edit: (tensors: Map<string, TensorExpr>) => void) => {
    const file = join(folder, 'statistics.safetensors');
    const tensors = new Map<string, TensorExpr>((await readSafetensors(file)).tensors);
    edit(tensors);
    const entries = [...tensors].map(([name, data]) => ({ name, data }));
    await writeSafetensors(join(folder, 'edited.safetensors'), entries);
    const sha256 = await sha256File(join(folder, 'edited.safetensors'));
    return edited((json) => {
      json.tensors = { file: 'edited.safetensors', sha256 };
    });
  };

  it.each<[string, (json: Record<string, unknown>) => void, string, RegExp]>([
    [
      'another format',
      (json) => {
        json.format = 'lacuna.plan';
      },
      'bad-file',
      /format/,
    ],
    [
      'a later version',
      (json) => {
        json.version = 2;
      },
      'bad-file',
      /version/,
    ],
    [
      'a part too many',
      (json) => {
        json.extra = 1;
      },
      'bad-file',
      /extra/,
    ],
    [
      'a part missing',
      (json) => {
        delete json.tokens;
      },
      'bad-file',
      /tokens/,
    ],
    [
      'layers without end',
      (json) => {
        json.model = { ...statistics.model, numHiddenLayers: 1e9 };
      },
      'bad-file',
      /numHiddenLayers/,
    ],
    [
      'sequences out of order',
      (json) => {
        json.sequences = [1, 0];
      },
      'bad-file',
      /ascend/,
    ],
    [
      'a path that leads elsewhere',
      (json) => {
        json.tensors = { file: '../x.safetensors', sha256: '0'.repeat(64) };
      },
      'bad-file',
      /bare name/,
    ],
    [
      'tensors that are not there',
      (json) => {
        json.tensors = { file: 'x.safetensors', sha256: '0'.repeat(64) };
      },
      'not-found',
      /x\.safetensors/,
    ],
    [
      'tensors of another run',
      (json) => {
        json.tensors = { file: 'statistics.safetensors', sha256: '0'.repeat(64) };
      },
      'mismatch',
      /sha256/,
    ],
    [
      'a statistic without sums',
      (json) => {
        json.definitions = { ...statistics.definitions, novel: 'x' };
      },
      'bad-file',
      /novel/,
    ],
  ])('are refused for %s', async (_, edit, code, message) => {
    await expect(edited(edit)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('are refused for JSON cut short and for a file that is not there', async () => {
    await writeFile(path, (await readFile(path, 'utf8')).slice(0, 100));
    await expect(readStatistics(path)).rejects.toMatchObject({ code: 'bad-file' });
    await expect(readStatistics(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'not-found' });
  });

  it('are refused for a sum that is no number', async () => {
    const nan: TensorExpr = {
      kind: 'bytes',
      dtype: 'float64',
      shape: [1],
      bytes: new Uint8Array(Float64Array.of(Number.NaN).buffer),
    };
    await expect(withTensors((tensors) => tensors.set('kept-energy/count', nan))).rejects.toMatchObject({
      code: 'non-finite',
    });
  });

  it('are refused for a sum of another type or of no statistic', async () => {
    await expect(withTensors((tensors) => tensors.set('kept-energy/count', float32Tensor([1])))).rejects.toMatchObject({
      code: 'bad-file',
      message: expect.stringMatching(/float32/),
    });
    for (const layer of ['99', '-1', 'x'])
      await expect(
        withTensors((tensors) => tensors.set(`kept-energy/${layer}/count`, float32Tensor([1]))),
      ).rejects.toMatchObject({ code: 'bad-file', message: expect.stringMatching(/of no layer/) });
    await expect(withTensors((tensors) => tensors.set('novel/count', float32Tensor([1])))).rejects.toMatchObject({
      code: 'bad-file',
      message: expect.stringMatching(/no statistic/),
    });
  });
});
