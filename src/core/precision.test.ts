/** The table of precisions, and the errors for a name that is not in it. */
import { describe, expect, test } from 'vitest';
import { STORAGES } from '../ops/index.ts';
import type { HostKind } from './host-kind.ts';
import {
  BLOCK_NAMES,
  BLOCK_SIZES,
  bytesPerWeight,
  choosePrecision,
  choosePrecisions,
  FLOAT_NAMES,
  gainsByTexts,
  HOST_DTYPES,
  listed,
  PRECISION_NAMES,
  PRECISIONS,
  precisionNamed,
  smallerThan,
  VOCABULARY_NAMES,
  vocabularyOf,
} from './precision.ts';

test('names are in the order of size', () => {
  expect(PRECISION_NAMES).toEqual(['fp32', 'fp16', 'bf16', 'int8', 'int6', 'int5', 'int4']);
});

test('lists follow from the table', () => {
  expect(VOCABULARY_NAMES).toEqual(['fp32', 'bf16', 'int8', 'int4']);
  expect(HOST_DTYPES).toEqual(['fp32', 'bf16', 'int8', 'int6', 'int5', 'int4']);
  expect(BLOCK_NAMES).toEqual(['int8', 'int6', 'int5', 'int4']);
  expect(FLOAT_NAMES).toEqual(['fp32', 'fp16', 'bf16']);
  expect(PRECISIONS.filter(gainsByTexts).map(({ name }) => name)).toEqual(['int6', 'int5', 'int4']);
  const smaller = (host: HostKind) => PRECISION_NAMES.map((name) => smallerThan(name, host));
  expect(smaller('native')).toEqual(['int8', 'int8', 'int8', 'int6', 'int5', 'int4', undefined]);
  expect(smaller('stock')).toEqual(['int8', 'int8', 'int8', 'int4', 'int4', 'int4', undefined]);
});

test('every precision is stored by an operator, under a name of its own', () => {
  expect([...STORAGES].sort()).toEqual([...PRECISION_NAMES].sort());
  expect(new Set(PRECISIONS.map(({ fileSuffix }) => fileSuffix)).size).toBe(PRECISIONS.length);
  for (const name of PRECISION_NAMES) expect(precisionNamed(name)).toMatchObject({ ...choosePrecision(name) });
});

test.each([
  [['int8'], 'int8', 'int8'],
  [['int8', 'int4'], 'int8 and int4', 'int8 or int4'],
  [['fp32', 'fp16', 'bf16'], 'fp32, fp16 and bf16', 'fp32, fp16 or bf16'],
])('sentences name %j', (names, and, or) => {
  expect([listed(names, 'and'), listed(names, 'or')]).toEqual([and, or]);
});

test('block options change layers and vocabulary alike', () => {
  const { linear, vocabulary } = choosePrecision('int4', { blockSize: 64, asymmetric: true });
  expect(linear).toMatchObject({ kind: 'blocks', bits: 4, blockSize: 64, symmetric: false });
  expect(vocabulary).toMatchObject({ kind: 'blocks', bits: 8, blockSize: 64, symmetric: false });
  expect(choosePrecision('int8', { blockSize: 128 }).linear).toMatchObject({
    bits: 8,
    blockSize: 128,
    symmetric: true,
  });
});

test.each([
  ['fp16', { blockSize: 32 }, 'usage', /fp16 stores no blocks/],
  ['fp32', { asymmetric: true }, 'usage', /fp32 stores no blocks/],
  ['bf16', { vocabulary: 'int8' }, 'usage', /bf16 stores no blocks/],
  ['int5', { blockSize: 64 }, 'usage', /int5 has blocks of 32 weights, wanted 64/],
] as const)('refuses %s with %j', (name, options, code, message) => {
  expect(() => choosePrecision(name, options)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
});

test.each(VOCABULARY_NAMES)('embedding and head as %s, and layers as they were', (vocabulary) => {
  const precision = choosePrecision('int4', { vocabulary, blockSize: 64 });
  expect(vocabularyOf(precision)).toBe(vocabulary);
  expect(precision.linear).toMatchObject({ bits: 4, blockSize: 64 });
  if (precision.vocabulary.kind === 'blocks') expect(precision.vocabulary.blockSize).toBe(64);
});

test('what embedding and head are stored as without being asked', () => {
  const own = PRECISION_NAMES.map((name) => vocabularyOf(choosePrecision(name)));
  expect(own).toEqual(['fp32', 'fp16', 'bf16', 'int8', 'int8', 'int8', 'int8']);
});

describe('several precisions', () => {
  test('options are for those that store blocks', () => {
    const [floats, bytes, nibbles] = choosePrecisions(['fp32', 'int8', 'int4'], { blockSize: 64, vocabulary: 'bf16' });
    expect(floats).toBe(choosePrecision('fp32'));
    for (const one of [bytes, nibbles]) {
      expect(one.linear).toMatchObject({ blockSize: 64 });
      expect(vocabularyOf(one)).toBe('bf16');
    }
  });

  test.each([
    [['int4', 'fp16', 'int4'], {}, /int4 is named twice/],
    [['int4', 'fp32'], {}, /fp32 comes first/],
    [['fp32', 'fp16'], { asymmetric: true }, /stores no blocks/],
  ] as const)('%j with %j are refused', (names, options, message) => {
    expect(() => choosePrecisions(names, options)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) }),
    );
  });
});

test('a weight takes its codes and its share of scale and zero point', () => {
  expect(bytesPerWeight(choosePrecision('fp32'))).toBe(4);
  expect(bytesPerWeight(choosePrecision('fp16'))).toBe(2);
  expect(bytesPerWeight(choosePrecision('bf16'))).toBe(4);
  expect(bytesPerWeight(choosePrecision('int8'))).toBe(1 + 2 / 32);
  expect(bytesPerWeight(choosePrecision('int4', { blockSize: 16, asymmetric: true }))).toBe(0.5 + 2.5 / 16);
});

test('every block size is a power of two', () => {
  expect(BLOCK_SIZES.every((size) => Number.isInteger(Math.log2(size)))).toBe(true);
});
