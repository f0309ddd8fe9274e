/** Where `build` keeps finished stages until the whole is done: a folder that one process at a time works in. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { pid } from 'node:process';
import { writeFileAtomically } from '../../../formats/files.ts';
import { readJsonObject } from '../../../formats/json-file.ts';
import { withLock } from '../../../formats/lock.ts';
import { LacunaError } from '../../core/errors.ts';
import { asIoError } from '../../core/io-error.ts';
import { prettyJson } from '../../core/json.ts';
import { LACUNA_VERSION } from '../../core/manifest.ts';
import { type Progress, SILENT } from '../../core/progress.ts';
import { MAX_JSON_BYTES } from '../folder/model-folder.ts';
import { checkWritable, exists } from '../folder/output.ts';

interface Place {
  readonly output: string;
  /** A folder for finished stages, which outlives the build. */
  readonly work?: string | undefined;
}

/** The folder of ours in one that a user names, who may have other files there: what is half made in it is removed. */
const STAGES = 'lacuna-stages';

/**
 * Where a build keeps its finished stages: beside its output, or in a folder where they are to stay. Throws `usage` where the
 * stages would be inside the output or the output inside the stages. It also does so for another file system, because a
 * finished model is moved and not copied.
 */
export async function workspaceOf({ output, work }: Place): Promise<string> {
  const target = resolve(output);
  if (work === undefined) return `${target}.build`;
  const stages = join(resolve(work), STAGES);
  const hint = 'Give a folder beside the output with --work.';
  if (isWithin(stages, target) || isWithin(target, stages))
    throw new LacunaError('usage', `The output ${output} cannot share a folder with the stages in ${stages}`, { hint });
  if ((await deviceOf(stages)) !== (await deviceOf(dirname(target))))
    throw new LacunaError('usage', `${work} is on another file system than the output ${output}`, { hint });
  return stages;
}

/** Whether a path is a folder or in it; both are absolute. */
function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + sep);
}

/** Of a path, or of the nearest folder above it that exists. */
async function deviceOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined) return found.dev;
  const above = dirname(path);
  return above === path ? 0 : deviceOf(above);
}

/** Removes the stages of a finished build, or of those that are to stay only the models, which are quick to make again. */
export async function endWorkspace(path: string, { work }: Place): Promise<void> {
  if (work === undefined) return discardAll(path);
  await removeModels(path);
}

/** Removes drafts and finished models, except the one at `kept`: they are as large as the checkpoint. */
export async function removeModels(path: string, kept?: string): Promise<void> {
  for (const name of await readdir(path)) {
    const model = join(path, name);
    if (/^(draft|sparse|model)-/.test(name) && model !== kept) await discard(model);
  }
}

/** The name of a stage: a hash of everything that went into it, this version of Lacuna included. */
export function keyOf(...inputs: readonly unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify([LACUNA_VERSION, ...inputs]))
    .digest('hex')
    .slice(0, 16);
}

/**
 * Runs `use` in the folder `path`, which is made if needed, with what an earlier run had finished. If `use` throws,
 * everything stays. `progress` hears of both. The lock lies beside the folder, so that `use` may remove the folder.
 * Throws `exists` while another run works in it.
 */
export async function withWorkspace<T>(path: string, use: () => Promise<T>, progress: Progress = SILENT): Promise<T> {
  await makeFolder(dirname(path));
  return withLock(`${path}.lock`, path, async () => {
    await makeFolder(path);
    await removeUnfinished(path);
    const found = await finishedIn(path);
    if (found > 0) progress.note(`Continuing with ${parts(found)} from ${path}`);
    try {
      return await use();
    } catch (error) {
      const kept = await finishedIn(path);
      if (kept > 0) progress.note(`Kept in ${path}: ${parts(kept)}; the same command continues from there.`);
      throw error;
    } finally {
      // Without a finished stage there is nothing to keep.
      await rmdir(path).catch(() => {});
    }
  });
}

async function makeFolder(path: string): Promise<void> {
  try {
    await checkWritable(path);
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw asIoError(error, 'write', path);
  }
}

/** Nobody else works here, so a killed process left what is half made or locked. */
async function removeUnfinished(path: string): Promise<void> {
  for (const name of await readdir(path, { recursive: true }))
    if (/\.(partial-|lock)/.test(name)) await rm(join(path, name), { recursive: true, force: true });
}

/** Removes files under another name first: half a folder under its own would look finished. */
export async function discard(path: string): Promise<void> {
  if (!(await exists(path))) return;
  const doomed = `${path}.partial-${pid}`;
  await rm(doomed, { recursive: true, force: true });
  await rename(path, doomed);
  await rm(doomed, { recursive: true, force: true });
}

/** Removes a workspace with all of its stages. */
async function discardAll(path: string): Promise<void> {
  for (const name of await readdir(path)) await discard(join(path, name));
  await rm(path, { recursive: true, force: true });
}

async function finishedIn(path: string): Promise<number> {
  const names = await readdir(path).catch(() => []);
  // A stage that had only begun is an empty folder.
  for (const name of names) await rmdir(join(path, name)).catch(() => {});
  return (await readdir(path).catch(() => [])).length;
}

function parts(count: number): string {
  return count === 1 ? '1 finished part' : `${count} finished parts`;
}

/** Runs `make` unless its output `path` exists. Outputs appear whole or not at all. */
export async function stage(path: string, make: () => Promise<unknown>): Promise<void> {
  if (await exists(path)) return;
  await mkdir(dirname(path), { recursive: true });
  await make();
}

/** The result of a stage whose output is a JSON file with it. */
export async function jsonStage<T>(path: string, make: () => Promise<T>): Promise<T> {
  await stage(path, async () => writeFileAtomically(path, prettyJson(await make())));
  return readResult<T>(path);
}

/** The result of a JSON stage. */
export async function readResult<T>(path: string): Promise<T> {
  return (await readJsonObject(path, MAX_JSON_BYTES)).value as T;
}
