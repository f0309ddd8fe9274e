import { expect, it } from 'vitest';
import { measureNamed } from '../core/choice.ts';
import { selectedFfnBytes } from './bytes.ts';

it.each([
  // Gate, up and down have 600 floats each. At a tenth of the rows: one whole and two tenths, two and a tenth, three tenths.
  ['activation', measureNamed('activation'), 2400 * 1.2],
  ['product', measureNamed('product'), 2400 * 2.1],
  // Beside three tenths, gate and up in 4 bits with a float16 scale for each 32.
  ['predicted', measureNamed('predicted'), 2400 * 0.3 + 2 * 600 * (0.5 + 2 / 32)],
  // What was read whole is read again.
  ['act(gate)²', { rows: ['up', 'down'], isProduct: false }, 2400 * 1.3],
  ['the larger of act(gate) and up', { rows: ['down'], isProduct: false }, 2400 * 2.3],
] as const)('of matrices that are read row by row only the share is counted: %s', (_, measure, bytes) => {
  expect(selectedFfnBytes({ hiddenSize: 20, intermediateSize: 30 }, measure, 0.1)).toBe(Math.round(bytes));
});
