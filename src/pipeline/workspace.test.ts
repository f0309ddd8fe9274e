import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/temporary.ts';
import { jsonStage, stage, withWorkspace } from './workspace.ts';

const folder = temporaryFolder();

/** A workspace that a run left which was killed: a finished stage, a half-written file and its lock. */
function abandoned(name: string, lock: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, 'stage'), { recursive: true });
  writeFileSync(join(path, 'stage', 'done.json'), '1');
  writeFileSync(join(path, 'stage', 'other.json.partial-1-1'), '');
  writeFileSync(join(path, 'lock'), lock);
  return path;
}

describe('a workspace', () => {
  it('is left with its stages, or not at all when there are none', async () => {
    const path = join(folder, 'new');
    await withWorkspace(path, async () => writeFileSync(join(path, 'stage'), ''));
    expect(readdirSync(path)).toEqual(['stage']);
    const failing = withWorkspace(join(folder, 'failed'), async () => {
      throw new Error('disk');
    });
    await expect(failing).rejects.toThrow('disk');
    expect(existsSync(join(folder, 'failed'))).toBe(false);
  });

  // Process ids are below 2^22 on Linux; this one is nobody's.
  it.each([
    ['a process that is gone', JSON.stringify({ host: hostname(), pid: 2 ** 30 })],
    ['a namesake of this process', JSON.stringify({ host: hostname(), pid: process.pid })],
    ['another host', JSON.stringify({ host: 'elsewhere.invalid', pid: process.pid })],
    ['a process killed while it wrote the lock', '{"ho'],
  ])('left by %s is taken over and cleaned', async (name, lock) => {
    const path = abandoned(name, lock);
    await withWorkspace(path, async () => {
      expect(readdirSync(join(path, 'stage'))).toEqual(['done.json']);
    });
    expect(readdirSync(path)).toEqual(['stage']);
  });

  it.each([['of another process', () => JSON.stringify({ host: hostname(), pid: process.ppid })]])(
    '%s at work is refused',
    async (name, lock) => {
      const path = abandoned(name, lock());
      await expect(withWorkspace(path, async () => {})).rejects.toMatchObject({ code: 'exists' });
      expect(readdirSync(path).sort()).toEqual(['lock', 'stage']);
    },
  );

  it('is refused to a second build of this process, and free after the first', async () => {
    const path = join(folder, 'twice');
    await withWorkspace(path, async () => {
      writeFileSync(join(path, 'stage'), '');
      await expect(withWorkspace(path, async () => {})).rejects.toThrow('is at work');
    });
    expect(await withWorkspace(path, async () => 'free')).toBe('free');
  });
});

describe('a stage', () => {
  it('is made once', async () => {
    const path = join(folder, 'a', 'result.json');
    let made = 0;
    const run = () => jsonStage(path, async () => ({ made: ++made }));
    expect((await run()).result).toEqual({ made: 1 });
    expect((await run()).result).toEqual({ made: 1 });
    expect(made).toBe(1);
  });

  it('that failed is made again', async () => {
    const path = join(folder, 'b');
    const failing = stage(
      path,
      async () => {
        throw new Error('disk');
      },
      async () => null,
    );
    await expect(failing).rejects.toThrow('disk');
    expect(
      (
        await stage(
          path,
          async () => mkdirSync(path),
          async () => 'read',
        )
      ).result,
    ).toBe('read');
  });
});
