/** Statistics made up for tests of planning: the sums that planning reads, from values given or drawn by a seed. */
import { levelOfCosine } from '../../core/saturation.ts';
import type { ReadSums, Statistics, Sums } from '../../core/statistics.ts';

/** For presets that read no sums of single layers. */
export const noSums: ReadSums = () => Promise.reject(new Error('No sums of a layer are to be read'));

/** For presets that do, of sums that are nowhere else. */
export const inMemory: ReadSums = async (sums) => sums as Sums;

/** A linear congruential generator (Numerical Recipes' constants): numbers in [0, 1) that a seed fixes. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A standard normal number, by Box and Muller. */
export function normal(next: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

interface Facts {
  readonly layers: number;
  readonly neurons: number;
  readonly sequences: number;
  readonly sequenceLength: number;
}

export function statisticsOf(
  facts: Facts,
  sums: Readonly<Record<string, Sums>>,
  layerSums: Statistics['layerSums'] = {},
): Statistics {
  const { layers, neurons, sequences, sequenceLength } = facts;
  return {
    model: {
      modelType: 'llama',
      fingerprint: 'made-up',
      numHiddenLayers: layers,
      hiddenSize: 4,
      intermediateSize: neurons,
    },
    texts: [{ name: 'made up', sha256: '0'.repeat(64), tokens: sequences * sequenceLength }],
    sequenceLength,
    sequences: Array.from({ length: sequences }, (_, i) => i),
    plannedSequences: sequences,
    tokens: sequences * sequenceLength,
    definitions: Object.fromEntries(Object.keys({ ...sums, ...layerSums }).map((name) => [name, 'made up'])),
    sums,
    layerSums,
  };
}

/** A saturation statistic whose cosines are `cosine(layer, position, sequence)`. */
export function saturationOf(
  { layers, sequences, sequenceLength }: Facts,
  cosine: (layer: number, position: number, sequence: number) => number,
): Sums {
  const tokens = sequences * sequenceLength;
  const trace = new Uint16Array(layers * tokens);
  for (let layer = 0; layer < layers; layer++)
    for (let token = 0; token < tokens; token++)
      trace[layer * tokens + token] = levelOfCosine(
        cosine(layer, token % sequenceLength, Math.floor(token / sequenceLength)),
      );
  return {
    trace: { shape: [layers, tokens], data: trace },
    sequence: { shape: [sequences], data: Uint32Array.from({ length: sequences }, (_, i) => i) },
    length: { shape: [sequences], data: new Uint32Array(sequences).fill(sequenceLength) },
  };
}
