/** The library as tests load it into Python's ONNX Runtime. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nativeLib } from '../native-lib.ts';
import { runScript } from '../python/host.ts';
import { hasPython, python, required, root } from '../real/real-model.ts';

export const library = join(nativeLib, 'liblacuna_ort.so');
export const hasNative = hasPython && (required || existsSync(library));
export const oracle = join(root, 'fixtures/oracle');

/** Runs a script of fixtures/oracle in Python's newest ONNX Runtime. */
export function runOracle(script: string, ...args: string[]): Promise<string> {
  return runScript(python, join(oracle, script), args);
}
