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
