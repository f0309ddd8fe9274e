/** The library as tests load it into Python's ONNX Runtime. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nativeLib } from '../native-lib.ts';
import { hasPython, python, required, root } from '../real/real-model.ts';

export const library = join(nativeLib, 'liblacuna_ort.so');
export const hasNative = hasPython && (required || existsSync(library));
export const oracle = join(root, 'fixtures/oracle');

/** Runs a script of fixtures/oracle in Python's newest ONNX Runtime. */
export function runOracle(script: string, ...args: string[]): string {
  try {
    return execFileSync(python, [join(oracle, script), ...args], { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${script} failed:\n${stdout}\n${stderr}`);
  }
}
