import { expect, it } from 'vitest';
import { formatBytes, formatSeconds } from './figures.ts';

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [999_949, '999.9 kB'],
  // Rounded, it is one unit more.
  [999_950, '1.0 MB'],
  [2.5e15, '2500.0 TB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it.each([
  [0, '0.0 s'],
  [9_949, '9.9 s'],
  [9_950, '10 s'],
  [89_400, '89 s'],
  [119_700, '2 min 0 s'],
  [5_399_000, '89 min 59 s'],
  [5_400_000, '1 h 30 min'],
])('%d ms are %s', (milliseconds, text) => {
  expect(formatSeconds(milliseconds)).toBe(text);
});
