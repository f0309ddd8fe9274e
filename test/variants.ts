/** The small random checkpoints of fixtures/ that have one feature each: variants of every architecture. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const FIXTURES = join(import.meta.dirname, '../fixtures');

/** Where they are. */
export const VARIANT_FOLDERS = ['llama-variants', 'gemma-variants'] as const;

export interface Variant {
  /** Under `FIXTURES`: "llama-variants/gelu". */
  readonly path: string;
  readonly name: string;
  readonly modelType: unknown;
  readonly exercises: string;
  /** Fields of config.json that turn off what it exercises, where they can. */
  readonly without?: object;
  /** How far Transformers' logits are off then, relative to the largest. */
  readonly effect?: number;
}

export const VARIANTS: readonly Variant[] = VARIANT_FOLDERS.flatMap((folder) =>
  readdirSync(join(FIXTURES, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => readVariant(folder, name)),
);

function readVariant(folder: string, name: string): Variant {
  const read = (file: string) => JSON.parse(readFileSync(join(FIXTURES, folder, name, file), 'utf8'));
  return { ...read('variant.json'), path: `${folder}/${name}`, name, modelType: read('config.json').model_type };
}
