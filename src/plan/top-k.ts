/** The `top-k` preset: each token computes the neurons whose score passes a threshold of their layer. */
import * as z from 'zod';
import { type MeasureName, measureNamed } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import { percent } from '../core/figures.ts';
import { ffnBlock } from '../core/model.ts';
import { type AimedPlan, type BlockPlan, type Choice, layerOfBlock, type PlanTensors } from '../core/plan.ts';
import { type ReadSums, type Statistics, sumData, sumsOf } from '../core/statistics.ts';
import type { Realised } from '../core/target.ts';
import { selectedFfnBytes } from './bytes.ts';
import { checkTarget } from './host.ts';
import { SCORED_MEASURES, scoresOf } from './neuron-scores.ts';
import { checkCount, layers, share } from './options.ts';
import { type Corrected, definePreset, type PresetPlan } from './preset.ts';
import type { Kept } from './product-scores.ts';
import { densityAt, type ScoreTail, thresholdFor } from './score-tail.ts';

const USUAL_DENSITY = 0.5;

const USUAL_MEASURE = 'activation';

export const topK = definePreset({
  name: 'top-k',
  target: { kind: 'density', usual: USUAL_DENSITY },
  options: {
    keep: share.optional().meta({ title: 'share', description: 'share of neurons to keep' }),
    measure: z
      .enum(SCORED_MEASURES)
      .default(USUAL_MEASURE)
      .meta({ title: 'score', description: 'choose neurons by the gate, by what they add, or by that in 4 bits' }),
    denseLayers: layers
      .optional()
      .meta({ title: 'layers', description: 'layers that compute all of their neurons, as 0-2,29' }),
  },
  prefill: 'sparse',
  statistics: ({ measure = USUAL_MEASURE }) => ['neuron-magnitudes', 'kept-energy', scoresOf(measure).statistic],
  checkLayers: ({ denseLayers = [] }, layers) => void sparseLayers(layers, denseLayers),
  checkTarget,
  measureOf: ({ measure = USUAL_MEASURE }) => measure,
  plan: (statistics, { keep = USUAL_DENSITY, measure, denseLayers = [] }, readSums) =>
    planTopK(statistics, { density: keep, measure, denseLayers }, readSums),
  retune: retuneTopK,
});

interface Asked {
  readonly density: number;
  readonly measure: MeasureName;
  readonly denseLayers: readonly number[];
}

/** Throws `usage` for a layer that there is not, and where none is left. */
function sparseLayers(count: number, dense: readonly number[]): readonly number[] {
  for (const layer of dense) checkCount('a layer of denseLayers', layer, 0, count - 1);
  const layers = Array.from({ length: count }, (_, layer) => layer).filter((layer) => !dense.includes(layer));
  if (layers.length > 0) return layers;
  throw new LacunaError('usage', `All ${count} layers stay dense, so there is nothing to leave out`, {
    hint: 'Name fewer with --dense-layers.',
  });
}

/**
 * One threshold a layer on the score of its neurons, at which the layer's mean density is the one asked for (CATS, 2404.08763,
 * for the activated gate; the number of neurons varies by token).
 */
async function planTopK(
  statistics: Statistics,
  { density, measure, denseLayers }: Asked,
  readSums: ReadSums,
): Promise<PresetPlan> {
  const layers = sparseLayers(statistics.model.numHiddenLayers, denseLayers);
  const scores = scoresOf(measure);
  const weights = layers.map((layer) => scores.weights(statistics, layer));
  const kept = { cut: scores.cutFor(statistics, density), density };
  const blocks: BlockPlan[] = [];
  for (const [index, layer] of layers.entries()) {
    const tail = await scores.tail(statistics, layer, kept.cut, weights[index], readSums);
    if (tail === undefined) throw new RangeError(`Cut ${kept.cut} of ${measure} is not counted`);
    blocks.push(blockPlan(statistics, layer, measure, tail, kept));
  }
  return {
    parts: {
      target: { kind: 'density', value: density },
      skipping: null,
      notes: [noteOn(statistics, measure, kept)],
      blocks,
    },
    tensors: new Map(weights.map((data, index) => [weightsName(layers[index]), { shape: [data.length], data }])),
  };
}

/**
 * The plan's blocks with each threshold moved so that the density that the model realised comes to the target: where it
 * kept less than the histogram said, the histogram is asked for as much more. Blocks not listed stay as they are.
 */
async function retuneTopK(
  plan: AimedPlan,
  tensors: PlanTensors,
  statistics: Statistics,
  { byBlock: realised }: Extract<Realised, { kind: 'density' }>,
  readSums: ReadSums,
): Promise<Corrected> {
  const target = plan.target.value;
  const retuned = async (block: BlockPlan): Promise<BlockPlan> => {
    const measured = Object.hasOwn(realised, block.block) ? realised[block.block] : undefined;
    if (measured === undefined || block.choice === undefined) return block;
    const { cut, measure, tensors: named } = block.choice;
    if (cut.kind === 'deviation' || named.weights === undefined) return block;
    const weights = tensors.get(named.weights);
    if (weights === undefined)
      throw new LacunaError('mismatch', `The plan's ${block.block} has no tensor "${named.weights}"`);
    const layer = layerOfBlock(block.block);
    const tail = await scoresOf(measure).tail(statistics, layer, cut.kind, weights.data, readSums);
    if (tail === undefined) return block;
    const wanted = densityAt(tail, cut.threshold) + target - measured;
    const density = Math.min(1, Math.max(wanted, Math.min(target, LEAST_DENSITY)));
    return blockPlan(statistics, layer, measure, tail, { cut: cut.kind, density });
  };
  const blocks: BlockPlan[] = [];
  for (const block of plan.blocks) blocks.push(await retuned(block));
  return { blocks };
}

/** A correction asks for no less than this, or than the target. */
const LEAST_DENSITY = 0.01;

function weightsName(layer: number): string {
  return `${ffnBlock(layer)}.weights`;
}

/** What a score and its threshold are, and where the figures come from. */
function noteOn({ tokens }: Statistics, measure: Choice['measure'], { cut }: Pick<Kept, 'cut'>): string {
  const { statistic, formula, ranking } = scoresOf(measure);
  const limit = cut === 'mean' ? "the threshold times the token's mean" : 'the threshold';
  const { predictor } = measureNamed(measure);
  return (
    `A neuron is computed where its score, ${formula}${predictor === undefined ? '' : ' as predicted'}, reaches ${limit}. ` +
    `Thresholds are from ${statistic}, kept energy from kept-energy by ${ranking}, on ${tokens} tokens.`
  );
}

function blockPlan(
  statistics: Statistics,
  layer: number,
  measure: Choice['measure'],
  tail: ScoreTail,
  kept: Kept,
): BlockPlan {
  const { ranking, remark } = scoresOf(measure);
  const threshold = thresholdFor(tail, kept.density);
  const density = densityAt(tail, threshold);
  return {
    block: ffnBlock(layer),
    choice: {
      measure,
      cut: { kind: kept.cut, threshold },
      rest: 'nothing',
      tensors: { weights: weightsName(layer) },
    },
    expected: {
      density,
      keptEnergy: keptEnergyAt(statistics, layer, ranking, density),
      bytesPerToken: selectedFfnBytes(statistics.model, measureNamed(measure), density),
    },
    why: `${percent(density)} of scores reach ${threshold.toPrecision(4)}${remark(statistics, layer, { ...kept, density })}`,
  };
}

/** The kept-energy curve of a ranking at a density, linear between its points; nothing is kept at 0, all past the last. */
function keptEnergyAt(statistics: Statistics, layer: number, ranking: 'gate' | 'oracle', density: number): number {
  const sums = sumsOf(statistics, 'kept-energy');
  const densities = sumData(sums, 'densities', 'float64', [-1]);
  const layers = statistics.model.numHiddenLayers;
  const energies = sumData(sums, ranking, 'float64', [layers, densities.length]);
  const count = sumData(sums, 'count', 'float64', [layers])[layer];
  const energyAt = (point: number) => energies[layer * densities.length + point] / count;
  const right = densities.findIndex((point) => point >= density);
  if (right < 0) return 1;
  const [x0, y0] = right === 0 ? [0, 0] : [densities[right - 1], energyAt(right - 1)];
  const share = (density - x0) / (densities[right] - x0);
  return Math.min(1, y0 + share * (energyAt(right) - y0));
}
