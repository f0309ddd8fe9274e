/** Collects what is wrong with a config into one error. */
import type * as z from 'zod';
import { LacunaError } from '../../src/core/errors.ts';

/** `value` as `schema` reads it, or everything that is wrong with it; `field` is its place in config.json ('' = all). */
export function parseConfig<T>(schema: z.ZodType<T>, value: unknown, path: string, field = ''): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw badConfig(path, parsed.error, value, field);
  return parsed.data;
}

/** All issues of `error` as one `bad-file`. `value` is what was parsed, `field` its place in config.json ('' = all). */
export function badConfig(path: string, error: z.ZodError, value: unknown, field = ''): LacunaError {
  const problems = error.issues.map((issue) => {
    const name = [...(field === '' ? [] : [field]), ...issue.path].join('.');
    return `${name}: ${issue.message}; got ${shown(valueAt(value, issue.path))}`;
  });
  return new LacunaError('bad-file', `config.json of ${path} is not valid:${listed(problems)}`, {
    hint: 'Correct these fields, or take the config.json that was published with the weights.',
  });
}

export function contradiction(path: string, problem: string): LacunaError {
  return new LacunaError('bad-file', `config.json of ${path} is not valid: ${problem}`, { hint: AS_PUBLISHED });
}

export const AS_PUBLISHED = 'Take the config.json that was published with the weights.';

/** Throws one `unsupported` that lists `problems`, if there are any. */
export function refuseAll(path: string, problems: readonly string[], hint: string): void {
  if (problems.length === 0) return;
  throw new LacunaError('unsupported', `config.json of ${path} asks for what is not built:${listed(problems)}`, {
    hint,
  });
}

/** A value short enough for one line. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function listed(problems: readonly string[]): string {
  return problems.map((problem) => `\n  ${problem}`).join('');
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
}
