/** Conversions of the real models that several files of tests read: each is made once a run, by whoever asks first. */
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { inject } from 'vitest';
import { convert, type PrecisionName } from '../../src/index.ts';

/** How often one looks whether another has made it. */
const POLL_MS = 200;

/** A folder with the model in one precision. Other files read it too, so nobody changes it. */
export async function converted(checkpoint: string, dtype: PrecisionName, asymmetric = false): Promise<string> {
  const output = join(
    inject('converted'),
    [basename(checkpoint), dtype, ...(asymmetric ? ['asymmetric'] : [])].join('-'),
  );
  const claim = `${output}.claim`;
  const failure = join(claim, 'failure.txt');
  if (mkdirSync(claim, { recursive: true }) === undefined) {
    // What convert makes is there as a whole or not at all.
    while (!existsSync(output)) {
      if (existsSync(failure)) throw new Error(readFileSync(failure, 'utf8'));
      await pause(POLL_MS);
    }
    return output;
  }
  try {
    await convert({ checkpoint, output, dtype, ...(asymmetric && { asymmetric }) });
    return output;
  } catch (error) {
    writeFileSync(failure, `${output} could not be made: ${error}`);
    throw error;
  }
}

/** A folder of its own with the same files, for who writes into it: a file that is replaced stays as it was there. */
export function linkedCopy(folder: string, copy: string): string {
  mkdirSync(copy, { recursive: true });
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const [from, to] = [join(folder, entry.name), join(copy, entry.name)];
    if (entry.isDirectory()) linkedCopy(from, to);
    else linkSync(from, to);
  }
  return copy;
}
