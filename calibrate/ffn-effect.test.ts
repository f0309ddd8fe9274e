/** Copies of sequences that go on with something else than a block added, on layers that are computed here again. */
import { describe, expect, it } from 'vitest';
import { EFFECT_STEP, effectsOf } from '../src/core/ffn-effect.ts';
import { ffnEffect } from './ffn-effect.ts';
import { calibrate, mergeStatistics } from './index.ts';
import { apart, embedded, ffnOut, openDouble, PIECES, readFloats, SPEC } from './testing/double.ts';

const LENGTH = 9;
const COUNT = EFFECT_STEP + 2;
const TOKENS = Array.from({ length: LENGTH * COUNT }, (_, i) => (i * 7 + Math.floor(i / 5)) % 32);
const input = { texts: [{ name: 'a', sha256: 'a'.repeat(64), tokens: TOKENS }], sequenceLength: LENGTH };
const options = { openGraph: openDouble(), readFloats, fingerprint: 'double', statistics: [ffnEffect] };
const { hiddenSize: HIDDEN, numHiddenLayers: LAYERS } = SPEC;

/** The stream after the layers from `first` on. */
function through(hidden: Float32Array, first: number): Float32Array {
  let stream = hidden;
  for (let layer = first; layer < LAYERS; layer++) {
    const added = ffnOut(layer, stream);
    stream = stream.map((value, i) => value + added[i]);
  }
  return stream;
}

/**
 * The ridge regression of rows y on rows x by weights, in its usual form: (XᵀX + ridge)⁻¹ XᵀY, solved by elimination.
 */
function ridgeRows(x: readonly Float32Array[], y: readonly Float32Array[], weights: readonly number[]): number[][] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const meanOf = (rows: readonly Float32Array[]) =>
    Array.from({ length: HIDDEN }, (_, i) => rows.reduce((sum, row, t) => sum + (weights[t] * row[i]) / total, 0));
  const [meanX, meanY] = [meanOf(x), meanOf(y)];
  const moment = (i: number, other: readonly Float32Array[], mean: readonly number[], j: number) =>
    x.reduce((sum, row, t) => sum + ((weights[t] * (row[i] - meanX[i])) / total) * (other[t][j] - mean[j]), 0);
  const columns = Array.from({ length: HIDDEN }, (_, i) => i);
  const variance = columns.reduce((sum, i) => sum + moment(i, x, meanX, i), 0) / HIDDEN;
  const rows = columns.map((i) => [
    ...columns.map((j) => moment(i, x, meanX, j) + (i === j ? 0.5 * variance : 0)),
    ...columns.map((j) => moment(i, y, meanY, j)),
  ]);
  for (const [pivot, row] of rows.entries())
    for (const [other, changed] of rows.entries()) {
      if (other === pivot) continue;
      const factor = changed[pivot] / row[pivot];
      for (let i = 0; i < 2 * HIDDEN; i++) changed[i] -= factor * row[i];
    }
  return x.map((row) =>
    columns.map((j) =>
      columns.reduce((sum, i) => sum + (row[i] - meanX[i]) * (rows[i][HIDDEN + j] / rows[i][i]), meanY[j]),
    ),
  );
}

/** Of one sequence and layer: the sum of what is moved, and that of the distances at the end. */
function effect(ids: readonly number[], layer: number): readonly [number, number] {
  let stream = embedded(ids);
  for (let before = 0; before < layer; before++) {
    const added = ffnOut(before, stream);
    stream = stream.map((value, i) => value + added[i]);
  }
  const added = ffnOut(layer, stream);
  const rowsOf = (values: Float32Array) => ids.map((_, token) => values.subarray(token * HIDDEN, (token + 1) * HIDDEN));
  const [before, own] = [rowsOf(stream), rowsOf(added)];
  const factors = own.map((row, token) => {
    const squares = row.reduce((sum, value, i) => sum + (before[token][i] + value) ** 2, 0);
    return token === 0 ? 0 : 1 / (squares / HIDDEN + 1e-6);
  });
  // The double's blocks read the stream as it is.
  const rows = [[...own[0]]];
  for (let first = 1; first < ids.length; first += 512)
    rows.push(
      ...ridgeRows(before.slice(first, first + 512), own.slice(first, first + 512), factors.slice(first, first + 512)),
    );
  const changed = Float32Array.from(rows.flat());
  let moved = 0;
  for (const [token, row] of rowsOf(changed).entries())
    for (const [i, value] of row.entries()) moved += (factors[token] * (value - own[token][i]) ** 2) / HIDDEN;
  const [whole, copy] = [added, changed].map((out) =>
    through(
      stream.map((value, i) => value + out[i]),
      layer + 1,
    ),
  );
  let divergence = 0;
  for (let token = 3; token < ids.length; token += 4) divergence += apart(rowsOf(whole)[token], rowsOf(copy)[token]);
  return [moved, divergence];
}

describe('ffn-effect', () => {
  it('sends a copy of some sequences from each layer to the head', async () => {
    const { sums } = await calibrate(PIECES, input, options);
    const { moved, divergence } = sums['ffn-effect'];
    const measured = [0, EFFECT_STEP].map((index) => TOKENS.slice(index * LENGTH, (index + 1) * LENGTH));
    for (let layer = 0; layer < LAYERS; layer++) {
      const wanted = measured.map((ids) => effect(ids, layer));
      const sum = (part: 0 | 1) => wanted.reduce((all, one) => all + one[part], 0);
      // The double's streams are float32, as those here are, but not summed in this order.
      expect(moved.data[2 * layer]).toBeCloseTo(sum(0), 4);
      expect(moved.data[2 * layer + 1]).toBe(2 * (LENGTH - 1));
      expect(divergence.data[2 * layer] / sum(1)).toBeCloseTo(1, 4);
      expect(divergence.data[2 * layer + 1]).toBe(2 * 2);
      expect(effectsOf(sums['ffn-effect'])[layer]).toBeCloseTo(sum(1) / 4 / (sum(0) / 16), 3);
    }
  });

  it('fits long sequences 512 tokens at a time', async () => {
    const tokens = Array.from({ length: 530 }, (_, i) => (i * 7 + Math.floor(i / 5)) % 32);
    const long = { texts: [{ ...input.texts[0], tokens }], sequenceLength: tokens.length };
    const { sums } = await calibrate({ ...PIECES, spec: { ...SPEC, contextLength: 1024 } }, long, options);
    const { moved, divergence } = sums['ffn-effect'];
    for (let layer = 0; layer < LAYERS; layer++) {
      const wanted = effect(tokens, layer);
      expect(moved.data[2 * layer] / wanted[0]).toBeCloseTo(1, 4);
      expect(divergence.data[2 * layer] / wanted[1]).toBeCloseTo(1, 4);
    }
  });

  it('is the same from shards, of which one has no sequence that is measured', async () => {
    const whole = await calibrate(PIECES, input, options);
    const shard = (index: number) => calibrate(PIECES, { ...input, shard: { index, count: 2 } }, options);
    const parts = [await shard(0), await shard(1)];
    expect(() => effectsOf(parts[1].sums['ffn-effect'])).toThrow('was measured on no sequence');
    const merged = await mergeStatistics(parts, {
      readSums: async (sums) => sums as never,
      keep: async (sums) => sums,
    });
    expect(merged.sums['ffn-effect']).toEqual(whole.sums['ffn-effect']);
  });

  it('is refused where more happens to what a block adds than that it is added', async () => {
    const openGraph = openDouble([], (hidden, layer) => {
      if (layer === 2) hidden[5] += 0.5;
    });
    await expect(calibrate(PIECES, input, { ...options, openGraph })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('In layer 2'),
    });
  });

  it('counts the copies in what is to be done', async () => {
    let [total, done] = [0, 0];
    const progress = {
      stage: (_: string, of: number) => {
        total = of;
        return {
          advance: (by: number) => {
            done += by;
          },
          done: () => {},
        };
      },
    };
    await calibrate(PIECES, input, { ...options, progress: progress as never });
    expect(total).toBe(LAYERS * TOKENS.length + 2 * LENGTH * ((LAYERS * (LAYERS - 1)) / 2));
    expect(done).toBe(total);
  });
});
