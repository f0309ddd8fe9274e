import { describe, expect, it } from 'vitest';
import type { Plan } from '../core/plan.ts';
import { cosineOfLevel, levelOfCosine, meanCosines, readTrace } from '../core/saturation.ts';
import { makePlan, type PlanOptions, retune, simulateSkips } from './index.ts';
import { normal, noSums, saturationOf, seeded, statisticsOf } from './testing/statistics.ts';

type FfnSkipOptions = Extract<PlanOptions, { readonly preset: 'ffn-skip' }>;

const FACTS = { layers: 12, neurons: 2, sequences: 10, sequenceLength: 200 };
const TOKENS = FACTS.sequences * FACTS.sequenceLength;

/** Rises from 0.93 to 0.98 in layers 2 to 9, with noise by token; the ends are low. */
function madeUp(seed = 1) {
  const next = seeded(seed);
  const saturation = saturationOf(FACTS, (layer) => {
    if (layer < 2 || layer > 9) return 0.3 + 0.01 * normal(next);
    return Math.min(1, 0.93 + (layer - 2) * 0.007 + 0.01 * normal(next));
  });
  return statisticsOf(FACTS, { saturation });
}

/** The share of all blocks that a plan says it skips, summed as the simulation does. */
const realisedBy = ({ blocks }: Plan) =>
  blocks.reduce((sum, { expected }) => sum + Math.round((expected.skipped ?? 0) * TOKENS), 0) / (TOKENS * FACTS.layers);

/** All layers that are not low. */
const BORDERS = { coldStart: 2, coldEnd: 10 };

const planSkip = async (options: Omit<FfnSkipOptions, 'preset'> = {}, seed = 1) =>
  (await makePlan(madeUp(seed), { preset: 'ffn-skip', ...BORDERS, ...options }, 'f'.repeat(64), noSums)).plan;

/** The layers that may be skipped where the borders are left to the profile. */
async function regionOf(options: Omit<FfnSkipOptions, 'preset'>, statistics = madeUp()) {
  const { blocks } = (await makePlan(statistics, { preset: 'ffn-skip', ...options }, '', noSums)).plan;
  return [blocks[0], blocks[blocks.length - 1]].map(({ block }) => Number(block.split('.')[1]));
}

describe('ffn-skip', () => {
  it('meets the target on the statistics it is made from', async () => {
    for (const target of [0.05, 0.15, 0.25]) {
      const plan = await planSkip({ skip: target });
      const share = plan.blocks.reduce((sum, { expected }) => sum + (expected.skipped ?? 0), 0) / FACTS.layers;
      // A level more or less changes tokens that share it: 2,000 tokens over some 10,000 levels, so a few of 24,000 blocks.
      expect(Math.abs(share - target)).toBeLessThan(0.002);
      expect(plan.blocks.map(({ block }) => block)).toEqual([2, 3, 4, 5, 6, 7, 8, 9].map((i) => `layers.${i}.ffn`));
    }
  });

  it('lets prompts run whole where nothing else is said', async () => {
    expect((await planSkip()).prefill).toBe('dense');
    expect((await planSkip({ prefill: 'sparse' })).prefill).toBe('sparse');
  });

  it('states what is read and where it comes from', async () => {
    const {
      notes = [],
      blocks: [first, second],
    } = await planSkip();
    // The first block of the region is tested, never skipped: gate, up and down of 2 x 4 floats.
    expect(first.expected).toEqual({ skipped: 0, bytesPerToken: 3 * 2 * 4 * 4 });
    expect(second.expected.bytesPerToken).toBe(Math.round((1 - (second.expected.skipped ?? 0)) * 96));
    expect(notes[0]).toMatch(/^Threshold solved\. .*25\.\d % of all FFN blocks are skipped, in layers 2 to 9\.$/);
    expect(first.why).toMatch(/^mean cosine 0\.\d{4} past warm-up, .*; first of the region, so always computed$/);
    expect(second.why).toMatch(/^mean cosine 0\.93\d\d past warm-up, \d+\.\d % of tokens reach the threshold$/);
  });

  it('takes longer runs only where shorter ones do not reach', async () => {
    // 8 layers, 10 warm-up of 200 positions: runs of 1 skip at most 4 of 12 in 95 % of tokens, 31.7 %.
    expect((await planSkip({ warmUpTokens: 10, skip: 0.3 })).blocks[0].skip?.runLength).toBe(1);
    // Runs of 2 skip at most 5 of 12 (39.6 %), of 3 at most 6 (47.5 %).
    expect((await planSkip({ warmUpTokens: 10, skip: 0.35 })).blocks[0].skip?.runLength).toBe(2);
    expect((await planSkip({ warmUpTokens: 10, skip: 0.45 })).blocks[0].skip?.runLength).toBe(3);
    // Without re-arming a token skips one run, so k is the number of blocks.
    expect((await planSkip({ warmUpTokens: 10, skip: 0.25, reArm: false })).blocks[0].skip?.runLength).toBe(4);
  });

  it('says the most that can be had', async () => {
    // 7 of 12 in 190 of 200 positions: 55.4 %.
    await expect(planSkip({ warmUpTokens: 10, skip: 0.6 })).rejects.toThrowError(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(/At most 55\.4 %.*wanted 60\.0 %/) }),
    );
  });

  it('takes the lowest level that skips the most, where that is the target', async () => {
    // All cosines are above 0.88, so a level far below the last lets all pass.
    const { blocks } = await planSkip({ skip: (7 * 190) / (12 * 200), runLength: 7 });
    expect(blocks[0].skip?.threshold).toBeGreaterThan(0.85);
  });

  it('finds the layers of highest cosine in which the target can be reached', async () => {
    // Cosines rise evenly. Where the runs have to be longer, more layers are taken.
    expect(await regionOf({ skip: 0.05 })).toEqual([6, 9]);
    // 4 of 12 blocks a token are 33.3 %, of which a warm-up of 10 in 200 leaves 31.7 %.
    expect(await regionOf({ skip: 0.31, warmUpTokens: 10 })).toEqual([5, 9]);
    expect(await regionOf({ skip: 0.32, warmUpTokens: 10 })).toEqual([4, 9]);
    expect(await regionOf({ skip: 0.31, warmUpTokens: 20 })).toEqual([4, 9]);
    // Runs of one need as many blocks that are tested.
    expect(await regionOf({ skip: 0.2, warmUpTokens: 10, runLength: 1 })).toEqual([4, 9]);
    expect(await regionOf({ skip: 0.2, warmUpTokens: 10, runLength: 2 })).toEqual([5, 9]);
    // A threshold alone asks for no share.
    expect(await regionOf({ threshold: 0.95 })).toEqual([6, 9]);
    expect(await regionOf({ coldStart: 3, skip: 0.05 })).toEqual([3, 9]);
    expect(await regionOf({ coldEnd: 8, skip: 0.05 })).toEqual([6, 7]);
  });

  it('says where cosines do not rise with depth, and what the rule does then', async () => {
    const falls = ({ notes }: Plan) => notes?.find((note) => note.includes('do not rise'));
    expect(falls(await planSkip())).toBeUndefined();
    const next = seeded(7);
    const saturation = saturationOf(FACTS, (layer) => Math.min(1, 0.98 - layer * 0.004 + 0.01 * normal(next)));
    const falling = statisticsOf(FACTS, { saturation });
    const noteOf = async (skip: number) =>
      falls((await makePlan(falling, { preset: 'ffn-skip', ...BORDERS, skip }, '', noSums)).plan);
    expect(await noteOf(0.2)).toMatch(/\(Spearman -1\.00\).* No run is longer than 1 block\.$/);
    expect(await noteOf(0.35)).toMatch(/ No run is longer than 2 blocks\.$/);
  });

  it('says where cosines have not settled', async () => {
    const next = seeded(8);
    const rising = saturationOf(FACTS, (_, position) => 0.9 + position / 4000 + 0.001 * normal(next));
    const statistics = statisticsOf(FACTS, { saturation: rising });
    const planned = async (options: Omit<FfnSkipOptions, 'preset'>) =>
      (await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS, skip: 0.05, ...options }, '', noSums)).plan;
    const settling = ({ notes }: Plan) => notes?.find((note) => note.includes('have not settled'));
    const usual = await planned({});
    expect(usual.skipping?.warmUpTokens).toBe(96);
    expect(settling(usual)).toBe('Cosines have not settled in the first 96 tokens, half of the sequences.');
    expect(settling(await planned({ warmUpTokens: 5 }))).toBeDefined();
    expect(settling(await planned({ warmUpTokens: 97 }))).toBeUndefined();
    expect(settling(await planSkip())).toBeUndefined();
  });

  it('plans for a model of two layers, which has none between the ends', async () => {
    const facts = { ...FACTS, layers: 2 };
    const next = seeded(4);
    const saturation = saturationOf(facts, () => Math.min(1, 0.95 + 0.01 * normal(next)));
    const options = { preset: 'ffn-skip', coldStart: 0, coldEnd: 2, skip: 0.2 } as const;
    const { plan } = await makePlan(statisticsOf(facts, { saturation }), options, '', noSums);
    expect(plan.blocks.map(({ block }) => block)).toEqual(['layers.0.ffn', 'layers.1.ffn']);
    expect(plan.skipping?.warmUpTokens).toBeLessThan(20);
  });

  it('takes what is given instead of what it would find', async () => {
    const plan = await planSkip({
      coldStart: 4,
      coldEnd: 8,
      runLength: 2,
      warmUpTokens: 3,
      threshold: 0.95,
      reArm: false,
    });
    expect(plan.blocks).toHaveLength(4);
    expect(plan.blocks[0].skip).toEqual({ threshold: 0.95, runLength: 2 });
    expect(plan.skipping).toEqual({ warmUpTokens: 3, reArm: false });
    const level = levelOfCosine(0.95);
    const rule = { start: 4, end: 8, level, runLength: 2, warmUpTokens: 3, reArm: false };
    const simulated = simulateSkips(readTrace(madeUp()), {
      ...rule,
      level: cosineOfLevel(level) >= 0.95 ? level : level - 1,
    });
    expect(plan.target).toEqual({ kind: 'skipped-blocks', value: simulated.share });
  });

  it('takes the level that comes nearest to the target, on either side of it', async () => {
    const trace = readTrace(madeUp());
    const misses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const target = 0.05 + 0.01 * i;
      const plan = await planSkip({ skip: target, runLength: 1, warmUpTokens: 0 });
      const level = levelOfCosine(plan.blocks[0].skip?.threshold ?? Number.NaN);
      const rule = { start: 2, end: 10, runLength: 1, warmUpTokens: 0, reArm: true };
      const missAt = (other: number) => simulateSkips(trace, { ...rule, level: other }).share - target;
      // Half a step past a level rounds to it or to the next.
      const found = [level - 1, level].find((one) => missAt(one) === realisedBy(plan) - target) ?? Number.NaN;
      for (const other of [found - 1, found + 1])
        expect(Math.abs(missAt(found))).toBeLessThanOrEqual(Math.abs(missAt(other)));
      misses.push(missAt(found));
    }
    expect(Math.min(...misses)).toBeLessThan(0);
    expect(Math.max(...misses)).toBeGreaterThan(0);
  });

  it('takes the ends of what is allowed', async () => {
    const plan = (options: Omit<FfnSkipOptions, 'preset'>) => planSkip({ skip: 0.01, ...options });
    expect((await plan({ coldStart: 0, coldEnd: 12 })).blocks).toHaveLength(12);
    expect((await plan({ coldStart: 8, coldEnd: 10 })).blocks.map(({ block }) => block)).toEqual([
      'layers.8.ffn',
      'layers.9.ffn',
    ]);
    expect((await plan({ runLength: 7 })).blocks[0].skip?.runLength).toBe(7);
    expect((await plan({ warmUpTokens: 0 })).skipping?.warmUpTokens).toBe(0);
    expect((await plan({ coldStart: 10, coldEnd: 12, warmUpTokens: 175 })).skipping?.warmUpTokens).toBe(175);
    // What no cosine reaches skips nothing; what all reach, all that the rule may.
    const skippedBy = async (threshold: number) =>
      (await planSkip({ threshold, runLength: 7, warmUpTokens: 0 })).target.value;
    expect(await skippedBy(-1)).toBeCloseTo(7 / 12, 12);
    expect(await skippedBy(1)).toBeLessThan(0.01);
  });

  it('skips a quarter where nothing is said', async () => {
    expect((await planSkip()).target).toEqual({ kind: 'skipped-blocks', value: 0.25 });
    expect((await planSkip()).skipping?.reArm).toBe(true);
    expect((await planSkip({ threshold: 0.95, skip: 0.2 })).target.value).toBe(0.2);
  });

  it('says of each block how saturated it is past the warm-up, and whether the threshold was found', async () => {
    const plan = await planSkip({ warmUpTokens: 20 });
    const { tokens, levels, positions, ...trace } = readTrace(madeUp());
    const cosines = meanCosines({ tokens, levels, positions, ...trace }, 20);
    const threshold = plan.blocks[0].skip?.threshold ?? Number.NaN;
    const past = Array.from({ length: tokens }, (_, token) => token).filter((token) => positions[token] >= 20);
    plan.blocks.forEach(({ why }, i) => {
      const passing = past.filter((token) => cosineOfLevel(levels[(2 + i) * tokens + token]) >= threshold);
      const share = ((100 * passing.length) / past.length).toFixed(1);
      const said = `mean cosine ${cosines[2 + i].toFixed(4)} past warm-up, ${share} % of tokens reach the threshold`;
      expect(why).toBe(i === 0 ? `${said}; first of the region, so always computed` : said);
    });
    expect(plan.notes?.[0]).toMatch(/^Threshold solved\. Simulated on 2000 tokens: /);
    expect((await planSkip({ threshold: 0.95 })).notes?.[0]).toMatch(/^Threshold given\. /);
  });

  it('keeps thresholds that pass exactly the cosines that the simulation let pass', async () => {
    const plan = await planSkip();
    const threshold = plan.blocks[0].skip?.threshold ?? Number.NaN;
    const level = Math.floor((Math.acos(threshold) / Math.PI) * 65535);
    expect(cosineOfLevel(level)).toBeGreaterThanOrEqual(threshold);
    expect(cosineOfLevel(level + 1)).toBeLessThan(threshold);
  });

  it.each<[string, Omit<FfnSkipOptions, 'preset'>, RegExp]>([
    ['a target of nothing', { skip: 0 }, /skip/],
    ['a target of all', { skip: 1 }, /skip/],
    ['a region past the end', { coldEnd: 13 }, /4 to 12 for coldEnd/],
    ['a region that begins at the last block', { coldStart: 11, coldEnd: undefined }, /0 to 10 for coldStart/],
    ['a region before the first', { coldStart: -1 }, /coldStart/],
    ['a region of one block', { coldStart: 4, coldEnd: 5 }, /6 to 12 for coldEnd/],
    [
      'a region whose end is found before its start',
      { coldStart: 10, coldEnd: undefined },
      /Wanted at least 2 layers that may be skipped, but found none/,
    ],
    [
      'a region of which one block is left',
      { coldStart: 9, coldEnd: undefined },
      /Wanted at least 2 layers that may be skipped, but found only layers 9 to 9/,
    ],
    ['a run of nothing', { runLength: 0 }, /at least 1 for .*runLength/],
    ['a warm-up of less than nothing', { warmUpTokens: -1 }, /at least 0 for .*warmUpTokens/],
    ['a cosine below all', { threshold: -1.1 }, /threshold/],
    ['an empty region', { coldStart: 8, coldEnd: 8 }, /coldEnd/],
    ['a run longer than the region', { runLength: 8 }, /runLength.*8/],
    ['half a run', { runLength: 1.5 }, /runLength/],
    ['a warm-up of whole sequences', { warmUpTokens: 200 }, /warmUpTokens/],
    ['no cosine', { threshold: 1.5 }, /threshold/],
  ])('refuses %s', async (_, options, message) => {
    await expect(planSkip(options)).rejects.toThrowError(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) }),
    );
  });

  it('refuses statistics whose parts do not fit', async () => {
    const statistics = madeUp();
    await expect(makePlan({ ...statistics, tokens: 7 }, { preset: 'ffn-skip' }, '', noSums)).rejects.toThrowError(
      /"trace" is Uint16Array \[12, 2000\]/,
    );
    const older = { ...statistics, sums: {}, file: 'older.json' };
    await expect(makePlan(older, { preset: 'ffn-skip' }, '', noSums)).rejects.toThrowError(
      expect.objectContaining({
        code: 'bad-file',
        message: 'older.json: the statistic "saturation" was not measured',
        hint: 'Calibrate again to get it: lacuna calibrate CHECKPOINT -o older.json --force',
      }),
    );
  });
});

describe('retune of ffn-skip', () => {
  it('comes to the target on a model that skips otherwise than simulated', async () => {
    const statistics = madeUp();
    let { plan, tensors } = await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS, skip: 0.2 }, '', noSums);
    // The model: other tokens, all less saturated.
    const next = seeded(99);
    const shifted = saturationOf(FACTS, (layer) =>
      layer < 2 || layer > 9 ? 0.3 : 0.92 + (layer - 2) * 0.007 + 0.012 * normal(next),
    );
    const model = readTrace(statisticsOf(FACTS, { saturation: shifted }));
    const realise = () => {
      const level = levelOfCosine(plan.blocks[0].skip?.threshold ?? 0);
      return simulateSkips(model, {
        start: 2,
        end: 10,
        level,
        runLength: 1,
        warmUpTokens: plan.skipping?.warmUpTokens ?? 0,
        reArm: true,
      }).share;
    };
    const before = Math.abs(realise() - 0.2);
    expect(before).toBeGreaterThan(0.02);
    for (let i = 0; i < 4; i++)
      plan = await retune(plan, tensors, statistics, { kind: 'skipped-blocks', share: realise() }, noSums);
    expect(Math.abs(realise() - 0.2)).toBeLessThan(0.01);
    expect(plan.target.value).toBe(0.2);
  });

  it.each([
    ['of thresholds that differ', (i: number) => ({ threshold: i === 3 ? 0.9 : 0.95, runLength: 1 })],
    ['of runs that differ', (i: number) => ({ threshold: 0.95, runLength: i === 3 ? 2 : 1 })],
  ])('refuses a plan %s', async (_, skipOf) => {
    const statistics = madeUp();
    const { plan, tensors } = await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS }, '', noSums);
    const edited = { ...plan, blocks: plan.blocks.map((block, i) => ({ ...block, skip: skipOf(i) })) };
    await expect(
      retune(edited, tensors, statistics, { kind: 'skipped-blocks', share: 0.1 }, noSums),
    ).rejects.toThrowError(expect.objectContaining({ code: 'unsupported' }));
  });

  it('refuses a plan without a rule or without blocks', async () => {
    const statistics = madeUp();
    const { plan, tensors } = await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS }, '', noSums);
    for (const edited of [
      { ...plan, skipping: null },
      { ...plan, blocks: [] },
    ])
      await expect(
        retune(edited, tensors, statistics, { kind: 'skipped-blocks', share: 0.1 }, noSums),
      ).rejects.toThrowError(expect.objectContaining({ code: 'mismatch' }));
  });

  it('leaves a plan as it is when the target was met', async () => {
    const statistics = madeUp();
    const { plan, tensors } = await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS, skip: 0.2 }, '', noSums);
    expect(await retune(plan, tensors, statistics, { kind: 'skipped-blocks', share: 0.2 }, noSums)).toEqual(plan);
  });

  it('refuses what does not belong together', async () => {
    const statistics = madeUp();
    const { plan, tensors } = await makePlan(statistics, { preset: 'ffn-skip', ...BORDERS }, '', noSums);
    await expect(retune(plan, tensors, statistics, { kind: 'density', byBlock: {} }, noSums)).rejects.toThrowError(
      expect.objectContaining({ code: 'mismatch' }),
    );
    const edited = { ...plan, blocks: plan.blocks.filter((_, i) => i !== 2) };
    await expect(
      retune(edited, tensors, statistics, { kind: 'skipped-blocks', share: 0.1 }, noSums),
    ).rejects.toThrowError(expect.objectContaining({ code: 'unsupported' }));
    const other = { ...statistics, model: { ...statistics.model, fingerprint: 'other' } };
    await expect(retune(plan, tensors, other, { kind: 'skipped-blocks', share: 0.1 }, noSums)).rejects.toThrowError(
      expect.objectContaining({ code: 'mismatch' }),
    );
  });
});
