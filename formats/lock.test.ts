/** A lock has one holder, whatever lies in its place and however many processes come at once. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { platform } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { raceLocks, STALE_LOCKS } from '../test/lock-races.ts';
import { temporaryFolder } from '../test/temporary.ts';
import { withLock } from './lock.ts';
import { THIS_PROCESS } from './process.ts';

const folder = temporaryFolder();

/** A lock in a folder of its own. */
function place(name: string): { readonly folder: string; readonly lock: string } {
  const own = join(folder, name);
  mkdirSync(own);
  return { folder: own, lock: join(own, 'out.lock') };
}

describe('a lock', () => {
  test('is there while it is held, whole and naming its holder, and gone afterwards', async () => {
    const at = place('held');
    const result = await withLock(at.lock, 'out', async () => {
      expect(readdirSync(at.folder)).toEqual(['out.lock']);
      expect(JSON.parse(readFileSync(at.lock, 'utf8'))).toMatchObject(THIS_PROCESS);
      return 7;
    });
    expect(result).toBe(7);
    expect(readdirSync(at.folder)).toEqual([]);
  });

  test('is gone when its use failed', async () => {
    const at = place('failed');
    const failing = withLock(at.lock, 'out', async () => {
      throw new Error('disk');
    });
    await expect(failing).rejects.toThrow('disk');
    expect(readdirSync(at.folder)).toEqual([]);
  });

  test('is refused to another task of the same process, and free when that has ended', async () => {
    const at = place('twice');
    await withLock(at.lock, 'out', async () => {
      await expect(withLock(at.lock, 'out', async () => {})).rejects.toMatchObject({
        code: 'exists',
        message: `Another run (process ${process.pid}) is at work in out`,
      });
    });
    expect(await withLock(at.lock, 'out', async () => 'free')).toBe('free');
  });

  test.each(STALE_LOCKS.map((text) => [JSON.stringify(text).slice(0, 120), text]))(
    'is taken over from %s',
    async (_, text) => {
      const at = place(`stale-${STALE_LOCKS.indexOf(text)}`);
      writeFileSync(at.lock, text);
      expect(await withLock(at.lock, 'out', async () => readdirSync(at.folder))).toEqual(['out.lock']);
      expect(readdirSync(at.folder)).toEqual([]);
    },
  );

  test.each([
    ['its start is known', {}],
    // If the system does not say when processes began.
    ['its start is not known', { started: 0 }],
  ])('of a living process is left alone: %s', async (name, differing) => {
    const at = place(`living ${name}`);
    const parent = { ...THIS_PROCESS, pid: process.ppid, ...differing };
    const text = JSON.stringify('started' in differing ? parent : { ...parent, started: await startOf(process.ppid) });
    writeFileSync(at.lock, text);
    await expect(withLock(at.lock, 'out', async () => {})).rejects.toMatchObject({
      code: 'exists',
      message: expect.stringContaining(`process ${process.ppid}`),
      hint: expect.stringContaining(at.lock),
    });
    expect(readFileSync(at.lock, 'utf8')).toBe(text);
  });

  test('that was taken over meanwhile is not removed by its old holder', async () => {
    const at = place('lost');
    await withLock(at.lock, 'out', async () => writeFileSync(at.lock, 'of another host'));
    expect(readFileSync(at.lock, 'utf8')).toBe('of another host');
  });

  test('is none where something else lies: a folder, a link to nothing', async () => {
    for (const [name, put] of [
      ['folder', (path: string) => mkdirSync(path)],
      ['link', (path: string) => symlinkSync(join(folder, 'nowhere'), path)],
    ] as const) {
      const at = place(name);
      put(at.lock);
      await expect(withLock(at.lock, 'out', async () => {})).rejects.toMatchObject({ code: 'exists' });
    }
  });
});

async function startOf(pid: number): Promise<number> {
  if (platform() !== 'linux') return 0;
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
}

describe('many processes at one stale lock', () => {
  test('200 races: never two, never nobody, and nothing is left', async () => {
    const { holders, left } = await raceLocks({ rounds: 200, processes: 4 });
    expect(holders).toEqual([0, 200, 0, 0, 0]);
    expect(left).toEqual([]);
  }, 120_000);

  test('20 races with one killed in each, at moments from 0 to 10 ms: never two, and nothing is left', async () => {
    let round = 0;
    const { holders, left } = await raceLocks({ rounds: 20, processes: 4, killAt: () => (round++ % 10) / 10 });
    expect(holders.slice(2)).toEqual([0, 0, 0]);
    expect(left).toEqual([]);
  }, 120_000);
});
