/** Reads a checkpoint in several safetensors files. An index lists their tensors. */
import { join } from 'node:path';
import { type ErrorCode, LacunaError } from '../../src/core/errors.ts';
import { isJsonObject } from '../../src/core/json.ts';
import type { FileTensor } from '../../src/core/tensor.ts';
import { readJsonObject } from '../json-file.ts';
import { MAX_HEADER_BYTES, type ReadOptions, readSafetensors } from './read.ts';

/** An index names the tensors that the shards' headers name, so it is no longer than one header may be. */
export const MAX_INDEX_BYTES = MAX_HEADER_BYTES;

/** Files with such names are shards of some save. If the index does not name one, it is from another save. */
const SHARD_NAME = /^model-.*\.safetensors$/;

/** Called with the faults of weights, and the names of those that could not be read; `all` if no names are known. */
export type Tolerate = (error: LacunaError, unread: ReadonlySet<string> | 'all') => void;

/** What is wrong with the set of shards. Everything is reported at once. */
interface Problem {
  readonly code: ErrorCode;
  readonly text: string;
}

/**
 * All tensors of the shards that `indexFile` names, in the order of the index's shards and of their bytes. `files` are
 * the names in `folder`.
 *
 * One error names every missing shard, every tensor its shard lacks ('not-found'), every damaged shard ('bad-file'),
 * and every tensor and shard the index does not list ('mismatch'). Its code is the first of these that occurs. With
 * `tolerate`, the caller gets the faults, the names that could not be read, and the other tensors instead.
 */
export async function readShards(
  folder: string,
  indexFile: string,
  files: readonly string[],
  { tolerate, ...options }: ReadOptions & { readonly tolerate?: Tolerate | undefined },
): Promise<Map<string, FileTensor>> {
  const expected = await readIndex(join(folder, indexFile));
  const problems = unlistedShards(files, expected);
  const found = new Map<string, FileTensor>();
  const differing: Problem[] = [];
  for (const [file, names] of expected) {
    const tensors = await readShard(folder, file, names, options, problems);
    if (tensors === undefined) continue;
    differing.push(...differences(file, names, tensors));
    for (const [name, tensor] of tensors) found.set(name, tensor);
  }
  problems.push(...differing);
  if (problems.length === 0) return found;
  const error = shardsError(join(folder, indexFile), problems);
  if (tolerate === undefined) throw error;
  tolerate(error, new Set([...expected.values()].flat().filter((name) => !found.has(name))));
  return found;
}

/** Shard file -> the tensors it must hold. */
async function readIndex(path: string): Promise<Map<string, string[]>> {
  const { value } = await readJsonObject(path, MAX_INDEX_BYTES);
  const weightMap = value.weight_map;
  if (!isJsonObject(weightMap) || Object.keys(weightMap).length === 0)
    throw new LacunaError('bad-file', `${path} must have a "weight_map" from tensor names to shard files`, {
      hint: 'Download the index again.',
    });
  const shards = new Map<string, string[]>();
  for (const [tensor, file] of Object.entries(weightMap)) {
    const name = plainFileName(file, tensor, path);
    const names = shards.get(name);
    if (names === undefined) shards.set(name, [tensor]);
    else names.push(tensor);
  }
  return shards;
}

/** A shard lies in the folder of its index and is safetensors. No path may lead elsewhere, and no pickle is opened. */
function plainFileName(file: unknown, tensor: string, path: string): string {
  if (typeof file === 'string' && /^[^/\\:\0]+\.safetensors$/.test(file)) return file;
  throw new LacunaError(
    'bad-file',
    `${path} puts tensor "${tensor}" in ${JSON.stringify(file)}; wanted is the plain name of a .safetensors file beside it`,
    { hint: 'Download the index again, or save the checkpoint as safetensors.' },
  );
}

function unlistedShards(files: readonly string[], expected: ReadonlyMap<string, unknown>): Problem[] {
  return files
    .filter((file) => SHARD_NAME.test(file) && !expected.has(file))
    .map((file) => ({ code: 'mismatch', text: `${file} is in the folder but not in the index` }));
}

async function readShard(
  folder: string,
  file: string,
  names: readonly string[],
  options: ReadOptions,
  problems: Problem[],
): Promise<ReadonlyMap<string, FileTensor> | undefined> {
  try {
    return (await readSafetensors(join(folder, file), options)).tensors;
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    const text = error.code === 'not-found' ? `${file} is missing, with ${some(names)}` : error.message;
    problems.push({ code: error.code, text });
    return undefined;
  }
}

function some(names: readonly string[]): string {
  return names.length === 1 ? `1 tensor, "${names[0]}"` : `${names.length} tensors such as "${names[0]}"`;
}

function differences(file: string, expected: readonly string[], tensors: ReadonlyMap<string, unknown>): Problem[] {
  const wanted = new Set(expected);
  const lacking = expected.filter((name) => !tensors.has(name)).map((name) => `${file} lacks tensor "${name}"`);
  const unlisted = [...tensors.keys()]
    .filter((name) => !wanted.has(name))
    .map((name) => `${file} holds tensor "${name}", which the index does not put there`);
  return [
    ...lacking.map((text): Problem => ({ code: 'not-found', text })),
    ...unlisted.map((text): Problem => ({ code: 'mismatch', text })),
  ];
}

/** The most important first: what is missing explains what does not match. */
const CODES_BY_WEIGHT: readonly ErrorCode[] = ['io', 'not-found', 'bad-file', 'unsupported', 'mismatch'];

function shardsError(indexPath: string, problems: readonly Problem[]): LacunaError {
  const code =
    CODES_BY_WEIGHT.find((candidate) => problems.some((problem) => problem.code === candidate)) ?? 'bad-file';
  const lines = problems.map(({ text }) => `\n  ${text}`).join('');
  return new LacunaError(code, `${indexPath} and the files beside it do not agree:${lines}`, {
    hint:
      code === 'mismatch'
        ? 'Remove files of another save from the folder, or download the checkpoint into a new one.'
        : 'Download the missing or damaged files again.',
  });
}
