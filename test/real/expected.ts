/** What fixtures/real/expect.py wrote of a real model, and a session held against it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '../../formats/safetensors/index.ts';
import type { Session } from '../../src/core/session.ts';
import type { FileTensor } from '../../src/core/tensor.ts';
import { readFloats, readTensorBytes } from '../../src/tensors/index.ts';
import { root } from './real-model.ts';

export interface Greedy {
  readonly prompt_ids: readonly number[];
  readonly tokens: readonly number[];
}

export interface Expected {
  readonly prompt_ids: readonly number[];
  readonly logits_absmax: number;
  readonly greedy: Greedy;
  readonly greedy_long: Greedy;
  readonly perplexity: { readonly value: number; readonly windows: number; readonly scored_tokens: number };
}

export function readExpected(name: string): Expected {
  return JSON.parse(readFileSync(`${expectedFile(name)}.json`, 'utf8')) as Expected;
}

/** Logits of some positions of a prompt, at some ids; of the prompt's last position at all ids, where given. */
export interface ExpectedLogits {
  readonly promptIds: readonly number[];
  /** The position that the first row of `sample` belongs to. */
  readonly from: number;
  readonly ids: readonly number[];
  /** [positions, ids] */
  readonly sample: Float32Array;
  readonly last: Float32Array | undefined;
}

/** The 512 tokens of `prompt_ids`. */
export async function promptLogits(name: string): Promise<ExpectedLogits> {
  const read = await expectedTensors(name);
  const [ids, sample, last] = [read.ints('sample_ids'), read.floats('logits_sample'), read.floats('logits_last')];
  const promptIds = readExpected(name).prompt_ids;
  return { promptIds, from: 0, ids: await ids, sample: await sample, last: await last };
}

/** The 700 tokens of `long_input_ids`, from position 512 on. */
export async function longPromptLogits(name: string): Promise<ExpectedLogits> {
  const read = await expectedTensors(name);
  const promptIds = await read.ints('long_input_ids');
  const sample = await read.floats('long_logits_sample');
  return { promptIds, from: 512, ids: await read.ints('sample_ids'), sample, last: undefined };
}

/** Largest absolute difference of a logit when the prompt is fed `chunk` tokens at a time. */
export async function largestDifference(session: Session, expected: ExpectedLogits, chunk: number): Promise<number> {
  const { promptIds, from, ids, sample, last } = expected;
  let cache = session.emptyCache();
  let largest = 0;
  for (let at = 0; at < promptIds.length; at += chunk) {
    const step = await session.step(promptIds.slice(at, at + chunk), cache, { logits: 'all' });
    cache = step.cache;
    for (let row = Math.max(0, from - at); row < step.rows; row++)
      for (const [column, id] of ids.entries()) {
        const wanted = sample[(at + row - from) * ids.length + column];
        largest = Math.max(largest, Math.abs(step.logits[row * step.vocab + id] - wanted));
      }
    if (at + step.rows < promptIds.length) continue;
    const lastRow = step.logits.subarray((step.rows - 1) * step.vocab);
    for (const [id, wanted] of (last ?? []).entries()) largest = Math.max(largest, Math.abs(lastRow[id] - wanted));
  }
  return largest;
}

async function expectedTensors(name: string) {
  const { tensors } = await readSafetensors(`${expectedFile(name)}.safetensors`);
  const find = (tensor: string): FileTensor => {
    const found = tensors.get(tensor);
    if (found === undefined) throw new Error(`no tensor ${tensor} in the expectations of ${name}`);
    return found;
  };
  return {
    floats: (tensor: string) => readFloats(find(tensor)),
    ints: async (tensor: string) =>
      Array.from(new BigInt64Array((await readTensorBytes(find(tensor))).slice().buffer), Number),
  };
}

function expectedFile(name: string): string {
  return join(root, 'fixtures/real/expected', name);
}
