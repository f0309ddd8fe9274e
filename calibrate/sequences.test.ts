import { describe, expect, it } from 'vitest';
import { type CalibrationInput, cutSequences } from './sequences.ts';
import { SPEC } from './testing/double.ts';

const text = (name: string, tokens: number[]) => ({ name, sha256: name.repeat(8), tokens });
const cut = (input: CalibrationInput) => cutSequences(input, SPEC);
const ids = (input: CalibrationInput) => cut(input).mine.map(({ tokens }) => [...tokens]);

describe('cutSequences', () => {
  it('cuts each text on its own and drops a single token left over', () => {
    const texts = [text('a', [1, 2, 3, 4, 5, 6, 7]), text('b', [8, 9, 10, 11, 12])];
    expect(ids({ texts, sequenceLength: 3 })).toEqual([
      [1, 2, 3],
      [4, 5, 6],
      [8, 9, 10],
      [11, 12],
    ]);
    expect(cut({ texts, sequenceLength: 3 }).texts.map(({ tokens }) => tokens)).toEqual([6, 5]);
  });

  it('deals the sequences out to shards so that each is in one', () => {
    const texts = [
      text(
        'a',
        Array.from({ length: 20 }, (_, i) => i),
      ),
    ];
    const dealt = [0, 1, 2].map((index) => cut({ texts, sequenceLength: 4, shard: { index, count: 3 } }));
    expect(dealt.map(({ mine }) => mine.map(({ index }) => index))).toEqual([[0, 3], [1, 4], [2]]);
    expect(dealt.map(({ planned }) => planned)).toEqual([5, 5, 5]);
  });

  it('takes sequences evenly from all of the texts when there are too many tokens', () => {
    const texts = [
      text(
        'a',
        Array.from({ length: 16 }, (_, i) => i),
      ),
      text(
        'b',
        Array.from({ length: 16 }, (_, i) => 16 + i),
      ),
    ];
    // 8 sequences of 4; 12 tokens are 3 of them: those at 0, 8/3, 16/3.
    expect(ids({ texts, sequenceLength: 4, maxTokens: 12 }).map(([first]) => first)).toEqual([0, 8, 20]);
    expect(cut({ texts, sequenceLength: 4, maxTokens: 12 }).texts.map(({ tokens }) => tokens)).toEqual([8, 4]);
  });

  it('shortens sequences that are longer than the tokens asked for', () => {
    const { sequenceLength, mine } = cut({ texts: [text('a', [1, 2, 3, 4, 5, 6])], sequenceLength: 6, maxTokens: 4 });
    expect(sequenceLength).toBe(4);
    expect(mine.map(({ tokens }) => [...tokens])).toEqual([[1, 2, 3, 4]]);
  });

  it('starts every sequence with the token that starts texts, once', () => {
    const texts = [text('a', [1, 5, 6, 7]), text('b', [8, 9])];
    expect(ids({ texts, sequenceLength: 3, bosTokenId: 1 })).toEqual([
      [1, 5, 6],
      [1, 7],
      [1, 8, 9],
    ]);
  });

  it('takes the least and the most that it may', () => {
    const whole = Array.from({ length: 64 }, (_, i) => i % 32);
    expect(ids({ texts: [text('a', whole)], sequenceLength: 64 })).toEqual([whole]);
    expect(ids({ texts: [text('a', [0, 31, 5])], sequenceLength: 2 })).toEqual([[0, 31]]);
    expect(ids({ texts: [text('a', whole)], sequenceLength: 4, maxTokens: 2 })).toEqual([[0, 1]]);
    // All sequences fit, so all are taken.
    expect(ids({ texts: [text('a', [1, 2, 3, 4, 5])], sequenceLength: 2, maxTokens: 4 })).toHaveLength(2);
  });

  it.each<[string, Partial<CalibrationInput>, string, RegExp]>([
    ['a token before the first', { texts: [text('a', [1, -1])] }, 'mismatch', /token -1/],
    ['the first token past the vocabulary', { texts: [text('a', [1, 32])] }, 'mismatch', /token 32.*0 to 31/],
    ['a sequence of one', { sequenceLength: 1 }, 'usage', /2 to 64/],
    ['a sequence past the context', { sequenceLength: 65 }, 'usage', /2 to 64/],
    ['more shards than sequences', { shard: { index: 5, count: 9 } }, 'usage', /none for shard 5/],
    ['a token of another vocabulary', { texts: [text('a', [1, 99])] }, 'mismatch', /token 99/],
  ])('refuses %s', (_, input, code, message) => {
    const whole = { texts: [text('a', [1, 2, 3, 4])], sequenceLength: 4, ...input };
    expect(() => cut(whole)).toThrowError(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});
