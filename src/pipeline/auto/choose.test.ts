import { describe, expect, it } from 'vitest';
import { parseBudget } from '../../core/budget.ts';
import { type Candidate, choose, MIXED, type Shown } from './choose.ts';

/** Loss in nats a token and time in ms of dense models of one precision. */
const DENSE = [
  ['int8', 0.002, 8],
  ['int6', 0.006, 7.1],
  ['int5', 0.02, 6.1],
  ['int4', 0.07, 5],
] as const;

const NO_MIX = { chosen: [], kl: 0, seconds: 0, bytes: 0 };

function candidate(name: string, kl: number, milliseconds: number): Candidate & { readonly kl: number } {
  return { name, kl, seconds: milliseconds / 1000, bytes: milliseconds * 1e6, mix: { ...NO_MIX, kl } };
}

/** A hundred mixes between the most exact and the fastest: time falls with the logarithm of the loss. */
const MIXES = Array.from({ length: 101 }, (_, at) => candidate(MIXED, 0.002 * 35 ** (at / 100), 8 - 0.03 * at));

/** The text shows `factor` times the divergence that is expected, and a perplexity of exp(half of it). */
async function chosenBy(
  text: string,
  { factor = 1, error = 0 } = {},
  dense: readonly (readonly [string, number, number])[] = DENSE,
) {
  let asked = 0;
  const show = async ({ mix }: Candidate): Promise<Shown> => {
    const value = Math.exp((factor * mix.kl) / 2);
    const kl = factor * mix.kl;
    return {
      ratio: { value, standardError: error, upperBound: value * Math.exp(error) },
      kl: { value: kl, upperBound: kl + error },
    };
  };
  const uniform = dense.map(([name, kl, time]) => ({ ...candidate(name, kl, time), kl: null }));
  const whole = Object.fromEntries(DENSE.map(([name, kl]) => [name, kl]));
  const mixed = async () => {
    asked++;
    return { mixes: MIXES, whole };
  };
  const choice = await choose({ budget: parseBudget(text), uniform, mixed, show });
  return { ...choice, asked };
}

describe('the model chosen', () => {
  it('is the fastest mix that holds, beside the fastest of one precision', async () => {
    const { chosen, uniform, tried } = await chosenBy('ppl<=1.02');
    expect(uniform?.name).toBe('int5');
    expect(chosen.name).toBe(MIXED);
    // ln 1.02 = 0.0198 is half of 0.0396.
    const [last] = MIXES.filter(({ mix }) => mix.kl <= 2 * Math.log(1.02)).slice(-1);
    expect(chosen.mix).toBe(last.mix);
    expect(chosen.used).toBeLessThanOrEqual(1);
    expect(tried.map(({ name }) => name)).toEqual(['int4', 'int5', MIXED]);
  });

  it('is found where the text loses more or less than expected', async () => {
    for (const factor of [0.4, 0.8, 1.5, 4]) {
      const { chosen, uniform } = await chosenBy('kl<=0.03', { factor });
      const best = MIXES.filter(({ mix }) => factor * mix.kl <= 0.03).slice(-1)[0];
      expect(chosen.used).toBeLessThanOrEqual(1);
      expect(chosen.seconds).toBeLessThanOrEqual(uniform?.seconds ?? 1);
      expect(chosen.mix.kl).toBeGreaterThan(0.9 * best.mix.kl);
    }
  });

  it('leaves room for chance in the divergence of this text and of the next', async () => {
    const { chosen } = await chosenBy('kl<=0.03', { error: 0.005 });
    const best = MIXES.filter(({ mix }) => mix.kl + (1 + Math.SQRT2) * 0.005 <= 0.03).slice(-1)[0];
    expect(chosen.mix).toBe(best.mix);
  });

  it('is the coarsest precision where that holds, and nothing else is measured', async () => {
    const { chosen, tried, asked } = await chosenBy('ppl<=1.05');
    expect([chosen.name, tried.length, asked]).toEqual(['int4', 1, 0]);
  });

  it('has no rival in one precision that is too large', async () => {
    const { chosen, uniform } = await chosenBy('ppl<=1.02,bytes<=6MB');
    expect(chosen.name).toBe(MIXED);
    expect(uniform).toBeNull();
  });

  it('leaves room for chance on this text and the next', async () => {
    const { chosen } = await chosenBy('ppl<=1.02', { error: 0.003 });
    const room = Math.log(1.02) - Math.log(chosen.shown.ratio.value);
    expect(room).toBeGreaterThanOrEqual((1 + Math.SQRT2) * 0.003);
    expect(room).toBeLessThan((1 + Math.SQRT2) * 0.003 + 0.001);
  });

  it('is the most exact that is small or fast enough where no loss is limited', async () => {
    const small = await chosenBy('bytes<=6.5MB');
    expect(small.chosen.bytes).toBeLessThanOrEqual(6.5e6);
    expect(small.chosen.bytes).toBeGreaterThan(6.46e6);
    const { chosen } = await chosenBy('speed>=1.25,bytes<=7MB');
    expect(8 / 1000 / chosen.seconds).toBeGreaterThanOrEqual(1.25);
    expect(8 / 1000 / chosen.seconds).toBeLessThan(1.26);
  });

  it('is compared with a larger precision where that is the faster one', async () => {
    const slow = DENSE.map(([name, kl, time]) => [name, kl, name === 'int6' ? 9 : time] as const);
    const { uniform, tried } = await chosenBy('kl<=0.007', {}, slow);
    expect(uniform?.name).toBe('int8');
    expect(tried.map(({ name }) => name)).not.toContain('int6');
  });

  it('is a mix of more bits than the coarsest precision where only that keeps to the loss', async () => {
    // The most exact precision alone holds.
    const { chosen, uniform } = await chosenBy('kl<=0.003');
    expect(uniform?.name).toBe('int8');
    expect(chosen.name).toBe(MIXED);
    expect(chosen.seconds).toBeLessThan(0.008);
  });
});

describe('no model is chosen', () => {
  it.each([
    ['ppl<=1.0005', /^The most exact model, int8, has a perplexity ratio of 1\.0010.* over ppl 1\.0005$/],
    ['kl<=0.001', /^The most exact model, int8, .* KL divergence of 0\.0020: over kl 0\.001$/],
    [
      'ppl<=1.02,bytes<=5MB',
      /contradicts itself: the fastest model within it takes 5\.\d MB .* wanted at most 5\.0 MB$/,
    ],
    [
      'ppl<=1.02,speed>=2',
      /contradicts itself: .* should decode 1\.\d\d times as fast as int8, wanted at least 2 times$/,
    ],
    ['bytes<=1MB', /contradicts itself/],
  ])('for %s', async (text, message) => {
    await expect(chosenBy(text)).rejects.toMatchObject({
      code: 'check-failed',
      message: expect.stringMatching(message),
    });
  });
});
