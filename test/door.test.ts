/**
 * Options that are wrong: the compiler refuses them where it knows the type, and whoever has no compiler gets a `LacunaError`
 * that names the field. Nothing is read or written before.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as z from 'zod';
import { checkArgument } from '../src/core/options.ts';
import * as lacuna from '../src/index.ts';
import * as schemas from '../src/pipeline/options.ts';
import { temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const output = join(folder, 'out');
const checkpoint = tinyLlama;
const source = { checkpoint, output };
const preset = { preset: 'top-k' } as const;
const PRESETS = lacuna.PRESET_WORDS.map(({ name }) => name);

const { bench, build, calibrate, convert, doctor, dryRun, dryRunBuild, evaluate, inspect, installOps } = lacuna;
const { mergeCalibrations, open, opsPath, plan, run, runRows, sparsify, verify, writeExpectations } = lacuna;

/** What each call is refused with; `@ts-expect-error` fails to compile where the types would allow it. */
const WRONG: Readonly<Record<string, readonly [() => Promise<unknown>, RegExp]>> = {
  'a precision that there is not': [
    // @ts-expect-error
    () => convert({ ...source, dtype: 'int3' }),
    /^Expected fp32, fp16, bf16, int8, int4 for dtype but received "int3"$/,
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
    () => plan({ statistics: 'x', output, preset: { preset: 'top-k', densty: 0.5 } }),
    /^plan takes no preset\.densty: did you mean preset\.density\?$/,
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
    /^Expected fp32, bf16, int8, int4 for preset\.host\.dtype but received "fp16"$/,
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
      hint: 'One is a list as well: ["a.txt"].',
    });
  });
});

describe('whatever is given in place of options', () => {
  // biome-ignore lint/complexity/noBannedTypes: what JavaScript lets through.
  const FUNCTIONS: readonly Function[] = [
    bench,
    build,
    calibrate,
    convert,
    dryRun,
    dryRunBuild,
    evaluate,
    installOps,
    mergeCalibrations,
    plan,
    run,
    runRows,
    sparsify,
    verify,
    writeExpectations,
    inspect,
    open,
  ];

  it.each(FUNCTIONS.map((one, index) => [index, one] as const))(
    'function %i refuses it with usage',
    async (_, call) => {
      for (const nothing of [undefined, null, 5, '', [], {}, () => {}, Symbol('x'), 5n])
        await expect(call(nothing)).rejects.toMatchObject({ name: 'LacunaError', code: 'usage' });
    },
  );

  it('is nothing where all of them may be left out', async () => {
    for (const call of [doctor, opsPath] as readonly ((options: unknown) => Promise<unknown>)[]) {
      await expect(call(null)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/^Expected an object/),
      });
      await expect(call({ folder })).rejects.toMatchObject({ code: 'usage' });
    }
    expect(await doctor()).toMatchObject({ lacuna: lacuna.LACUNA_VERSION });
  });
});

describe('any value at all of any field', () => {
  const fields = Object.entries(schemas).flatMap(([name, schema]) =>
    schema instanceof z.ZodObject ? Object.keys(schema.shape).map((field) => ({ name, schema, field })) : [],
  );

  it('is taken or refused with usage, never with another error', () => {
    expect(fields.length).toBeGreaterThan(100);
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
    expectTypeOf<lacuna.PrecisionName>().toEqualTypeOf<'fp32' | 'fp16' | 'bf16' | 'int8' | 'int4'>();
    expectTypeOf<lacuna.SparsePrecision>().toEqualTypeOf<'fp32' | 'fp16' | 'bf16' | 'int8' | 'int4'>();
    expectTypeOf<lacuna.BlockSize>().toEqualTypeOf<16 | 32 | 64 | 128>();
    expect(lacuna.PRECISION_NAMES).toContain('int4');
  });
});
