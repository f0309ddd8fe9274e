/** `lacuna run DIR -`: the prompt is piped in. */
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { lacuna, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = join(temporaryFolder(), 'dense');
const run = (args: readonly string[], stdin?: Readable, signal?: AbortSignal) =>
  lacuna(
    ['run', folder, ...args, '--max-tokens', '6', '--engine', 'stock', '--quiet'],
    signal,
    undefined,
    undefined,
    stdin,
  );

beforeAll(async () => {
  expect((await lacuna(['convert', tinyLlama, '-o', folder, '--quiet'])).code).toBe(0);
}, 60_000);

describe('a prompt from standard input', () => {
  it('is continued as one that is given, without the line break at its end', async () => {
    const typed = await run(['In the beginning']);
    const bytes = Buffer.from('In the beginning\n');
    const piped = await run(['-'], Readable.from([bytes.subarray(0, 3), bytes.subarray(3)]));
    expect(piped).toMatchObject({ code: 0, stdout: typed.stdout });
    const both = await run(['-', 'Once', '--json'], Readable.from(['In the beginning']));
    expect(JSON.parse(both.stdout).rows).toHaveLength(2);
  });

  it.each([
    ['nothing', ['-'], [], /Standard input is empty.*\n {2}Pipe a text/],
    ['a line break alone', ['-'], ['\n'], /Standard input is empty/],
    ['what is no text', ['-'], [Uint8Array.of(0xff, 0xfe)], /Standard input is not UTF-8/],
    ['one prompt for two', ['-', '-'], ['x'], /holds one prompt, and - is given twice/],
  ])('is refused: %s', async (_, args, stdin, message) => {
    const { code, stdout, stderr } = await run(args, Readable.from(stdin));
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('is refused where it does not end', async () => {
    async function* endless() {
      for (;;) yield 'a'.repeat(1 << 20);
    }
    expect(await run(['-'], Readable.from(endless()))).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/longer than 16 MiB/),
    });
  });

  it('is waited for until Ctrl-C', async () => {
    const stop = new AbortController();
    const silent = new PassThrough();
    const running = run(['-'], silent, stop.signal);
    silent.write('In the ');
    stop.abort();
    expect(await running).toMatchObject({ code: 130, stderr: 'Stopped.\n' });
  });
});

describe('--temperature 0', () => {
  it('takes the likeliest tokens, whatever else is asked', async () => {
    const [greedy, cold] = [
      await run(['Once']),
      await run(['Once', '--temperature', '0', '--top-k', '40', '--seed', '7']),
    ];
    expect(cold).toMatchObject({ code: 0, stdout: greedy.stdout });
    const drawn = await run(['Once', '--top-k', '40', '--seed', '7']);
    expect(drawn.stdout).not.toBe(greedy.stdout);
    const { code, stderr } = await run(['Once', '--temperature', '-1']);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/a number of at least 0/)]);
  });
});
