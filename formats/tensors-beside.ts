/** JSON files whose tensors are in a .safetensors file beside them, bound by hash: statistics and plans. */
import { basename, dirname, extname, join } from 'node:path';
import * as z from 'zod';
import { LacunaError } from '../src/core/errors.ts';
import { prettyJson } from '../src/core/json.ts';
import type { FileTensor } from '../src/core/tensor.ts';
import { sha256File, writeFileAtomically } from './files.ts';
import { readJsonObject } from './json-file.ts';
import { readSafetensors, writeSafetensors } from './safetensors/index.ts';

/** Some 10 bytes for each sequence, or 500 for each layer: far above any real file, and parsed in memory. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

export const tensorsBesideSchema = z.strictObject({
  file: z.string().refine((file) => file === basename(file) && file.endsWith('.safetensors'), {
    error: 'must be the bare name of a .safetensors file beside this one',
  }),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

type TensorsBeside = z.infer<typeof tensorsBesideSchema>;

/** Writes tensors to the JSON path with the ending .safetensors, and returns the name and hash that bind them. */
export async function writeTensorsBeside(
  jsonPath: string,
  entries: Parameters<typeof writeSafetensors>[1],
): Promise<TensorsBeside> {
  const file = `${basename(jsonPath, extname(jsonPath))}.safetensors`;
  const path = join(dirname(jsonPath), file);
  await writeSafetensors(path, entries);
  return { file, sha256: await sha256File(path) };
}

/** The tensors' headers, after a check that the file is the bound one. NaN is refused when values are read. */
export async function readTensorsBeside(
  jsonPath: string,
  { file, sha256 }: TensorsBeside,
): Promise<ReadonlyMap<string, FileTensor>> {
  const path = join(dirname(jsonPath), file);
  const found = await sha256File(path);
  if (found !== sha256)
    throw new LacunaError('mismatch', `${path} has the sha256 ${found}, ${jsonPath} wants ${sha256}`, {
      hint: 'The two files belong together: copy both, or make them again.',
    });
  return (await readSafetensors(path, { mustBeFinite: true })).tensors;
}

export async function writeJson(path: string, content: object): Promise<void> {
  await writeFileAtomically(path, prettyJson(content));
}

/** Reads JSON through a schema. Errors call the file `what`, for example "plan". */
export async function readJson<T>(path: string, schema: z.ZodType<T>, what: string): Promise<T> {
  const { value } = await readJsonObject(path, MAX_JSON_BYTES);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { format } = value;
  if (parsed.error.issues.some(({ path: [field] }) => field === 'format'))
    throw new LacunaError('bad-file', `${path} is no ${what}: its "format" is ${JSON.stringify(format) ?? 'missing'}`, {
      hint: 'lacuna inspect shows what a file is.',
    });
  throw new LacunaError('bad-file', `${path} is no ${what} of this version:\n${z.prettifyError(parsed.error)}`, {
    hint: 'Make it again with this version, or correct the fields named above.',
  });
}
