/** `lacuna convert`: a checkpoint becomes a dense ONNX folder. */

import { hasTokenizer } from '../core/checkpoint.ts';
import { byteLength } from '../core/dtype.ts';
import type { Manifest } from '../core/manifest.ts';
import type { ModelSpec } from '../core/model.ts';
import { writeModelFolder } from './model-folder.ts';
import { denseGraph, openPieces, type SourceOptions } from './source.ts';

export interface ConvertOptions extends SourceOptions {
  /** A folder, a GGUF file, or with `hub` a model's name there: owner/name[@revision][:part of a GGUF file's name]. */
  readonly checkpoint: string;
  readonly output: string;
  readonly force?: boolean;
  /** Checks everything that can be checked without reading weights, and writes nothing. */
  readonly dryRun?: boolean;
}

export interface ConvertResult {
  readonly output: string;
  readonly spec: ModelSpec;
  readonly weightBytes: number;
  readonly hasTokenizer: boolean;
  /** Absent on a dry run. */
  readonly files: Manifest['files'] | undefined;
}

/**
 * Converts a checkpoint, a Hugging Face folder or a GGUF file, to fp32 ONNX.
 *
 * @example await convert({ checkpoint: 'fixtures/tiny-llama', output: 'out/dense' });
 */
export async function convert(options: ConvertOptions): Promise<ConvertResult> {
  const { checkpoint, pieces } = await openPieces(options.checkpoint, options);
  const graph = denseGraph(pieces);
  const weightBytes = graph.initializers.reduce((sum, { data }) => sum + byteLength(data.dtype, data.shape), 0);
  const result = { output: options.output, spec: pieces.spec, weightBytes, hasTokenizer: hasTokenizer(checkpoint) };
  for (const note of pieces.notes ?? []) options.progress?.note(note);
  if (!result.hasTokenizer) {
    options.progress?.note('No tokenizer.json: the folder can be loaded, but `lacuna run` and `lacuna eval` need one.');
  }
  if (options.dryRun) return { ...result, files: undefined };
  const content = {
    graph,
    spec: pieces.spec,
    fingerprint: checkpoint.fingerprint,
    plan: null,
    source: checkpoint,
  };
  const manifest = await writeModelFolder(options.output, content, options);
  return { ...result, files: manifest.files };
}
