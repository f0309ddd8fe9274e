// The time and memory of a command, for benchmarks of whole commands.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Runs a command; seconds, and the high-water mark of its memory in MB (Linux). */
export async function measure(command) {
  const started = performance.now();
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  let peak = 0;
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  const watch = setInterval(() => {
    try {
      const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
      peak = Math.max(peak, Number(kilobytes ?? 0) / 1000);
    } catch {}
  }, 5);
  const ended = await new Promise((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', (code, signal) => resolve(signal ?? code));
  });
  clearInterval(watch);
  if (ended !== 0) throw new Error(`${command.join(' ')} ended with ${ended}\n${stderr.slice(-2000)}`);
  return { seconds: (performance.now() - started) / 1000, peak };
}
