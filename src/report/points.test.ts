import { describe, expect, it } from 'vitest';
import { measuredPoints, type Placed, paretoFront, searchedPoints } from './points.ts';
import { ALL, BENCH, EVALUATION, folderData, manifest, ratio, SEARCH } from './testing/data.ts';

const at = (x: number, value: number): Placed => ({
  ...{ name: `${x} ${value}`, role: 'beside', rate: null, bytes: null },
  ...{ x, ratio: ratio(value) },
});
const names = (points: readonly Placed[]) => points.map(({ name }) => name);

describe('the front', () => {
  const points = [at(1, 1.0), at(2, 1.1), at(3, 1.05), at(4, 1.3), at(4, 1.4), at(0.5, 1.0)];

  it('has what nothing else beats, where more is better', () => {
    // 2 at 1.1 is slower and worse than 3 at 1.05; of two that are equally fast, the better one counts.
    expect(names(paretoFront(points, 'more'))).toEqual(['4 1.3', '3 1.05', '1 1']);
  });

  it('and where less is', () => {
    expect(names(paretoFront(points, 'less'))).toEqual(['0.5 1']);
  });
});

describe('measured points', () => {
  it('are the model, and the dense one of its precision, whose only loss is that by rounding', () => {
    const points = measuredPoints(folderData());
    expect(points).toMatchObject([
      { name: 'sparse int8', role: 'this', ratio: ALL.perplexityRatio, rate: { median: 125 }, bytes: 1_500_000 },
      { name: 'dense int8', role: 'dense', ratio: ALL.rounded?.rounding, rate: { median: 100 }, bytes: 2_000_000 },
    ]);
  });

  it('of fp32 lose nothing by rounding', () => {
    const evaluation = { ...EVALUATION, precision: 'fp32', modes: [{ ...ALL, rounded: null }] };
    const points = measuredPoints(folderData({ manifest: manifest(folderData().manifest.plan, 'fp32'), evaluation }));
    expect(points[1]).toMatchObject({ name: 'dense fp32', ratio: { value: 1, upperBound: 1 } });
  });

  it('have no quality that was not measured', () => {
    const bench = { ...BENCH, subjects: [{ ...BENCH.subjects[0], name: 'int8' }, BENCH.subjects[1]] };
    expect(measuredPoints(folderData({ bench }))[1]).toMatchObject({ name: 'dense int8', ratio: null });
    const against = { ...EVALUATION, againstPrecision: 'int8' };
    expect(measuredPoints(folderData({ evaluation: against }))[0].ratio).toBeNull();
  });

  it('hold models beside, the floats among them', () => {
    const floats = { name: 'floats', manifest: manifest(null, 'fp32'), evaluation: null, bench: null };
    expect(measuredPoints(folderData({ beside: [floats] }))[2]).toMatchObject({
      name: 'dense fp32',
      role: 'beside',
      ratio: { value: 1 },
      rate: null,
    });
  });
});

it('searched points read what the chosen one reads, but for their blocks', () => {
  // Of the chosen 3 MB, 1.5 MB are read for a token, so 1.5 MB are not, in any of them.
  const points = searchedPoints(folderData({ search: SEARCH }));
  expect(points.map(({ name, role, bytes, rate }) => [name, role, bytes, rate?.median])).toEqual([
    ['int4', 'beside', 0.5e6, 200],
    ['int8', 'beside', 2.5e6, 100],
    ['4 int8, 4 int4', 'this', 1.5e6, 125],
  ]);
});
