/** What the `top-k` preset chooses neurons by, as statistics know it: an entry for each score. */
import type { MeasureName } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import { layerOfBlock, type Plan } from '../core/plan.ts';
import { type ReadSums, type Statistics, sumData, sumsOf } from '../core/statistics.ts';
import { bestCut, type CountedCut, type Kept, lossAt, readScoreCurves } from './product-scores.ts';
import { readScoreTail, type ScoreTail } from './score-tail.ts';

export interface NeuronScores {
  /** Measures that choose by it. */
  readonly measures: readonly MeasureName[];
  /** The statistic that counts it, beside `neuron-magnitudes`. */
  readonly statistic: string;
  readonly formula: string;
  /** The curve of statistic `kept-energy` that ranks neurons as it does. */
  readonly ranking: 'gate' | 'oracle';
  /** Score weights of a layer, in float32 as the model holds them. */
  readonly weights: (statistics: Statistics, layer: number) => Float32Array;
  /** The cut by which every layer keeps this share of its neurons. */
  readonly cutFor: (statistics: Statistics, density: number) => CountedCut;
  /** Undefined for a cut whose scores are not counted. */
  readonly tail: (
    statistics: Statistics,
    layer: number,
    cut: CountedCut,
    weights: Float32Array,
    readSums: ReadSums,
  ) => Promise<ScoreTail | undefined>;
  /** What a plan says of a layer that keeps that, beside its density. */
  readonly remark: (statistics: Statistics, layer: number, kept: Kept) => string;
}

const NEURON_SCORES: readonly NeuronScores[] = [
  {
    measures: ['activation'],
    statistic: 'activation-histogram',
    formula: '|act| * E|up| * ||down||',
    ranking: 'gate',
    weights: (statistics, layer) => {
      const { upAbs, downNorm, tokens } = magnitudesOf(statistics, layer);
      return Float32Array.from(downNorm, (norm, neuron) => (upAbs[neuron] / tokens) * norm);
    },
    cutFor: () => 'absolute',
    tail: async (statistics, layer, cut, weights, readSums) =>
      cut === 'absolute' ? readScoreTail(statistics, layer, weights, readSums) : undefined,
    remark: () => '',
  },
  {
    measures: ['product', 'predicted'],
    statistic: 'product-scores',
    formula: '|act * up| * ||down||',
    ranking: 'oracle',
    weights: (statistics, layer) => Float32Array.from(magnitudesOf(statistics, layer).downNorm),
    cutFor: (statistics, density) => {
      const layers = Array.from({ length: statistics.model.numHiddenLayers }, (_, layer) => layer);
      return bestCut(
        layers.map((layer) => readScoreCurves(statistics, layer)),
        density,
      );
    },
    tail: async (statistics, layer, cut) => curveOf(statistics, layer, cut).tail,
    remark: (statistics, layer, { cut, density }) => {
      const loss = lossAt(curveOf(statistics, layer, cut), density);
      return `, and what is left out is ${(100 * loss).toFixed(3)} % of the stream's squared length`;
    },
  },
];

/** Those that the preset can choose by. */
export const SCORED_MEASURES: readonly MeasureName[] = NEURON_SCORES.flatMap(({ measures }) => measures);

export function scoresOf(measure: MeasureName): NeuronScores {
  const found = NEURON_SCORES.find(({ measures }) => measures.includes(measure));
  if (found === undefined)
    throw new LacunaError('unsupported', `Neurons chosen by ${measure} have no score that statistics count`);
  return found;
}

function curveOf(statistics: Statistics, layer: number, cut: CountedCut) {
  const found = readScoreCurves(statistics, layer).find((curve) => curve.cut === cut);
  if (found === undefined) throw new RangeError(`No scores were counted for cut ${cut}`);
  return found;
}

/** A layer's sums of |up_j|, its norms of down's columns, and the tokens that they are of. */
function magnitudesOf(statistics: Statistics, layer: number) {
  const { numHiddenLayers: layers, intermediateSize: neurons } = statistics.model;
  const sums = sumsOf(statistics, 'neuron-magnitudes');
  const ofLayer = (name: string) =>
    sumData(sums, name, 'float64', [layers, neurons]).subarray(layer * neurons, (layer + 1) * neurons);
  const tokens = sumData(sums, 'count', 'float64', [layers])[layer];
  if (!(tokens > 0)) throw new LacunaError('bad-file', `The statistics measured no token in layer ${layer}`);
  return { upAbs: ofLayer('up_abs'), downNorm: ofLayer('down_norm'), tokens };
}

/**
 * Of a layer's stream, the squared length that the neurons left out by a plan would add, mean over layers. Null for a plan whose scores
 * were counted without it.
 */
export function streamLoss(statistics: Statistics, { blocks }: Pick<Plan, 'blocks'>): number | null {
  let sum = 0;
  for (const { block, choice, expected } of blocks) {
    if (choice === undefined || choice.cut.kind === 'deviation') return null;
    if (scoresOf(choice.measure).statistic !== 'product-scores') return null;
    sum += lossAt(curveOf(statistics, layerOfBlock(block), choice.cut.kind), expected.density ?? 1);
  }
  return blocks.length === 0 ? null : sum / statistics.model.numHiddenLayers;
}
