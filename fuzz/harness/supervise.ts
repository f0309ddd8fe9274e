/**
 * Runs cases in processes of their own. A case that hangs, crashes or takes all memory is found and named, and the
 * others continue.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type CampaignOptions, deadlineOf } from '../campaign.ts';
import type { Report } from './serve.ts';

export interface Limits {
  /**
   * A case hangs if it takes more processor time than this, or more time by the clock, which runs on while a machine is
   * busy.
   */
  readonly cpuMs: number;
  readonly wallMs: number;
  /** The most memory of a process, at its peak. */
  readonly bytes: number;
}

export const LIMITS: Limits = { cpuMs: 10_000, wallMs: 60_000, bytes: 2 ** 30 };

/** The cases to run. */
export interface Range {
  readonly from: number;
  readonly cases: number;
  /** By `performance.now()`. */
  readonly deadline: number;
  /** Processes at a time. */
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly onFailure: (index: number, why: string) => void;
}

export interface Supervised extends Range {
  /** JavaScript that calls `serve` with its last arguments. `args` come before them. */
  readonly script: string;
  readonly args: readonly string[];
  /** Without them, `LIMITS`. */
  readonly limits?: Limits;
  /** Variables that the processes get in addition to those of this one. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** The cases of a campaign that begins now, in as many processes as there are processors. */
export function rangeOf(options: CampaignOptions): Omit<Range, 'onFailure'> {
  const { from, cases, signal } = options;
  return { from, cases, signal, deadline: deadlineOf(options), jobs: availableParallelism() };
}

/** The most cases in one process. The memory that one case leaves behind then counts against few others. */
const BATCH = 1000;

/** Time until the first case begins: code is loaded, and the machine may be busy. */
const START_MS = 60_000;

/** Time between two checks of a process. */
const LOOK_MS = 200;

/** Number of last output lines that are kept to explain a crash. */
const MAX_TAIL = 1500;

/** Runs the cases. Returns how many ran. */
export async function supervise(options: Supervised): Promise<number> {
  const { cases, from, deadline, jobs, signal } = options;
  const size = Math.min(BATCH, Math.ceil(cases / jobs));
  const end = from + cases;
  let next = from;
  let done = 0;
  const work = async () => {
    while (next < end && performance.now() < deadline && !signal.aborted) {
      const first = next;
      const last = Math.min(first + size, end);
      next = last;
      for (let at = first; at < last && performance.now() < deadline && !signal.aborted; ) {
        const reached = await runBatch(at, last, options);
        done += reached - at;
        at = reached;
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return done;
}

/** Runs cases `first` to `last` - 1 in one process, until one of them ends it. Returns the case to continue with. */
function runBatch(first: number, last: number, options: Supervised): Promise<number> {
  const { script, args, limits = LIMITS, environment, deadline, signal, onFailure } = options;
  return new Promise((resolve, reject) => {
    const numbers = [first, last - first, limits.bytes].map(String);
    // A heap that outgrows the limit ends the process. A smaller one is collected in time to stay below.
    const flags = [`--max-old-space-size=${Math.round(limits.bytes / 2 ** 20)}`];
    const child = spawn(process.execPath, [...flags, script, ...args, ...numbers], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const tail = keepTail(child);
    let running: number | undefined;
    let reached = first;
    let since = performance.now();
    let cpuSince = 0;
    let killedFor: string | undefined;
    const kill = (why: string) => {
      killedFor ??= why;
      child.kill('SIGKILL');
    };
    createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
      const report = JSON.parse(line) as Report;
      since = performance.now();
      cpuSince = cpuMs(child.pid);
      running = report.kind === 'begin' ? report.index : undefined;
      if (report.kind === 'begin') return;
      reached = report.index + 1;
      if (report.why !== undefined) onFailure(report.index, report.why);
      if (performance.now() >= deadline) kill('');
    });
    const watch = setInterval(() => {
      const wall = performance.now() - since;
      const hangs =
        running === undefined ? wall > START_MS : wall > limits.wallMs || cpuMs(child.pid) - cpuSince > limits.cpuMs;
      if (signal.aborted) kill('');
      else if (hangs) kill(`hung for ${Math.round(wall / 1000)} s`);
      else if (residentBytes(child.pid) > 1.5 * limits.bytes) kill('took all memory');
    }, LOOK_MS);
    child.on('close', (code, name) => {
      clearInterval(watch);
      if (running === undefined) {
        // Between cases there are three reasons: it was killed when the time was over, it finished, or it never
        // started. The last is a fault of the harness.
        if (reached === first && killedFor !== '' && !signal.aborted)
          return reject(
            new Error(`${script} does not run: ${killedFor ?? `it ended with ${code ?? name}`}\n${tail()}`),
          );
        return resolve(reached);
      }
      // Ctrl-C in a terminal also reaches this process.
      if (killedFor === '' || signal.aborted) return resolve(running);
      onFailure(running, `${killedFor ?? `the process ended with ${code ?? name}`}\n${tail()}`.trim());
      resolve(running + 1);
    });
  });
}

function keepTail(child: ChildProcess): () => string {
  let tail = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      tail = (tail + text).slice(-MAX_TAIL);
    });
  return () => tail;
}

/** Processor time of a process, in the system's ticks of 10 ms; 0 if unknown. */
function cpuMs(pid: number | undefined): number {
  // After the name, which may hold spaces, the 12th and 13th fields are the time in programs and in the system.
  const fields = processFile(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ');
  return 10 * (Number(fields[11] ?? 0) + Number(fields[12] ?? 0));
}

/** Present memory, if the system reports it. Otherwise only the peak after a case counts. */
function residentBytes(pid: number | undefined): number {
  return Number(processFile(pid, 'statm').split(' ')[1] ?? 0) * 4096;
}

/** What the system says of a process; empty if it is gone, or the system has no such files. */
function processFile(pid: number | undefined, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
