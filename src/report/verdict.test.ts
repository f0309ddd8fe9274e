import { describe, expect, it } from 'vitest';
import { BENCH, EVALUATION, folderData, manifest, SEARCH, STATISTICS, TWO_LAYERS } from './testing/data.ts';
import { verdictOf } from './verdict.ts';

const sentence = (over: Parameters<typeof folderData>[0] = {}) => verdictOf(folderData(over)).sentence;
const speedup = (lowerBound: number, upperBound: number) => {
  return { ...BENCH, speedup: { median: 1, p10: 0.9, p90: 1.1, lowerBound, upperBound } };
};

describe('the verdict', () => {
  it('says in one sentence what was lost and gained, of what and how surely', () => {
    expect(sentence()).toBe(
      'Within the budget, and faster: this model, int8 with 50.0 % of neurons kept, has a perplexity ratio of ' +
        '1.0710 ± 0.0025 to the checkpoint’s floats (below 1.0820 with a confidence of 95 %, in every mode below ' +
        '1.0820, wanted at most 1.1) on test.txt, and decodes 1.25 times as fast as dense int8 (1.13 to 1.38) in the native core.',
    );
  });

  it('names what ran the timed models, not what evaluated them', () => {
    const evaluation = { ...EVALUATION, engine: 'stock' };
    const [dense, sparse] = BENCH.subjects;
    const timed = (...engines: readonly (string | undefined)[]) => {
      const subjects = [dense, sparse].map((subject, at) => ({ ...subject, engine: engines[at] }));
      return sentence({ evaluation, bench: { ...BENCH, subjects } }).replace(/.*, and decodes /, '');
    };
    expect(timed('native', 'native')).toBe('1.25 times as fast as dense int8 (1.13 to 1.38) in the native core.');
    expect(timed('stock', 'native')).toBe(
      '1.25 times as fast as dense int8 in stock ONNX Runtime (1.13 to 1.38) in the native core.',
    );
    // Files of earlier versions do not say it.
    expect(timed(undefined, undefined)).toBe('1.25 times as fast as dense int8 (1.13 to 1.38).');
    const alone = { ...BENCH, subjects: [sparse], speedup: null };
    expect(sentence({ evaluation, bench: alone })).toMatch(/ decodes 125\.0 tokens a second in the native core\.$/);
    expect(sentence({ evaluation: null })).toMatch(/ in the native core\.$/);
  });

  it.each([
    ['slower', 0.8, 0.95],
    ['not sure to be faster', 0.95, 1.05],
    ['faster', 1.001, 1.2],
  ])('calls a model %s between %d and %d', (word, lower, upper) => {
    expect(sentence({ bench: speedup(lower, upper) })).toMatch(new RegExp(`^Within the budget, and ${word}: `));
  });

  it('says when the budget is broken, and nothing of a budget that there is not', () => {
    const check = { maxPplRatio: 1.05, upperBound: 1.082, passed: false };
    expect(sentence({ evaluation: { ...EVALUATION, check } })).toMatch(/^Over the budget, and faster: /);
    expect(sentence({ evaluation: { ...EVALUATION, check: undefined } })).toMatch(/^Faster: this model/);
  });

  it('names the budget of a search', () => {
    expect(
      sentence({ search: SEARCH, manifest: manifest(null), evaluation: { ...EVALUATION, check: undefined } }),
    ).toMatch(/^Within the budget, and faster: this model, dense int8, .*for a budget of ppl<=1\.05\)/);
  });

  it('believes eval of a model that a search shipped', () => {
    const found = { search: SEARCH, manifest: manifest(null) };
    const check = { maxPplRatio: 1.05, upperBound: 1.082, passed: false };
    const over = sentence({ ...found, evaluation: { ...EVALUATION, check } });
    expect(over).toMatch(/^Over the budget, and faster: .* below 1\.0820, wanted at most 1\.05\)/);
    expect(over).not.toContain(SEARCH.budget);
    expect(sentence(found)).toMatch(/^Within the budget, .*wanted at most 1\.1\)/);
  });

  it('says what was not measured', () => {
    const nothing = { evaluation: null, bench: null, statistics: null, sample: null };
    expect(sentence({ ...nothing, manifest: manifest(null) })).toBe(
      'This model, dense int8, has not been compared with the checkpoint’s floats, and its speed has not been measured.',
    );
    expect(sentence({ ...nothing, manifest: manifest(null, 'fp32') })).toMatch(/holds the checkpoint’s floats/);
    const { figures } = verdictOf(folderData({ ...nothing, manifest: manifest(null) }));
    expect(figures.map(({ remark }) => remark)).toEqual([
      'not measured',
      'not measured',
      'not measured',
      'onnx/model.onnx',
    ]);
    // Both files of the model.
    expect(figures[3].value).toBe('10.0 kB');
  });

  it('does not take another baseline for the floats', () => {
    const evaluation = { ...EVALUATION, againstPrecision: 'int8', check: undefined };
    expect(sentence({ evaluation })).toContain('to a baseline in int8');
    expect(verdictOf(folderData({ evaluation })).figures[0].value).toBe('–');
  });

  it('of statistics says where blocks may be skipped', () => {
    const { sentence, figures } = verdictOf({ kind: 'statistics', name: 'statistics.json', statistics: STATISTICS });
    expect(sentence).toBe(
      'On 64 tokens of fit.txt, FFN blocks of layers 1 to 2 turn the residual stream least: 2 of 4 layers in which blocks may be skipped.',
    );
    expect(figures.map(({ value }) => value)).toEqual(['llama', '64', '4 tokens', '95.0 %']);
  });

  it('of statistics of two layers says that none may be skipped', () => {
    expect(verdictOf({ kind: 'statistics', name: 'statistics.json', statistics: TWO_LAYERS }).sentence).toBe(
      'On 64 tokens of fit.txt, no layer lies between the first and the last, so no block can be planned to be skipped.',
    );
  });
});
