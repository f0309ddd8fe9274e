/** What targets of a preset are expected to give: from the statistics of a build, before any model is made. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type BuildComparison, calibrate, compareTargets, dryRunBuild, type PlanOptions, plan } from '../src/index.ts';
import { lacuna, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const FEW = { tokens: 1100, threads: 1 } as const;
const LAYERS = 12;

/** With no build that is timed, no native core is needed. */
const compare = (output: string, preset: PlanOptions, targets: readonly number[]) =>
  compareTargets({ checkpoint: tinyLlama, output, preset, targets, allowSlower: true, dtype: 'int8', ...FEW });

const HOST = { kind: 'native', dtype: 'int8' } as const;

describe('targets that are compared', { timeout: 60_000 }, () => {
  let found: BuildComparison;
  beforeAll(async () => {
    found = await compare(at('out'), { preset: 'top-k', measure: 'product', host: HOST }, [0.9, 0.5, 0.1]);
  }, 60_000);

  it('have the figures of the plans that would be made', async () => {
    const data = [join(texts, 'fit.txt')];
    await calibrate({ checkpoint: tinyLlama, output: at('s.json'), data, ...FEW });
    const preset = { preset: 'top-k', keep: 0.5, measure: 'product', host: HOST } as const;
    const made = await plan({ statistics: at('s.json'), output: at('p.json'), preset });
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const energies = made.plan.blocks.map(({ expected }) => expected.keptEnergy ?? Number.NaN);
    const half = found.targets[1];
    expect(half.target).toBe(0.5);
    expect(half.keptEnergy).toBeCloseTo(mean(energies), 12);
    // Gate and up whole, half of down.
    expect(half.ffnBytes).toBeCloseTo(2.5 / 3, 2);
    expect(half.layers).toHaveLength(LAYERS);
    // The plan says of each layer what its stream loses, in hundredths of a percent.
    const losses = made.plan.blocks.map(({ why }) => Number(/left out is ([\d.]+) %/.exec(why)?.[1]) / 100);
    expect(Math.abs((half.streamLoss ?? 1) - mean(losses))).toBeLessThan(0.5e-5);
  });

  it('lose more and read less the less they keep', () => {
    const of = (figure: 'ffnBytes' | 'keptEnergy' | 'streamLoss' | 'speedup') =>
      found.targets.map((one) => one[figure] ?? Number.NaN);
    for (const falling of [
      of('ffnBytes'),
      of('keptEnergy'),
      of('streamLoss').map((loss) => -loss),
      of('speedup').map((speed) => -speed),
    ])
      expect(falling).toEqual(falling.toSorted((a, b) => b - a));
    expect(found.summary.layers).toHaveLength(LAYERS);
  });

  it('make no model, and leave their statistics for the build', async () => {
    expect(existsSync(at('out'))).toBe(false);
    expect(readdirSync(at('out.build')).map((name) => name.replace(/-.*/, ''))).toEqual(['statistics']);
    const args = ['build', tinyLlama, '-o', at('out'), '--preset', 'ffn-skip', '--host', 'native', '--allow-slower'];
    const dry = await lacuna([...args, '--tokens', '1100', '--threads', '1', '--dry-run', '--json']);
    const { stages } = JSON.parse(dry.stdout) as { stages: { name: string; isKept: boolean }[] };
    expect(stages.filter(({ isKept }) => isKept).map(({ name }) => name)).toEqual(['statistics']);
  });

  it('read all of a layer that stays dense', async () => {
    const { targets } = await compare(at('out'), { preset: 'top-k', denseLayers: [0, 3], host: HOST }, [0.5]);
    expect(targets[0].layers.map((share) => share === 1)).toEqual(
      Array.from({ length: LAYERS }, (_, layer) => layer === 0 || layer === 3),
    );
    expect(targets[0].streamLoss).toBeNull();
  });

  it('say of each by itself why there is no plan for it', async () => {
    const { targets } = await compare(at('out'), { preset: 'ffn-skip', host: HOST }, [0.1, 0.99]);
    expect(targets.map(({ problem }) => problem?.code)).toEqual([undefined, 'usage']);
    expect(targets[1]).toMatchObject({ ffnBytes: null, speedup: null, keptEnergy: null, layers: [] });
    expect(targets[0].ffnBytes).toBeCloseTo(0.9, 1);
  });

  it('decide in place of a threshold', async () => {
    const preset = { preset: 'ffn-skip', host: HOST } as const;
    const figures = async (options: PlanOptions) =>
      (await compare(at('out'), options, [0.1])).targets.map(({ ffnBytes }) => ffnBytes);
    expect(await figures({ ...preset, threshold: 0.9 })).toEqual(await figures(preset));
  });

  it.each<[string, PlanOptions]>([
    ['denseLayers', { preset: 'top-k', denseLayers: [LAYERS], host: HOST }],
    ['coldEnd', { preset: 'ffn-skip', coldEnd: LAYERS + 1, host: HOST }],
  ])('are refused, as a build and its dry run are, with %s of layers that there are not', async (name, preset) => {
    const build = { checkpoint: tinyLlama, output: at('none'), allowSlower: true, ...FEW };
    const refusals = [() => dryRunBuild({ ...build, dtype: 'int8', preset }), () => compare(at('none'), preset, [0.5])];
    for (const refusal of refusals)
      await expect(refusal()).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(name) });
    expect(existsSync(at('none.build'))).toBe(false);
  });

  it('are a table on the command line, and are refused without a preset', async () => {
    const args = [
      'build',
      tinyLlama,
      '-o',
      at('out'),
      '--host',
      'native',
      '--allow-slower',
      '--tokens',
      '1100',
      '--threads',
      '1',
    ];
    const { code, stdout } = await lacuna([...args, '--preset', 'top-k', '--dtype', 'int8', '--compare', '80%,0.5']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^target +FFN bytes read +speed +energy kept$/m);
    expect(stdout).toMatch(/^ +80 % +86\.7 % +\d\.\d\dx +\d\d\.\d %\n +50 % +66\.7 %/m);
    const uneven = await lacuna([...args, '--preset', 'top-k', '--dtype', 'int8', '--compare', '12.5%']);
    expect(uneven.stdout).toMatch(/^12\.5 % /m);
    const dry = await lacuna([...args, '--preset', 'top-k', '--compare', '0.5', '--dry-run']);
    expect([dry.code, dry.stderr]).toEqual([2, expect.stringContaining('--dry-run measures nothing')]);
    const refused = await lacuna([...args.slice(0, -5), '--budget', 'ppl<=1.02', '--compare', '0.5']);
    expect([refused.code, /only a build by a preset has targets/.test(refused.stderr)]).toEqual([2, true]);
  });
});
