/** What a decode step consists of, counted as a host's costs are (src/core/host-costs.ts): FFN blocks, attention, head. */
import { GATHER_SHARE, type MeasureContract, type MeasureName, measureNamed } from '../core/choice.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { denseFfnBytes, type FfnShape } from '../core/ffn-bytes.ts';
import { addTerms, costsOf, type HostCosts, type Terms, timeOf, timesTerms } from '../core/host-costs.ts';
import type { HostKind } from '../core/host-kind.ts';
import { BLOCK_PARTS, type BlockPart, blockName, type ModelSpec } from '../core/model.ts';
import type { BlockPlan } from '../core/plan.ts';
import { bytesPerWeight, hasBlocks, type Precision, type PrecisionName, precisionNamed } from '../core/precision.ts';
import { matricesRead, predictorBytes } from './bytes.ts';

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
  { choice, skip, repair, expected }: BlockPlan,
  realised = REALISED,
): Terms {
  const dense = denseTerms(shape, stored);
  if (repair?.gate !== undefined) return gatedTerms(shape, stored, repair.rank, realised * (expected.skipped ?? 0));
  if (choice === undefined && skip === undefined)
    return {
      block: 1,
      product: (3 * projectionBytes(shape, stored.precision) * expected.bytesPerToken) / denseFfnBytes(shape),
    };
  const run = choice === undefined ? dense : chosenTerms(shape, stored, expected.density ?? 1, choice.measure);
  return skip === undefined ? run : skippingTerms(run, realised * (expected.skipped ?? 0));
}

/** A block that some tokens skip, beside a map of this rank that is computed for all. */
function gatedTerms(shape: FfnShape, stored: Stored, rank: number, skipped: number): Terms {
  const product = 2 * rank * shape.hiddenSize * bytesPerWeight(stored.precision);
  return addTerms(skippingTerms(denseTerms(shape, stored), skipped), { product });
}

/** A block that computes `density` of its neurons. With no measure: what the choices take that read few rows. */
export function chosenTerms(
  shape: FfnShape,
  stored: Stored,
  density: number,
  measure: MeasureName = 'activation',
): Terms {
  const contract = measureNamed(measure);
  const matrix = projectionBytes(shape, stored.precision);
  const predictor = predictorBytes(shape, contract);
  if (!readsRows(stored, density, contract)) return { block: 1, choose: 1, scan: 3 * matrix + predictor };
  const gathered: Terms = stored.kind === 'stock' ? { gather: 1 } : {};
  const { whole, byRow } = matricesRead(contract);
  return { block: 1, choose: 1, ...gathered, scan: whole * matrix + predictor, row: density * byRow * matrix };
}

/** Kernels read chosen rows whatever the share; bodies gather few of floats, of up and down alone, and else multiply by all. */
function readsRows({ kind, precision }: Stored, density: number, { rows, isProduct }: MeasureContract): boolean {
  return kind === 'native' || (!hasBlocks(precision) && isProduct && rows[0] === 'up' && density < GATHER_SHARE);
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

/** The block of a layer with nothing left out. */
export function wholeBlockTerms(spec: StepShape, stored: Stored, part: BlockPart): Terms {
  if (part === 'ffn') return denseTerms(spec, stored);
  return { product: attentionWeights(spec) * bytesPerWeight(stored.precision) };
}

/** Weights of query and output, key and value of a layer. */
export function attentionWeights({ hiddenSize, headDim, numAttentionHeads, numKeyValueHeads }: StepShape): number {
  return 2 * hiddenSize * headDim * (numAttentionHeads + numKeyValueHeads);
}

/**
 * A whole decode step, with this number of tokens in the cache, by the name of the precision whose costs count. Blocks
 * that are not listed are dense.
 */
export function stepTermsByPrecision(
  spec: StepShape,
  stored: Stored,
  blocks: readonly BlockPlan[],
  cachedTokens: number,
  realised = REALISED,
): ReadonlyMap<PrecisionName, Terms> {
  const { numHiddenLayers: layers, hiddenSize, headDim, numKeyValueHeads, vocabSize } = spec;
  const { kind, precision } = stored;
  const cache = 2 * cachedTokens * numKeyValueHeads * headDim * DTYPE_BYTES[precision.floats];
  const head = vocabSize * hiddenSize * bytesPerWeight({ ...precision, linear: precision.vocabulary });
  const sums = new Map<string, Terms>([[precision.name, { step: 1, head, layer: layers, cache: layers * cache }]]);
  const planned = new Map(blocks.map((block) => [block.block, block]));
  for (let layer = 0; layer < layers; layer++)
    for (const part of BLOCK_PARTS) {
      const block = planned.get(blockName(layer, part));
      const own = block?.dtype === undefined ? stored : { kind, precision: precisionNamed(block.dtype) };
      const terms =
        block === undefined || part !== 'ffn'
          ? wholeBlockTerms(spec, own, part)
          : blockTerms(spec, own, block, realised);
      sums.set(own.precision.name, addTerms(sums.get(own.precision.name) ?? {}, terms));
    }
  return sums as ReadonlyMap<PrecisionName, Terms>;
}

/** The same of a model with all blocks in one precision. */
export function stepTerms(...step: Parameters<typeof stepTermsByPrecision>): Terms {
  return addTerms(...stepTermsByPrecision(...step).values());
}

/** Seconds of a step by the costs of a host; undefined where those of a precision are not known. */
export function stepTime(costs: HostCosts, ...step: Parameters<typeof stepTermsByPrecision>): number | undefined {
  let sum = 0;
  for (const [name, terms] of stepTermsByPrecision(...step)) {
    const known = costsOf(costs, name);
    if (known === undefined) return undefined;
    sum += timeOf(known, terms);
  }
  return sum;
}

function projectionBytes({ hiddenSize, intermediateSize }: FfnShape, precision: Precision): number {
  return bytesPerWeight(precision) * hiddenSize * intermediateSize;
}
