/** Presets as the library and the command line meet them: by their list alone, to which a test adds one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { STATISTICS } from '../calibrate/list.ts';
import { writeStatistics } from '../formats/statistics.ts';
import { planOptions, withPresetOptions } from '../src/cli/presets.ts';
import { type Host, planSchema } from '../src/core/plan.ts';
import { layerSumsOf } from '../src/core/statistics.ts';
import { TARGETS } from '../src/core/target.ts';
import { inspect, type PlanOptions, PRESET_WORDS, plan } from '../src/index.ts';
import { checkTarget, choosesNeurons, makePlan, planOptionsSchema, targetOf } from '../src/plan/index.ts';
import type { Preset } from '../src/plan/preset.ts';
import { PRESETS } from '../src/plan/presets.ts';
import { noSums, statisticsOf } from '../src/plan/testing/statistics.ts';
import { lacuna, temporaryFolder } from './temporary.ts';

/** A preset that no other file knows of: it plans one block, and says there what it was asked for. */
vi.mock(import('../src/plan/presets.ts'), async (importOriginal) => {
  const { PRESETS: ours } = await importOriginal();
  const { definePreset } = await import('../src/plan/preset.ts');
  const made = definePreset({
    name: 'made-up',
    target: { kind: 'density', usual: 0.75 },
    options: {
      keep: z.number().gt(0).lt(1).optional().meta({ title: 'share', description: 'share of what is made up' }),
      everyBlock: z.int().min(1).default(2).meta({ title: 'n', description: 'blocks from one to the next' }),
      runLength: z.int().min(1).optional().meta({ title: 'n', description: 'said by another preset already' }),
      eager: z.boolean().default(false).meta({ description: 'does so at once' }),
    },
    prefill: 'dense',
    statistics: () => ['made-up-sums'],
    furtherStatistics: ['made-up-layers'],
    measureOf: () => 'activation',
    plan: async (statistics, { keep = 0.75, ...options }, readSums) => {
      const { sum } = await readSums(layerSumsOf(statistics, 'made-up-layers')[1]);
      const why = JSON.stringify({ ...options, ofLayer: sum.data[0] });
      return {
        parts: {
          target: { kind: 'density', value: keep },
          skipping: null,
          blocks: [{ block: 'layers.0.ffn', expected: { bytesPerToken: 1 }, why }],
        },
        tensors: new Map(),
      };
    },
    retune: ({ blocks }) => ({ blocks }),
  });
  return { PRESETS: [...ours, made] as unknown as typeof ours };
});

/** The one that is added comes last. */
const NAMES = PRESET_WORDS.map(({ name }) => name);

const folder = temporaryFolder();
const statistics = join(folder, 'statistics.json');
const output = join(folder, 'plan.json');
const FACTS = { layers: 2, neurons: 4, sequences: 2, sequenceLength: 600 };
const SUMS = { 'made-up-sums': { sum: { shape: [1], data: Float64Array.of(1) } } };

/** Two layers, and nothing of the head. */
const LAYERS = { 'made-up-layers': [7, 8].map((value) => ({ sum: { shape: [1], data: Float64Array.of(value) } })) };

beforeAll(async () => {
  await writeStatistics(statisticsOf(FACTS, SUMS, LAYERS), statistics, {});
});

function parse(...args: string[]): PlanOptions {
  const command = withPresetOptions(new Command(), 'native').exitOverride();
  return planOptions(command.parse(args, { from: 'user' }).opts());
}

describe.each(PRESET_WORDS.map((words) => [words.name, words] as const))('the preset %s', (name, words) => {
  const { options, target } = words;
  const preset = name as PlanOptions['preset'];

  it('has a name of its own, and says what its options are', () => {
    expect(PRESET_WORDS.filter((other) => other.name === name)).toHaveLength(1);
    expect(options[TARGETS[target.kind].option].safeParse(target.usual).success).toBe(true);
    for (const schema of Object.values(options)) {
      expect(schema.meta()?.description).toEqual(expect.any(String));
      if (!schema.safeParse(true).success) expect(schema.meta()?.title).toEqual(expect.any(String));
    }
  });

  it('takes every option from the command line as from the library', () => {
    const samples = Object.entries(options).map(([option, schema]) => {
      const words = z.toJSONSchema(schema).enum ?? [];
      const value = [7, 0.5, true, [0, 2], words.at(-1)].find((sample) => schema.safeParse(sample).success);
      return [option, value === true ? schema.safeParse(undefined).data !== true : value] as const;
    });
    const args = samples.flatMap(([option, value]) => {
      const words = option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      return typeof value === 'boolean' ? [`--${value ? '' : 'no-'}${words}`] : [`--${words}`, String(value)];
    });
    const wanted = { preset: name, ...Object.fromEntries(samples) };
    expect(parse('--preset', name, ...args)).toEqual(wanted);
    expect(planOptionsSchema.parse(wanted)).toEqual(wanted);
    expect(targetOf(planOptionsSchema.parse(wanted))).toEqual({ kind: target.kind, value: 0.5 });
  });

  it('aims at its usual target when nothing is asked', () => {
    expect(targetOf(parse('--preset', name))).toEqual({ kind: target.kind, value: target.usual });
  });

  it('takes no options but its own', () => {
    expect(planOptionsSchema.safeParse({ preset, ofNobody: 1 }).success).toBe(false);
  });

  it('names the statistics that it reads and that were not measured', async () => {
    const found = PRESETS.filter((one) => one.name === name)[0] as Preset;
    const { furtherStatistics: further = [] } = found;
    const wanted = found.statistics({});
    for (const one of name === 'made-up' ? [] : [...wanted, ...further])
      expect(STATISTICS.find((known) => known.name === one)?.onRequest ?? false).toBe(further.includes(one));
    const all = Object.fromEntries(wanted.map((one) => [one, {}]));
    for (const missing of further) {
      const layers = Object.fromEntries(further.filter((one) => one !== missing).map((one) => [one, []]));
      await expect(makePlan(statisticsOf(FACTS, all, layers), { preset }, '', noSums)).rejects.toMatchObject({
        message: expect.stringContaining(`"${missing}" was not measured`),
        hint: expect.stringContaining(`--with ${further.join(' ')}`),
      });
    }
    for (const missing of wanted) {
      const sums = Object.fromEntries(wanted.filter((one) => one !== missing).map((one) => [one, {}]));
      await expect(makePlan(statisticsOf(FACTS, sums), { preset }, '', noSums)).rejects.toMatchObject({
        message: expect.stringContaining(`"${missing}" was not measured`),
        hint: expect.not.stringContaining('--with'),
      });
    }
  });
});

it('a target that pays for no block on the host is refused by the presets that can tell', () => {
  const small = { hiddenSize: 8, intermediateSize: 8, numHiddenLayers: 2 };
  const refused = (options: object, host: Host) => {
    try {
      checkTarget(options as PlanOptions, host, small);
      return false;
    } catch (error) {
      expect(error).toMatchObject({ code: 'usage', message: expect.stringContaining('blocks of 8x8 in fp32') });
      return true;
    }
  };
  const told = NAMES.map((preset) => [preset, refused({ preset }, { kind: 'stock', dtype: 'fp32' })]);
  expect(Object.fromEntries(told)).toEqual({ 'ffn-skip': true, 'top-k': true, replace: true, 'made-up': false });
  expect(NAMES.map((preset) => refused({ preset }, { kind: 'native' }))).not.toContain(true);
});

describe('a preset that is added to the list', () => {
  it('is made by the library, with its defaults', async () => {
    const made = await plan({ statistics, output, preset: { preset: 'made-up' } as unknown as PlanOptions });
    const { preset, target, prefill, blocks } = made.plan;
    const wanted = { kind: 'density', value: 0.75 };
    expect({ preset, target, prefill }).toEqual({ preset: 'made-up', target: wanted, prefill: 'dense' });
    expect(JSON.parse(blocks[0].why)).toEqual({ everyBlock: 2, eager: false, ofLayer: 8 });
    expect(choosesNeurons(made.plan as unknown as PlanOptions)).toBe(true);
    await expect(inspect(output)).resolves.toMatchObject({ kind: 'plan' });
    const wrong = { preset: 'made-up', everyBlock: 0 } as unknown as PlanOptions;
    await expect(plan({ statistics, output, force: true, preset: wrong })).rejects.toThrow(
      'Expected a number of at least 1 for preset.everyBlock but received 0',
    );
  });

  it('is made by the command line, which describes and checks its options', async () => {
    const made = ['plan', statistics, '-o', join(folder, 'by-words.json'), '--preset', 'made-up'];
    const { stdout, code } = await lacuna([...made, '--keep', '40%', '--every-block', '3', '--eager', '--explain']);
    expect(code).toBe(0);
    expect(stdout).toContain('preset made-up: 40.0 % of neurons kept');
    expect(stdout).toContain('{"everyBlock":3,"eager":true,"ofLayer":8}');
    const help = (await lacuna(['plan', '--help'])).stdout.replace(/\s+/g, ' ');
    expect(help).toContain(`choices: ${NAMES.map((name) => `"${name}"`).join(', ')}`);
    expect(help).toContain('(default ffn-skip: dense; top-k: sparse; replace: sparse; made-up: dense)');
    expect(help).toContain('neurons to keep (default 0.5); made-up: share of what is made up (default 0.75)');
    expect(help).toContain('--every-block <n> made-up: blocks from one to the next');
    expect(help).toContain('--run-length <n> ffn-skip, made-up: blocks skipped after one that was saturated');
    expect(help).toContain('--eager made-up: does so at once');
    expect((await lacuna([...made, '--every-block', '0'])).stderr).toContain('Expected a number of at least 1.');
    const foreign = ['plan', statistics, '-o', output, '--preset', 'top-k', '--eager', '--run-length', '2'];
    expect((await lacuna(foreign)).stderr).toContain(
      '--run-length, --eager: only the preset ffn-skip, made-up takes this, not top-k',
    );
  });
});

describe('a plan in a file', () => {
  it.each([
    [
      'of a preset that there is not',
      { preset: 'magic' },
      new RegExp(`No preset is called "magic", wanted ${NAMES.join(', ')}`),
    ],
    ['whose target is not its preset’s', { preset: 'ffn-skip' }, /ffn-skip aims at skipped-blocks, got density/],
  ])('is refused %s', async (_, change, message) => {
    const path = join(folder, 'changed.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(output, 'utf8')), ...change }));
    const wanted = { code: 'bad-file', message: expect.stringMatching(message), hint: expect.any(String) };
    await expect(inspect(path)).rejects.toMatchObject(wanted);
  });

  it('in a manifest is read whatever its preset, since nothing is planned anew there', () => {
    const written = JSON.parse(readFileSync(output, 'utf8'));
    expect(planSchema.safeParse({ ...written, preset: 'of-a-later-version' }).success).toBe(true);
  });
});
