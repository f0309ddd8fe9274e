/** A Python that starts at once with PyTorch and Transformers (warm.py), for commands that start one each time. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A program in `folder` that runs scripts as `python` does. What it runs them by ends with this process. */
export function warmPython(python: string, folder: string): string {
  const script = join(import.meta.dirname, 'warm.py');
  const socket = join(folder, 'python.socket');
  const child = spawn(python, [script, 'serve', socket], { stdio: ['pipe', 'ignore', 'inherit'] });
  // Where there is no such Python, the program below says so.
  child.on('error', () => {});
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  const program = join(folder, 'python');
  writeFileSync(program, `#!/bin/sh\nexec '${python}' -S '${script}' run '${socket}' "$@"\n`, { mode: 0o755 });
  return program;
}
