/** Processes that are killed, and several at once: nothing is left, nothing is lost, one of them wins. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(
  args: readonly string[],
  env = process.env,
): {
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly ended: Promise<Ended>;
} {
  const lacuna = join(root, 'bin/lacuna.js');
  const child = spawn(process.execPath, [lacuna, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr += text));
  const ended = once(child, 'close').then(([code]) => ({ code, stdout, stderr }));
  return { kill: (signal) => void child.kill(signal), ended };
}

/** Starts a command and kills it as soon as `when` holds. */
async function killed(args: readonly string[], when: () => boolean, signal: NodeJS.Signals): Promise<Ended> {
  const child = start(args);
  const watch = setInterval(() => {
    if (!when()) return;
    clearInterval(watch);
    child.kill(signal);
  }, 1);
  const ended = await child.ended;
  clearInterval(watch);
  return ended;
}

/** A folder for the outputs of one test. */
function place(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

const seen = (path: string, part: string) => readdirSync(path).some((name) => name.includes(part));
const convert = (output: string, ...more: string[]) => ['convert', tinyLlama, '-o', output, '--quiet', ...more];

/** A conversion that rounds by a text, block by block, and whether one of its layers is kept yet. */
function rounding(name: string) {
  const at = place(name);
  const output = join(at, 'out');
  const byText = ['--dtype', 'int4', '--data', join(texts, 'fit.txt'), '--tokens', '2048'];
  const kept = `${output}.rounding`;
  const hasLayer = () => existsSync(kept) && readdirSync(kept).some((file) => file.endsWith('.layer-0.safetensors'));
  return { at, args: ['convert', tinyLlama, '-o', output, ...byText], hasLayer };
}

describe('conversions into one folder at once', { timeout: 60_000 }, () => {
  it.each([
    ['that is not there', []],
    ['that is there', ['--force']],
  ])('%s: one wins, the others say that it exists or is being made', async (name, more) => {
    const at = place(`race ${name}`);
    const output = join(at, 'out');
    if (more.length > 0) await start(convert(output)).ended;
    const ends = await Promise.all(Array.from({ length: 4 }, () => start(convert(output, ...more, '--json')).ended));
    const winners = ends.filter(({ code }) => code === 0);
    // With --force, one that starts late replaces what an early one has made.
    expect(winners.length).toBeGreaterThan(0);
    if (more.length === 0) expect(winners.length).toBe(1);
    for (const { code, stdout } of ends.filter((end) => end.code !== 0)) {
      expect(code).toBe(2);
      expect(JSON.parse(stdout).error.code).toBe('exists');
    }
    expect(readdirSync(at)).toEqual(['out']);
    expect(existsSync(join(output, 'lacuna.json'))).toBe(true);
  });
});

describe('a conversion that is killed', { timeout: 60_000 }, () => {
  it('leaves the old folder whole, and the next one removes what it left', async () => {
    const at = place('killed');
    const output = join(at, 'out');
    await start(convert(output)).ended;
    const before = readFileSync(join(output, 'lacuna.json'), 'utf8');
    await killed(convert(output, '--force'), () => seen(at, '.partial-'), 'SIGKILL');
    expect(seen(at, '.partial-')).toBe(true);
    expect(readFileSync(join(output, 'lacuna.json'), 'utf8')).toBe(before);
    expect((await start(convert(output, '--force', '--dtype', 'fp16')).ended).code).toBe(0);
    expect(readdirSync(at)).toEqual(['out']);
    expect(JSON.parse(readFileSync(join(output, 'lacuna.json'), 'utf8')).models[0].precision).toBe('fp16');
  });

  it('while it rounds by texts: the next one takes up the layers', async () => {
    const { at, args, hasLayer } = rounding('rounding');
    await killed(args, hasLayer, 'SIGKILL');
    const next = await start(args).ended;
    expect(next.stderr).toMatch(/Continuing with \d finished parts? from .*out\.rounding/);
    expect(next.code).toBe(0);
    expect(readdirSync(at)).toEqual(['out']);
  });

  it('by Ctrl-C: it says what is kept', async () => {
    const { at, args, hasLayer } = rounding('stopped');
    const stopped = await killed(args, hasLayer, 'SIGINT');
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toMatch(
      /Kept in .*out\.rounding: \d finished parts?; the same command continues from there\.\nStopped\.\n$/,
    );
    expect(readdirSync(at)).toEqual(['out.rounding']);
  });
});

describe('a model that is run', { timeout: 60_000 }, () => {
  it('leaves nothing in the temporary folder and in the home folder', async () => {
    const [model, temporary, home] = [join(place('run'), 'model'), place('temporary'), place('home')];
    expect((await start(convert(model)).ended).code).toBe(0);
    // Nothing else, since ONNX Runtime keeps quiet where variables tell of continuous integration.
    const environment = { PATH: process.env.PATH, TMPDIR: temporary, HOME: home };
    const { code, stderr } = await start(['run', model, 'Once', '--max-tokens', '2'], environment).ended;
    expect(code, stderr).toBe(0);
    expect([...readdirSync(temporary), ...readdirSync(home)]).toEqual([]);
  });
});
