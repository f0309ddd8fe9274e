/** Tries steps that may fail and continues, so that all faults are reported at once. */
import { LacunaError } from './errors.ts';

/** What `step` returns. If it throws a `LacunaError`, undefined: the error goes into `problems`. */
export function attempt<T>(problems: LacunaError[], step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    return note(problems, error);
  }
}

/** The same for asynchronous steps. */
export function attemptAsync<T>(problems: LacunaError[], step: () => Promise<T>): Promise<T | undefined> {
  return step().catch((error) => note(problems, error));
}

function note(problems: LacunaError[], error: unknown): undefined {
  if (!(error instanceof LacunaError) || error.code === 'interrupted') throw error;
  problems.push(error);
}

/** Named in one message; more are counted: a missing shard of a large model would fill screens. */
const NAMED = 20;

/** The first of what is wrong, a line each, and how many more there are. */
export function firstOf(lines: readonly string[]): string {
  const more = lines.length - NAMED;
  return [...lines.slice(0, NAMED), ...(more > 0 ? [`and ${more} more`] : [])].map((line) => `  ${line}`).join('\n');
}
