/** The table of precisions, and what is said to those who ask for something that is not in it. */
import { expect, test } from 'vitest';
import { BLOCK_SIZES, bytesPerWeight, choosePrecision, PRECISION_NAMES } from './precision.ts';

test('names are in the order of size', () => {
  expect(PRECISION_NAMES).toEqual(['fp32', 'fp16', 'int8', 'int4']);
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
  ['bf16', {}, 'unsupported', /CPU and browser kernels/],
  ['q4', {}, 'usage', /fp32, fp16, int8, int4 .* "q4"/],
  ['fp16', { blockSize: 32 }, 'usage', /fp16 stores no blocks/],
  ['fp32', { asymmetric: true }, 'usage', /fp32 stores no blocks/],
  ['int4', { blockSize: 20 }, 'usage', /16, 32, 64, 128 .* 20/],
] as const)('refuses %s with %j', (name, options, code, message) => {
  expect(() => choosePrecision(name, options)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
});

test('a weight takes its codes and its share of scale and zero point', () => {
  expect(bytesPerWeight(choosePrecision('fp32'))).toBe(4);
  expect(bytesPerWeight(choosePrecision('fp16'))).toBe(2);
  expect(bytesPerWeight(choosePrecision('int8'))).toBe(1 + 4 / 32);
  expect(bytesPerWeight(choosePrecision('int4', { blockSize: 16, asymmetric: true }))).toBe(0.5 + 4.5 / 16);
});

test('every block size is a power of two', () => {
  expect(BLOCK_SIZES.every((size) => Number.isInteger(Math.log2(size)))).toBe(true);
});
