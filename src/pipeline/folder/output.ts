/** The output of a command. If it exists or cannot be written, it is refused before any work. */
import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { isStaleLock, removeStaleLock, withLock } from '../../../formats/lock.ts';
import { LacunaError } from '../../core/errors.ts';
import { asIoError } from '../../core/io-error.ts';

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

export interface OutputOptions {
  readonly output: string;
  readonly force?: boolean;
}

/**
 * Refuses a JSON output or a .safetensors of the same name beside it that exist, without `force`, or cannot be written:
 * `model.json` beside a checkpoint's `model.safetensors` would overwrite the weights.
 */
export async function checkJsonOutput({ output, force }: OutputOptions): Promise<void> {
  if (extname(output) === '.safetensors')
    throw new LacunaError('usage', `${output} names the tensors; the output is the JSON file beside them`, {
      hint: `Use -o ${replaceExtension(output, '.json')}`,
    });
  if (!force) await refuseExistingOutput(output);
  await checkFilePlace(output);
}

/** Refuses a page that exists, without `force`, or cannot be written. By its ending it never takes the place of another file. */
export async function checkPageOutput({ output, force }: OutputOptions): Promise<void> {
  if (extname(output) !== '.html')
    throw new LacunaError('usage', `${output} is no name of a page`, {
      hint: `Use -o ${replaceExtension(output, '.html')}`,
    });
  if (!force && (await exists(output))) throw alreadyThere(output);
  await checkFilePlace(output);
}

async function checkFilePlace(output: string): Promise<void> {
  if ((await stat(output).catch(() => undefined))?.isDirectory())
    throw new LacunaError('exists', `${output} is a folder; a file is to be written there`, {
      hint: 'Give the name of a file.',
    });
  await checkWritable(dirname(resolve(output)));
}

async function refuseExistingOutput(output: string): Promise<void> {
  const lock = lockOf(output);
  const hasJson = await exists(output);
  // Tensors without a JSON file belong to somebody else, unless a run was killed before it wrote the JSON file.
  if (!hasJson && (await isStaleLock(lock))) return;
  const tensors = replaceExtension(output, '.safetensors');
  if (!hasJson && !(await exists(tensors))) return;
  await removeStaleLock(lock);
  throw alreadyThere(hasJson ? output : tensors);
}

function alreadyThere(path: string): LacunaError {
  return new LacunaError('exists', `${path} already exists`, {
    hint: 'Give another name for the output, or replace it with --force.',
  });
}

/**
 * Runs `write`, which makes a JSON output and the .safetensors beside it: for one process at a time, because the files
 * belong together. Throws `exists` while another process does it, and without `force` when another has done it.
 */
export async function writeJsonOutput<T>({ output, force }: OutputOptions, write: () => Promise<T>): Promise<T> {
  await mkdir(dirname(resolve(output)), { recursive: true });
  return withLock(lockOf(output), output, async () => {
    // Another run may have made it while this one measured.
    if (!force && (await exists(output))) throw alreadyThere(output);
    return write();
  });
}

function lockOf(output: string): string {
  return `${resolve(output)}.lock`;
}

/** The nearest existing folder: `folder` or one above it. */
export async function presentFolder(folder: string): Promise<string> {
  let present = folder;
  while (!(await exists(present)) && present !== dirname(present)) present = dirname(present);
  return present;
}

/** Throws 'io' unless the nearest existing folder on the way to `folder` accepts new entries. */
export async function checkWritable(folder: string): Promise<void> {
  const present = await presentFolder(folder);
  if (!(await stat(present)).isDirectory())
    throw new LacunaError('not-found', `Cannot write into ${present}: it is a file, not a folder`, {
      hint: 'Check the path of the output.',
    });
  await access(present, constants.W_OK).catch((error: unknown) => {
    throw asIoError(error, 'write into', present);
  });
}

export function replaceExtension(path: string, extension: string): string {
  return path.slice(0, path.length - extname(path).length) + extension;
}
