/** Logits that another library computed, and how far a converted folder is from them. */
import { readSafetensors } from '../formats/safetensors/index.ts';
import { readFloats, readTensorBytes } from '../formats/tensor-data.ts';
import { openSession } from '../src/runtime/index.ts';

/** Float32 sums in another order than PyTorch's, over two layers: largest difference over largest logit. */
export const RELATIVE = 2e-5;

/** `input_ids` and `logits` may be in different files. */
export async function logitError(folder: string, idsFile: string, logitsFile: string): Promise<number> {
  const named = async (file: string, name: string) => {
    const tensor = (await readSafetensors(file)).tensors.get(name);
    if (tensor === undefined) throw new Error(`no ${name} in ${file}`);
    return tensor;
  };
  const ids = new BigInt64Array((await readTensorBytes(await named(idsFile, 'input_ids'))).slice().buffer);
  const expected = await readFloats(await named(logitsFile, 'logits'));
  const session = await openSession(folder);
  try {
    const { logits } = await session.step([...ids].map(Number), session.emptyCache(), { logits: 'all' });
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i])), 0) / largest;
  } finally {
    await session.close();
  }
}
