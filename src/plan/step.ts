/** What a decode step consists of, counted as a host's costs are (src/core/host-costs.ts): FFN blocks, attention, head. */
import { GATHER_SHARE, type MeasureName, measureNamed } from '../core/choice.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { addTerms, type Terms, timesTerms } from '../core/host-costs.ts';
import type { HostKind } from '../core/host-kind.ts';
import type { ModelSpec } from '../core/model.ts';
import type { BlockPlan } from '../core/plan.ts';
import { bytesPerWeight, hasBlocks, type Precision } from '../core/precision.ts';
import { denseFfnBytes, type FfnShape } from './bytes.ts';

/** Of the tokens that a plan says skip a block, the share that does on another text (docs/plans.md, "Hosts"). */
export const REALISED = 0.8;

/** On what, and with weights stored how. */
export interface Stored {
  readonly kind: HostKind;
  readonly precision: Precision;
}

/** A dense FFN block. */
export function denseTerms(shape: FfnShape, { precision }: Stored): Terms {
  return { block: 1, product: 3 * projectionBytes(shape, precision) };
}

/**
 * A block that computes what it expects, and skips `realised` of what it expects. Whatever else is done to it: it reads
 * the bytes expected.
 */
export function blockTerms(
  shape: FfnShape,
  stored: Stored,
  { choice, skip, expected }: BlockPlan,
  realised = REALISED,
): Terms {
  const dense = denseTerms(shape, stored);
  if (choice === undefined && skip === undefined)
    return {
      block: 1,
      product: (3 * projectionBytes(shape, stored.precision) * expected.bytesPerToken) / denseFfnBytes(shape),
    };
  const run = choice === undefined ? dense : chosenTerms(shape, stored, expected.density ?? 1, choice.measure);
  return skip === undefined ? run : skippingTerms(run, realised * (expected.skipped ?? 0));
}

/** A block that computes `density` of its neurons. With no measure: what the choices take that read few rows. */
export function chosenTerms(shape: FfnShape, stored: Stored, density: number, measure?: MeasureName): Terms {
  const matrix = projectionBytes(shape, stored.precision);
  const rows = measure === undefined ? 2 : measureNamed(measure).rows.length;
  if (!readsRows(stored, density, rows)) return { block: 1, choose: 1, scan: 3 * matrix };
  const gathered: Terms = stored.kind === 'stock' ? { gather: 1 } : {};
  // What is no product reads gate and up of chosen neurons again, also where they were read whole.
  const byRow = measure === undefined || measureNamed(measure).isProduct ? rows : 3;
  return { block: 1, choose: 1, ...gathered, scan: (3 - rows) * matrix, row: density * byRow * matrix };
}

/** Kernels read chosen rows whatever the share; ONNX Runtime gathers few of floats, and else multiplies by all. */
function readsRows({ kind, precision }: Stored, density: number, rows: number): boolean {
  return kind === 'native' || (!hasBlocks(precision) && rows > 1 && density < GATHER_SHARE);
}

/** A block that takes `run` for the tokens that do not skip it. */
export function skippingTerms(run: Terms, skipped: number): Terms {
  return addTerms(timesTerms(1 - skipped, run), { test: 1 - skipped, skipped });
}

/** The sizes of a decoder. */
export type StepShape = Pick<
  ModelSpec,
  | 'hiddenSize'
  | 'intermediateSize'
  | 'numHiddenLayers'
  | 'numAttentionHeads'
  | 'numKeyValueHeads'
  | 'headDim'
  | 'vocabSize'
>;

/** A whole decode step, with this number of tokens in the cache. Blocks that are not listed are dense. */
export function stepTerms(
  spec: StepShape,
  stored: Stored,
  blocks: readonly BlockPlan[],
  cachedTokens: number,
  realised = REALISED,
): Terms {
  const { numHiddenLayers: layers, hiddenSize, headDim, numAttentionHeads, numKeyValueHeads, vocabSize } = spec;
  const { precision } = stored;
  // Query and output, key and value.
  const attention = 2 * hiddenSize * headDim * (numAttentionHeads + numKeyValueHeads) * bytesPerWeight(precision);
  const cache = 2 * cachedTokens * numKeyValueHeads * headDim * DTYPE_BYTES[precision.floats];
  const head = vocabSize * hiddenSize * bytesPerWeight({ ...precision, linear: precision.vocabulary });
  return addTerms(
    { step: 1, head, layer: layers, product: layers * attention, cache: layers * cache },
    ...blocks.map((block) => blockTerms(spec, stored, block, realised)),
    timesTerms(layers - blocks.length, denseTerms(spec, stored)),
  );
}

function projectionBytes({ hiddenSize, intermediateSize }: FfnShape, precision: Precision): number {
  return bytesPerWeight(precision) * hiddenSize * intermediateSize;
}
