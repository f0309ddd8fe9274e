/** Logits that another library computed, and how far ours are from them. */
import { readSafetensors } from '../formats/safetensors/index.ts';
import { openSession } from '../src/runtime/index.ts';
import { readFloats, readTensorBytes } from '../src/tensors/index.ts';

/**
 * Largest difference of any logit, relative to the largest logit. The project's promise; sums of at most a few hundred
 * float32 products (epsilon 6e-8 each) in a few layers stay below it by a factor of ten, and the features that the small
 * models of fixtures/ turn on change the logits by 1e-3 and more.
 */
export const RELATIVE = 2e-5;

export interface Expected {
  readonly ids: readonly number[];
  /** [ids, vocabulary]. */
  readonly logits: Float32Array;
}

/** `input_ids` and `logits` may be in different files. */
export async function readExpected(logitsFile: string, idsFile = logitsFile): Promise<Expected> {
  const ids = await readTensorBytes(await namedTensor(idsFile, 'input_ids'));
  return {
    ids: Array.from(new BigInt64Array(ids.slice().buffer), Number),
    logits: await readFloats(await namedTensor(logitsFile, 'logits')),
  };
}

export async function logitError(folder: string, idsFile: string, logitsFile: string): Promise<number> {
  const { ids, logits: expected } = await readExpected(logitsFile, idsFile);
  const session = await openSession(folder);
  try {
    const { logits } = await session.step(ids, session.emptyCache(), { logits: 'all' });
    return relativeError(logits, expected);
  } finally {
    await session.close();
  }
}

async function namedTensor(file: string, name: string) {
  const tensor = (await readSafetensors(file)).tensors.get(name);
  if (tensor === undefined) throw new Error(`no ${name} in ${file}`);
  return tensor;
}

/** max |a - b| / max |b|. */
export function relativeError(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length)
    throw new Error(`${actual.length} logits where ${expected.length} are expected`);
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i])), 0) / largest;
}
