/** Files and folders appear complete or not at all, and nothing is left behind. */
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LacunaError } from '../src/core/errors.ts';
import { putInPlace, recoverFolder, sha256Bytes, sha256File, withNewFolder, writeFileAtomically } from './files.ts';
import { THIS_PROCESS } from './process.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-files-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function* blocks(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    if (text === 'fail') throw new LacunaError('non-finite', 'a block failed');
    yield new TextEncoder().encode(text);
  }
}

async function failure(promise: Promise<unknown>): Promise<LacunaError> {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(LacunaError);
  return error as LacunaError;
}

describe('writeFileAtomically', () => {
  test.each([
    ['text', 'grüße'],
    ['bytes', new TextEncoder().encode('grüße')],
    ['blocks', blocks('gr', 'üße')],
  ])('writes %s and leaves nothing else', async (_, data) => {
    await writeFileAtomically(join(folder, 'a.txt'), data);
    expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('grüße');
    expect(await readdir(folder)).toEqual(['a.txt']);
  });

  test('replaces a file; a failure on the way keeps the old one and removes the new', async () => {
    const path = join(folder, 'a.txt');
    await writeFileAtomically(path, 'old');
    await writeFileAtomically(path, 'new');
    expect((await failure(writeFileAtomically(path, blocks('half', 'fail')))).code).toBe('non-finite');
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readdir(folder)).toEqual(['a.txt']);
  });

  test('a temporary name that is taken is left alone', async () => {
    let temporary = '';
    await writeFileAtomically(
      join(folder, 'a'),
      (async function* () {
        [temporary] = await readdir(folder);
        yield new Uint8Array(1);
      })(),
    );
    const number = Number(temporary.split('-').at(-1));
    const taken = temporary.replace(/\d+$/, String(number + 1));
    await writeFile(join(folder, taken), 'of another process');
    await writeFileAtomically(join(folder, 'a'), 'ours');
    expect((await readdir(folder)).sort()).toEqual(['a', taken]);
    expect(await readFile(join(folder, taken), 'utf8')).toBe('of another process');
  });

  test('what the system refuses is an error with path, reason and cause', async () => {
    const error = await failure(writeFileAtomically(join(folder, 'none/a.txt'), 'x'));
    expect(error).toMatchObject({ code: 'not-found', message: expect.stringContaining(join(folder, 'none/a.txt')) });
    expect(error.cause).toMatchObject({ code: 'ENOENT' });
    const full = await failure(writeFileAtomically(join(folder, 'a'), failing('ENOSPC')));
    expect(full).toMatchObject({ code: 'io', message: `Cannot write ${join(folder, 'a')}: the disk is full` });
    expect(await readdir(folder)).toEqual([]);
  });
});

/** Stands for a full disk, which a test cannot fill. */
async function* failing(code: string): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(1);
  throw Object.assign(new Error(code), { code });
}

describe('withNewFolder', () => {
  const fill = async (temporary: string): Promise<number> => {
    await mkdir(join(temporary, 'onnx'));
    await writeFile(join(temporary, 'onnx/model.onnx'), 'new');
    await writeFile(join(temporary, 'lacuna.json'), '{}');
    return 7;
  };

  test('makes the folder, and those above it, and hands on the result', async () => {
    const out = join(folder, 'deep/out');
    expect(await withNewFolder(out, { force: false }, fill)).toBe(7);
    expect(await readFile(join(out, 'onnx/model.onnx'), 'utf8')).toBe('new');
    expect(await readdir(join(folder, 'deep'))).toEqual(['out']);
  });

  test('is not seen under its name before it is complete', async () => {
    await withNewFolder(join(folder, 'out'), { force: false }, async (temporary) => {
      expect(await readdir(folder)).toEqual(['out.lock', temporary.slice(folder.length + 1)]);
      expect(temporary).toMatch(/out\.partial-[0-9a-f]{8}-\d+-\d+-\d+$/);
    });
  });

  test('refuses an existing folder, file or dangling link before any work', async () => {
    await mkdir(join(folder, 'empty'));
    await writeFile(join(folder, 'file'), '');
    await symlink(join(folder, 'nowhere'), join(folder, 'link'));
    for (const [name, force] of [
      ['empty', false],
      ['file', false],
      ['file', true],
      ['link', true],
    ] as const) {
      let called = false;
      const error = await failure(
        withNewFolder(join(folder, name), { force }, async () => {
          called = true;
        }),
      );
      expect([name, error.code, called]).toEqual([name, 'exists', false]);
    }
    expect((await readdir(folder)).sort()).toEqual(['empty', 'file', 'link']);
  });

  test('force replaces an output, whole and late', async () => {
    const out = join(folder, 'out');
    await mkdir(out);
    await writeFile(join(out, 'lacuna.json'), 'old');
    await withNewFolder(out, { force: true }, async (temporary) => {
      expect(await readFile(join(out, 'lacuna.json'), 'utf8')).toBe('old');
      return fill(temporary);
    });
    expect((await readdir(out)).sort()).toEqual(['lacuna.json', 'onnx']);
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('force keeps the old output when filling fails', async () => {
    const out = join(folder, 'out');
    await withNewFolder(out, { force: false }, fill);
    const error = await failure(
      withNewFolder(out, { force: true }, async (temporary) => {
        await writeFile(join(temporary, 'half'), '');
        throw new LacunaError('interrupted', 'Stopped.');
      }),
    );
    expect(error.code).toBe('interrupted');
    expect((await readdir(out)).sort()).toEqual(['lacuna.json', 'onnx']);
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('force does not replace a folder that is not ours', async () => {
    const out = join(folder, 'photos');
    await mkdir(out);
    await writeFile(join(out, 'cat.jpg'), '');
    const error = await failure(withNewFolder(out, { force: true }, fill));
    expect(error).toMatchObject({ code: 'exists', message: expect.stringContaining('holds no lacuna.json') });
    expect(await readdir(out)).toEqual(['cat.jpg']);
  });

  test('force replaces an empty folder', async () => {
    await mkdir(join(folder, 'out'));
    await withNewFolder(join(folder, 'out'), { force: true }, fill);
    expect((await readdir(join(folder, 'out'))).sort()).toEqual(['lacuna.json', 'onnx']);
  });

  test('an output that appears meanwhile is not overwritten', async () => {
    const out = join(folder, 'out');
    const error = await failure(
      withNewFolder(out, { force: false }, async () => {
        await mkdir(out);
        await writeFile(join(out, 'other'), '');
      }),
    );
    expect(error.code).toBe('exists');
    expect(await readdir(folder)).toEqual(['out']);
    expect(await readdir(out)).toEqual(['other']);
  });

  test('an error of the system within names the file it is about', async () => {
    const error = await failure(
      withNewFolder(join(folder, 'out'), { force: false }, () => readFile(join(folder, 'missing.json'))),
    );
    expect(error).toMatchObject({ code: 'not-found', message: expect.stringContaining('missing.json') });
    expect(await readdir(folder)).toEqual([]);
  });

  test('two at once into different names do not meet', async () => {
    await Promise.all(['a', 'b', 'c'].map((name) => withNewFolder(join(folder, name), { force: false }, fill)));
    expect((await readdir(folder)).sort()).toEqual(['a', 'b', 'c']);
  });
});

describe('what a killed process left', () => {
  const { host, started } = THIS_PROCESS;
  // Process ids on Linux are below 2^22, so no process has this one.
  const dead = `${host}-${2 ** 30}-1-1`;
  const living = `${host}-${process.ppid}-0-1`;
  const elsewhere = `${host === '00000000' ? '1' : '0'}0000000-1-1-1`;

  const fill = (text: string) => (temporary: string) => writeFile(join(temporary, 'lacuna.json'), text);
  const out = () => join(folder, 'out');
  const put = async (name: string, text: string) => {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'lacuna.json'), text);
  };
  const content = () => readFile(join(out(), 'lacuna.json'), 'utf8');

  test('a file: the next one that writes it removes that, and nothing of a living process or another host', async () => {
    const names = [dead, living, elsewhere].map((maker) => `a.partial-${maker}`);
    // The same process id, but of a process that began earlier.
    const namesake = `a.partial-${host}-${process.pid}-${started + 1}-1`;
    const others = [`b.partial-${dead}`, 'a.partial-mine', 'a.partial-1-1', `xa.partial-${dead}`];
    for (const name of [...names, namesake, ...others]) await writeFile(join(folder, name), '');
    await writeFileAtomically(join(folder, 'a'), 'new');
    expect((await readdir(folder)).sort()).toEqual(['a', names[1], names[2], ...others].sort());
  });

  test('a folder half filled: removed, also that of another host', async () => {
    await put(`out.partial-${dead}`, 'half');
    await put(`out.partial-${elsewhere}`, 'half');
    await put(`out2.partial-${dead}`, 'of another folder');
    await withNewFolder(out(), { force: false }, fill('new'));
    expect((await readdir(folder)).sort()).toEqual(['out', `out2.partial-${dead}`]);
  });

  test('the old folder moved aside, the new one not there yet: the old one comes back', async () => {
    await put(`out.replaced-${dead}`, 'old');
    await put(`out.partial-${dead}`, 'new');
    const error = await failure(withNewFolder(out(), { force: false }, fill('newer')));
    expect(error.code).toBe('exists');
    expect(await content()).toBe('old');
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('the same, and the next run fails: the old one is back', async () => {
    await put(`out.replaced-${dead}`, 'old');
    const stopped = withNewFolder(out(), { force: true }, async () => {
      expect(await content()).toBe('old');
      throw new LacunaError('interrupted', 'Stopped.');
    });
    expect((await failure(stopped)).code).toBe('interrupted');
    expect(await content()).toBe('old');
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('the new folder in place, the old one not removed yet: it is', async () => {
    await put('out', 'new');
    await put(`out.replaced-${dead}`, 'old');
    await recoverFolder(out());
    expect(await content()).toBe('new');
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('after it had finished: its locks, and the folder it replaced, are removed as the next one is refused', async () => {
    await put('out', 'new');
    await put(`out.replaced-${dead}`, 'old');
    const text = JSON.stringify({ ...THIS_PROCESS, pid: 2 ** 30 });
    for (const name of ['out.lock', 'out.build.lock', 'out.rounding.lock']) await writeFile(join(folder, name), text);
    expect((await failure(withNewFolder(out(), { force: false }, fill('newer')))).code).toBe('exists');
    expect(await content()).toBe('new');
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('its lock: taken over', async () => {
    await writeFile(`${out()}.lock`, JSON.stringify({ ...THIS_PROCESS, pid: 2 ** 30 }));
    await withNewFolder(out(), { force: false }, fill('new'));
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('a process that is still at work is not disturbed', async () => {
    await put(`out.partial-${living}`, 'half');
    await writeFile(`${out()}.lock`, JSON.stringify({ ...THIS_PROCESS, pid: process.ppid, started: 0 }));
    const error = await failure(withNewFolder(out(), { force: true }, fill('new')));
    expect(error).toMatchObject({ code: 'exists', message: expect.stringContaining(`process ${process.ppid}`) });
    expect((await readdir(folder)).sort()).toEqual(['out.lock', `out.partial-${living}`]);
  });
});

describe('two at once into one folder', () => {
  test.each([false, true])('force %s: the second is refused before any work', async (force) => {
    const out = join(folder, 'out');
    await withNewFolder(out, { force }, async (temporary) => {
      let called = false;
      const second = withNewFolder(out, { force }, async () => {
        called = true;
      });
      expect(await failure(second)).toMatchObject({ code: 'exists', message: expect.stringMatching(/is at work in/) });
      expect(called).toBe(false);
      await writeFile(join(temporary, 'lacuna.json'), 'first');
    });
    expect(await readFile(join(out, 'lacuna.json'), 'utf8')).toBe('first');
    expect(await readdir(folder)).toEqual(['out']);
  });

  test('a complete folder is not put where another one has appeared', async () => {
    const [out, complete] = [join(folder, 'out'), join(folder, 'complete')];
    await mkdir(complete);
    await mkdir(out);
    expect((await failure(putInPlace(complete, out, { force: false }))).code).toBe('exists');
    expect((await readdir(folder)).sort()).toEqual(['complete', 'out']);
    await putInPlace(complete, out, { force: true });
    expect(await readdir(folder)).toEqual(['out']);
  });
});

test('sha256 of bytes and of a file: the FIPS 180-2 example "abc", and a file of several blocks', async () => {
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  expect(sha256Bytes('abc')).toBe(abc);
  expect(sha256Bytes(new TextEncoder().encode('abc'))).toBe(abc);
  const large = new Uint8Array(3 * (1 << 20) + 1).map((_, i) => i * 31);
  await writeFile(join(folder, 'large'), large);
  expect(await sha256File(join(folder, 'large'))).toBe(sha256Bytes(large));
  expect((await failure(sha256File(join(folder, 'none')))).code).toBe('not-found');
});
