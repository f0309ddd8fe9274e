/** Each statistic on inputs small enough to work out by hand, and on larger ones against plain sorting or counting. */
import { describe, expect, it } from 'vitest';
import type { PostNormTap, Tap } from '../src/core/model.ts';
import { cosineOfLevel } from '../src/core/saturation.ts';
import { activationHistogram } from './activation-histogram.ts';
import { gateMoments } from './gate-moments.ts';
import { inputMoments } from './input-moments.ts';
import { keptEnergy } from './kept-energy.ts';
import { USUAL_STATISTICS } from './list.ts';
import { neuronMagnitudes } from './neuron-magnitudes.ts';
import { saturation } from './saturation.ts';
import type { Statistic, TapValues } from './statistic.ts';
import { SPEC, seeded, seededFloats, squareOf } from './testing/double.ts';

const NONE = new Float32Array(0);
const NO_TAPS: TapValues = {
  attn_in: NONE,
  attended: NONE,
  ffn_residual: NONE,
  ffn_in: NONE,
  gate: NONE,
  up: NONE,
  act: NONE,
  ffn_out: NONE,
};

/** The sums of one sequence in a model of one layer. */
function measure(
  statistic: Statistic,
  size: { hidden?: number; neurons?: number; tokens: number },
  taps: Partial<TapValues>,
  downNorms = new Float64Array(size.neurons ?? 0).fill(1),
) {
  const spec = { ...SPEC, numHiddenLayers: 1, hiddenSize: size.hidden ?? 1, intermediateSize: size.neurons ?? 1 };
  const { tokens } = size;
  const sums = statistic.empty({ spec, tokens, sequences: [{ index: 0, tokens }] });
  statistic.add(sums, 0, { ...NO_TAPS, ...taps }, { spec, tokens, firstToken: 0, downNorms, square: squareOf });
  return sums;
}

describe.each(USUAL_STATISTICS)('$name', (statistic) => {
  const [neurons, hidden, tokens] = [3, 4, 5];
  const spec = { ...SPEC, numHiddenLayers: 2, hiddenSize: hidden, intermediateSize: neurons };
  const widths: Partial<Record<Tap | PostNormTap, number>> = { gate: neurons, up: neurons, act: neurons, attended: 6 };
  const taps = Object.fromEntries(
    statistic.taps.map((tap, i) => [tap, seededFloats(40 + i, tokens * (widths[tap] ?? hidden))]),
  );
  /** The sums of one sequence in some layers of `layers`. */
  const measured = (layers: number, ...filled: number[]) => {
    const context = { spec: { ...spec, numHiddenLayers: layers }, tokens };
    const sums = statistic.empty({ ...context, sequences: [{ index: 0, tokens }] });
    for (const layer of filled)
      statistic.add(
        sums,
        layer,
        { ...NO_TAPS, ...taps },
        { ...context, firstToken: 0, downNorms: Float64Array.of(1, 2, 3), square: squareOf },
      );
    return sums;
  };

  it('keeps layers apart, in its sums and in its figures', () => {
    const [alone, none, second] = [measured(1, 0), measured(2), measured(2, 1)];
    const [figures, both] = [statistic.finish(alone), statistic.finish(measured(2, 0, 1))];
    for (const [name, values] of Object.entries(figures)) expect(both[name], name).toEqual([values[0], values[0]]);
    for (const [name, { data, shape }] of Object.entries(second)) {
      const [one, empty] = [alone[name].data, none[name].data];
      // These are not by layer: the bins, and the sequences.
      if (String(shape) === String(alone[name].shape)) continue;
      // Some have two parts, each by layer.
      const parts = statistic === inputMoments ? 2 : 1;
      const size = data.length / (2 * parts);
      for (let part = 0; part < parts; part++) {
        const first = data.subarray(2 * part * size, (2 * part + 1) * size);
        expect(first, `${name} of layer 0`).toEqual(empty.subarray(0, size));
        const other = data.subarray((2 * part + 1) * size, (2 * part + 2) * size);
        expect(other, `${name} of layer 1`).toEqual(one.subarray(part * size, (part + 1) * size));
      }
    }
  });
});

describe('saturation', () => {
  // h = (3, 4). y = (0, 0) turns nothing: 1. y = (-3, -4) * 2 turns it around: -1. y = (-7, -1) gives (-4, 3): 0.
  const residual = Float32Array.of(3, 4, 3, 4, 3, 4);
  const added = Float32Array.of(0, 0, -6, -8, -7, -1);
  const sums = measure(saturation, { hidden: 2, tokens: 3 }, { ffn_residual: residual, ffn_out: added });

  it('keeps the angle between the residual stream before and after', () => {
    // acos(1), acos(-1), acos(0) in steps of pi / 65535: 0, 65535, 32767.5 -> 32768.
    expect([...sums.trace.data]).toEqual([0, 65535, 32768]);
    expect([...sums.length.data]).toEqual([3]);
  });

  it('summarises by the mean and quantiles of the cosine', () => {
    const { meanCosine, p05Cosine, medianCosine, p95Cosine } = saturation.finish(sums);
    expect(meanCosine[0]).toBeCloseTo(0, 4);
    expect([p05Cosine[0], p95Cosine[0]]).toEqual([-1, 1]);
    expect(medianCosine[0]).toBe(cosineOfLevel(32768));
  });

  it('takes as a quantile what that share of the tokens does not exceed', () => {
    const levels = Uint16Array.from({ length: 20 }, (_, i) => 1000 * i);
    const { p05Cosine, medianCosine, p95Cosine } = saturation.finish({ trace: { shape: [1, 20], data: levels } });
    // Of 20 angles the 1st, the 10th and the 19th. The larger the angle, the smaller its cosine.
    expect([p95Cosine, medianCosine, p05Cosine]).toEqual([0, 9000, 18000].map((level) => [cosineOfLevel(level)]));
  });

  it('takes the cosine of a zero vector as 0, which never skips', () => {
    const zero = measure(
      saturation,
      { hidden: 1, tokens: 1 },
      { ffn_residual: Float32Array.of(0), ffn_out: Float32Array.of(1) },
    );
    expect(zero.trace.data[0]).toBe(32768);
  });

  it('merges sequences by their index, whichever shard they come from', () => {
    const part = (indices: number[], levels: number[]) => ({
      trace: { shape: [1, levels.length], data: Uint16Array.from(levels) },
      sequence: { shape: [indices.length], data: Uint32Array.from(indices) },
      length: { shape: [indices.length], data: new Uint32Array(indices.length).fill(2) },
    });
    const [even, odd] = [part([0, 2], [1, 2, 5, 6]), part([1], [3, 4])];
    for (const merged of [saturation.merge(even, odd), saturation.merge(odd, even)]) {
      expect([...merged.trace.data]).toEqual([1, 2, 3, 4, 5, 6]);
      expect([...merged.sequence.data]).toEqual([0, 1, 2]);
    }
    expect(() => saturation.merge(even, part([2], [7, 8]))).toThrowError(/Sequence 2 is in both/);
  });
});

describe('gate-moments', () => {
  it('sums moments of elements and of tokens', () => {
    // Token (1, 3): mean 2, population std 1. Token (-2, -2): mean -2, std 0.
    const sums = measure(gateMoments, { neurons: 2, tokens: 2 }, { gate: Float32Array.of(1, 3, -2, -2) });
    // elements 4, sum 0, squares 1 + 9 + 4 + 4 = 18, tokens 2, means 0, stds 1.
    expect([...sums.moments.data]).toEqual([4, 0, 18, 2, 0, 1]);
    const columns = gateMoments.finish(sums);
    expect(columns.gateMean).toEqual([0]);
    expect(columns.gateStd[0]).toBeCloseTo(Math.sqrt(18 / 4), 12);
    expect(columns.gateTokenStd).toEqual([0.5]);
  });

  it('takes deviations from the mean', () => {
    // Elements 1, 3, 5, 7: mean 4, squares 84 / 4 - 16 = 5. Tokens (1, 3) and (5, 7): deviations of 1.
    const sums = measure(gateMoments, { neurons: 2, tokens: 2 }, { gate: Float32Array.of(1, 3, 5, 7) });
    const { gateMean, gateStd, gateTokenStd } = gateMoments.finish(sums);
    expect([gateMean, gateTokenStd]).toEqual([[4], [1]]);
    expect(gateStd[0]).toBeCloseTo(Math.sqrt(5), 12);
    expect([sums.standardised.data[112], sums.standardised.data[144]]).toEqual([2, 2]);
  });

  it('counts gates that are all alike at their mean', () => {
    const sums = measure(gateMoments, { neurons: 3, tokens: 1 }, { gate: Float32Array.of(2, 2, 2) });
    expect(sums.standardised.data[128]).toBe(3);
    expect(gateMoments.finish(sums)).toMatchObject({ gateStd: [0], gateTokenStd: [0] });
  });

  it('bins standardised and raw gates, the ends taking what is beyond', () => {
    // z = -1 and 1: bins (-1 + 8) * 16 = 112 and 144. Raw 1 and 3: (1 + 32) * 8 = 264 and 280.
    const sums = measure(gateMoments, { neurons: 2, tokens: 1 }, { gate: Float32Array.of(1, 3) });
    expect([sums.standardised.data[112], sums.standardised.data[144]]).toEqual([1, 1]);
    expect([sums.gate.data[264], sums.gate.data[280]]).toEqual([1, 1]);
    const far = measure(gateMoments, { neurons: 2, tokens: 1 }, { gate: Float32Array.of(-1e6, 1e6) });
    expect([far.gate.data[0], far.gate.data[511]]).toEqual([1, 1]);
  });

  it('finds quantiles to the width of a bin', () => {
    const gate = Float32Array.from({ length: 1000 }, (_, i) => i / 100);
    const { gateP05, gateMedian, gateP95 } = gateMoments.finish(
      measure(gateMoments, { neurons: 1000, tokens: 1 }, { gate }),
    );
    // A bin of 1/8 holds 12 or 13 of them, evenly, so a straight line inside it is off by 1/100 at most.
    for (const [got, wanted] of [
      [gateP05[0], 0.5],
      [gateMedian[0], 5],
      [gateP95[0], 9.5],
    ])
      expect(Math.abs(got - wanted)).toBeLessThanOrEqual(1 / 100);
  });
});

describe('neuron-magnitudes', () => {
  it('sums |up| for each neuron and keeps the norms', () => {
    const sums = measure(
      neuronMagnitudes,
      { neurons: 2, tokens: 2 },
      { up: Float32Array.of(1, -2, -3, 4) },
      Float64Array.of(5, 7),
    );
    expect([...sums.up_abs.data]).toEqual([4, 6]);
    expect([...sums.down_norm.data]).toEqual([5, 7]);
    // (4 + 6) / 2 neurons / 2 tokens.
    expect(neuronMagnitudes.finish(sums)).toEqual({ meanAbsUp: [2.5], meanDownNorm: [6] });
  });
});

describe('activation-histogram', () => {
  it('counts by the edges it states', () => {
    const edges = measure(activationHistogram, { neurons: 1, tokens: 0 }, { act: NONE }).edges.data;
    expect(edges[0]).toBe(2 ** -18);
    expect(edges[edges.length - 1]).toBe(2 ** 10);
    const values = [...seededFloats(7, 500)].flatMap((x) => [x, x * 1e-4, x * 2000, 0]);
    // Exactly on an edge, and the float just below it.
    values.push(1.25, -1.25, 1.2499999, 2 ** -18, 2 ** 10, 2 ** 30, 1e-30);
    const { counts } = measure(
      activationHistogram,
      { neurons: 1, tokens: values.length },
      { act: Float32Array.from(values) },
    );
    const wanted = new Uint32Array(edges.length + 1);
    for (const value of values) wanted[edges.filter((edge) => edge <= Math.abs(Math.fround(value))).length] += 1;
    expect([...counts.data]).toEqual([...wanted]);
  });

  it('summarises by the edge below which half of all neurons\u2019 activations lie', () => {
    const medianOf = (...act: number[]) =>
      activationHistogram.finish(
        measure(activationHistogram, { neurons: 2, tokens: act.length / 2 }, { act: Float32Array.from(act) }),
      ).medianAbsAct[0];
    // In [1, 1.25), [1.25, 1.5), [4, 5) and [8, 10): two of the four are below 1.5.
    expect(medianOf(1.1, -4, 1.3, 8)).toBe(1.5);
    // Three of five, and one of each pair.
    expect(medianOf(0.1, 0.1, 4, 4, 8, 8)).toBe(5);
    expect(medianOf(2 ** 12, 2 ** 12)).toBe(2 ** 10);
    expect(medianOf(0, 0)).toBe(2 ** -18);
  });

  it('keeps neurons apart', () => {
    const { counts } = measure(activationHistogram, { neurons: 2, tokens: 2 }, { act: Float32Array.of(1, 2, 1, 0) });
    const bins = counts.shape[2];
    // 1 = 2^0 is the 73rd edge (18 octaves of 4), so bin 73; 2 is 4 bins on.
    expect(counts.data[73]).toBe(2);
    expect([counts.data[bins], counts.data[bins + 77]]).toEqual([1, 1]);
  });
});

describe('input-moments', () => {
  // One head of two; two tokens; hidden 2, one neuron.
  const spec = { ...SPEC, numHiddenLayers: 1, hiddenSize: 2, intermediateSize: 1, numAttentionHeads: 1, headDim: 2 };
  const context = { spec, tokens: 2, firstToken: 0, downNorms: Float64Array.of(1), square: squareOf };
  const sums = inputMoments.empty({ spec, tokens: 2, sequences: [{ index: 0, tokens: 2 }] });
  const taps = {
    attn_in: Float32Array.of(1, 2, 3, 4),
    attended: Float32Array.of(0, 1, 0, -1),
    ffn_in: Float32Array.of(0.5, 0, 0.5, 0),
    act: Float32Array.of(2, 0.1),
    up: Float32Array.of(-3, 10),
  };
  inputMoments.add(sums, 0, { ...NO_TAPS, ...taps }, context);
  inputMoments.addHead?.(sums, Float32Array.of(1, 1, -2, 3), context);

  it('sums the squares of each column', () => {
    // Each comes after zeros: no sum reaches 2^16.
    expect([...sums.attn_in.data]).toEqual([0, 0, 1 + 9, 4 + 16]);
    expect([...sums.attended.data]).toEqual([0, 0, 0, 2]);
    expect([...sums.ffn_in.data]).toEqual([0, 0, 0.5, 0]);
    // (2 * -3)^2 + (0.1 * 10)^2, where float32 makes the second product 1.
    expect([...sums.down_in.data]).toEqual([0, 36 + 1]);
    expect([...sums.head_in.data]).toEqual([0, 0, 1 + 4, 1 + 9]);
  });

  it('summarises by how far the largest column stands out', () => {
    expect(inputMoments.finish(sums)).toEqual({
      attnInPeak: [20 / 15],
      attendedPeak: [2],
      ffnInPeak: [2],
      downInPeak: [1],
    });
  });
});

describe('kept-energy', () => {
  it('keeps what the best neurons hold', () => {
    // Energies 16, 1, 2^2 = 4, 0 -> oracle at 0.5: 20 / 21. The gate ranks by act: 4, 1, 0.5, 0 -> 17 / 21 at 0.5.
    const act = Float32Array.of(4, 1, 0.5, 0);
    const up = Float32Array.of(1, 1, 4, 9);
    const sums = measure(keptEnergy, { neurons: 4, tokens: 1 }, { act, up });
    const half = sums.densities.data.indexOf(0.5);
    // Rounded to 2^-24.
    expect(Math.abs(sums.oracle.data[half] - 20 / 21)).toBeLessThanOrEqual(2 ** -25);
    expect(Math.abs(sums.gate.data[half] - 17 / 21)).toBeLessThanOrEqual(2 ** -25);
    expect(sums.oracle.data[sums.oracle.data.length - 1]).toBe(1);
  });

  it('weights by the down norm', () => {
    const act = Float32Array.of(1, 2);
    const up = Float32Array.of(1, 1);
    // Scores 1 * 10 and 2 * 1: the first neuron is better and has 100 / 104.
    const sums = measure(keptEnergy, { neurons: 2, tokens: 1 }, { act, up }, Float64Array.of(10, 1));
    expect(Math.abs(sums.gate.data[sums.densities.data.indexOf(0.5)] - 100 / 104)).toBeLessThanOrEqual(2 ** -25);
  });

  it('agrees with sorting', () => {
    const neurons = 512;
    const tokens = 8;
    const next = seeded(3);
    // Cubes have heavy tails, as activations do.
    const act = Float32Array.from({ length: neurons * tokens }, () => next() ** 3);
    const up = Float32Array.from({ length: neurons * tokens }, () => next() ** 3);
    const norms = Float64Array.from({ length: neurons }, () => 1.5 + next());
    const sums = measure(keptEnergy, { neurons, tokens }, { act, up }, norms);
    sums.densities.data.forEach((density, d) => {
      const wanted = sortedShare(act, up, norms, tokens, Math.round(density * neurons));
      // Inside a bin, energies differ by a factor of at most 1.25, and one bin holds a few per cent of the neurons.
      expect(Math.abs(sums.oracle.data[d] / tokens - wanted.oracle)).toBeLessThan(0.005);
      // The gate's bins hold neurons of all energies, so the straight line is off by the chance of a few neurons of
      // 512.
      expect(Math.abs(sums.gate.data[d] / tokens - wanted.gate)).toBeLessThan(0.02);
    });
  });

  it('takes a token without energy as kept whole', () => {
    const sums = measure(keptEnergy, { neurons: 2, tokens: 1 }, { act: new Float32Array(2), up: new Float32Array(2) });
    expect(sums.oracle.data.every((share) => share === 1)).toBe(true);
  });
});

function sortedShare(act: Float32Array, up: Float32Array, norms: Float64Array, tokens: number, keep: number) {
  const neurons = norms.length;
  const shares = { oracle: 0, gate: 0 };
  for (let token = 0; token < tokens; token++) {
    const rows = Array.from(norms, (norm, j) => {
      const i = token * neurons + j;
      return { energy: (act[i] * up[i] * norm) ** 2, score: Math.abs(act[i]) * norm };
    });
    const total = rows.reduce((sum, { energy }) => sum + energy, 0);
    const best = (key: 'energy' | 'score') =>
      rows
        .sort((a, b) => b[key] - a[key])
        .slice(0, keep)
        .reduce((sum, { energy }) => sum + energy, 0);
    shares.oracle += best('energy') / total / tokens;
    shares.gate += best('score') / total / tokens;
  }
  return shares;
}
