import { describe, expect, it } from 'vitest';
import {
  cosineOfLevel,
  innerLayers,
  levelOfCosine,
  regionText,
  saturatedRegion,
  skippingDoubts,
  spearman,
} from './saturation.ts';

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

/** Mean cosines by layer, measured on 20,000 tokens of the text `fit`. */
const MEASURED = {
  'SmolLM2-135M': [
    0.0616, 0.9643, 0.9693, 0.974, 0.969, 0.967, 0.9668, 0.9643, 0.9628, 0.9651, 0.9638, 0.971, 0.9743, 0.9781, 0.9779,
    0.9769, 0.982, 0.9817, 0.9665, 0.97, 0.9472, 0.969, 0.9619, 0.9586, 0.9724, 0.9807, 0.976, 0.9712, 0.965, 0.6714,
  ],
  'Gemma-3-270M': [
    0.7522, 0.9843, 0.9879, 0.9388, 0.9792, 0.9726, 0.9682, 0.9635, 0.993, 0.9939, 0.9922, 0.9744, 0.9731, 0.9869,
    0.9864, 0.985, 0.9869, 0.9825,
  ],
  'tiny-llama': [0.0286, 0.9982, 0.9981, 0.9987, 0.998, 0.9917, 0.9927, 0.9927, 0.9814, 0.9821, 0.9819, 0.9841],
} as const;

describe('saturatedRegion', () => {
  it.each<[keyof typeof MEASURED, number, [start: number, end: number]]>([
    ['SmolLM2-135M', 2, [12, 18]],
    ['SmolLM2-135M', 6, [12, 18]],
    ['SmolLM2-135M', 7, [11, 18]],
    // No further layers stand out, so it is all but the ends.
    ['SmolLM2-135M', 8, [1, 29]],
    ['Gemma-3-270M', 2, [8, 17]],
    ['Gemma-3-270M', 9, [8, 17]],
    ['Gemma-3-270M', 10, [1, 17]],
    ['tiny-llama', 2, [1, 5]],
    ['tiny-llama', 5, [1, 8]],
    ['tiny-llama', 8, [1, 9]],
    ['tiny-llama', 9, [1, 11]],
    ['tiny-llama', 12, [1, 11]],
  ])('of %s, of at least %i layers, is %j', (name, fewest, [start, end]) => {
    expect(saturatedRegion(MEASURED[name], fewest)).toEqual({ start, end });
  });

  it.each(['SmolLM2-135M', 'Gemma-3-270M', 'tiny-llama'] as const)('of %s does not hang on its ends', (name) => {
    const inner = MEASURED[name].slice(1, -1);
    const wanted = saturatedRegion(MEASURED[name]);
    for (const end of [-1, 0, 0.5, 0.97, 1]) expect(saturatedRegion([end, ...inner, 1 - end])).toEqual(wanted);
  });

  it('leaves out cold layers after the first and before the last', () => {
    expect(saturatedRegion([0.1, 0.9, 0.95, 0.97, 0.98, 0.97, 0.6])).toEqual({ start: 2, end: 6 });
    expect(saturatedRegion([0.6, 0.97, 0.98, 0.97, 0.95, 0.9, 0.1])).toEqual({ start: 1, end: 5 });
    expect(saturatedRegion([0.1, 0.8, 0.97, 0.975, 0.97, 0.975, 0.85, 0.1])).toEqual({ start: 2, end: 6 });
  });

  it('has no layer that stands apart, and is the longer of two runs that one parts', () => {
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.3, 0.95, 0.96, 0.95, 0.2])).toEqual({ start: 4, end: 7 });
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.95, 0.3, 0.95, 0.96, 0.2])).toEqual({ start: 1, end: 4 });
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.3, 0.95, 0.96, 0.2])).toEqual({ start: 1, end: 3 });
  });

  it('has no layer that stands apart even where it is asked to be longer', () => {
    expect(saturatedRegion([0.1, 0.95, 0.96, 0.3, 0.95, 0.96, 0.95, 0.2], 6)).toEqual({ start: 4, end: 7 });
  });

  it('bears small dips', () => {
    expect(saturatedRegion([0.06, 0.96, 0.95, 0.97, 0.95, 0.985, 0.65])).toEqual({ start: 1, end: 6 });
  });

  it('tells groups apart where they explain nine tenths of the variance, and not where an even slope would', () => {
    // Angles 1 and 1.1 beside x: the groups 1, 1.1 | x explain 1 - 0.005 / (0.005 + 2 (x - 1.05)^2 / 3).
    const region = (x: number) => saturatedRegion([0, Math.cos(1), Math.cos(1.1), Math.cos(x), 0], 3);
    // Nine tenths are reached at x - 1.05 = sqrt(0.045 * 3 / 2) = 0.2598.
    expect(region(1.05 + 0.255)).toEqual({ start: 1, end: 4 });
    expect(region(1.05 + 0.265)).toEqual({ start: 1, end: 3 });
  });

  it('splits only where the fit outweighs its parameters', () => {
    // Inner angles 0.2 six times, then d more twice and each 0.01 off. One level leaves a variance of
    // 3 d^2 / 16 + 0.0001, two leave 0.0001. The border and the level cost 2 ln 8, so the variances must differ by a
    // factor of 8^(2 / 8) = 1.68: 3 d^2 / 16 = 0.000068, d = 0.0191.
    const region = (d: number) => {
      const angles = [0.19, 0.21, 0.19, 0.21, 0.19, 0.21, 0.21 + d, 0.19 + d];
      return saturatedRegion([0, ...angles.map(Math.cos), 0], 6);
    };
    expect(region(0.0185)).toEqual({ start: 1, end: 9 });
    expect(region(0.0197)).toEqual({ start: 1, end: 7 });
  });

  it.each([
    ['of low cosines', [0, 0.5, 0.5, 0.5, 0.1, 0], { start: 1, end: 4 }],
    ['of high cosines', [0.94, 0.95, 0.999, 0.998, 0.999, 0.95], { start: 2, end: 5 }],
    ['that turns around', [-0.9, -0.8, -0.1, -0.2, -0.8, -0.9], { start: 2, end: 4 }],
  ])('takes what is high from the profile itself: one %s', (_, profile, region) => {
    expect(saturatedRegion(profile)).toEqual(region);
  });

  it('is all but the ends where all layers are alike', () => {
    expect(saturatedRegion([0.9, 0.9, 0.9, 0.9])).toEqual({ start: 1, end: 3 });
    // As far as levels of the trace tell.
    for (const rounded of [
      [0, 1, 0, 0, 1, 0],
      [0, 0, 0, 1, 1, 1],
    ]) {
      const noise = rounded.map((level) => cosineOfLevel(5000 + level / 4));
      expect(saturatedRegion([0.9, ...noise, 0.9])).toEqual({ start: 1, end: 7 });
    }
  });

  it('is both layers between the ends of four, however they differ', () => {
    expect(saturatedRegion([0, 0.2, 0.9, 0])).toEqual({ start: 1, end: 3 });
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

describe('skippingDoubts', () => {
  const region = { start: 2, end: 9 };

  it('names cosines that do not rise: by less than half of the largest rank', () => {
    const falls = [1, 0.5, 0.49, 0, -1, undefined].map((rank) => skippingDoubts(24, region, rank, '').length === 1);
    expect(falls).toEqual([false, false, true, true, true, true]);
    expect(skippingDoubts(24, region, 0.49, 'So.')[0]).toMatch(/layers 2 to 8 \(Spearman 0\.49\).* So\.$/);
  });

  it('names models of fewer than 24 layers', () => {
    expect(skippingDoubts(24, region, 1, '')).toEqual([]);
    expect(skippingDoubts(23, region, 1, '')).toEqual([expect.stringMatching(/^The model has 23 layers/)]);
  });
});

describe('a region without a layer', () => {
  const region = saturatedRegion([0.1, 0.2]);

  it('has no text, and no cosines that could fall', () => {
    expect(region.end).toBe(region.start);
    expect(regionText(region)).toBeUndefined();
    expect(skippingDoubts(2, region, undefined, '')).toEqual([expect.stringMatching(/^The model has 2 layers/)]);
    expect(regionText({ start: 1, end: 6 })).toBe('1 to 5');
  });
});

describe('innerLayers', () => {
  it('are all but the first and the last', () => {
    expect(innerLayers(12)).toEqual({ start: 1, end: 11 });
    for (const layers of [0, 1, 2]) expect(innerLayers(layers)).toEqual({ start: 1, end: 1 });
  });
});
