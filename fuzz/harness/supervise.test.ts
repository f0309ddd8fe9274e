/** A defect of every kind is found and named, and the later cases run all the same. */
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bundle } from '../../test/bundle.ts';
import { temporaryFolder } from '../../test/temporary.ts';
import { supervise } from './supervise.ts';

const folder = temporaryFolder();

test('cases that throw, hang, crash, take all memory or shout are found, each by its number', async () => {
  const script = await bundle('fuzz/testing/planted.ts', folder);
  const work = temporaryFolder();
  const found = new Map<number, string>();
  const done = await supervise({
    ...{ script, args: [work], from: 0, cases: 13, jobs: 1, deadline: Number.POSITIVE_INFINITY },
    limits: { cpuMs: 500, wallMs: 6000, bytes: 350 << 20 },
    signal: new AbortController().signal,
    onFailure: (index, why) => found.set(index, why),
  });
  expect(done).toBe(13);
  expect(readdirSync(work).length).toBe(13);
  expect(Object.fromEntries(found)).toEqual({
    2: expect.stringMatching(/^threw what is no LacunaError: TypeError/),
    3: expect.stringMatching(/^hung for/),
    4: expect.stringMatching(/^hung for/),
    5: expect.stringMatching(/^the process ended with SIGSEGV/),
    6: expect.stringMatching(/^nobody caught Error: nobody waits for this/),
    7: expect.stringMatching(/^nobody caught Error: nobody waits for that/),
    8: expect.stringMatching(/memory/),
    9: expect.stringMatching(/^a message with U\+001b/),
    10: expect.stringMatching(/^a message of 10000 characters/),
    11: expect.stringMatching(/^the process ended with 3/),
  });
}, 60_000);

test('what is told to stop stops', async () => {
  const script = await bundle('fuzz/testing/planted.ts', folder);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  const found: number[] = [];
  const done = await supervise({
    ...{ script, args: [temporaryFolder()], from: 4, cases: 1, jobs: 1, deadline: Number.POSITIVE_INFINITY },
    limits: { cpuMs: 60_000, wallMs: 60_000, bytes: 2 ** 30 },
    signal: stop.signal,
    onFailure: (index) => found.push(index),
  });
  expect([done, found]).toEqual([0, []]);
}, 60_000);
