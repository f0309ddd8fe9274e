/** Trying what may fail and going on, so that everything that is wrong is told at once. */
import { LacunaError } from './errors.ts';

/** What `step` returns; undefined when it throws a `LacunaError`, which is then put into `problems`. */
export function attempt<T>(problems: LacunaError[], step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    problems.push(asProblem(error));
    return undefined;
  }
}

/** The same for what takes time. */
export async function attemptAsync<T>(problems: LacunaError[], step: () => Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    problems.push(asProblem(error));
    return undefined;
  }
}

function asProblem(error: unknown): LacunaError {
  if (error instanceof LacunaError && error.code !== 'interrupted') return error;
  throw error;
}

/** Named in one message; more are counted: a missing shard of a large model would fill screens. */
const NAMED = 20;

/** The first of what is wrong, a line each, and how many more there are. */
export function firstOf(lines: readonly string[]): string {
  const more = lines.length - NAMED;
  return [...lines.slice(0, NAMED), ...(more > 0 ? [`and ${more} more`] : [])].map((line) => `  ${line}`).join('\n');
}
