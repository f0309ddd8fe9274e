/** What the operating system refused, as a `LacunaError`: which file, which action, and what to do. */
import { type ErrorCode, LacunaError } from './errors.ts';

/** Codes of `errno` that a user can do something about. All others are plain 'io'. */
const KNOWN: Readonly<Record<string, { readonly code: ErrorCode; readonly what: string; readonly hint: string }>> = {
  ENOENT: { code: 'not-found', what: 'there is no such file or folder', hint: 'Check the path.' },
  ENOTDIR: { code: 'not-found', what: 'a part of the path is a file, not a folder', hint: 'Check the path.' },
  ENOSPC: {
    code: 'io',
    what: 'the disk is full',
    hint: 'Free space or write to another disk, then run the same command again.',
  },
  EDQUOT: { code: 'io', what: 'the disk quota is used up', hint: 'Free space or write to another disk.' },
  EACCES: { code: 'io', what: 'permission denied', hint: 'Check who owns the path and its mode.' },
  EPERM: { code: 'io', what: 'the operation is not permitted', hint: 'Check who owns the path and its mode.' },
  EROFS: { code: 'io', what: 'the file system is read-only', hint: 'Write to another place.' },
  EMFILE: { code: 'io', what: 'too many files are open', hint: 'Raise the limit with `ulimit -n`.' },
  EISDIR: { code: 'io', what: 'it is a folder', hint: 'Give a file.' },
};

/** `errno` as text ("ENOENT"), or undefined when `error` did not come from the system. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/**
 * `error` as a `LacunaError` about `action` ("read", "write") on `path`; one that is not the system's passes through.
 *
 * @example throw asIoError(error, 'read', 'model/config.json'); // Cannot read model/config.json: permission denied
 */
export function asIoError(error: unknown, action: string, path: string): unknown {
  const code = systemCode(error);
  if (error instanceof LacunaError || code === undefined) return error;
  const known = KNOWN[code] ?? { code: 'io', what: (error as Error).message, hint: 'Check the disk and try again.' };
  return new LacunaError(known.code, `Cannot ${action} ${path}: ${known.what}`, { hint: known.hint, cause: error });
}

/** The path that the system's error is about, if it names one. */
export function failedPath(error: unknown): string | undefined {
  return error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : undefined;
}
