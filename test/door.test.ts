/**
 * Options that are wrong: the compiler refuses them where it knows the type, and whoever has no compiler gets a `LacunaError`
 * that names the field. Nothing is read or written before.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as z from 'zod';
import { checkArgument } from '../src/core/options.ts';
import * as lacuna from '../src/index.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const output = join(folder, 'out');
const checkpoint = tinyLlama;
const source = { checkpoint, output };
const preset = { preset: 'top-k' } as const;
const PRESETS = lacuna.PRESET_WORDS.map(({ name }) => name);

const { bench, build, calibrate, convert, doctor, evaluate, inspect, mergeCalibrations, open, plan, run } = lacuna;

/** What each call is refused with; `@ts-expect-error` fails to compile where the types would allow it. */
const WRONG: Readonly<Record<string, readonly [() => Promise<unknown>, RegExp]>> = {
  'a precision that there is not': [
    // @ts-expect-error
    () => convert({ ...source, dtype: 'int3' }),
    /^Expected fp32, fp16, bf16, int8, int6, int5, int4 for dtype but received "int3"$/,
  ],
  'one of several precisions': [
    // @ts-expect-error
    () => convert({ ...source, dtype: ['fp32', 'int3'] }),
    /^Expected fp32, .* for dtype\[1\] but received "int3"$/,
  ],
  'no precision': [() => convert({ ...source, dtype: [] }), /a list that is not empty for dtype but received an empty/],
  'a block size': [
    // @ts-expect-error
    () => convert({ ...source, dtype: 'int4', blockSize: 20 }),
    /^Expected 16, 32, 64, 128 for blockSize but received 20$/,
  ],
  'a rounding': [
    // @ts-expect-error
    () => convert({ ...source, dtype: 'int4', rounding: 'best' }),
    /^Expected gptq, search for rounding but received "best"$/,
  ],
  'a vocabulary': [
    // @ts-expect-error
    () => convert({ ...source, dtype: 'int4', vocabulary: 'fp16' }),
    /^Expected fp32, bf16, int8, int4 for vocabulary but received "fp16"$/,
  ],
  'a number as text': [
    // @ts-expect-error
    () => calibrate({ ...source, tokens: '20' }),
    /^Expected a whole number for tokens but received "20"$/,
  ],
  'a number that is not whole': [() => calibrate({ ...source, tokens: 1.5 }), /whole number for tokens .* 1\.5$/],
  'a number that is too small': [() => evaluate({ folder, tokens: 0 }), /a number of at least 1 for tokens .* 0$/],
  'what is no number': [() => evaluate({ folder, tokens: Number.NaN }), /for tokens but received NaN$/],
  'more threads than help': [() => bench({ folder, threads: 9999 }), /at most 256 for threads but received 9999$/],
  'no threads': [() => convert({ ...source, threads: 0 }), /at least 1 for threads but received 0$/],
  'a ratio that cannot be': [
    () => build({ ...source, preset, maxPplRatio: 0.9 }),
    /at least 1 for maxPplRatio .* 0\.9$/,
  ],
  'a negative temperature': [() => run({ folder, prompt: 'x', temperature: -1 }), /at least 0 for temperature .* -1$/],
  infinity: [() => run({ folder, prompt: 'x', temperature: Infinity }), /for temperature but received Infinity$/],
  'no likeliest tokens': [() => run({ folder, prompt: 'x', topK: 0 }), /at least 1 for topK .* 0$/],
  'half a token': [() => run({ folder, prompt: 'x', topK: 1.5 }), /whole number for topK .* 1\.5$/],
  'no share of probability': [() => run({ folder, prompt: 'x', topP: 0 }), /a number above 0 for topP .* 0$/],
  'more than all probability': [() => run({ folder, prompt: 'x', topP: 1.1 }), /at most 1 for topP .* 1\.1$/],
  'a share below none': [() => run({ folder, prompt: 'x', minP: -0.1 }), /at least 0 for minP .* -0\.1$/],
  'a penalty of none': [() => run({ folder, prompt: 'x', repetitionPenalty: 0 }), /for repetitionPenalty .* 0$/],
  'a seed between two': [() => run({ folder, prompt: 'x', seed: 0.5 }), /whole number for seed .* 0\.5$/],
  'less than no text': [() => run({ folder, prompt: 'x', maxTokens: -1 }), /at least 0 for maxTokens .* -1$/],
  'no rounds': [() => bench({ folder, rounds: 0 }), /at least 1 for rounds .* 0$/],
  'no statistics to merge': [() => mergeCalibrations({ inputs: [], output }), /not empty for inputs/],
  'a shard before the first': [() => calibrate({ ...source, shard: { index: -1, count: 2 } }), /for shard\.index/],
  'no shards': [() => calibrate({ ...source, shard: { index: 0, count: 0 } }), /for shard\.count/],
  'one text in place of a list': [
    // @ts-expect-error
    () => calibrate({ ...source, data: 'file.txt' }),
    /^Expected a list for data but received "file.txt"$/,
  ],
  'a list without a text': [() => evaluate({ folder, data: [] }), /^Expected a list that is not empty for data/],
  'what is no path': [
    // @ts-expect-error
    () => build({ ...source, preset, texts: { fit: ['a.txt', null] } }),
    /^Expected a string for texts\.fit\[1\] but received null$/,
  ],
  'a path that no system takes': [() => inspect('a\0b'), /a path, which holds no NUL for path/],
  'a missing checkpoint': [
    // @ts-expect-error
    () => convert({ output }),
    /^Expected a string for checkpoint but received undefined$/,
  ],
  'a misspelt field': [
    // @ts-expect-error
    () => convert({ checkpont: checkpoint, output }),
    /^convert takes no checkpont: did you mean checkpoint\?$/,
  ],
  'a misspelt field of a preset': [
    // @ts-expect-error
    () => plan({ statistics: 'x', output, preset: { preset: 'top-k', kepp: 0.5 } }),
    /^plan takes no preset\.kepp: did you mean preset\.keep\?$/,
  ],
  "another preset's option": [
    // @ts-expect-error
    () => plan({ statistics: 'x', output, preset: { preset: 'top-k', runLength: 2 } }),
    /^plan takes no preset\.runLength: did you mean /,
  ],
  'a preset that there is not': [
    // @ts-expect-error
    () => build({ ...source, preset: { preset: 'magic' } }),
    new RegExp(`^Expected ${PRESETS.join(', ')} for preset\\.preset but received "magic"$`),
  ],
  'a host': [
    // @ts-expect-error
    () => build({ ...source, preset: { preset: 'top-k', host: { kind: 'stock', dtype: 'fp16' } } }),
    /^Expected fp32, bf16, int8, int6, int5, int4 for preset\.host\.dtype but received "fp16"$/,
  ],
  'an engine': [
    // @ts-expect-error
    () => open(folder, { engine: 'fast' }),
    /^Expected native, stock for engine but received "fast"$/,
  ],
  'a function that is none': [
    // @ts-expect-error
    () => run({ folder, prompt: 'x', onText: 'log' }),
    /^Expected a function for onText but received "log"$/,
  ],
  'a progress that reports nothing': [
    // @ts-expect-error
    () => convert({ ...source, progress: {} }),
    /^Expected an object with stage\(\) and note\(\) for progress but received an object$/,
  ],
  'a signal that is none': [
    // @ts-expect-error
    () => convert({ ...source, signal: {} }),
    /^Expected a AbortSignal for signal but received an object$/,
  ],
  'a flag as text': [
    // @ts-expect-error
    () => convert({ ...source, force: 'yes' }),
    /^Expected true or false for force but received "yes"$/,
  ],
  'a shard past the last': [
    () => calibrate({ ...source, shard: { index: 4, count: 4 } }),
    /^Expected an index below its count for shard but received an object$/,
  ],
  'a place that is no file': [
    () => doctor({ nativeFolder: new URL('https://example.org/') }),
    /^Expected a file URL for nativeFolder/,
  ],
  'an endpoint': [
    () => convert({ ...source, hub: { endpoint: '', cacheFolder: folder } }),
    /^Expected a string that is not empty for hub\.endpoint but received ""$/,
  ],
};

describe('what is wrong with options', () => {
  it.each(Object.entries(WRONG))('is named: %s', async (_, [call, message]) => {
    await expect(call()).rejects.toThrow(lacuna.LacunaError);
    await expect(call()).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) });
    expect(existsSync(output)).toBe(false);
  });

  it('says what there is, and how to write a list', async () => {
    // @ts-expect-error
    await expect(evaluate({ folder, tokns: 5 })).rejects.toMatchObject({
      hint: expect.stringMatching(/^It takes folder, .*tokens/),
    });
    // @ts-expect-error
    await expect(evaluate({ folder, data: 'a.txt' })).rejects.toMatchObject({
      hint: 'A single one is also a list: ["a.txt"].',
    });
  });
});

// biome-ignore lint/complexity/noBannedTypes: what JavaScript lets through.
const FUNCTIONS: readonly (readonly [string, Function])[] = Object.entries(lacuna).flatMap(([name, exported]) =>
  typeof exported === 'function' && exported !== lacuna.LacunaError ? [[name, exported] as const] : [],
);

/** Functions that may be called with nothing. */
const WITHOUT_OPTIONS = ['doctor', 'measureHost', 'opsPath'];

describe('whatever is given in place of options', () => {
  it('is given to every function of the library', () => {
    expect(FUNCTIONS.length).toBeGreaterThanOrEqual(19);
    expect(FUNCTIONS.map(([name]) => name)).toEqual(expect.arrayContaining(['convert', 'open', ...WITHOUT_OPTIONS]));
  });

  it.each(FUNCTIONS)('is refused with usage by %s', async (name, call) => {
    const nothing = WITHOUT_OPTIONS.includes(name) ? [] : [undefined, {}];
    for (const given of [...nothing, null, 5, '', [], () => {}, Symbol('x'), 5n])
      await expect(call(given)).rejects.toMatchObject({ name: 'LacunaError', code: 'usage' });
  });

  it('is nothing where all of them may be left out', async () => {
    for (const [, call] of FUNCTIONS.filter(([name]) => WITHOUT_OPTIONS.includes(name))) {
      await expect(call(null)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/^Expected an object/),
      });
      await expect(call({ folder })).rejects.toMatchObject({ code: 'usage' });
    }
    expect(await doctor()).toMatchObject({ lacuna: lacuna.LACUNA_VERSION });
  });
});

/** Every schema of options, by its name: each is exported beside its interface. */
const SCHEMAS = await schemasIn('src/pipeline');

async function schemasIn(folder: string): Promise<readonly (readonly [string, z.ZodObject])[]> {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const modules = await Promise.all(sources.map((file) => import(join(root, folder, file))));
  return modules.flatMap((module) =>
    Object.entries(module).filter((one): one is [string, z.ZodObject] => one[1] instanceof z.ZodObject),
  );
}

describe('any value at all of any field', () => {
  const fields = SCHEMAS.flatMap(([name, schema]) =>
    Object.keys(schema.shape).map((field) => ({ name, schema, field })),
  );

  it('is taken or refused with usage, never with another error', () => {
    expect(fields.length).toBeGreaterThan(100);
    expect(SCHEMAS.length).toBeGreaterThanOrEqual(17);
    const anything = fc.anything({
      withBigInt: true,
      withNullPrototype: true,
      withTypedArray: true,
      withSparseArray: true,
    });
    fc.assert(
      fc.property(fc.constantFrom(...fields), anything, ({ name, schema, field }, value) => {
        try {
          checkArgument(schema, { [field]: value }, { of: name });
        } catch (error) {
          expect(error).toMatchObject({ name: 'LacunaError', code: 'usage' });
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('the types', () => {
  it('are those of the tables', () => {
    expectTypeOf<lacuna.PrecisionName>().toEqualTypeOf<'fp32' | 'fp16' | 'bf16' | 'int8' | 'int6' | 'int5' | 'int4'>();
    expectTypeOf<lacuna.SparsePrecision>().toEqualTypeOf<
      'fp32' | 'fp16' | 'bf16' | 'int8' | 'int6' | 'int5' | 'int4'
    >();
    expectTypeOf<lacuna.BlockSize>().toEqualTypeOf<16 | 32 | 64 | 128>();
    expect(lacuna.PRECISION_NAMES).toContain('int4');
  });
});
