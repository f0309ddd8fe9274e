/** Temporary folders and the command line without a process, for tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll } from 'vitest';
import { main } from '../src/cli/index.ts';
import type { HubOptions } from '../src/core/hub.ts';
import { nativeLib } from './native-lib.ts';

export const root = dirname(import.meta.dirname);
export const tinyLlama = join(root, 'fixtures/tiny-llama');
export const texts = join(root, 'texts');

/** A folder that is removed when the file's tests are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lacuna-test-'));
  // A hook has ten seconds unless it says otherwise, and installed packages are tens of thousands of files.
  afterAll(() => rmSync(folder, { recursive: true, force: true }), 120_000);
  return folder;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The commands that a help lists, in its order. */
export function commandsIn(help: string): string[] {
  const list = help.split('\nCommands:\n')[1] ?? '';
  return [...list.matchAll(/^ {2}([a-z]+) (?:\[options\] )?/gm)].map(([, name]) => name);
}

/** Runs `lacuna <args>` in this process. */
export async function lacuna(
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
  hub?: HubOptions,
  nativeFolder = nativeLib,
  stdin = Readable.from([]),
): Promise<CommandResult> {
  let stdout = '';
  let stderr = '';
  const code = await main(args, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal,
    stdin,
    nativeFolder,
    ...(hub && { hub }),
  });
  return { code, stdout, stderr };
}
