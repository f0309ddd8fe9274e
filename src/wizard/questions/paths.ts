/** Paths as people type them at a question, where no shell reads them first. */
import { factOf, type State } from '../state.ts';

/** With the home folder in place of `~`. */
export function pathOf(state: State, typed: string): string {
  const path = typed.trim();
  const home = factOf(state, 'machine')?.home;
  return home !== undefined && /^~(\/|$)/.test(path) ? home + path.slice(1) : path;
}

export function pathsOf(state: State, typed: string): readonly string[] {
  return typed.split(',').map((path) => pathOf(state, path));
}

/** What no system takes for a path. */
export function pathProblem(typed: string): string | undefined {
  return typed.split(',').some((path) => path.trim() === '') ? 'Type a path.' : undefined;
}
