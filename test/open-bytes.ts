/** Opens an encoded model from a folder that exists only while it is opened. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EncodedModel } from '../src/core/runner.ts';
import type { Session } from '../src/core/session.ts';
import { openSession } from '../src/runtime/session.ts';

export async function openBytes({ model, externalData }: EncodedModel): Promise<Session> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-model-'));
  try {
    if (externalData !== undefined) await writeFile(join(folder, 'model.onnx_data'), externalData);
    return await openSession({ model, folder }, { threads: 1 });
  } finally {
    // A mapped file stays readable after its name is gone.
    await rm(folder, { recursive: true });
  }
}
