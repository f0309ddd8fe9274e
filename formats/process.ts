/** Identifies the process that made a file or holds a lock, and distinguishes it from a later one with the same id. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { kill, pid } from 'node:process';
import { systemCode } from '../src/core/io-error.ts';

export interface ProcessName {
  readonly host: string;
  readonly pid: number;
  /** When it began, in the system's own unit; 0 if the system does not say. */
  readonly started: number;
}

/** From a hash of the host's name: enough to distinguish the hosts of one disk, and short enough for a file's name. */
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

export const THIS_PROCESS: ProcessName = { host: HOST, pid, started: stateOf(pid)?.started ?? 0 };

/** Ids are positive and have 32 bits. 0 and negative ones mean groups of processes, ours among them. */
export function isProcessId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 2 ** 31;
}

/** Whether a process still exists; undefined for another host, because that cannot be known. */
export function isRunning({ host, pid, started }: ProcessName): boolean | undefined {
  if (host !== HOST) return undefined;
  if (!answers(pid)) return false;
  const state = stateOf(pid);
  if (state === undefined) return true;
  return !state.hasEnded && (started === 0 || state.started === started);
}

function answers(pid: number): boolean {
  try {
    // Signal 0 only asks whether the process exists.
    return kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/**
 * What Linux says about a process; undefined on other systems, and when it is gone or hidden. One has ended if it is
 * dead and its parent has not yet asked how.
 */
function stateOf(pid: number): { readonly started: number; readonly hasEnded: boolean } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // "1234 (any name) S 1 …": a name may hold spaces and brackets. State is the third field, the start the 22nd.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { hasEnded: 'ZX'.includes(fields[0]), started: Number(fields[19]) };
  } catch {
    return undefined;
  }
}
