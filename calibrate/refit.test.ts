/** The walk with stand-ins, on layers that are computed here again by plain loops. */
import { describe, expect, it } from 'vitest';
import type { ArrivingTokens, StandIn } from '../src/core/arriving.ts';
import { refitWalk } from './index.ts';
import { embedded, ffnOut, openDouble, PIECES, SPEC, seededFloats } from './testing/double.ts';

const { hiddenSize: HIDDEN } = SPEC;
const LENGTH = 9;
const TOKENS = Array.from({ length: 2 * LENGTH + 5 }, (_, i) => (i * 7 + Math.floor(i / 5)) % 32);
const input = { texts: [{ name: 'a', sha256: 'a'.repeat(64), tokens: TOKENS }], sequenceLength: LENGTH };
const LAYERS = [1, 3];

/** Every third token takes rows that are made up. */
const standIn = (layer: number): StandIn => ({
  rows: seededFloats(7000 + layer, TOKENS.length * HIDDEN),
  skips: Uint8Array.from(TOKENS, (_, token) => (token % 3 === 0 ? 1 : 0)),
});

/** Both streams before each layer's FFN block, and the model's own after it; layers have no attention. */
function streams() {
  let [dense, sparse] = [embedded(TOKENS), embedded(TOKENS)];
  const found: { before: Float32Array; after: Float32Array }[] = [];
  for (let layer = 0; layer < SPEC.numHiddenLayers; layer++) {
    const before = sparse;
    const [own, there] = [ffnOut(layer, dense), ffnOut(layer, sparse)];
    const { rows, skips } = standIn(layer);
    const isReplaced = (i: number) => LAYERS.includes(layer) && skips[Math.floor(i / HIDDEN)] === 1;
    dense = dense.map((value, i) => value + own[i]);
    sparse = sparse.map((value, i) => value + (isReplaced(i) ? rows[i] : there[i]));
    found.push({ before, after: dense });
  }
  return found;
}

async function walked(openGraph = openDouble(), options = {}) {
  const arrived: (readonly [number, ArrivingTokens])[] = [];
  const made = await refitWalk(
    PIECES,
    input,
    LAYERS,
    async (layer, tokens) => {
      arrived.push([layer, tokens]);
      return standIn(layer);
    },
    { openGraph, ...options },
  );
  return { arrived, made };
}

describe('a walk with stand-ins', () => {
  it('brings to each block what arrives when those before it are replaced, and what the stream lacks there', async () => {
    const { arrived, made } = await walked();
    expect(made).toMatchObject({ tokens: TOKENS.length, texts: [{ name: 'a', tokens: TOKENS.length }] });
    expect(arrived.map(([layer]) => layer)).toEqual(LAYERS);
    const expected = streams();
    for (const [layer, { x, wanted, factors, positions }] of arrived) {
      const { before, after } = expected[layer];
      before.forEach((value, i) => {
        // The double's norm does nothing. Its sums are float32 and in another order than these.
        const noise = 1e-6 * (Math.abs(value) + Math.abs(after[i]) + 1);
        expect(Math.abs(x[i] - value)).toBeLessThan(noise);
        expect(Math.abs(wanted[i] - (after[i] - value))).toBeLessThan(noise);
      });
      TOKENS.forEach((_, token) => {
        const row = after.subarray(token * HIDDEN, (token + 1) * HIDDEN);
        const square = row.reduce((sum, value) => sum + value ** 2, 0) / HIDDEN;
        expect(factors[token] * (square + 1e-6)).toBeCloseTo(1, 4);
        expect(positions[token]).toBe(token % LENGTH);
      });
    }
  });

  it('computes products', async () => {
    let found: readonly Float32Array[] = [];
    const [x, m] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 0, 2, 1, 1, 1)];
    const fit = async (
      layer: number,
      _: ArrivingTokens,
      { square, times }: Parameters<Parameters<typeof refitWalk>[3]>[2],
    ) => {
      found = [await square(x, 2), await times(x, m, 2)];
      return standIn(layer);
    };
    await refitWalk(PIECES, input, LAYERS, fit, { openGraph: openDouble() });
    expect(found.map((one) => [...one])).toEqual([
      [10, 14, 14, 20],
      [1, 4, 3, 3, 10, 7],
    ]);
  });

  it('opens no layer behind the last that is replaced, each once, and closes what it opened', async () => {
    const log: string[] = [];
    await walked(openDouble(log));
    expect(log).toEqual(
      ['embed', 'layer0', 'layer1', 'layer2', 'layer3'].flatMap((name) => [`open ${name}`, `close ${name}`]),
    );
  });

  it('counts what is to be done', async () => {
    let [total, done] = [0, 0];
    const stage = (_: string, of: number) => {
      total = of;
      return {
        advance: (by: number) => {
          done += by;
        },
        done: () => {},
      };
    };
    await walked(openDouble(), { progress: { stage, note: () => {} } });
    // Four layers, and two of them beside.
    expect(total).toBe(6 * TOKENS.length);
    expect(done).toBe(total);
  });

  it('is refused where more happens to what a block adds than that it is added', async () => {
    const openGraph = openDouble([], (hidden, layer) => {
      if (layer === 3) hidden[5] += 0.5;
    });
    await expect(walked(openGraph)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('In layer 3'),
    });
  });

  it('is stopped by its signal', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(walked(openDouble(), { signal })).rejects.toMatchObject({ code: 'interrupted' });
  });
});
