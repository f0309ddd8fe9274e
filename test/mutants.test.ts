/** What `npm run mutate` changes: scripts/mutate/mutants.js. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { root } from './temporary.ts';

interface Mutant {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

const { mutantsOf }: { mutantsOf: (code: string) => readonly Mutant[] } = await import(
  pathToFileURL(join(root, 'scripts/mutate/mutants.js')).href
);

const changed = (code: string) =>
  mutantsOf(code).map(({ start, end, text }) => code.slice(0, start) + text + code.slice(end));

it.each([
  ['arithmetic', 'y = a + b;', ['y = a - b;']],
  ['comparisons', 'y = a <= b;', ['y = a < b;']],
  ['what joins conditions', 'y = a && b;', ['y = a || b;']],
  ['numbers', 'y = 3;', ['y = 4;']],
  ['fractions', 'y = 0.5;', ['y = 0.75;']],
  ['negative numbers', 'y = -2;', ['y = (2);']],
  ['truth', 'y = true;', ['y = false;']],
  ['conditions', 'if (a) f = b;', ['if (true) f = b;', 'if (false) f = b;']],
  ['choices', 'y = a ? b : c;', ['y = !(a) ? b : c;']],
  ['calls', 'push(a);', [';']],
  ['indexes', 'y = a[i];', ['y = a[0];']],
  ['indexes that are numbers', 'y = a[0];', ['y = a[1];']],
  ['extremes', 'y = Math.min(a, b);', ['y = Math.max(a, b);']],
])('changes %s', (_, code, wanted) => {
  expect(changed(code)).toEqual(wanted);
});

it.each([
  ['sums of texts', 'y = "a" + b + `c`;'],
  ['errors', 'throw new Error(said(a + 1, b[2]));'],
  ['types', 'const y: Record<string, 1 | 2> = z as readonly [3, true][];'],
  ['imports', "import data from './data.json' with { type: 'json' };"],
])('leaves %s alone', (_, code) => {
  expect(changed(code)).toEqual([]);
});
