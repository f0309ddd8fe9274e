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

/** What is wrong with paths, before anything is looked up. */
export function pathProblem(typed: string): string | undefined {
  const paths = typed.split(',').map((path) => path.trim());
  if (paths.includes('')) return 'Type a path.';
  return paths.some((path) => path.startsWith('-'))
    ? 'Commands would read it as an option: type ./ before it.'
    : undefined;
}
