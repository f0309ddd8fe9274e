/** The `top-k` preset: each token computes the neurons whose score passes a threshold of their layer. */
import { measureNamed } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import { percent } from '../core/figures.ts';
import { ffnBlock } from '../core/model.ts';
import { type AimedPlan, type BlockPlan, layerOfBlock, type PlanTensors } from '../core/plan.ts';
import { type ReadSums, type Statistics, sumData, sumsOf } from '../core/statistics.ts';
import type { Realised } from '../core/target.ts';
import { selectedFfnBytes } from './bytes.ts';
import { checkTarget } from './host.ts';
import { share } from './options.ts';
import { definePreset, type PresetPlan } from './preset.ts';
import { densityAt, readScoreTail, type ScoreTail, thresholdFor } from './score-tail.ts';

const USUAL_DENSITY = 0.5;

export const topK = definePreset({
  name: 'top-k',
  target: { kind: 'density', option: 'density', usual: USUAL_DENSITY, description: 'share of neurons to keep' },
  options: { density: share.optional() },
  prefill: 'sparse',
  statistics: ['neuron-magnitudes', 'activation-histogram', 'kept-energy'],
  checkTarget,
  choosesNeurons: true,
  plan: (statistics, { density = USUAL_DENSITY }, readSums) => planTopK(statistics, density, readSums),
  retune: retuneTopK,
});

/**
 * One absolute threshold a layer on |act(gate_j)| * E|up_j| * ||down_j||, at which the layer's mean density is the one
 * asked for (CATS, 2404.08763, with the weights of what a neuron can do; the number of neurons varies by token).
 */
async function planTopK(statistics: Statistics, density: number, readSums: ReadSums): Promise<PresetPlan> {
  const layers = Array.from({ length: statistics.model.numHiddenLayers }, (_, layer) => layer);
  const weights = layers.map((layer) => scoreWeights(statistics, layer));
  const blocks: BlockPlan[] = [];
  for (const layer of layers) {
    const tail = await readScoreTail(statistics, layer, weights[layer], readSums);
    blocks.push(blockPlan(statistics, tail, layer, thresholdFor(tail, density)));
  }
  return {
    parts: {
      target: { kind: 'density', value: density },
      skipping: null,
      blocks,
    },
    tensors: new Map(weights.map((data, layer) => [weightsName(layer), { shape: [data.length], data }])),
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
): Promise<AimedPlan['blocks']> {
  const target = plan.target.value;
  const retuned = async (block: BlockPlan): Promise<BlockPlan> => {
    const measured = Object.hasOwn(realised, block.block) ? realised[block.block] : undefined;
    if (measured === undefined || block.choice === undefined) return block;
    const layer = layerOfBlock(block.block);
    const { cut, tensors: named } = block.choice;
    if (cut.kind !== 'absolute' || named.weights === undefined) return block;
    const weights = tensors.get(named.weights);
    if (weights === undefined)
      throw new LacunaError('mismatch', `The plan's ${block.block} has no tensor "${named.weights}"`);
    const tail = await readScoreTail(statistics, layer, weights.data, readSums);
    const wanted = densityAt(tail, cut.threshold) + target - measured;
    return blockPlan(statistics, tail, layer, thresholdFor(tail, Math.max(wanted, LEAST_DENSITY)));
  };
  const blocks: BlockPlan[] = [];
  for (const block of plan.blocks) blocks.push(await retuned(block));
  return blocks;
}

/** A correction never asks for nothing at all. */
const LEAST_DENSITY = 0.01;

function weightsName(layer: number): string {
  return `${ffnBlock(layer)}.weights`;
}

/** E|up_j| * ||down_j||, in float32 as the model holds them. */
function scoreWeights(statistics: Statistics, layer: number): Float32Array {
  const { numHiddenLayers: layers, intermediateSize: neurons } = statistics.model;
  const sums = sumsOf(statistics, 'neuron-magnitudes');
  const upAbs = sumData(sums, 'up_abs', 'float64', [layers, neurons]);
  const downNorm = sumData(sums, 'down_norm', 'float64', [layers, neurons]);
  const count = sumData(sums, 'count', 'float64', [layers])[layer];
  if (!(count > 0)) throw new LacunaError('bad-file', `The statistics measured no token in layer ${layer}`);
  return Float32Array.from({ length: neurons }, (_, neuron) => {
    const at = layer * neurons + neuron;
    return (upAbs[at] / count) * downNorm[at];
  });
}

function blockPlan(statistics: Statistics, tail: ScoreTail, layer: number, threshold: number): BlockPlan {
  const density = densityAt(tail, threshold);
  return {
    block: ffnBlock(layer),
    choice: {
      measure: 'activation',
      cut: { kind: 'absolute', threshold },
      rest: 'nothing',
      tensors: { weights: weightsName(layer) },
    },
    expected: {
      density,
      keptEnergy: keptEnergyAt(statistics, layer, density),
      bytesPerToken: selectedFfnBytes(statistics.model, measureNamed('activation'), density),
    },
    why:
      `activation-histogram and neuron-magnitudes: the mean over ${tail.neurons} neurons of P(|act| * E|up| * ||down|| >= ` +
      `threshold) is ${percent(density)} on ${tail.tokens} tokens; kept-energy (gate ranking) gives the energy`,
  };
}

/** The kept-energy curve of the gate's ranking at a density, linear between its points; nothing is kept at 0, all past the last. */
function keptEnergyAt(statistics: Statistics, layer: number, density: number): number {
  const sums = sumsOf(statistics, 'kept-energy');
  const densities = sumData(sums, 'densities', 'float64', [-1]);
  const layers = statistics.model.numHiddenLayers;
  const energies = sumData(sums, 'gate', 'float64', [layers, densities.length]);
  const count = sumData(sums, 'count', 'float64', [layers])[layer];
  const energyAt = (point: number) => energies[layer * densities.length + point] / count;
  const right = densities.findIndex((point) => point >= density);
  if (right < 0) return 1;
  const [x0, y0] = right === 0 ? [0, 0] : [densities[right - 1], energyAt(right - 1)];
  const share = (density - x0) / (densities[right] - x0);
  return Math.min(1, y0 + share * (energyAt(right) - y0));
}
