/** Which files of a repository make a checkpoint: the small ones, and weights in one of the forms that are read. */
import { WEIGHTS, WEIGHTS_INDEX } from '../../formats/checkpoint-kind.ts';
import { MAX_INDEX_BYTES } from '../../formats/safetensors/shards.ts';
import { MAX_SMALL_FILE_BYTES, SMALL_FILE_NAMES } from '../../formats/small-files.ts';
import { LacunaError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { HubReference, RemoteFile, Repository } from './repository.ts';

const SHARD = /^[\w][\w.-]*\.safetensors$/;
const GGUF = /^[\w][\w.+-]*\.gguf$/i;

/**
 * The files to download; an index names further ones. Files in folders belong to other formats. Throws 'not-found' if
 * there are no weights, 'usage' if `gguf` does not name exactly one of several GGUF files.
 */
export function selectFiles({ files }: Repository, reference: HubReference): readonly RemoteFile[] {
  const named = (name: string) => files.filter((file) => file.name === name);
  const small = SMALL_FILE_NAMES.flatMap(named);
  refuseLarge(small, MAX_SMALL_FILE_BYTES, reference);
  if (reference.gguf !== undefined) return [selectGguf(files, reference)];
  const weights = named(WEIGHTS);
  if (weights.length > 0) return [...small, ...weights];
  const index = named(WEIGHTS_INDEX);
  refuseLarge(index, MAX_INDEX_BYTES, reference);
  return index.length > 0 ? [...small, ...index] : [selectGguf(files, reference)];
}

/** They would be refused after the download, but a hostile repository could fill the disk before that. */
function refuseLarge(files: readonly RemoteFile[], maxBytes: number, { id }: HubReference): void {
  const large = files.find(({ bytes }) => bytes > maxBytes);
  if (large === undefined) return;
  throw new LacunaError('bad-file', `${large.name} of ${id} has ${large.bytes} bytes; the limit is ${maxBytes}`, {
    hint: 'Look for another revision or copy of the model.',
  });
}

function selectGguf(files: readonly RemoteFile[], { id, gguf = '' }: HubReference): RemoteFile {
  const all = files.filter(({ name }) => GGUF.test(name));
  const wanted = gguf.toLowerCase();
  const found = all.filter(({ name }) => name.toLowerCase().includes(wanted));
  if (found.length === 1) return found[0];
  if (all.length === 0)
    throw new LacunaError('not-found', `${id} has neither ${WEIGHTS} nor ${WEIGHTS_INDEX} nor a GGUF file`, {
      hint: 'Look for another copy of the model, saved as safetensors; pickles are never read.',
    });
  const names = (found.length === 0 ? all : found).map(({ name }) => name);
  const what = found.length === 0 ? `no GGUF file named like "${gguf}", only` : `${found.length} GGUF files:`;
  throw new LacunaError('usage', `${id} has ${what} ${names.join(', ')}`, {
    hint: `Choose one by a part of its name that no other has: ${id}:${names[0].replace(/\.gguf$/i, '')}`,
  });
}

/** All files that an index may name. */
export function shardsIn({ files }: Repository): readonly RemoteFile[] {
  return files.filter(({ name }) => SHARD.test(name));
}

/** The shards that an index's weight_map names; 'not-found' when the repository lacks some. */
export function selectShards({ files }: Repository, index: JsonObject, { id }: HubReference): RemoteFile[] {
  const map = index.weight_map;
  const names = typeof map === 'object' && map !== null ? [...new Set(Object.values(map))].sort() : [];
  const byName = new Map<unknown, RemoteFile>(files.map((file) => [file.name, file]));
  const found = names.map((name) => byName.get(name));
  const lacking = names.filter((name, i) => found[i] === undefined || typeof name !== 'string' || !SHARD.test(name));
  if (lacking.length > 0)
    throw new LacunaError('not-found', `${id} lacks files that its ${WEIGHTS_INDEX} names: ${lacking.join(', ')}`, {
      hint: 'The model was not uploaded whole; look for another revision or copy.',
    });
  return found.filter((file) => file !== undefined);
}
