/** `Graph` -> files: `model.onnx`, and `model.onnx_data` beside it, streamed so that weights never fill memory. */
import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { throwIfAborted } from '../../src/core/errors.ts';
import type { Graph } from '../../src/core/graph.ts';
import { type JobOptions, SILENT } from '../../src/core/progress.ts';
import { checksumOf, checksumText } from '../checksum.ts';
import { fillFileAtomically, writeFileAtomically } from '../files.ts';
import { encodeGraph } from './encode.ts';
import { writeExternalData } from './external-data.ts';
import { type Layout, layOut } from './layout.ts';

type WriteOptions = Pick<JobOptions, 'signal' | 'progress' | 'threads'>;

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  readonly crc32: string;
}

/**
 * Writes a model and, if it has large weights, `<modelPath>_data`. The data get their name first, so a model is never
 * seen without them. After a failure neither exists. Returns the files with checksums computed while writing.
 *
 * Equal graphs give equal bytes. Throws `io` when the disk refuses, `interrupted` when the signal is aborted, and the
 * errors of reading the weights.
 *
 * @example const [model, data] = await writeOnnx(graph, 'out/onnx/model.onnx', { progress });
 */
export async function writeOnnx(graph: Graph, modelPath: string, options: WriteOptions = {}): Promise<WrittenFile[]> {
  const layout = layOut(graph);
  const dataPath = `${modelPath}_data`;
  const model = await encodeGraph(graph, layout, basename(dataPath));
  throwIfAborted(options.signal);
  const modelFile = { path: modelPath, bytes: model.length, crc32: checksumOf(model) };
  if (layout.totalBytes === 0) {
    await writeFileAtomically(modelPath, model);
    return [modelFile];
  }
  const crc32 = await writeData(layout, dataPath, `Writing ${basename(modelPath)}`, options);
  try {
    await writeFileAtomically(modelPath, model);
    return [modelFile, { path: dataPath, bytes: layout.totalBytes, crc32 }];
  } catch (error) {
    await rm(dataPath, { force: true });
    throw error;
  }
}

/** Bytes of the files that `writeOnnx` would make: the model, and its external data called `location` (0 if none). */
export async function sizesOf(
  graph: Graph,
  location: string,
): Promise<{ readonly modelBytes: number; readonly dataBytes: number }> {
  const layout = layOut(graph);
  return { modelBytes: (await encodeGraph(graph, layout, location)).length, dataBytes: layout.totalBytes };
}

async function writeData(layout: Layout, path: string, label: string, options: WriteOptions): Promise<string> {
  const { signal, threads, progress = SILENT } = options;
  const stage = progress.stage(label, layout.totalBytes, 'bytes');
  const sum = await fillFileAtomically(path, (file) =>
    writeExternalData(file, layout, { signal, threads, advance: stage.advance }),
  );
  stage.done();
  return checksumText(sum);
}
