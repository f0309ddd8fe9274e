/** Folders of fixtures/tiny-llama for consumers to load: each precision, and made sparse by plans of fixtures/oracle. */
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { convert, sparsify } from '../../src/index.ts';
import { root, tinyLlama } from '../temporary.ts';
import { TOLERANCE } from './greedy.ts';

/** Those with a plan are made by it, the others converted to the precision that they are called. */
export const KINDS = [
  { name: 'fp32', plan: false, tolerance: TOLERANCE.fp32 },
  { name: 'fp16', plan: false, tolerance: TOLERANCE.fp16 },
  { name: 'bf16', plan: false, tolerance: TOLERANCE.fp32 },
  { name: 'int8', plan: false, tolerance: TOLERANCE.int8 },
  { name: 'int4', plan: false, tolerance: TOLERANCE.int4 },
  // FFN skipping and thresholds on neurons, in the same layers.
  { name: 'skip-and-select', plan: true, tolerance: TOLERANCE.sparse },
  // Statistical top-k.
  { name: 'statistical', plan: true, tolerance: TOLERANCE.sparse },
] as const;

/** The fixture's own prompt, after which no token is chosen by less than rounding. */
export const PROMPT = 'If the transaction fails, the database';

/** As many as stay clear of an end token. */
export const COUNT = 32;

/** A longer one. */
export const OTHER_PROMPT = 'The capital of France is';

/** Makes a folder of every kind in `parent`, under its name. */
export async function makeFolders(parent: string): Promise<void> {
  for (const kind of KINDS) await makeFolder(parent, kind);
}

/** One of them. */
export async function makeFolder(parent: string, { name, plan }: (typeof KINDS)[number]): Promise<string> {
  const output = join(parent, name);
  const { fingerprint } = await openCheckpoint(tinyLlama);
  if (plan) await sparsifyBy(bindPlan(name, fingerprint, parent), output);
  else await convert({ checkpoint: tinyLlama, output, dtype: name });
  return output;
}

/** A plan of the fixtures, which name no checkpoint, for the checkpoint of this fingerprint. */
function bindPlan(name: string, fingerprint: string, folder: string): string {
  const plans = join(root, 'fixtures/oracle/plans');
  const plan = JSON.parse(readFileSync(join(plans, `${name}.json`), 'utf8'));
  const bound = join(folder, `${name}.json`);
  writeFileSync(bound, JSON.stringify({ ...plan, model: { ...plan.model, fingerprint } }));
  copyFileSync(join(plans, 'weights.safetensors'), join(folder, 'weights.safetensors'));
  return bound;
}

async function sparsifyBy(plan: string, output: string): Promise<void> {
  const { report } = await sparsify({ source: tinyLlama, plan, output });
  if (!report.every(({ applied }) => applied)) throw new Error(`${plan} did not apply in whole`);
}

/** Converts fixtures/tiny-llama as Transformers 5 saves it: the template a file of its own, the tokenizer of no class. */
export async function convertSavedAnew(output: string): Promise<void> {
  const checkpoint = `${output}-checkpoint`;
  cpSync(tinyLlama, checkpoint, { recursive: true });
  const file = join(checkpoint, 'tokenizer_config.json');
  const { chat_template: template, added_tokens_decoder, ...config } = JSON.parse(readFileSync(file, 'utf8'));
  const saved = { tokenizer_class: 'TokenizersBackend', backend: 'tokenizers', extra_special_tokens: ['<|im_end|>'] };
  writeFileSync(file, JSON.stringify({ ...config, ...saved }));
  writeFileSync(join(checkpoint, 'chat_template.jinja'), template);
  await convert({ checkpoint, output });
  rmSync(checkpoint, { recursive: true });
}

/** Token ids of a text, by our tokenizer. */
export async function encode(folder: string, text: string): Promise<number[]> {
  return (await loadTokenizer(folder)).encode(text);
}
