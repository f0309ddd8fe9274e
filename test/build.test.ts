/** `build`, killed in every stage and started again, gives the bytes of an undisturbed run. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checksumOf } from '../formats/checksum.ts';
import { hashTree } from '../fuzz/harness/tree.ts';
import { required } from './real/real-model.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();

/** Stages of build in their order, by what appears in `<output>.build` once they have begun or ended. */
const STAGES = ['dense-', 'statistics-', 'plan-', 'draft-', 'sparse-', 'bench-', 'evaluation-'];

/** Of a model as small as the fixture's nobody knows whether it gains, least of all while other tests run. */
const ANYWAY = ['--host', 'native', '--allow-slower'];

function startBuild(output: string, preset: readonly string[], host: readonly string[] = ANYWAY) {
  const args = ['build', tinyLlama, '-o', output, ...preset, ...host, '--tokens', '1500', '--threads', '1', '--quiet'];
  return spawn(process.execPath, [join(root, 'bin/lacuna.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function finish(child: ReturnType<typeof startBuild>): Promise<{ code: number | null; stderr: string }> {
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  child.stdout.resume();
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stderr };
}

/** Kills the build with SIGKILL as soon as `stage` shows, and a part of it if one is named; false when it ended before. */
async function killIn(stage: string, output: string, preset: readonly string[], part?: string): Promise<boolean> {
  const child = startBuild(output, preset);
  const ended = finish(child);
  const watch = setInterval(() => {
    const work = `${output}.build`;
    const begun = existsSync(work) ? readdirSync(work).find((name) => name.startsWith(stage)) : undefined;
    if (begun === undefined) return;
    if (part === undefined || readdirSync(join(work, begun)).some((name) => name.includes(part))) child.kill('SIGKILL');
  }, 2);
  const { code } = await ended;
  clearInterval(watch);
  return code === null;
}

describe.each([[['--preset', 'top-k', '--keep', '0.4']], [['--preset', 'ffn-skip', '--skip', '0.15']]])(
  'build %j',
  { timeout: 300_000 },
  (preset) => {
    const [, name, , target] = preset;
    const whole = join(folder, `whole-${name}`);
    const killed = join(folder, `killed-${name}`);
    const allowing = (ratio: string) => [...preset, '--budget', `ppl<=${ratio}`];

    it('ships nothing over budget, and measures nothing again for another', async () => {
      const refused = await finish(startBuild(whole, allowing('1.000001')));
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(/over the budget/);
      expect(existsSync(whole)).toBe(false);
      // All that is left is to ship.
      const kept = readdirSync(`${whole}.build`).sort();
      expect(kept.map((entry) => entry.replace(/-.*/, ''))).toEqual([
        'bench',
        'dense',
        'evaluation',
        'plan',
        'sparse',
        'statistics',
      ]);
      const shipped = await finish(startBuild(whole, allowing('1000')));
      expect(shipped.code).toBe(0);
      expect(shipped.stderr).toBe('');
      expect(JSON.parse(readFileSync(join(whole, 'lacuna/evaluation.json'), 'utf8')).check).toEqual({
        maxPplRatio: 1000,
        upperBound: expect.any(Number),
        passed: true,
      });
    });

    it.runIf(required)('gives the same bytes when it is killed in each of its stages', async () => {
      for (const stage of STAGES) expect(await killIn(stage, killed, preset), `the build reached ${stage}`).toBe(true);
      expect((await finish(startBuild(killed, allowing('1000')))).code).toBe(0);
      expect(hashTree(killed)).toEqual(hashTree(whole));
      expect([...hashTree(whole).keys()]).toContain('lacuna/evaluation.json');
      expect(readdirSync(folder).filter((entry) => entry.startsWith(`killed-${name}`))).toEqual([`killed-${name}`]);
    });

    it('leaves out as much as it was asked to, of a text that it was not tuned on', () => {
      const { modes } = JSON.parse(readFileSync(join(whole, 'lacuna/evaluation.json'), 'utf8'));
      const { density, skippedShare } = modes[0].realised;
      // A plan that is not retuned is a whole point off.
      expect(Math.abs((name === 'top-k' ? density : skippedShare) - Number(target))).toBeLessThan(0.005);
    });

    it('that was killed after its last rename only cleans up', async () => {
      const before = hashTree(whole);
      mkdirSync(join(`${whole}.build`, 'statistics-0'), { recursive: true });
      const again = await finish(startBuild(whole, allowing('1000')));
      expect(again.stderr).toBe('');
      expect(again.code).toBe(0);
      expect(existsSync(`${whole}.build`)).toBe(false);
      expect(hashTree(whole)).toEqual(before);
    });

    it('refuses to write over its result', async () => {
      const again = await finish(startBuild(whole, preset));
      expect(again.code).toBe(2);
      expect(again.stderr).toMatch(/already exists/);
    });
  },
);

describe('a build in int4', { timeout: 120_000 }, () => {
  const output = join(folder, 'int4');
  const json = (name: string) => JSON.parse(readFileSync(join(output, name), 'utf8'));

  it('is rounded by the fitting text, and measured against the floats, with both losses apart', async () => {
    const built = await finish(startBuild(output, ['--preset', 'top-k', '--keep', '0.4', '--dtype', 'int4']));
    expect(built.stderr).toBe('');
    expect(built.code).toBe(0);
    const { models } = json('lacuna.json');
    expect(models).toEqual([expect.objectContaining({ precision: 'int4', rounding: 'gptq' })]);
    expect(models[0].calibratedOn).toEqual([expect.objectContaining({ name: 'fit.txt' })]);
    const { againstPrecision, modes } = json('lacuna/evaluation.json');
    expect(againstPrecision).toBe('fp32');
    for (const { perplexityRatio, rounded, baseline, model } of modes) {
      expect(perplexityRatio.value).toBeCloseTo(model.perplexity / baseline.perplexity, 9);
      expect(rounded.rounding.value * rounded.leavingOut.value).toBeCloseTo(perplexityRatio.value, 9);
      // Rounding alone shows, and so does leaving out.
      expect(Math.abs(Math.log(rounded.rounding.value))).toBeGreaterThan(1e-4);
      expect(rounded.leavingOut.value).toBeGreaterThan(1.005);
    }
  });

  it('measures in the walk that it rounds by what a build in floats measures', () => {
    const statistics = 'lacuna/statistics.safetensors';
    const floats = hashTree(join(folder, 'whole-top-k'));
    expect(hashTree(output).get(statistics)).toBe(floats.get(statistics));
  });

  it.runIf(required)('goes on in the middle of that walk', async () => {
    const killed = join(folder, 'killed-int4');
    const preset = ['--preset', 'top-k', '--keep', '0.4', '--dtype', 'int4'];
    expect(await killIn('rounding-', killed, preset, '.layer-3.')).toBe(true);
    const work = readdirSync(`${killed}.build`);
    expect(work.filter((name) => name.startsWith('statistics-'))).toEqual([]);
    expect((await finish(startBuild(killed, preset))).code).toBe(0);
    expect(hashTree(killed)).toEqual(hashTree(output));
  });

  it('says in its card what was measured, of what and how surely; the manifest has the checksum', () => {
    const card = readFileSync(join(output, 'README.md'), 'utf8');
    const [all] = json('lacuna/evaluation.json').modes;
    expect(card).toContain(`| all | ${all.scoredTokens} | ${all.perplexityRatio.value.toFixed(4)} ± `);
    expect(card).toContain("to the checkpoint's floats (fp32), on test.txt");
    expect(card.match(/## Measured/g)).toHaveLength(1);
    const file = json('lacuna.json').files.find(({ path }: { path: string }) => path === 'README.md');
    expect(file).toMatchObject({ bytes: Buffer.byteLength(card), crc32: checksumOf(Buffer.from(card)) });
  });
});

describe('a build that cannot pay', { timeout: 60_000 }, () => {
  it.each([
    ['top-k', '--keep', '0.4'],
    ['ffn-skip', '--skip', '0.2'],
  ])('on stock ONNX Runtime is refused before anything is measured: %s', async (preset, ...share) => {
    const output = join(folder, `stock-${preset}`);
    const { code, stderr } = await finish(startBuild(output, ['--preset', preset, ...share], ['--host', 'stock']));
    expect(stderr).toMatch(/expected to take \d+ % of their dense time/);
    expect(code).toBe(2);
    expect(existsSync(output)).toBe(false);
    expect(existsSync(`${output}.build`)).toBe(false);
  });

  it('tells so in a dry run', async () => {
    const output = join(folder, 'dry');
    const dry = ['--preset', 'top-k', '--keep', '0.4', '--dry-run'];
    expect((await finish(startBuild(output, dry, ['--host', 'stock']))).code).toBe(2);
    expect(await finish(startBuild(output, dry))).toEqual({ code: 0, stderr: '' });
    expect(existsSync(`${output}.build`)).toBe(false);
  });
});

describe('a build that is interrupted', { timeout: 60_000 }, () => {
  it('cleans up when one Ctrl-C arrives twice, as under npm or timeout', async () => {
    const output = join(folder, 'twice');
    const child = startBuild(output, ['--preset', 'top-k', '--keep', '0.4']);
    const ended = finish(child);
    const watch = setInterval(() => {
      const work = `${output}.build`;
      if (!existsSync(work) || !readdirSync(work).some((name) => name.startsWith('statistics-'))) return;
      clearInterval(watch);
      child.kill('SIGINT');
      child.kill('SIGTERM');
    }, 2);
    const { code, stderr } = await ended;
    clearInterval(watch);
    expect(stderr).toBe('Stopped.\n');
    expect(code).toBe(130);
    const left = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.startsWith('twice'));
    expect(left.filter((name) => name.includes('.partial-'))).toEqual([]);
  });
});
