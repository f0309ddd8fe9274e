import { describe, expect, it } from 'vitest';
import { cosineOfLevel, levelOfCosine, saturatedRegion, spearman } from './saturation.ts';

describe('levels', () => {
  it('go there and back for every level', () => {
    const levels = Array.from({ length: 65536 }, (_, level) => level);
    expect(levels.filter((level) => levelOfCosine(cosineOfLevel(level)) !== level)).toEqual([]);
  });

  it('take what rounding put past 1 as 1', () => {
    expect(levelOfCosine(1 + 1e-12)).toBe(0);
    expect(levelOfCosine(-1 - 1e-12)).toBe(65535);
  });
});

describe('saturatedRegion', () => {
  it('is the high middle of a profile, its ends left out', () => {
    expect(saturatedRegion([0.1, 0.9, 0.95, 0.97, 0.98, 0.97, 0.6])).toEqual({ start: 1, end: 6 });
  });

  it('is the longer of two runs that a dip parts', () => {
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.3, 0.95, 0.96, 0.97, 0.2])).toEqual({ start: 4, end: 7 });
  });

  it('bears small dips', () => {
    expect(saturatedRegion([0.06, 0.96, 0.95, 0.97, 0.95, 0.985, 0.65])).toEqual({ start: 1, end: 6 });
  });

  it.each([
    ['of low cosines', [0, 0.5, 0.52, 0.51, 0.1, 0], { start: 1, end: 4 }],
    ['of high cosines', [0.94, 0.95, 0.999, 0.998, 0.999, 0.95], { start: 2, end: 5 }],
    ['that turns around', [-0.9, -0.8, -0.1, -0.2, -0.8, -0.9], { start: 2, end: 4 }],
  ])('takes what is high from the profile itself: one %s', (_, profile, region) => {
    expect(saturatedRegion(profile)).toEqual(region);
  });

  it('splits where the groups are furthest apart, not where the next step is largest', () => {
    // Angles 0.1 0.2 0.5, 0.7 0.8 and the ends at 0.9: the largest step is 0.3, but the split at 0.5 parts two threes.
    const angles = [0.9, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9];
    expect(saturatedRegion(angles.map(Math.cos))).toEqual({ start: 1, end: 4 });
  });

  it('takes the first of two runs that are equally long', () => {
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.3, 0.95, 0.96, 0.2])).toEqual({ start: 1, end: 3 });
  });

  it('is all but the ends where all layers are alike', () => {
    expect(saturatedRegion([0.9, 0.9, 0.9, 0.9])).toEqual({ start: 1, end: 3 });
  });

  it('is empty where there is nothing between the ends', () => {
    for (const profile of [[], [0.9], [0.9, 0.9]]) {
      const { start, end } = saturatedRegion(profile);
      expect(end - start).toBe(0);
    }
  });
});

describe('spearman', () => {
  it('is 1 for what rises, -1 for what falls, whatever the steps', () => {
    expect(spearman([1, 2, 30, 31])).toBe(1);
    expect(spearman([9, 5, 4, -1])).toBe(-1);
  });

  it('gives ties their mean rank', () => {
    // Ranks 0, 1.5, 1.5, 3 against 0..3: 1 - 6 * (0.25 + 0.25) / (4 * 15) would ignore ties; by products:
    // sum (r - 1.5)(o - 1.5) = 2.25 + 0 + 0 + 2.25 = 4.5, squares 4.5 and 5 -> 4.5 / sqrt(22.5).
    expect(spearman([1, 2, 2, 3])).toBeCloseTo(4.5 / Math.sqrt(22.5), 12);
  });

  it('is undefined where nothing differs', () => {
    expect(spearman([2, 2, 2])).toBeUndefined();
    expect(spearman([2])).toBeUndefined();
  });
});
