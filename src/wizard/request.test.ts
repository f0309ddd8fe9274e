import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandText } from './request.ts';

describe('a command as a shell reads it', () => {
  it('keeps an option beside its value, and goes on in the next line', () => {
    const words = [
      'lacuna',
      'build',
      './SmolLM2-135M',
      '-o',
      './fast',
      '--budget',
      'ppl<=1.02',
      '--fit',
      'a.txt',
      'b.txt',
    ];
    expect(commandText(words, 50)).toBe(
      "lacuna build ./SmolLM2-135M -o ./fast \\\n  --budget 'ppl<=1.02' --fit a.txt b.txt",
    );
  });

  it('is read as the same words, in lines that fit', () => {
    const word = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (given) => {
        const words = ['printf', '%s\\0', ...given];
        const text = commandText(words, 40);
        const read = execFileSync('sh', ['-c', text], { encoding: 'utf8' });
        expect(read).toBe(given.length === 0 ? '\0' : given.map((one) => `${one}\0`).join(''));
      }),
      { numRuns: 40 },
    );
  });
});
