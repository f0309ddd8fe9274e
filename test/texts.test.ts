/** Texts as a user gives them: JSONL, several files, files of no text, and too little of it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { lacuna, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const dense = join(folder, 'dense');
const fit = readFileSync(join(texts, 'fit.txt'), 'utf8');

beforeAll(async () => {
  expect((await lacuna(['convert', tinyLlama, '-o', dense, '--quiet'])).code).toBe(0);
});

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

describe('JSONL', () => {
  const parts = [fit.slice(0, 3000), fit.slice(3000, 6000)];
  const chat = parts.map((content, i) => ({ role: i === 0 ? 'user' : 'assistant', content }));

  it('is read as its texts, not as the JSON around them', async () => {
    const plain = await perplexity(file('plain.txt', parts.join('<|endoftext|>')));
    const rows = parts.map((text, id) => ({ id, text }));
    expect(await perplexity(jsonl('text.jsonl', rows))).toBe(plain);
    const [first, second] = parts.map((text) => ({ prompt: text.slice(0, 100), completion: text.slice(100) }));
    expect(await perplexity(jsonl('pairs.ndjson', [first, second]))).toBe(plain);
    expect(await perplexity(file('raw.txt', JSON.stringify(rows)))).not.toBe(plain);
  });

  it("gives messages to the model's own chat template", async () => {
    const marked = parts.map((text, i) => `<|im_start|>${['user', 'assistant'][i]}\n${text}<|im_end|>\n`);
    const plain = await perplexity(file('marked.txt', marked.join('')));
    expect(await perplexity(jsonl('chat.jsonl', [{ messages: chat }]))).toBe(plain);
    expect(await perplexity(jsonl('turns.jsonl', [{ prompt: [chat[0]], completion: [chat[1]] }]))).toBe(plain);
    expect(await perplexity(jsonl('two.jsonl', [{ messages: [chat[0]] }, { messages: [chat[1]] }]))).toBe(plain);
  });
});

describe('a text', () => {
  it('is the same with a byte order mark and with line ends of Windows', async () => {
    const part = fit.slice(0, 6000);
    const plain = await perplexity(file('unix.txt', part));
    expect(await perplexity(file('windows.txt', `\uFEFF${part.replaceAll('\n', '\r\n')}`))).toBe(plain);
    expect(await perplexity(file('windows.jsonl', `\uFEFF${JSON.stringify({ text: part })}\r\n\r\n`))).toBe(plain);
  });

  const cases: readonly [string, string, string | Uint8Array, RegExp][] = [
    ['no JSON', 'a.jsonl', '{"text": "x"}\n{"text": ', /a\.jsonl:2 is no JSON/],
    ['a list', 'b.jsonl', '\n["x"]\n', /b\.jsonl:2 is no JSON object\n {2}Wanted: "text", "messages", or "prompt"/],
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
    expect(stderr).toMatch(/\/dev\/zero is no file/);
    expect(code).toBe(2);
  });
});
