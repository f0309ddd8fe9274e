/** What every statistic does, whichever it is. */
import { describe, expect, it } from 'vitest';
import type { PostNormTap, Tap } from '../src/core/model.ts';
import { STATISTICS } from './list.ts';
import { SPEC, seededFloats, squareOf } from './testing/double.ts';
import { NO_TAPS } from './testing/measure.ts';

const [neurons, hidden, tokens] = [3, 4, 5];
const spec = { ...SPEC, numHiddenLayers: 2, hiddenSize: hidden, intermediateSize: neurons };

/** Those that are not kept by layer hold the sums of all layers. */
const OF_ALL_LAYERS = STATISTICS.filter(({ byLayer = false }) => !byLayer);

describe.each(OF_ALL_LAYERS)('$name', (statistic) => {
  const widths: Partial<Record<Tap | PostNormTap, number>> = { gate: neurons, up: neurons, act: neurons, attended: 6 };
  const taps = Object.fromEntries(
    statistic.taps.map((tap, i) => [tap, seededFloats(40 + i, tokens * (widths[tap] ?? hidden))]),
  );
  /** The sums of one sequence in some layers of `layers`. */
  const measured = (layers: number, ...filled: number[]) => {
    const context = { spec: { ...spec, numHiddenLayers: layers }, tokens };
    const sums = statistic.empty({ ...context, sequences: [{ index: 0, tokens }] });
    for (const layer of filled) {
      const values = { ...NO_TAPS, ...taps };
      const downNorms = Float64Array.of(1, 2, 3);
      statistic.add(sums, layer, values, { ...context, firstToken: 0, downNorms, square: squareOf });
      statistic.detour?.leave(sums, layer, values, context);
      statistic.detour?.arrive(sums, layer, 0.5, 2);
    }
    return sums;
  };

  it('keeps layers apart, in its sums and in its figures', () => {
    const [alone, none, second] = [measured(1, 0), measured(2), measured(2, 1)];
    const figures = statistic.finish(alone, 0);
    for (const layer of [0, 1]) expect(statistic.finish(measured(2, 0, 1), layer)).toEqual(figures);
    for (const [name, { data, shape }] of Object.entries(second)) {
      const [one, empty] = [alone[name].data, none[name].data];
      // These are not by layer: the bins, and the sequences.
      if (String(shape) === String(alone[name].shape)) continue;
      // Some are in several parts, each by layer.
      const parts = shape
        .slice(0, layerAxis(shape, alone[name].shape))
        .reduce((product, length) => product * length, 1);
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

it('figures of a layer have names of their own, since a summary puts those of all statistics side by side', () => {
  const names = STATISTICS.flatMap(({ empty, finish }) =>
    Object.keys(finish(empty({ spec, tokens, sequences: [{ index: 0, tokens }] }), 0)),
  );
  expect(names).toContain('meanCosine');
  const all = ['layer', ...names];
  expect(all.filter((name, i) => all.indexOf(name) < i)).toEqual([]);
});

it('tables show figures that there are, each column of its own, in 80 characters', () => {
  const columns = STATISTICS.flatMap(({ empty, finish, table }) => {
    const figures = Object.keys(finish(empty({ spec, tokens, sequences: [{ index: 0, tokens }] }), 0));
    for (const { figure } of table?.columns ?? []) expect(figures).toContain(figure);
    return table?.columns ?? [];
  });
  expect(new Set(columns.map(({ title }) => title)).size).toBe(columns.length);
  expect(columns.length).toBeLessThanOrEqual(7);
  // The widest numbers are "-0.9999" and "100.00 %".
  const widths = columns.map(({ title }) => 2 + Math.max(title.length, '100.00 %'.length));
  expect(widths.reduce((sum, width) => sum + width, 'layer'.length)).toBeLessThanOrEqual(80);
});

/** The axis that two layers make longer. */
function layerAxis(two: readonly number[], one: readonly number[]): number {
  return two.findIndex((length, axis) => length !== one[axis]);
}
