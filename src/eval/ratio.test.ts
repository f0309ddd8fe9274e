import { describe, expect, it } from 'vitest';
import { boundedMean, ratioOf, studentQuantile } from './ratio.ts';

describe('studentQuantile', () => {
  // The tables' own last digit. The expansion is off by 0.7 % at three degrees of freedom, and by less beyond.
  it.each([
    [1, 6.314, 0.0005],
    [2, 2.92, 0.0005],
    [3, 2.353, 0.02],
    [5, 2.015, 0.002],
    [9, 1.833, 0.0006],
    [39, 1.685, 0.0005],
  ])('is that of the tables for %d degrees of freedom', (degrees, wanted, tolerance) => {
    expect(Math.abs(studentQuantile(degrees) - wanted)).toBeLessThanOrEqual(tolerance);
  });

  it.each([
    [1, 318.309, 0.0005],
    [2, 22.327, 0.0005],
    [4, 7.173, 0.26],
    [7, 4.785, 0.024],
    [19, 3.579, 0.002],
    [49, 3.265, 0.0005],
  ])('is that of the tables for %d degrees of freedom and a confidence of 99.9 %%', (degrees, wanted, tolerance) => {
    expect(Math.abs(studentQuantile(degrees, '99.9 %') - wanted)).toBeLessThanOrEqual(tolerance);
  });
});

describe('boundedMean', () => {
  it('is the mean, with a bound from how windows differ', () => {
    const { value, upperBound } = boundedMean([1, 2, 3]);
    expect(value).toBe(2);
    expect(upperBound).toBeCloseTo(2 + 2.91998558 / Math.sqrt(3), 6);
    expect(boundedMean([7])).toEqual({ value: 7, upperBound: null });
  });
});

describe('ratioOf', () => {
  it('is exp of the mean difference, with an error and a bound from how windows differ', () => {
    const { value, standardError, upperBound } = ratioOf([0.1, 0.2, 0.3]);
    expect(value).toBeCloseTo(Math.exp(0.2), 12);
    // The deviation of 0.1, 0.2, 0.3 is 0.1; that of their mean is 0.1 / sqrt 3.
    expect(standardError).toBeCloseTo((Math.exp(0.2) * 0.1) / Math.sqrt(3), 12);
    expect(upperBound).toBeCloseTo(Math.exp(0.2 + (2.91998558 * 0.1) / Math.sqrt(3)), 6);
  });

  it('knows no error of a single window', () => {
    expect(ratioOf([0.1])).toEqual({ value: Math.exp(0.1), standardError: null, upperBound: null });
  });
});
