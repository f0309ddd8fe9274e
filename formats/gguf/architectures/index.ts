/** From a GGUF file to the config and the tensors of the Hugging Face model it was made from. */
import * as z from 'zod';
import { LacunaError } from '../../../src/core/errors.ts';
import type { JsonObject } from '../../../src/core/json.ts';
import type { StoredTensor, TensorExpr } from '../../../src/core/tensor.ts';
import { badGguf, unsupportedGguf } from '../cursor.ts';
import { valuesUnder } from '../header.ts';
import type { GgufFile } from '../read.ts';
import type { GgufArchitecture, SpecialTokenIds, TensorRule } from './architecture.ts';
import { gemma3 } from './gemma3.ts';
import { llama } from './llama.ts';

interface Restored {
  readonly config: JsonObject;
  readonly tensors: ReadonlyMap<string, TensorExpr>;
}

type Restore = (file: GgufFile, path: string, special: SpecialTokenIds) => Promise<Restored>;

/** Every readable architecture, by its name in GGUF. */
const ARCHITECTURES: ReadonlyMap<string, Restore> = new Map([
  [llama.name, restorer(llama)],
  [gemma3.name, restorer(gemma3)],
]);

/** Names of tensors in one message; further ones are counted. */
const NAMED = 10;

/**
 * Config and tensors under their names on the Hub. Everything that llama.cpp's converter changed is undone.
 *
 * Throws 'unsupported' for an unknown architecture, key or tensor, 'bad-file' for wrong values.
 */
export async function restoreModel(file: GgufFile, path: string, special: SpecialTokenIds): Promise<Restored> {
  const name = file.metadata.get('general.architecture');
  refuseSplit(file, path);
  const restore = typeof name === 'string' ? ARCHITECTURES.get(name) : undefined;
  if (restore !== undefined) return restore(file, path, special);
  throw new LacunaError('unsupported', `${path} is of architecture "${name}", which is not read from GGUF`, {
    hint: `Architectures that are: ${[...ARCHITECTURES.keys()].join(', ')}. The Hugging Face checkpoint may be supported.`,
  });
}

function refuseSplit({ metadata }: GgufFile, path: string): void {
  const parts = metadata.get('split.count') ?? 0;
  if (parts === 0 || parts === 1) return;
  throw new LacunaError('unsupported', `${path} is one of ${parts} files of a split model`, {
    hint: 'Join them with llama.cpp: llama-gguf-split --merge FIRST.gguf WHOLE.gguf',
  });
}

function restorer<Fields>(architecture: GgufArchitecture<Fields>): Restore {
  return async (file, path, special) => {
    const fields = readFields(architecture, file, path);
    const source = { path, fields, tensors: file.tensors, special };
    const tensors = renamed(architecture, file.tensors, fields, path);
    // In the order of their names: the fingerprint is of the text.
    const config = Object.entries(await architecture.config(source)).sort(([a], [b]) => (a < b ? -1 : 1));
    return { config: Object.fromEntries(config), tensors };
  };
}

function readFields<Fields>({ name, fields }: GgufArchitecture<Fields>, { metadata }: GgufFile, path: string): Fields {
  const prefix = `${name}.`;
  const own = valuesUnder(prefix, metadata);
  const unknown = Object.keys(own).filter((key) => !Object.hasOwn(fields.shape, key));
  const shown = unknown.map((key) => `${prefix}${key} = ${own[key]}`.slice(0, 80)).join(', ');
  if (unknown.length > 0) throw unsupportedGguf(`${path} has keys that may change what the model computes: ${shown}`);
  const parsed = fields.safeParse(own);
  if (parsed.success) return parsed.data;
  throw badGguf(path, `its keys "${prefix}…" are wrong:\n${z.prettifyError(parsed.error)}`);
}

function renamed<Fields>(
  { tensors: rules, inConfig }: GgufArchitecture<Fields>,
  stored: ReadonlyMap<string, StoredTensor>,
  fields: Fields,
  path: string,
): Map<string, TensorExpr> {
  const tensors = new Map<string, TensorExpr>();
  const unknown: string[] = [];
  for (const [name, tensor] of stored) {
    const found = ruleFor(name, rules);
    if (found !== undefined) tensors.set(found.name, found.undo?.(tensor, fields) ?? tensor);
    else if (!inConfig.includes(name)) unknown.push(name);
  }
  if (unknown.length === 0) return tensors;
  const named = unknown.slice(0, NAMED).join(', ');
  throw unsupportedGguf(`${path} holds ${unknown.length} tensors that are not known in its architecture: ${named}`);
}

function ruleFor<Fields>(name: string, rules: readonly TensorRule<Fields>[]): TensorRule<Fields> | undefined {
  for (const rule of rules) {
    const match = rule.pattern.exec(name);
    if (match) return { ...rule, name: rule.name.replace(/\{(\d)\}/g, (_, group) => match[Number(group) + 1]) };
  }
  return undefined;
}
