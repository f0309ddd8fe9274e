/** Where tests of real models put what several of them read (converted.ts): one folder a run, removed after it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    readonly converted: string;
  }
}

/** Before all tests, once a run. */
export default function setup({ provide }: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'lacuna-converted-'));
  provide('converted', folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
