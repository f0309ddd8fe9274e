/** The command line as a process of its own, as users have it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { repository } from './paths.ts';

export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** What happens to a process while it runs. */
export interface Disturbance {
  readonly signal: NodeJS.Signals;
  readonly afterMs: number;
}

/** A command that takes longer than this hangs. */
const MOST_MS = 300_000;

export async function runLacuna(
  args: readonly string[],
  stop: AbortSignal,
  disturbance: Disturbance = { signal: 'SIGKILL', afterMs: MOST_MS },
): Promise<Ended> {
  const started = performance.now();
  const child = spawn(process.execPath, [repository('bin/lacuna.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill(disturbance.signal), disturbance.afterMs);
  const abort = () => child.kill('SIGKILL');
  stop.addEventListener('abort', abort, { once: true });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  clearTimeout(timer);
  stop.removeEventListener('abort', abort);
  const { exitCode: code, signalCode: signal } = child;
  return { code, signal, stdout, stderr, seconds: (performance.now() - started) / 1000 };
}
