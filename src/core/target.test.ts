import { expect, it } from 'vitest';
import { TARGETS } from './target.ts';

/** Three layers of a model that skips a fifth of its blocks. */
const MEASURED = {
  skippedShare: 0.2,
  density: 0.6,
  layers: [1, 0.25, 0.55].map((density, layer) => ({ layer, density })),
};

it('a share of neurons is of the blocks that are planned: the others compute all of theirs', () => {
  const { share } = TARGETS.density;
  expect(share(MEASURED, ['layers.1.ffn', 'layers.2.ffn'])).toBeCloseTo(0.4, 12);
  expect(share(MEASURED, ['layers.0.ffn', 'layers.1.ffn', 'layers.2.ffn'])).toBeCloseTo(0.6, 12);
});

it('a share of blocks is of all blocks', () => {
  expect(TARGETS['skipped-blocks'].share(MEASURED, ['layers.1.ffn'])).toBe(0.2);
});
