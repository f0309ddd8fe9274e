import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { THIS_PROCESS } from '../../../formats/process.ts';
import { temporaryFolder } from '../../../test/temporary.ts';
import type { Progress } from '../../core/progress.ts';
import { endWorkspace, jsonStage, stage, withWorkspace, workspaceOf } from './workspace.ts';

const folder = temporaryFolder();

/** A workspace that a killed run left: a finished stage, a half-written file and its lock. */
function abandoned(name: string, lock: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, 'stage'), { recursive: true });
  writeFileSync(join(path, 'stage', 'done.json'), '1');
  writeFileSync(join(path, 'stage', 'other.json.partial-1-1'), '');
  writeFileSync(join(path, 'sparse.lock'), '');
  writeFileSync(`${path}.lock`, lock);
  return path;
}

describe('where stages are kept', () => {
  const output = join(folder, 'out');

  it('is beside the output, or in a folder of ours in the one that is given', async () => {
    expect(await workspaceOf({ output })).toBe(`${output}.build`);
    const work = join(folder, 'mine');
    const stages = join(work, 'lacuna-stages');
    expect(await workspaceOf({ output, work })).toBe(stages);
    // What else lies there is not ours, whatever it is called.
    const others = ['yarn.lock', 'notes.partial-draft', 'sparse-50', 'model-a'];
    mkdirSync(work);
    for (const name of others) writeFileSync(join(work, name), '');
    const made = ['losses-1', 'sparse-1', 'model-1', 'draft-1'];
    await withWorkspace(stages, async () => {
      for (const name of made) writeFileSync(join(stages, name), '');
      await endWorkspace(stages, { output, work });
    });
    expect(readdirSync(work).sort()).toEqual([...others, 'lacuna-stages'].sort());
    // Models are moved to their place, or made again.
    expect(readdirSync(stages)).toEqual(['losses-1']);
  });

  it.each([
    ['the output', output, output],
    ['a folder in it', output, join(output, 'stages')],
    ['where the output is to be in the stages', join(folder, 'mine', 'lacuna-stages', 'out'), join(folder, 'mine')],
    ['where the output is to be the stages', join(folder, 'mine', 'lacuna-stages'), join(folder, 'mine')],
    ['on another file system', output, '/proc/self'],
  ])('is not %s', async (_, output, work) => {
    await expect(workspaceOf({ output, work })).rejects.toMatchObject({
      code: 'usage',
      hint: 'Give a folder beside the output with --work.',
    });
  });
});

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

  // Process ids are below 2^22 on Linux, so no process has this one.
  it.each([
    ['a process that is gone', JSON.stringify({ ...THIS_PROCESS, pid: 2 ** 30 })],
    ['a namesake of this process', JSON.stringify(THIS_PROCESS)],
    ['another host', JSON.stringify({ ...THIS_PROCESS, host: 'elsewhere' })],
    ['a process killed while it wrote the lock', '{"ho'],
  ])('left by %s is taken over and cleaned', async (name, lock) => {
    const path = abandoned(name, lock);
    await withWorkspace(path, async () => {
      expect(readdirSync(join(path, 'stage'))).toEqual(['done.json']);
    });
    expect(readdirSync(path)).toEqual(['stage']);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  it('of another process at work is refused', async () => {
    const path = abandoned('living', JSON.stringify({ ...THIS_PROCESS, pid: process.ppid, started: 0 }));
    await expect(withWorkspace(path, async () => {})).rejects.toMatchObject({
      code: 'exists',
      message: `Another run (process ${process.ppid}) is at work in ${path}`,
    });
    expect(readdirSync(path).sort()).toEqual(['sparse.lock', 'stage']);
    expect(readdirSync(join(path, 'stage')).sort()).toEqual(['done.json', 'other.json.partial-1-1']);
  });

  it('is refused to a second build of this process, and free after the first', async () => {
    const path = join(folder, 'twice');
    await withWorkspace(path, async () => {
      writeFileSync(join(path, 'stage'), '');
      await expect(withWorkspace(path, async () => {})).rejects.toThrow('is at work');
    });
    expect(await withWorkspace(path, async () => 'free')).toBe('free');
  });

  it('tells what it takes up, and what it keeps when it is stopped', async () => {
    const path = join(folder, 'told');
    const notes: string[] = [];
    const progress: Progress = {
      stage: () => ({ advance: () => {}, done: () => {} }),
      note: (text) => notes.push(text),
    };
    const stopped = withWorkspace(
      path,
      async () => {
        writeFileSync(join(path, 'dense'), '');
        throw new Error('Stopped.');
      },
      progress,
    );
    await expect(stopped).rejects.toThrow('Stopped.');
    expect(notes).toEqual([`Kept in ${path}: 1 finished part; the same command continues from there.`]);
    writeFileSync(join(path, 'plan'), '');
    await withWorkspace(path, async () => rmSync(path, { recursive: true }), progress);
    expect(notes.slice(1)).toEqual([`Continuing with 2 finished parts from ${path}`]);
    await withWorkspace(path, async () => {}, progress);
    expect(notes.length).toBe(2);
  });
});

describe('a stage', () => {
  it.each([
    ['cut short', '{"ma', /no JSON/],
    ['of another kind', '[1]', /must hold a JSON object/],
    ['of 20,000 levels', `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`, /deeper than 100 levels/],
  ])('whose result is %s is a bad file', async (name, text, message) => {
    const path = join(folder, `${name}.json`);
    writeFileSync(path, text);
    const reading = jsonStage(path, async () => ({}));
    await expect(reading).rejects.toMatchObject({ code: 'bad-file', message: expect.stringMatching(message) });
  });

  it('is made once', async () => {
    const path = join(folder, 'a', 'result.json');
    let made = 0;
    const run = () => jsonStage(path, async () => ({ made: ++made }));
    expect(await run()).toEqual({ made: 1 });
    expect(await run()).toEqual({ made: 1 });
    expect(made).toBe(1);
  });

  it('that failed is made again', async () => {
    const path = join(folder, 'b');
    const failing = stage(path, async () => {
      throw new Error('disk');
    });
    await expect(failing).rejects.toThrow('disk');
    await stage(path, async () => mkdirSync(path));
    expect(existsSync(path)).toBe(true);
  });
});
