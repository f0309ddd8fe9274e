/** Report data of a model of four layers, with figures that a reader can follow. */
import type { Manifest } from '../../core/manifest.ts';
import type { Plan } from '../../core/plan.ts';
import type { FolderData, StatisticsFigures } from '../data.ts';
import type { Bench, Evaluation, Mode, Ratio, Search } from '../figures.ts';

const MODEL = {
  modelType: 'llama',
  fingerprint: 'f'.repeat(64),
  numHiddenLayers: 4,
  hiddenSize: 8,
  intermediateSize: 16,
};
const LAYERS = [0, 1, 2, 3];

/** Keeps half of the neurons of every layer. */
export const TOP_K: Plan = {
  format: 'lacuna.plan',
  version: 2,
  preset: 'top-k',
  host: { kind: 'native', dtype: 'int8' },
  model: MODEL,
  statistics: 'a'.repeat(64),
  tensors: null,
  target: { kind: 'density', value: 0.5 },
  prefill: 'sparse',
  skipping: null,
  blocks: LAYERS.map((layer) => ({
    block: `layers.${layer}.ffn`,
    choice: { measure: 'product', cut: { kind: 'mean', threshold: 0.25 }, rest: 'nothing', tensors: { weights: 'w' } },
    expected: { density: 0.5, keptEnergy: 0.9, bytesPerToken: 1280, time: 0.8 },
    why: `because of layer ${layer}`,
  })),
};

export function manifest(plan: Plan | null, precision: 'fp32' | 'int8' = 'int8'): Manifest {
  const { numHiddenLayers, hiddenSize, intermediateSize, modelType, fingerprint } = MODEL;
  const sizes = { numHiddenLayers, hiddenSize, intermediateSize, vocabSize: 32, contextLength: 64 };
  const heads = { numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 4 };
  return {
    format: 'lacuna.manifest',
    version: 1,
    lacuna: '0.1.0',
    models: [{ file: 'onnx/model.onnx', precision, vocabulary: precision, onnxruntime: '>=1.23' }],
    spec: { modelType, architecture: 'LlamaForCausalLM', ...sizes, ...heads, hiddenAct: 'silu', eosTokenIds: [] },
    fingerprint,
    plan,
    files: [
      { path: 'onnx/model.onnx', bytes: 1000, crc32: '01234567' },
      { path: 'onnx/model.onnx_data', bytes: 9000, crc32: '89abcdef' },
      { path: 'config.json', bytes: 500, crc32: '00000000' },
    ],
  };
}

export function ratio(value: number, upperBound = value * 1.01): Ratio {
  return { value, standardError: 0.0025, upperBound };
}

/** 1.02 by rounding times 1.05 by leaving out. */
export const ALL: Mode = {
  mode: 'all',
  windows: 4,
  windowLength: 16,
  scoredTokens: 60,
  baseline: { perplexity: 20 },
  model: { perplexity: 21.42 },
  perplexityRatio: ratio(1.071, 1.082),
  rounded: { perplexity: 20.4, rounding: ratio(1.02), leavingOut: ratio(1.05) },
  meanKl: 0.0312,
  klUpperBound: 0.0345,
  top1Agreement: 0.91,
  realised: {
    skippedShare: 0,
    density: 0.48,
    computedShare: 0.48,
    layers: LAYERS.map((layer) => ({ layer, skippedShare: 0, density: 0.46 + 0.01 * layer })),
  },
};

export const EVALUATION: Evaluation = {
  precision: 'int8',
  againstPrecision: 'fp32',
  against: 'the checkpoint',
  engine: 'native',
  texts: [{ name: 'test.txt', sha256: 'b'.repeat(64) }],
  modes: [ALL],
  check: { maxPplRatio: 1.1, upperBound: 1.082, passed: true },
  definitions: { perplexityRatio: 'one over the other.', all: 'mode "all": all tokens.' },
};

const spread = (median: number) => ({ median, p10: median * 0.9, p90: median * 1.1 });

function subject(name: string, median: number, weightBytesPerToken: number): Bench['subjects'][number] {
  const rates = { decodeTokensPerSecond: spread(median), prefillTokensPerSecond: spread(10 * median) };
  return { name, engine: 'native', ...rates, weightBytesPerToken, expectedTokensPerSecond: null };
}

/** Faster than the dense model by a quarter, surely. */
export const BENCH: Bench = {
  threads: 2,
  promptTokens: 8,
  repeats: 5,
  rounds: 2,
  subjects: [subject('dense', 100, 2_000_000), subject('sparse', 125, 1_500_000)],
  speedup: { ...spread(1.25), lowerBound: 1.2, upperBound: 1.3 },
  expectedSpeedup: 1.2,
};

const KL = { value: 0.01, upperBound: 0.012 };

/** int8 of 4 MB, int4 of 2 MB, and the mix of both that was built. */
export const SEARCH: Search = {
  budget: 'ppl<=1.05',
  candidates: [
    {
      name: 'int4',
      kl: null,
      seconds: 0.005,
      bytes: 2e6,
      blocks: { int4: 8 },
      shown: { ratio: ratio(1.2), kl: KL },
      isChosen: false,
    },
    {
      name: 'int8',
      kl: null,
      seconds: 0.01,
      bytes: 4e6,
      blocks: { int8: 8 },
      shown: { ratio: ratio(1.001), kl: KL },
      isChosen: false,
    },
    {
      name: 'mixed',
      kl: 0.011,
      seconds: 0.008,
      bytes: 3e6,
      blocks: { int8: 4, int4: 4 },
      shown: { ratio: ratio(1.03), kl: KL },
      isChosen: true,
    },
  ],
  benchUniform: null,
};

export const STATISTICS: StatisticsFigures = {
  model: MODEL,
  texts: [{ name: 'fit.txt', sha256: 'c'.repeat(64), tokens: 64 }],
  tokens: 64,
  sequenceLength: 32,
  sequences: 2,
  plannedSequences: 2,
  definitions: { saturation: 'cos(h, h + y)' },
  warnings: ['The model has 4 layers.'],
  saturation: {
    layers: [0.1, 0.98, 0.99, 0.9].map((mean) => ({ mean, p05: mean - 0.05, p95: mean + 0.005 })),
    positions: [
      { from: 0, to: 1, cosines: [0, 0.9, 0.9, 0.8] },
      { from: 1, to: 4, cosines: [0.1, 0.97, 0.98, 0.9] },
      { from: 4, to: 32, cosines: [0.1, 0.98, 0.99, 0.9] },
    ],
    region: { start: 1, end: 3 },
    warmUp: { tokens: 4, isSettled: true },
    spearman: 1,
  },
  keptEnergy: {
    densities: [0.25, 0.5, 0.75, 1],
    oracle: LAYERS.map(() => [0.8, 0.95, 0.99, 1]),
    gate: LAYERS.map(() => [0.6, 0.85, 0.95, 1]),
  },
  productLoss: {
    densities: [0.25, 0.5, 0.75, 1],
    absolute: LAYERS.map(() => [0.02, 0.01, 0.002, 0]),
    mean: LAYERS.map(() => [0.03, 0.015, 0.003, 0]),
  },
  activations: LAYERS.map((layer) => ({ p05: 0.01, median: 0.1 * (1 + layer), p95: 1 })),
  inputPeaks: LAYERS.map(() => ({ attnIn: 3, attended: 20, ffnIn: 2, downIn: 900 })),
};

/** Of a model of two layers, between which nothing may be skipped. */
export const TWO_LAYERS: StatisticsFigures = {
  ...STATISTICS,
  model: { ...MODEL, numHiddenLayers: 2 },
  saturation: {
    layers: [0.1, 0.9].map((mean) => ({ mean, p05: mean - 0.05, p95: mean + 0.005 })),
    positions: [{ from: 0, to: 32, cosines: [0.1, 0.9] }],
    region: { start: 1, end: 1 },
    warmUp: { tokens: 0, isSettled: true },
    spearman: null,
  },
  keptEnergy: null,
  productLoss: null,
  activations: null,
  inputPeaks: null,
};

export function folderData(over: Partial<FolderData> = {}): FolderData {
  return {
    kind: 'folder',
    name: 'sparse',
    manifest: manifest(TOP_K),
    evaluation: EVALUATION,
    bench: BENCH,
    search: null,
    statistics: STATISTICS,
    sample: {
      text: 'test.txt',
      tokens: [
        { text: 'Once', computed: 0.4, ran: 1 },
        { text: ' upon', computed: 0.6, ran: 1 },
      ],
    },
    beside: [],
    ...over,
  };
}
