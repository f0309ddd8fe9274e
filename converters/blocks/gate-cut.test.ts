/** The quantile of a trained cut is PyTorch's, which is computed in float32. */
import { expect, test } from 'vitest';
import { trainedQuantile } from './gate-cut.ts';

// torch.distributions.Normal(0, 1).icdf(torch.tensor(share)), torch 2.15. Its erfinv is a few units of the last place off.
test.each([
  [0.95, 1.6448537111282349],
  [0.5, 0],
])('of a share of %d', (share, quantile) => {
  expect(Math.abs(trainedQuantile(share) - quantile)).toBeLessThanOrEqual(4 * 2 ** -23 * Math.max(quantile, 1e-6));
});

test('rounds the share as 2 share - 1 in float32 does', () => {
  // 2 share - 1 has steps of 2^-24 below 1, half of them in the share: those of a share of 1e-6 are 3 % of it.
  const step = 2 ** -25;
  const share = Math.round(1e-6 / step) * step;
  expect(trainedQuantile(1e-6)).toBe(trainedQuantile(share));
  expect(trainedQuantile(1e-6)).not.toBe(trainedQuantile(2e-6));
});

test('is infinite where float32 leaves no neuron, or all', () => {
  expect(trainedQuantile(1 - 1e-9)).toBe(Infinity);
  expect(trainedQuantile(1e-12)).toBe(-Infinity);
});
