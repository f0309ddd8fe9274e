/** The small files of a model (config, tokenizer): found in a folder, or made from another format. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelFiles, SmallFile } from '../src/core/checkpoint.ts';
import { asIoError, systemCode } from '../src/core/io-error.ts';
import type { JsonObject } from '../src/core/json.ts';
import { parseJsonObject, readJsonObject } from './json-file.ts';
import { readBounded } from './regular-file.ts';

/** All small files that are read or copied anywhere. */
export const SMALL_FILE_NAMES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'tokenizer.model',
  'chat_template.jinja',
  'chat_template.json',
] as const;

/** Larger than all of them: Gemma's tokenizer.json has 33 MB, Llama 4's 28 MB. */
export const MAX_SMALL_FILE_BYTES = 256 << 20;

export type SmallFileName = (typeof SMALL_FILE_NAMES)[number];

/** The small files in `folder`, found among the given names of its entries. */
export function smallFilesIn(folder: string, entries: readonly string[]): Map<string, SmallFile> {
  const there = SMALL_FILE_NAMES.filter((name) => entries.includes(name));
  return new Map(there.map((name) => [name, { path: join(folder, name) }]));
}

/** The small files of a folder. None if it does not exist; 'io' if it cannot be listed. */
export async function openModelFiles(folder: string): Promise<ModelFiles> {
  const entries = await readdir(folder).catch((error) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw asIoError(error, 'read', folder);
  });
  return { path: folder, files: smallFilesIn(folder, entries) };
}

/** The name of a file in errors: its path, or what it belongs to. */
export function labelOf({ path, files }: ModelFiles, name: SmallFileName): string {
  const file = files.get(name);
  return file === undefined || 'text' in file ? `${name} of ${path}` : file.path;
}

/** The object in a JSON file of the model, or undefined if there is no such file. Throws as `readJsonObject` does. */
export async function readSmallJson(
  model: ModelFiles,
  name: SmallFileName,
  maxBytes: number,
): Promise<JsonObject | undefined> {
  const file = model.files.get(name);
  if (file === undefined) return undefined;
  if ('path' in file) return (await readJsonObject(file.path, maxBytes)).value;
  return parseJsonObject(file.text(), labelOf(model, name));
}

/** A text file of the model, or undefined if there is none. Throws 'bad-file' when it is longer than `maxBytes`. */
export async function readSmallText(
  model: ModelFiles,
  name: SmallFileName,
  maxBytes: number,
): Promise<string | undefined> {
  const file = model.files.get(name);
  if (file === undefined || 'text' in file) return file?.text();
  return (await readBounded(file.path, maxBytes)).toString('utf8');
}
