/** Tries steps that may fail and continues, so that all faults are reported at once. */
import { LacunaError } from './errors.ts';

/** What `step` returns. If it throws a `LacunaError`, undefined: the error goes into `problems`. */
export function attempt<T>(problems: LacunaError[], step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    problems.push(asProblem(error));
    return undefined;
  }
}

/** The same for asynchronous steps. */
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
