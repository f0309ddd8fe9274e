/** How little an FFN block turns the residual stream, by token and layer. FFN-SkipLLM's rule is planned from it. */
import { LacunaError } from '../src/core/errors.ts';
import { cosineOfLevel, levelOfCosine, MAX_LEVEL, regionText, saturatedRegion } from '../src/core/saturation.ts';
import { type Sums, sumData } from '../src/core/statistics.ts';
import { indexReaching } from './exact-sum.ts';
import type { Statistic } from './statistic.ts';

/**
 * The trace is kept whole, two bytes for each token and layer, because the rule is greedy: what layer i skips depends
 * on what the same token did in earlier layers, which histograms of single layers do not show.
 */
export const saturation: Statistic = {
  name: 'saturation',
  definition:
    'cos(h, h + y) for every token and layer: h the residual stream entering the FFN block, y what the block adds, ' +
    'after any post-FFN norm; kept as round(acos(cos) * 65535 / pi)',
  taps: ['ffn_residual', 'ffn_out'],

  empty: ({ spec, sequences, tokens }) => ({
    trace: { shape: [spec.numHiddenLayers, tokens], data: new Uint16Array(spec.numHiddenLayers * tokens) },
    sequence: { shape: [sequences.length], data: Uint32Array.from(sequences, ({ index }) => index) },
    length: { shape: [sequences.length], data: Uint32Array.from(sequences, (sequence) => sequence.tokens) },
  }),

  add(sums, layer, { ffn_residual: residual, ffn_out: added }, { spec, tokens, firstToken }) {
    const { shape, data } = sums.trace;
    const hidden = spec.hiddenSize;
    for (let token = 0; token < tokens; token++) {
      const cosine = residualCosine(residual, added, token * hidden, hidden);
      data[layer * shape[1] + firstToken + token] = levelOfCosine(cosine);
    }
  },

  merge: mergeTraces,

  finish(sums, layer) {
    const tokens = sums.trace.shape[1];
    const counts = countLevels(sums.trace.data.subarray(layer * tokens, (layer + 1) * tokens));
    const quantile = (share: number) => cosineOfLevel(indexReaching(counts, share * tokens));
    return {
      meanCosine: counts.reduce((sum, count, level) => sum + count * cosineOfLevel(level), 0) / tokens,
      // A larger angle is a smaller cosine: the 5th percentile of the cosine is the 95th of the angle.
      p05Cosine: quantile(0.95),
      medianCosine: quantile(0.5),
      p95Cosine: quantile(0.05),
    };
  },

  table: {
    columns: [
      { figure: 'meanCosine', title: 'cosine', unit: '' },
      { figure: 'p05Cosine', title: '5 % below', unit: '' },
    ],
    follows: (layers) => {
      const region = regionText(saturatedRegion(layers.map(({ meanCosine }) => meanCosine)));
      const said =
        'cosine: of the residual stream before the FFN block with the one after it, where 1 is no change; mean, and 5 % quantile.';
      return region === undefined
        ? said
        : `${said} Layers ${region} change least: plan --preset ffn-skip skips there first.`;
    },
  },
};

/** cos(h, h + y) in float64. If a vector is zero, 0, which never skips. */
function residualCosine(residual: Float32Array, added: Float32Array, offset: number, length: number): number {
  let before = 0;
  let after = 0;
  let product = 0;
  for (let i = offset; i < offset + length; i++) {
    const h = residual[i];
    const sum = h + added[i];
    before += h * h;
    after += sum * sum;
    product += h * sum;
  }
  const norms = Math.sqrt(before) * Math.sqrt(after);
  return norms === 0 ? 0 : product / norms;
}

function countLevels(levels: ArrayLike<number>): Float64Array {
  const counts = new Float64Array(MAX_LEVEL + 1);
  for (let i = 0; i < levels.length; i++) counts[levels[i]] += 1;
  return counts;
}

/** All sequences of both, in the order of their indices. */
function mergeTraces(a: Sums, b: Sums): Sums {
  const parts = [...traceParts(a), ...traceParts(b)].sort((x, y) => x.sequence - y.sequence);
  const twice = parts.find((part, i) => i > 0 && part.sequence === parts[i - 1].sequence);
  if (twice !== undefined)
    throw new LacunaError('mismatch', `Sequence ${twice.sequence} is in both statistics, wanted disjoint shards`, {
      hint: 'Merge each shard once.',
    });
  const [layers] = a.trace.shape;
  const tokens = parts.reduce((sum, part) => sum + part.length, 0);
  const trace = new Uint16Array(layers * tokens);
  let firstToken = 0;
  for (const part of parts) {
    for (let layer = 0; layer < layers; layer++) {
      const start = layer * part.tokens + part.firstToken;
      trace.set(part.trace.subarray(start, start + part.length), layer * tokens + firstToken);
    }
    firstToken += part.length;
  }
  return {
    trace: { shape: [layers, tokens], data: trace },
    sequence: { shape: [parts.length], data: Uint32Array.from(parts, (part) => part.sequence) },
    length: { shape: [parts.length], data: Uint32Array.from(parts, (part) => part.length) },
  };
}

/** Where each sequence lies in a trace. */
function traceParts(sums: Sums) {
  const trace = sumData(sums, 'trace', 'uint16', [-1, -1]);
  const sequences = sumData(sums, 'sequence', 'uint32', [-1]);
  const lengths = sumData(sums, 'length', 'uint32', [sequences.length]);
  const [, tokens] = sums.trace.shape;
  let firstToken = 0;
  return Array.from(sequences, (sequence, i) => {
    const part = { sequence, length: lengths[i], trace, tokens, firstToken };
    firstToken += lengths[i];
    return part;
  });
}
