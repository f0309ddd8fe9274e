/** `lacuna convert`: a checkpoint becomes a dense ONNX folder. */
import { weightBytesOf } from '../../formats/onnx/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import type { ModelSpec } from '../core/model.ts';
import { choosePrecision, isSearched } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { writeModelFolder } from './model-folder.ts';
import { denseGraph, openPieces } from './source.ts';

export interface ConvertOptions extends JobOptions {
  readonly checkpoint: string;
  readonly output: string;
  readonly force?: boolean;
  /** Writes weights that are NaN or infinite instead of refusing them. */
  readonly allowNonFinite?: boolean;
  /** Name of the precision; fp32 by default. */
  readonly dtype?: string;
  /** Weights a block: 16, 32, 64 or 128; for int8 and int4. */
  readonly blockSize?: number;
  /** Stores zero points too; for int8 and int4. */
  readonly asymmetric?: boolean;
  /**
   * A safetensors file with the mean square of each input, by the name of the weight that it goes to: the search for
   * scales then makes those columns exact that matter. For int4.
   */
  readonly importance?: string;
  /** Checks everything that can be checked without reading weights, and writes nothing. */
  readonly dryRun?: boolean;
}

export interface ConvertResult {
  readonly output: string;
  readonly spec: ModelSpec;
  readonly precision: string;
  readonly weightBytes: number;
  readonly hasTokenizer: boolean;
  /** Absent on a dry run. */
  readonly files: Manifest['files'] | undefined;
}

/**
 * Converts a Hugging Face checkpoint to ONNX, in a precision of `PRECISIONS`.
 *
 * @example await convert({ checkpoint: 'fixtures/tiny-llama', output: 'out/dense' });
 */
export async function convert(options: ConvertOptions): Promise<ConvertResult> {
  const precision = choosePrecision(options.dtype ?? 'fp32', options);
  if (options.importance !== undefined && !isSearched(precision))
    throw new LacunaError('usage', `${precision.name} searches no scales, so it has no use for importances`, {
      hint: 'They are for --dtype int4.',
    });
  if (options.allowNonFinite && precision.linear.kind === 'blocks')
    throw new LacunaError('usage', `${precision.name} has no codes for NaN and infinity, so they cannot be allowed`, {
      hint: 'Use --dtype fp32 or fp16 with --allow-nonfinite.',
    });
  const { checkpoint, pieces } = await openPieces(options.checkpoint, { ...options, precision });
  const graph = denseGraph(pieces);
  const weightBytes = weightBytesOf(graph);
  const { spec } = pieces;
  const { hasTokenizer } = checkpoint;
  const result = { output: options.output, spec, precision: precision.name, weightBytes, hasTokenizer };
  if (!checkpoint.hasTokenizer) {
    options.progress?.note('No tokenizer.json: the folder can be loaded, but `lacuna run` and `lacuna eval` need one.');
  }
  if (options.dryRun) return { ...result, files: undefined };
  const content = {
    graph,
    spec: pieces.spec,
    fingerprint: checkpoint.fingerprint,
    plan: null,
    precision,
    source: checkpoint.path,
  };
  const manifest = await writeModelFolder(options.output, content, options);
  return { ...result, files: manifest.files };
}
