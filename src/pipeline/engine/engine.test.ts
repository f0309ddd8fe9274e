import { expect, it } from 'vitest';
import { operatorProblem } from './engine.ts';

it.each([
  [2, 2, undefined],
  [3, 2, /version 3, and the native core has kernels for version 2: portable bodies run .* update the native core$/],
  [1, 2, /version 1, and the native core has kernels for version 2: .* make the folder again with this version/],
])('operators of version %s and kernels of version %s: %s', (called, known, wanted) => {
  const problem = operatorProblem(called, known);
  if (wanted === undefined) expect(problem).toBeUndefined();
  else expect(problem).toMatch(wanted);
});
