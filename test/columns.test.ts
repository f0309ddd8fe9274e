/** At a terminal of 80 columns no line wraps: of any command's output and help, and of errors. */
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { main } from '../src/cli/index.ts';
import { required } from './real/real-model.ts';
import { commandsIn, lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const COLUMNS = 80;
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const fixture = (name: string) => join(root, 'fixtures', name);
const few = ['--tokens', '1100', '--threads', '1', '--quiet'];
const short = ['--prompt-tokens', '8', '--repeats', '1', '--rounds', '1', '--steps', '1', '--threads', '1', '--quiet'];
const stock = ['--engine', 'stock'];

/** Whatever it decodes like: while tests run nobody can tell. */
const build = (output: string) => {
  const anyway = ['--preset', 'top-k', '--keep', '40%', '--dtype', 'int4', '--host', 'native', '--allow-slower'];
  return ['build', tinyLlama, '-o', output, ...anyway, ...few];
};

/** What a command prints on both streams, at a terminal so wide. */
async function printed(args: readonly string[]): Promise<string> {
  let text = '';
  const stream = { write: (more: string) => (text += more), columns: COLUMNS };
  await main(args, {
    stdout: stream,
    stderr: stream,
    signal: new AbortController().signal,
    stdin: Readable.from([]),
    nativeFolder: at('no-native-core'),
  });
  return text;
}

/** The words of every command that there is, those of `lacuna` alone first. */
const COMMANDS = await commandsUnder([]);

async function commandsUnder(words: readonly string[]): Promise<readonly (readonly string[])[]> {
  const names = commandsIn((await lacuna([...words, '--help'])).stdout).filter((name) => name !== 'help');
  return [words, ...(await Promise.all(names.map((name) => commandsUnder([...words, name])))).flat()];
}

/** Lines that a terminal would break. A line that is one path has nowhere to be broken. */
function tooLong(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.length > COLUMNS && !/^\s*(?:error: )?\S*\/\S*$/.test(line));
}

beforeAll(async () => {
  for (const args of [
    ['convert', tinyLlama, '-o', at('d'), '--dtype', 'fp32,int4', '--quiet'],
    ['calibrate', tinyLlama, '-o', at('s.json'), ...few],
    ['plan', at('s.json'), '-o', at('p.json'), '--preset', 'top-k', '--keep', '30%'],
    ['plan', at('s.json'), '-o', at('q.json'), '--preset', 'ffn-skip', '--skip', '30%'],
    ['sparsify', at('d'), '--plan', at('p.json'), '-o', at('e'), '--quiet'],
    ['sparsify', at('d'), '--plan', at('q.json'), '-o', at('f'), '--quiet'],
    ['sparsify', tinyLlama, '--plan', at('p.json'), '-o', at('h'), '--dtype', 'int4', '--quiet'],
  ])
    expect(await lacuna(args)).toMatchObject({ code: 0, stderr: '' });
  mkdirSync(at('a folder of one'));
  cpSync(fixture('llama-variants/rope-yarn'), at('a folder of one/small model'), { recursive: true });
}, 120_000);

describe(`${COLUMNS} columns hold`, () => {
  it('the help of every command is looked at', () => {
    const some = [[], ['convert'], ['verify', 'expect'], ['calibrate', 'merge'], ['ops', 'path'], ['doctor']];
    expect(COMMANDS.length).toBeGreaterThanOrEqual(17);
    expect(COMMANDS).toEqual(expect.arrayContaining(some));
  });

  it.each(COMMANDS.map((words) => [words.join(' '), words] as const))('lacuna %s --help', async (_, words) => {
    const text = await printed([...words, '--help']);
    expect(text.split('\n').length).toBeGreaterThan(5);
    expect(tooLong(text)).toEqual([]);
  });

  it.each<[string, () => readonly string[]]>([
    ['an unknown command', () => ['frobnicate']],
    ['a value that an option does not take', () => ['calibrate', tinyLlama, '-o', at('x'), '--shard', '4/4']],
    ['a folder that is not there', () => ['convert', at('nowhere'), '-o', at('x')]],
    ['a checkpoint that is not converted', () => ['run', tinyLlama, 'Once']],
    ['an output that is there', () => ['convert', tinyLlama, '-o', at('d')]],
    ['a config of another model', () => ['convert', fixture('hostile/checkpoints/config-of-wider-ffn'), '-o', at('x')]],
    ['a peer that is none', () => ['bench', at('d'), '--peers', '--python', '/bin/true']],
    ['a budget without floats', () => ['eval', at('e'), '--max-ppl-ratio', '2%']],
    ['a build that does not pay', () => ['build', tinyLlama, '-o', at('x'), '--preset', 'top-k', '--host', 'stock']],
    ['a plan that does not pay', () => ['plan', at('s.json'), '-o', at('x'), '--preset', 'top-k', '--host', 'stock']],
    ['a report of a plan', () => ['report', at('p.json'), '-o', at('x.html')]],
    ['a target beyond reach', () => ['plan', at('s.json'), '-o', at('x'), '--preset', 'ffn-skip', '--skip', '99%']],
  ])('the error of %s', async (_, args) => {
    const text = await printed(args());
    expect(text).toMatch(/^error: /);
    expect(tooLong(text)).toEqual([]);
  });

  it.each<[string, () => readonly string[]]>([
    ['convert', () => ['convert', tinyLlama, '-o', at('c'), '--dtype', 'fp32,int4', '--quiet']],
    ['convert --dry-run', () => ['convert', tinyLlama, '-o', at('x'), '--dry-run', '--dtype', 'int4', '--quiet']],
    ['calibrate', () => ['calibrate', tinyLlama, '-o', at('t.json'), ...few]],
    ['plan', () => ['plan', at('s.json'), '-o', at('r.json'), '--preset', 'ffn-skip', '--skip', '20%', '--explain']],
    ['sparsify --explain', () => ['sparsify', at('d'), '--plan', at('p.json'), '-o', at('g'), '--explain', '--quiet']],
    ['bench', () => ['bench', at('e'), '--against', at('d'), ...stock, ...short]],
    ['eval', () => ['eval', at('h'), '--against', at('d'), '--layers', '--max-ppl-ratio', '3', ...few]],
    ['eval alone', () => ['eval', at('d'), ...few]],
    ['build --dry-run', () => [...build(at('x')), '--dry-run']],
    ['run', () => ['run', at('e'), 'one', 'two', '--max-tokens', '4', ...stock, '--quiet']],
    ['verify', () => ['verify', at('d'), '--checkpoint', tinyLlama, '--quiet']],
    ['inspect of a checkpoint', () => ['inspect', tinyLlama]],
    ['inspect of layers that differ', () => ['inspect', fixture('gemma-variants/gemma3-yarn')]],
    ['inspect of an adapter', () => ['inspect', fixture('lora/plain')]],
    ['inspect of a folder', () => ['inspect', at('d')]],
    ['inspect of a sparse folder', () => ['inspect', at('f')]],
    ['inspect of a graph', () => ['inspect', join(at('e'), 'onnx/model.onnx')]],
    ['inspect of statistics', () => ['inspect', at('s.json')]],
    ['inspect of a plan', () => ['inspect', at('q.json'), '--explain']],
    ['inspect of what is broken', () => ['inspect', fixture('hostile/checkpoints/missing-shards')]],
    ['report of a folder', () => ['report', at('h'), '-o', at('h.html')]],
    ['report of statistics', () => ['report', at('s.json'), '-o', at('s.html')]],
    ['doctor', () => ['doctor']],
  ])('the output of %s', async (_, args) => {
    const text = await printed(args());
    expect(text).not.toMatch(/^error/m);
    expect(text.length).toBeGreaterThan(0);
    expect(tooLong(text)).toEqual([]);
  });

  it.runIf(required)(
    'the error of a build over its budget, and the output of its rest',
    async () => {
      const refused = await printed([...build(at('i')), '--budget', 'ppl<=1.00001']);
      const shipped = await printed([...build(at('i')), '--budget', 'ppl<=200%']);
      expect(refused).toMatch(/^error: /);
      expect(shipped).toMatch(/^Shipped: /);
      expect([refused, shipped].flatMap(tooLong)).toEqual([]);
    },
    120_000,
  );

  it('a path with spaces and a command in one piece, whatever their length', async () => {
    const path = at('a folder of one/small model');
    const text = await printed(['run', path, 'Once']);
    expect(text).toContain(path);
    expect(text).toContain(`lacuna convert ${path} -o DIR`);
  });
});

it('an error in a file or a pipe is one line, as whoever looks for it expects', async () => {
  const { stderr } = await lacuna(['calibrate', tinyLlama, '-o', at('x'), '--shard', '4/4']);
  expect(stderr).toMatch(/^error: option '--shard <i\/n>' argument '4\/4' is invalid\. Expected i\/n .*, as 0\/4\.$/m);
});
