/** Cases that fail in every possible way, for the test of the harness. Each is named by its number. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LacunaError } from '../../src/core/errors.ts';
import { serve } from '../harness/serve.ts';
import { faultOf } from '../harness/verdict.ts';

const [folder, ...range] = process.argv.slice(2);

const CASES: readonly (() => unknown)[] = [
  () => {},
  () => {
    throw new LacunaError('bad-file', 'The file is damaged', { hint: 'Get it again.' });
  },
  () => {
    (undefined as unknown as { length: number }).length;
  },
  () => {
    for (;;);
  },
  () => new Promise(() => setInterval(() => {}, 1000)),
  () => {
    process.kill(process.pid, 'SIGSEGV');
  },
  () => {
    setImmediate(() => {
      throw new Error('nobody waits for this');
    });
  },
  () => {
    Promise.reject(new Error('nobody waits for that'));
  },
  () => {
    new Uint8Array(400 << 20).fill(1);
  },
  () => {
    throw Object.assign(new LacunaError('bad-file', ''), { message: 'The tensor "\u001b[2J" is damaged' });
  },
  () => {
    throw Object.assign(new LacunaError('bad-file', ''), { message: 'x'.repeat(10_000) });
  },
  () => process.exit(3),
  () => {},
];

await serve(range, async (index) => {
  writeFileSync(join(folder, String(index)), '');
  try {
    await CASES[index]();
    return undefined;
  } catch (error) {
    return faultOf(error);
  }
});
