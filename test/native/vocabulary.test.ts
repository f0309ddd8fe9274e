/** The C++ side of the vocabulary is made from the TypeScript side, and checked in. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { headers } from '../../scripts/vocabulary.ts';
import { root } from '../temporary.ts';

it.each(headers())('$path is what `npm run vocabulary` writes', ({ path, text }) => {
  expect(readFileSync(join(root, path), 'utf8')).toBe(text);
});
