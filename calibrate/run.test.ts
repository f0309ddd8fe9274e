/** The layer-by-layer pass, on a stand-in with known arithmetic. The real model's test is calibrate.test.ts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Progress } from '../src/core/progress.ts';
import { levelOfCosine, saturatedRegion } from '../src/core/saturation.ts';
import type { LayerSums, Statistics, Sums } from '../src/core/statistics.ts';
import { calibrate, mergeStatistics, STATISTICS, summarise, USUAL_STATISTICS } from './index.ts';
import { inputGrams } from './input-grams.ts';
import { neuronMagnitudes } from './neuron-magnitudes.ts';
import { downWeight, openDouble, PIECES, readFloats, SPEC } from './testing/double.ts';

const TEXTS = [
  { name: 'a', sha256: 'a'.repeat(64), tokens: Array.from({ length: 40 }, (_, i) => (i * 7) % 32) },
  { name: 'b', sha256: 'b'.repeat(64), tokens: Array.from({ length: 21 }, (_, i) => (i * 5 + 3) % 32) },
];
const input = { texts: TEXTS, sequenceLength: 6 };
const options = { openGraph: openDouble(), readFloats, fingerprint: 'double' };

describe('calibrate', () => {
  it('measures every token once in every layer', async () => {
    const statistics = await calibrate(PIECES, input, options);
    // 40 = 6 * 6 + 4, 21 = 3 * 6 + 3: 7 and 4 sequences.
    expect(statistics.sequences).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(statistics.tokens).toBe(61);
    expect(statistics.texts.map(({ tokens }) => tokens)).toEqual([40, 21]);
    // Gram matrices are measured on request.
    expect(Object.keys(statistics.definitions)).toEqual(USUAL_STATISTICS.map(({ name }) => name));
    expect(Object.keys(statistics.layerSums)).toEqual(['activation-histogram']);
    const histograms = statistics.layerSums['activation-histogram'] as readonly Sums[];
    const totals = histograms
      .slice(0, -1)
      .map(({ counts }) => Array.from(counts.data).reduce((sum, count) => sum + count, 0));
    expect(totals).toEqual(Array(SPEC.numHiddenLayers).fill(61 * SPEC.intermediateSize));
    // Nothing of the head.
    expect(histograms.at(-1)).toEqual({});
  });

  it('measures no more than it is asked for', async () => {
    const log: string[] = [];
    const statistics = await calibrate(PIECES, input, {
      ...options,
      openGraph: openDouble(log),
      statistics: [neuronMagnitudes],
    });
    expect(Object.keys(statistics.sums)).toEqual(['neuron-magnitudes']);
    expect(Object.keys(statistics.definitions)).toEqual(['neuron-magnitudes']);
    expect(log).not.toContain('open head');
    const whole = await calibrate(PIECES, input, options);
    expect(statistics.sums['neuron-magnitudes']).toEqual(whole.sums['neuron-magnitudes']);
  });

  it('hands on the sums of large statistics a layer each, of the layers that are wanted', async () => {
    const kept: string[] = [];
    const keeper = {
      wants: (layer: number, statistic: string) => statistic !== 'input-grams' || layer !== 2,
      keep: async (sums: Sums, layer: number, statistic: string) => {
        kept.push(`${statistic} ${layer}`);
        return statistic !== 'input-grams' || layer === 5 ? sums : undefined;
      },
    };
    const statistics = [...USUAL_STATISTICS, inputGrams];
    const measured = await calibrate(PIECES, input, { ...options, statistics, keeper });
    expect(kept).toEqual(
      [0, 1, 2, 3, 4, 5].flatMap((layer) => [
        `activation-histogram ${layer}`,
        ...(layer === 2 ? [] : [`input-grams ${layer}`]),
      ]),
    );
    const [all, usual] = [
      await calibrate(PIECES, input, { ...options, statistics: [inputGrams] }),
      await calibrate(PIECES, input, options),
    ];
    const { 'input-grams': grams, ...others } = measured.layerSums;
    expect(grams).toEqual([all.layerSums['input-grams'][5]]);
    expect(others).toEqual(usual.layerSums);
    expect(measured.sums).toEqual(usual.sums);
  });

  it('takes down norms from the columns of the weight', async () => {
    const { sums } = await calibrate(PIECES, input, options);
    const weight = downWeight(2);
    const wanted = Array.from({ length: SPEC.intermediateSize }, (_, j) =>
      Math.sqrt(
        Array.from({ length: SPEC.hiddenSize }, (_, i) => weight[i * SPEC.intermediateSize + j] ** 2).reduce(
          (a, b) => a + b,
        ),
      ),
    );
    const { down_norm } = sums['neuron-magnitudes'];
    wanted.forEach((norm, j) => {
      expect(down_norm.data[2 * SPEC.intermediateSize + j]).toBeCloseTo(norm, 12);
    });
  });

  it('keeps one layer open at a time and closes what it opened, also on an error', async () => {
    const log: string[] = [];
    await calibrate(PIECES, input, { ...options, openGraph: openDouble(log) });
    const names = ['embed', 'layer0', 'layer1', 'layer2', 'layer3', 'layer4', 'head'];
    expect(log).toEqual(names.flatMap((name) => [`open ${name}`, `close ${name}`]));

    const failing: string[] = [];
    const openGraph = openDouble(failing, (hidden, layer) => {
      if (layer === 1) hidden[3] = Number.NaN;
    });
    await expect(calibrate(PIECES, input, { ...options, openGraph })).rejects.toMatchObject({
      code: 'non-finite',
      message: expect.stringMatching(/Layer 1/),
    });
    expect(failing.slice(-2)).toEqual(['open layer1', 'close layer1']);
  });

  it('stops when its signal says so', async () => {
    const stop = new AbortController();
    const log: string[] = [];
    const openGraph = openDouble(log, (_, layer) => {
      if (layer === 2) stop.abort();
    });
    const run = calibrate(PIECES, input, { ...options, openGraph, signal: stop.signal });
    await expect(run).rejects.toMatchObject({ code: 'interrupted' });
    expect(log.at(-1)).toBe('close layer2');
  });

  it('begins no sequence after its signal said to stop', async () => {
    const stop = new AbortController();
    let sequences = 0;
    const openGraph = openDouble([], (_, layer) => {
      if (layer !== 2) return;
      sequences += 1;
      stop.abort();
    });
    await expect(calibrate(PIECES, input, { ...options, openGraph, signal: stop.signal })).rejects.toThrow();
    expect(sequences).toBe(1);
  });

  it('says how far it is, and ends at the whole', async () => {
    const said: unknown[] = [];
    let done = 0;
    const progress: Progress = {
      note: () => {},
      stage: (...stage) => {
        said.push(stage);
        return { advance: (by) => (done += by), done: () => said.push(done) };
      },
    };
    await calibrate(PIECES, input, { ...options, progress });
    expect(said).toEqual([['Calibrating', 5 * 61, 'layer tokens'], 5 * 61]);
  });

  it('names the value that a graph lacks', async () => {
    const layer = (i: number) => ({ ...PIECES.layer(i), nodes: [] });
    await expect(calibrate({ ...PIECES, layer }, input, options)).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/layers\.0\.ffn_residual/),
    });
    const head = () => ({ ...PIECES.head(), nodes: [] });
    await expect(calibrate({ ...PIECES, head }, input, options)).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/head\.norm/),
    });
    const tableless = () => ({ ...PIECES.embed(), initializers: [] });
    await expect(calibrate({ ...PIECES, embed: tableless }, input, options)).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/embed_tokens/),
    });
    const weightless = (i: number) => ({ ...PIECES.layer(i), initializers: [] });
    await expect(calibrate({ ...PIECES, layer: weightless }, input, options)).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/down_proj/),
    });
  });
});

/** If nothing is spilled. */
const inMemory = {
  readSums: async (sums: LayerSums) => sums as Sums,
  keep: async (sums: Sums) => sums,
};
const merge = (parts: readonly Statistics[]) => mergeStatistics(parts, inMemory);

describe('mergeStatistics', () => {
  const everything = { ...options, statistics: STATISTICS };
  const shards = (count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, index) => calibrate(PIECES, { ...input, shard: { index, count } }, everything)),
    );

  it('of any split in any order is the whole, bit for bit', async () => {
    const whole = await calibrate(PIECES, input, everything);
    // Five layers and the head.
    expect(whole.layerSums['input-grams']).toHaveLength(6);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 11 }).chain((count) =>
          fc.shuffledSubarray(
            Array.from({ length: count }, (_, i) => i),
            { minLength: count, maxLength: count },
          ),
        ),
        async (order) => {
          const parts = await shards(order.length);
          expect(await merge(order.map((i) => parts[i]))).toEqual(whole);
        },
      ),
      { numRuns: 12 },
    );
  });

  it('does not depend on how parts are grouped', async () => {
    const [a, b, c] = await shards(3);
    expect(await merge([await merge([c, a]), b])).toEqual(await merge([a, await merge([b, c])]));
  });

  it.each<[string, (part: Statistics) => Statistics, RegExp]>([
    ['a shard twice', (part) => part, /share sequence 0/],
    ['another model', (part) => ({ ...part, model: { ...part.model, fingerprint: 'other' } }), /differ in model/],
    ['another text', (part) => ({ ...part, texts: part.texts.slice(0, 1) }), /differ in texts/],
    [
      'another definition',
      (part) => ({ ...part, definitions: { ...part.definitions, saturation: 'cos(n, y)' } }),
      /differ in the definitions of saturation$/,
    ],
    ['another choice of sequences', (part) => ({ ...part, plannedSequences: 3 }), /number of sequences/],
  ])('refuses %s', async (_, change, message) => {
    const [part] = await shards(2);
    await expect(merge([part, change(part)])).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(message),
    });
  });

  it('refuses counts that no number holds together', async () => {
    const [first, second] = await shards(2);
    const many = { ...first, tokens: Number.MAX_SAFE_INTEGER };
    await expect(merge([many, second])).rejects.toThrowError(/count 9007199254740991 and \d+ tokens/);
  });

  it('refuses statistics that another version defines otherwise', async () => {
    const parts = (await shards(2)).map((part) => ({
      ...part,
      definitions: { ...part.definitions, saturation: 'cos(n, y)' },
    }));
    await expect(merge(parts)).rejects.toThrowError(/define saturation otherwise/);
  });

  it('names a statistic that one of them lacks, and merges what all of older files have', async () => {
    const [first, second] = await shards(2);
    const older = { ...without(second, 'kept-energy'), file: 'older.json' };
    await expect(merge([first, older])).rejects.toMatchObject(notMeasured('older.json', 'kept-energy'));
    const ungrammed = { ...without(second, 'input-grams'), file: 'older.json' };
    await expect(merge([first, ungrammed])).rejects.toMatchObject(notMeasured('older.json', 'input-grams'));
    const merged = await merge([without(first, 'kept-energy'), older]);
    expect(merged).toEqual(without(await merge([first, second]), 'kept-energy'));
  });

  it('refuses a statistic that this version does not know', async () => {
    const parts = (await shards(2)).map((part) => ({
      ...part,
      definitions: { ...part.definitions, novel: 'x' },
      sums: { ...part.sums, novel: {} },
    }));
    await expect(merge(parts)).rejects.toThrowError(/hold novel, which this version does not know/);
  });
});

/** As an older version without the statistic measured them. */
function without(statistics: Statistics, name: string): Statistics {
  const others = <T>(parts: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(parts).filter(([one]) => one !== name));
  const { definitions, sums, layerSums } = statistics;
  return { ...statistics, definitions: others(definitions), sums: others(sums), layerSums: others(layerSums) };
}

function notMeasured(file: string, statistic: string) {
  return {
    code: 'bad-file',
    message: `${file}: the statistic "${statistic}" was not measured`,
    hint: expect.stringMatching(
      new RegExp(`^Calibrate again to get it: lacuna calibrate CHECKPOINT -o ${file}.* --force$`),
    ),
  };
}

describe('summarise', () => {
  it('gives every figure for every layer, and says what is doubtful', async () => {
    const [part] = await Promise.all([calibrate(PIECES, { ...input, shard: { index: 0, count: 2 } }, options)]);
    const { layers, follows, saturated, warnings } = await summarise(part, inMemory.readSums);
    expect(layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4]);
    for (const row of layers) expect(Object.values(row).every(Number.isFinite)).toBe(true);
    expect(warnings.join('\n')).toMatch(/6 of 11 sequences/);
    expect(warnings.join('\n')).toMatch(/5 layers/);
    // The means by layer are those of the region.
    const { start, end } = saturatedRegion(layers.map(({ meanCosine }) => meanCosine));
    expect(saturated).toMatchObject({ start, end });
    const mostOf = (figure: string) =>
      layers.reduce((most, row) => (row[figure] > layers[most][figure] ? row.layer : most), 0);
    expect(follows.join('\n')).toContain(`Layers ${start} to ${end - 1} change least`);
    expect(follows.join('\n')).toContain(`Layer ${mostOf('streamLostAtHalf')} loses most`);
    expect(follows.join('\n')).toContain(`In layer ${mostOf('downInPeak')} it is`);
    const left = layers.reduce((sum, { gateEnergyAtHalf }) => sum + (1 - gateEnergyAtHalf) / layers.length, 0);
    expect(follows.join('\n')).toContain(`and ${(100 * left).toFixed(1)} % by the other`);
  });

  it.each([
    ['rise', [0.1, 0.9, 0.92, 0.95, 0.2], { start: 2, end: 4, spearman: 1 }, false],
    ['fall', [0.1, 0.2, 0.95, 0.9, 0.3], { start: 2, end: 4, spearman: -1 }, true],
    ['rise and fall back', [0.1, 0.9, 0.92, 0.91, 0.3], { start: 2, end: 4, spearman: -1 }, true],
    ['are all alike', [0.5, 0.5, 0.5, 0.5, 0.5], { start: 1, end: 4, spearman: null }, true],
  ])('finds where cosines that %s are high', async (_, cosines, saturated, warns) => {
    const part = await calibrate(PIECES, input, options);
    const trace = Uint16Array.from(part.sums.saturation.trace.data, (_, at) =>
      levelOfCosine(cosines[Math.floor(at / part.tokens)]),
    );
    const saturation = {
      ...part.sums.saturation,
      trace: { shape: [SPEC.numHiddenLayers, part.tokens], data: trace },
    };
    const summary = await summarise({ ...part, sums: { ...part.sums, saturation } }, inMemory.readSums);
    expect(summary.saturated).toEqual(saturated);
    summary.layers.forEach((row, layer) => {
      for (const column of ['meanCosine', 'p05Cosine', 'medianCosine', 'p95Cosine'])
        expect(row[column]).toBeCloseTo(cosines[layer], 4);
    });
    const doubts = summary.warnings.filter((warning) => warning.includes('Mean cosines do not rise'));
    expect(doubts).toHaveLength(warns ? 1 : 0);
    if (warns) expect(doubts[0]).toContain(`layers ${saturated.start} to ${saturated.end - 1}`);
    expect(summary.warnings.join()).not.toMatch(/sequences were measured/);
  });

  it('gives the figures of an older file, and names what it cannot do without', async () => {
    const whole = await calibrate(PIECES, input, options);
    const { layers } = await summarise(without(whole, 'kept-energy'), inMemory.readSums);
    const { gateEnergyAtHalf, oracleEnergyAtHalf, ...others } = (await summarise(whole, inMemory.readSums)).layers[0];
    expect(layers[0]).toEqual(others);
    const older = { ...without(whole, 'saturation'), file: 'older.json' };
    await expect(summarise(older, inMemory.readSums)).rejects.toMatchObject(notMeasured('older.json', 'saturation'));
  });
});
