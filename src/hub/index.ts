/** Models by name: downloaded from the Hub into a cache, complete and checked, before they are read. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { WEIGHTS_INDEX } from '../../formats/checkpoint-kind.ts';
import { writeFileAtomically } from '../../formats/files.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { withLock } from '../../formats/lock.ts';
import { MAX_INDEX_BYTES } from '../../formats/safetensors/shards.ts';
import { LacunaError } from '../core/errors.ts';
import type { HubOptions } from '../core/hub.ts';
import { asIoError } from '../core/io-error.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import { downloadFile } from './download.ts';
import type { Requester } from './http.ts';
import { type HubReference, listRepository, type RemoteFile, type Repository } from './repository.ts';
import { selectFiles, selectShards, shardsIn } from './select.ts';

export { parseHubReference } from './repository.ts';

/**
 * The folder or GGUF file with the model that `reference` names. Files that are not in the cache are downloaded.
 * Without a connection, the cache gives the last known commit of a revision.
 *
 * The cache holds `<owner>--<name>/<commit>/<file>`. A file is complete and checked, or is `<file>.part`.
 *
 * Throws 'not-found' (no such model, revision or weights), 'usage' (several GGUF files), 'bad-file' (content with
 * another hash), 'io' (gated, no network, disk), 'interrupted'.
 *
 * @example
 * const hub = { endpoint: 'https://huggingface.co', cacheFolder: '/tmp/cache' };
 * const folder = await fetchCheckpoint({ id: 'HuggingFaceTB/SmolLM2-135M', revision: 'main', gguf: undefined }, hub);
 */
export async function fetchCheckpoint(reference: HubReference, hub: HubOptions, job: JobOptions = {}): Promise<string> {
  const requester = { reference, hub, signal: job.signal };
  const place = join(hub.cacheFolder, 'hub', reference.id.replace('/', '--'));
  // A revision may contain slashes. The name of a record may not.
  const record = join(place, `revision-${encodeURIComponent(reference.revision)}-${reference.gguf ?? ''}.json`);
  let repository: Repository;
  try {
    repository = await listRepository(requester);
  } catch (error) {
    const known = error instanceof LacunaError && error.code === 'io' ? await readRecord(record) : undefined;
    if (known === undefined) throw error;
    job.progress?.note(`${(error as Error).message}. The copy in ${known} is used.`);
    return known;
  }
  const folder = join(place, repository.commit);
  const path = await fetchFiles(repository, folder, requester, job);
  await writeFileAtomically(record, `${JSON.stringify({ path: relative(place, path) })}\n`);
  return path;
}

/** What `fetchCheckpoint` would fetch. */
export interface HubSurvey {
  readonly id: string;
  readonly commit: string;
  readonly files: readonly Pick<RemoteFile, 'name' | 'bytes'>[];
  /** Of files that are not in the cache. */
  readonly missingBytes: number;
}

/** Looks a model up and downloads nothing. Throws as `fetchCheckpoint` does; an index of shards is not read. */
export async function surveyCheckpoint(
  reference: HubReference,
  hub: HubOptions,
  { signal }: JobOptions = {},
): Promise<HubSurvey> {
  const repository = await listRepository({ reference, hub, signal });
  const selected = selectFiles(repository, reference);
  const isIndexed = selected.some(({ name }) => name === WEIGHTS_INDEX);
  const files = isIndexed ? [...selected, ...shardsIn(repository)] : selected;
  const folder = join(hub.cacheFolder, 'hub', reference.id.replace('/', '--'), repository.commit);
  const missing = await missingOf(files, folder);
  return {
    id: reference.id,
    commit: repository.commit,
    files: files.map(({ name, bytes }) => ({ name, bytes })),
    missingBytes: missing.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** The place of a complete model according to `record`, if it still exists. */
async function readRecord(record: string): Promise<string | undefined> {
  try {
    const { path } = (await readJsonObject(record, 10_000)).value;
    if (typeof path !== 'string') return undefined;
    const found = join(dirname(record), path);
    await stat(found);
    return found;
  } catch {
    return undefined;
  }
}

async function fetchFiles(
  repository: Repository,
  folder: string,
  requester: Requester,
  job: JobOptions,
): Promise<string> {
  const { reference } = requester;
  const files = selectFiles(repository, reference);
  const fetch = (wanted: readonly RemoteFile[]) => fetchAll(wanted, repository.commit, folder, requester, job);
  await fetch(files);
  if (files.some(({ name }) => name === WEIGHTS_INDEX)) {
    const { value } = await readJsonObject(join(folder, WEIGHTS_INDEX), MAX_INDEX_BYTES);
    await fetch(selectShards(repository, value, reference));
  }
  const gguf = files.find(({ name }) => name.toLowerCase().endsWith('.gguf'));
  return gguf === undefined ? folder : join(folder, gguf.name);
}

/** One process at a time downloads into a folder: two would write the same parts. */
async function fetchAll(
  files: readonly RemoteFile[],
  commit: string,
  folder: string,
  requester: Requester,
  job: JobOptions,
): Promise<void> {
  // A complete cache may be read-only.
  if ((await missingOf(files, folder)).length === 0) return;
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw asIoError(error, 'write', folder);
  });
  await withLock(`${folder}.lock`, folder, async () => {
    const missing = await missingOf(files, folder);
    const total = missing.reduce((sum, { bytes }) => sum + bytes, 0);
    const stage = (job.progress ?? SILENT).stage(`Downloading ${requester.reference.id}`, total, 'bytes');
    for (const file of missing) await downloadFile({ file, commit, folder, advance: stage.advance }, requester);
    stage.done();
  });
}

/** The files that are not in the folder. Only whole and checked ones ever are. */
async function missingOf(files: readonly RemoteFile[], folder: string): Promise<readonly RemoteFile[]> {
  const found = await Promise.all(files.map(({ name }) => stat(join(folder, name)).catch(() => undefined)));
  return files.filter(({ bytes }, i) => found[i]?.size !== bytes);
}
