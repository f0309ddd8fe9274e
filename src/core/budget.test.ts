import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS, parseBudget } from './budget.ts';

describe('a budget', () => {
  it.each([
    ['ppl<=1.02', { ppl: 1.02 }],
    ['ppl<=2%', { ppl: 1.02 }],
    ['ppl <= 1', { ppl: 1 }],
    [' kl<=0.02 , bytes<=120MB', { kl: 0.02, bytes: 120e6 }],
    ['bytes<=1.5GB,speed>=1.3', { bytes: 1.5e9, speed: 1.3 }],
    ['bytes<=1200', { bytes: 1200 }],
    ['bytes<=10kB', { bytes: 10e3 }],
  ])('"%s" is read', (text, budget) => {
    expect(parseBudget(text)).toEqual(budget);
  });

  it.each([
    ['', /a limit is empty/],
    ['ppl<=1.02,', /a limit is empty/],
    ['1.02', /"1.02" limits no figure/],
    ['perplexity<=1.02', /"perplexity<=1.02" limits no figure/],
    ['ppl<1.02', /"ppl<1.02" limits no figure/],
    ['ppl>=1.02', /from the wrong side/],
    ['speed<=1.3', /from the wrong side/],
    ['ppl<=1.02,ppl<=1.05', /"ppl" is limited twice/],
    ['ppl<=0.98', /no model can keep to "ppl<=0.98"/],
    ['kl<=0', /no model can keep to "kl<=0"/],
    ['bytes<=0MB', /no model can keep to/],
    ['ppl<=1.0.2', /no model can keep to/],
    ['ppl<=120MB', /a unit that ppl has not/],
    ['bytes<=12%', /a unit that bytes has not/],
    ['speed>=130%', /a unit that speed has not/],
    ['kl<=2%', /a unit that kl has not/],
  ])('"%s" is refused', (text, message) => {
    expect(() => parseBudget(text)).toThrowError(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringMatching(message),
        hint: expect.stringContaining('ppl<=1.02 or 2%'),
      }),
    );
  });

  it('of any text is read or refused as usage', () => {
    const words = fc.constantFrom(...LIMITS.map(({ name }) => name), '<=', '>=', '1.02', ',', '%', 'MB', ' ', '-');
    fc.assert(
      fc.property(fc.array(words, { maxLength: 8 }), (parts) => {
        try {
          expect(Object.keys(parseBudget(parts.join(''))).length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toMatchObject({ code: 'usage' });
        }
      }),
    );
  });
});
