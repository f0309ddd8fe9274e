import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import {
  nonNegativeInteger,
  numberOf,
  positiveInteger,
  positiveNumber,
  probability,
  shard,
  share,
  threadCount,
} from './parse.ts';

describe.each([
  [positiveInteger, { '1': 1, '20': 20 }, ['', ' ', '0', '-1', '1.5', 'x', '1e30']],
  [threadCount, { '1': 1, '256': 256 }, ['', '0', '-1', '1.5', '257', '9999', '1e30']],
  [nonNegativeInteger, { '0': 0, '7': 7 }, ['', '-1', '0.5', 'x']],
  [positiveNumber, { '1.02': 1.02 }, ['', '0', '-1', 'Infinity', 'x']],
  [share, { '0.25': 0.25, '25%': 0.25, '.5': 0.5 }, ['', '%', '0', '0%', '1', '100%', '130%', 'x']],
  [probability, { '1': 1, '0.9': 0.9 }, ['', '0', '1.1']],
  [numberOf(z.number().min(-1).max(1)), { '-1': -1, '0': 0, '0.99': 0.99 }, ['', '1.1', 'x']],
  [numberOf(z.int().min(1).optional()), { '1': 1, '20': 20 }, ['', ' ', '0', '-1', '1.5', 'x', '1e30']],
  [shard, { '0/1': { index: 0, count: 1 }, '3/4': { index: 3, count: 4 } }, ['', '4/4', '1', '0/0', '-1/2', 'a/b']],
] as const)('%o', (parse, good, bad) => {
  it.each(Object.entries(good))('takes %j', (text, value) => {
    expect(parse(text)).toEqual(value);
  });

  it.each(bad)('refuses %j', (text) => {
    expect(() => parse(text)).toThrow(/^Expected/);
  });
});
