/** `lacuna convert`: a checkpoint becomes a dense ONNX folder. */
import { weightBytesOf } from '../../formats/onnx/index.ts';
import { hasTokenizer } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import type { ModelSpec } from '../core/model.ts';
import { choosePrecision, isSearched, type Precision } from '../core/precision.ts';
import { writeModelFolder } from './model-folder.ts';
import { denseGraph, openPieces, type SourceOptions } from './source.ts';

export interface ConvertOptions extends SourceOptions {
  /** A folder, a GGUF file, or with `hub` a model's name there: owner/name[@revision][:part of a GGUF file's name]. */
  readonly checkpoint: string;
  readonly output: string;
  readonly force?: boolean;
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
 * Converts a checkpoint, a Hugging Face folder or a GGUF file, to ONNX, in a precision of `PRECISIONS`.
 *
 * @example await convert({ checkpoint: 'fixtures/tiny-llama', output: 'out/dense' });
 */
export async function convert(options: ConvertOptions): Promise<ConvertResult> {
  const precision = choosePrecision(options.dtype ?? 'fp32', options);
  checkOptions(precision, options);
  const { importance } = options;
  const { checkpoint, pieces } = await openPieces(options.checkpoint, options, { precision, importance });
  const graph = denseGraph(pieces);
  const result = {
    output: options.output,
    spec: pieces.spec,
    precision: precision.name,
    weightBytes: weightBytesOf(graph),
    hasTokenizer: hasTokenizer(checkpoint),
  };
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
    precision,
    source: checkpoint,
  };
  const manifest = await writeModelFolder(options.output, content, options);
  return { ...result, files: manifest.files };
}

function checkOptions(precision: Precision, { importance, allowNonFinite }: ConvertOptions): void {
  if (importance !== undefined && !isSearched(precision))
    throw new LacunaError('usage', `${precision.name} searches no scales, so it has no use for importances`, {
      hint: 'They are for --dtype int4.',
    });
  if (allowNonFinite && precision.linear.kind === 'blocks')
    throw new LacunaError('usage', `${precision.name} has no codes for NaN and infinity, so they cannot be allowed`, {
      hint: 'Use --dtype fp32 or fp16 with --allow-nonfinite.',
    });
}
