import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import expectations from './expectations.json' with { type: 'json' };
import { loadTokenizer, type Tokenizer } from './load.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PACKAGES = ['llama2', 'llama3', 'gemma3'] as const;

const packageFolder = (name: string) => join(root, `node_modules/@lenml/tokenizer-${name}/models`);

/** A conversation as the templates write it, worked out by hand. Llama 2's package has no template. */
const CONVERSATION = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: ' Hi ' },
];
const CHATS = {
  llama2: undefined,
  llama3:
    '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>' +
    '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
  gemma3: '<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n',
} as const;
/** This package of Llama 3 puts no <|begin_of_text|> before texts. */
const BOS_IDS = { llama2: 1, llama3: undefined, gemma3: 2 } as const;

describe.each(PACKAGES)('%s, against the Rust library', (name) => {
  const folder = packageFolder(name);
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
    const text = await readFile(join(root, 'texts/test.txt'), 'utf8');
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(ids.length).toBe(expected.long.count);
    expect(createHash('sha256').update(Uint32Array.from(ids)).digest('hex')).toBe(expected.long.sha256);
  });

  test('a conversation, and what is put first', () => {
    const chat = () => tokenizer.chat(CONVERSATION, { addGenerationPrompt: true });
    expect(tokenizer.hasChatTemplate).toBe(CHATS[name] !== undefined);
    if (CHATS[name] === undefined) expect(chat).toThrow(expect.objectContaining({ code: 'not-found' }));
    else expect(chat()).toBe(CHATS[name]);
    expect(tokenizer.bosTokenId).toBe(BOS_IDS[name]);
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

// Gemma's decoder is Llama 2's without the last step.
describe.each(['llama2', 'llama3'])('%s, against the JavaScript library', (name) => {
  test('a stream of any tokens gives what the JavaScript library makes of all at once', async () => {
    const folder = packageFolder(name);
    const tokenizer = await loadTokenizer(folder);
    const json = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8'));
    const hub = new HubTokenizer(json, {});
    const size = hub.get_vocab().size;
    // Low ids are single bytes and marks, which make the hard cases.
    const id = fc.oneof(fc.nat({ max: 400 }), fc.nat({ max: size - 1 }));
    fc.assert(
      fc.property(fc.array(id, { minLength: 1, maxLength: 30 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const whole = hub.decode(ids, {
          skip_special_tokens: skipSpecialTokens,
          clean_up_tokenization_spaces: false,
        });
        const decoder = tokenizer.streamDecoder({ skipSpecialTokens });
        const pieces = ids.map((each) => decoder.push(each));
        expect(pieces.join('') + decoder.end()).toBe(whole);
        expect(tokenizer.decode(ids, { skipSpecialTokens })).toBe(whole);
      }),
      { seed: 4, numRuns: 300 },
    );
  });
});

describe('a folder', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lacuna-tokenizer-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** The small byte-level tokenizer of the fixtures, with other files beside it. */
  async function load(files: Record<string, unknown>): Promise<Tokenizer> {
    const each = await mkdtemp(join(folder, 't-'));
    await cp(join(root, 'fixtures/tiny-llama/tokenizer.json'), join(each, 'tokenizer.json'));
    for (const [name, content] of Object.entries(files))
      await writeFile(join(each, name), typeof content === 'string' ? content : JSON.stringify(content));
    return loadTokenizer(each);
  }

  const hello = [{ role: 'user', content: 'Hello' }];
  const bare = { addGenerationPrompt: false };

  test('without tokenizer.json', async () => {
    await expect(loadTokenizer(join(folder, 'nowhere'))).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('No tokenizer.json'),
      hint: expect.stringContaining('save_pretrained'),
    });
  });

  test.each([
    ['no JSON', '{', 'bad-file'],
    ['no model', {}, 'bad-file'],
    ['an empty vocabulary of nothing', { model: { type: 'BPE' }, decoder: null }, 'bad-file'],
    [
      'another model',
      {
        model: { type: 'WordPiece', vocab: { a: 0 }, unk_token: 'a' },
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
      },
      'unsupported',
    ],
    [
      'a decoder of another family',
      {
        model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: { type: 'CTC' },
      },
      'unsupported',
    ],
  ])('with a tokenizer.json of %s', async (_, content, code) => {
    await expect(load({ 'tokenizer.json': content })).rejects.toMatchObject({ code });
  });

  test('templates: in the config, by name, in files of their own, in this order', async () => {
    const named = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: '{{ messages[0].content }}!' },
    ];
    const jinja = '{{ messages[0].role }}';
    const all = { 'chat_template.jinja': jinja, 'chat_template.json': { chat_template: 'json' } };
    const chat = async (files: Record<string, unknown>) => (await load(files)).chat(hello, bare);
    expect(await chat({ ...all, 'tokenizer_config.json': { chat_template: 'config' } })).toBe('config');
    expect(await chat({ ...all, 'tokenizer_config.json': { chat_template: named } })).toBe('Hello!');
    expect(await chat(all)).toBe('user');
    expect(await chat({ 'chat_template.json': { chat_template: 'json' } })).toBe('json');
  });

  test('templates see the special tokens, in either spelling and file', async () => {
    const tokenizer = await load({
      'chat_template.jinja': '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}',
      'special_tokens_map.json': { bos_token: '<map>', eos_token: '</s>' },
      'tokenizer_config.json': { bos_token: { content: '<s>', special: true } },
    });
    expect(tokenizer.chat(hello, bare)).toBe('<s>Hello</s>');
  });

  test('a template that refuses, one that is broken, and none', async () => {
    const refusing = await load({ 'chat_template.jinja': "{{ raise_exception('Roles must alternate') }}" });
    expect(() => refusing.chat(hello, bare)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringContaining('Roles must alternate') }),
    );
    const broken = await load({ 'chat_template.jinja': '{% if %}' });
    expect(() => broken.chat(hello, bare)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    const none = await load({});
    expect(none.hasChatTemplate).toBe(false);
    expect(() => none.chat(hello, bare)).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test.each([
    ['a list of all numbers', '{% for i in range(10000000000) %}x{% endfor %}', /range\(\) of 10000000000/],
    [
      'a text that doubles',
      '{% set ns = namespace(s="x") %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
      /a value of \d+ characters/,
    ],
    [
      'a list that doubles',
      '{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}',
      /a value of \d+ characters or entries/,
    ],
  ])('a template that would fill the memory: %s', async (_, template, message) => {
    const tokenizer = await load({ 'chat_template.jinja': template });
    expect(() => tokenizer.chat(hello, bare)).toThrow(
      expect.objectContaining({ name: 'LacunaError', message: expect.stringMatching(message) }),
    );
  });

  test('templates have the names that Jinja and Transformers give them', async () => {
    const template =
      '{{ range(2, 8, 3) | join(",") }} {{ range(3)[-1] }} {{ strftime_now("%Y") | length }} {{ True and none is none }}';
    expect((await load({ 'chat_template.jinja': template })).chat(hello, bare)).toBe('2,5 2 4 true');
  });

  test('a tokenizer.json whose faults show only when it is used', async () => {
    const whole = JSON.parse(await readFile(join(root, 'fixtures/tiny-llama/tokenizer.json'), 'utf8'));
    const split = { type: 'Split', pattern: { Regex: 'a' }, behavior: 7, invert: false };
    await expect(load({ 'tokenizer.json': { ...whole, pre_tokenizer: split } })).rejects.toMatchObject({
      name: 'LacunaError',
      code: 'bad-file',
    });
  });

  test('ids outside the vocabulary become nothing', async () => {
    const tokenizer = await load({});
    const ids = tokenizer.encode('ab');
    expect(tokenizer.decode([-1, ...ids, 1e9, 0.5])).toBe('ab');
    expect(tokenizer.decode([])).toBe('');
  });
});
