/** Expectations files: safetensors written by python/expectations.py, read and checked. Logits stay on disk. */
import * as z from 'zod';
import { LacunaError } from '../src/core/errors.ts';
import type { Expectations, ExpectedPrompt } from '../src/core/expectations.ts';
import type { FileTensor } from '../src/core/tensor.ts';
import { readTensorBytes } from '../src/tensors/index.ts';
import { parseJsonObject } from './json-file.ts';
import { readSafetensors, type SafetensorsFile } from './safetensors/index.ts';

const EXPECTATIONS_FORMAT = 'lacuna.expectations';
const EXPECTATIONS_VERSION = '1';

/** Ids of a prompt, rows of logits: some thousands at most. The limit stops files that ask for all memory. */
const MAX_ROWS = 65_536;

const promptsSchema = z
  .array(
    z.object({
      name: z.string().regex(/^[\w-]+$/),
      text: z.string().nullable(),
      encoded: z.array(z.int().nonnegative()).max(MAX_ROWS).nullable(),
    }),
  )
  .min(1)
  .max(100);

const toolsSchema = z.record(z.string(), z.string());

/**
 * Opens an expectations file. Logits are checked for NaN when they are read.
 *
 * Throws 'bad-file' for a file of another kind or with contradictions, 'not-found' or 'io' when it cannot be read.
 *
 * @example const { prompts } = await readExpectations('SmolLM2-135M/lacuna-expectations.safetensors');
 */
export async function readExpectations(path: string): Promise<Expectations> {
  const file = await readSafetensors(path, { mustBeFinite: true });
  const { format, version, fingerprint = '', tools, prompts } = file.metadata;
  if (format !== EXPECTATIONS_FORMAT || version !== EXPECTATIONS_VERSION)
    throw bad(path, `its format is ${format ?? 'not given'}, version ${version ?? 'not given'}`);
  const parsed = parseMetadata(promptsSchema, prompts, path, 'prompts');
  return {
    fingerprint,
    tools: parseMetadata(toolsSchema, tools, path, 'tools'),
    prompts: await Promise.all(parsed.map((prompt) => readPrompt(path, file, prompt))),
  };
}

function parseMetadata<T>(schema: z.ZodType<T>, text: string | undefined, path: string, key: string): T {
  const { value } = parseJsonObject(`{"value":${text ?? 'null'}}`, `"${key}" of ${path}`);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw bad(path, `its "${key}" is not valid: ${z.prettifyError(parsed.error)}`);
}

async function readPrompt(
  path: string,
  { tensors }: SafetensorsFile,
  prompt: Pick<ExpectedPrompt, 'name' | 'text' | 'encoded'>,
): Promise<ExpectedPrompt> {
  const find = (key: string) => {
    const tensor = tensors.get(`${prompt.name}.${key}`);
    if (tensor !== undefined) return tensor;
    throw bad(path, `it lacks the tensor "${prompt.name}.${key}"`);
  };
  const read = (key: string) => readIntegers(find(key), path);
  const ids = await read('input_ids');
  const positions = await read('positions');
  const tokens = await read('tokens');
  checkPositions(positions, ids.length, prompt.name, path);
  const prefillLogits = checkLogits(find('prefill_logits'), positions.length, path);
  const decodeLogits = checkLogits(find('decode_logits'), tokens.length, path);
  return { ...prompt, ids, positions, tokens, prefillLogits, decodeLogits };
}

/** int64 [n] */
async function readIntegers(tensor: FileTensor, path: string): Promise<number[]> {
  const { name, dtype, shape } = tensor;
  if (dtype !== 'int64' || shape.length !== 1 || shape[0] > MAX_ROWS)
    throw bad(path, `"${name}" is ${dtype} [${shape}], wanted is int64 with one axis of at most ${MAX_ROWS}`);
  const bytes = await readTensorBytes(tensor);
  return Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, shape[0]), Number);
}

/** Ascending, ending with the prompt's last, because decoding continues there. */
function checkPositions(positions: readonly number[], length: number, prompt: string, path: string): void {
  const ascending = positions.every((position, index) => position > (positions[index - 1] ?? -1));
  if (!ascending || positions.at(-1) !== length - 1)
    throw bad(path, `the positions of "${prompt}" do not ascend to ${length - 1}, its last`);
}

function checkLogits(tensor: FileTensor, rows: number, path: string): FileTensor {
  const { name, dtype, shape } = tensor;
  if (dtype === 'float32' && shape.length === 2 && shape[0] === rows) return tensor;
  throw bad(path, `"${name}" is ${dtype} [${shape}], wanted is float32 [${rows}, vocabulary]`);
}

function bad(path: string, what: string): LacunaError {
  return new LacunaError('bad-file', `${path} is no expectations file of this version: ${what}`, {
    hint: 'Make it again: lacuna verify expect CHECKPOINT',
  });
}
