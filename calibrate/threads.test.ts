/** Statistics that threads share, through real message channels: memory that is handed over is gone here. */
import { MessageChannel } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../src/core/errors.ts';
import { openAdder } from './adder.ts';
import { STATISTICS } from './list.ts';
import { saturation } from './saturation.ts';
import type { TapValues } from './statistic.ts';
import { SPEC, seededFloats, squareOf } from './testing/double.ts';
import { NO_TAPS } from './testing/measure.ts';
import { answerCalls, openCrew, type StartLine } from './threads.ts';

const LAYERS = 2;
const spec = { ...SPEC, numHiddenLayers: LAYERS };
/** Of different lengths, so that tokens of one in another's place would show. */
const lengths = [3, 5, 2, 4, 1];
const sequences = lengths.map((tokens, i) => ({ index: 7 + i, tokens }));
const shape = { spec, sequences, tokens: lengths.reduce((sum, tokens) => sum + tokens, 0) };
const layerNames = STATISTICS.filter(({ byLayer }) => byLayer).map(({ name }) => name);

function tapsOf(position: number, layer: number): TapValues {
  const values = (seed: number, width: number) =>
    seededFloats(100 * position + 10 * layer + seed, lengths[position] * width);
  const { hiddenSize: hidden, intermediateSize: neurons } = spec;
  const [gate, up, act] = [1, 2, 3].map((seed) => values(seed, neurons));
  const [residual, added, attended] = [4, 5, 6].map((seed) => values(seed, hidden));
  // Two of them share their memory.
  return {
    ...NO_TAPS,
    gate,
    up,
    act,
    attended,
    ffn_residual: residual,
    ffn_out: added,
    attn_in: residual,
    ffn_in: added,
  };
}

const headInOf = (position: number) => seededFloats(900 + position, lengths[position] * spec.hiddenSize);
const downNorms = seededFloats(77, spec.intermediateSize);
const facts = (tokens: number, firstToken: number) => ({ tokens, firstToken, downNorms: Float64Array.from(downNorms) });

/** Threads that run here. `log` gets the names of all calls, and `breaks` the error of a call. */
function threadsHere(log: string[] = [], breaks?: (call: string) => Error | undefined): StartLine {
  return (opening, hear, fail) => {
    const { port1, port2 } = new MessageChannel();
    const answer = answerCalls(structuredClone(opening), (sums, transfer) => port2.postMessage(sums, [...transfer]));
    port1.on('message', hear);
    port2.on('message', async (call) => {
      log.push(`${call.name}`);
      const error = breaks?.(call.name);
      await (error === undefined ? answer(call) : Promise.reject(error)).catch(fail);
    });
    return {
      post: (call, transfer) => port1.postMessage(call, [...transfer]),
      close: async () => port1.close(),
    };
  };
}

/** All sums of a run, those of layers in their order. */
async function measured(threads: number, start: StartLine | undefined) {
  const crew = openCrew(STATISTICS, shape, { square: squareOf, threads, start });
  const layers = [];
  try {
    for (let layer = 0; layer < LAYERS; layer++) {
      await crew.begin(layerNames, layer);
      let firstToken = 0;
      for (const [position, tokens] of lengths.entries()) {
        await crew.add(position, layer, tapsOf(position, layer), facts(tokens, firstToken));
        firstToken += tokens;
      }
      const { here, away } = await crew.endLayer();
      layers.push({ ...here, ...(await away) });
    }
    await crew.begin([], LAYERS);
    for (const [position, tokens] of lengths.entries()) await crew.addHead(position, headInOf(position), tokens);
    return { layers, whole: await crew.end() };
  } finally {
    await crew.close();
  }
}

describe('openCrew', () => {
  // Of two threads of the runtime, one more for statistics; of 64, one for each of the five sequences.
  it.each([2, 4, 6, 64])('gives the bits of one thread beside %i of the runtime', async (threads) => {
    const alone = await measured(1, undefined);
    expect(Object.keys(alone.whole)).toContain('saturation');
    const log: string[] = [];
    expect(await measured(threads, threadsHere(log))).toEqual(alone);
    expect(log.filter((name) => name === 'end')).toHaveLength(Math.min(threads / 2, lengths.length));
    expect(log.filter((name) => name === 'add')).toHaveLength(LAYERS * lengths.length);
  });

  it('starts no thread beside one of the runtime, or for statistics that use the runtime', async () => {
    const start: StartLine = () => {
      throw new Error('started');
    };
    await measured(1, start);
    const grams = STATISTICS.filter(({ usesRuntime }) => usesRuntime);
    expect(grams.length).toBeGreaterThan(0);
    openCrew(grams, shape, { square: squareOf, threads: 8, start });
    expect(() => openCrew([saturation], shape, { square: squareOf, threads: 2, start })).toThrow('started');
  });

  it('holds the values of as many sequences as there are threads, and of one more', async () => {
    const answers: (() => void)[] = [];
    const start: StartLine = (_opening, hear) => ({
      post: () => answers.push(() => hear(undefined)),
      close: async () => {},
    });
    const crew = openCrew([saturation], shape, { square: squareOf, threads: 4, start });
    const added: number[] = [];
    const add = (position: number) =>
      crew.add(position, 0, tapsOf(position, 0), facts(lengths[position], 0)).then(() => added.push(position));
    const all = [add(0), add(1), add(2)];
    await new Promise(setImmediate);
    expect(added).toEqual([0, 1]);
    answers[0]();
    await Promise.all(all);
    expect(added).toEqual([0, 1, 2]);
  });

  it('throws what a thread threw, whatever is called next', async () => {
    const error = new LacunaError('non-finite', 'A statistic met a value that is not a number');
    for (const name of ['begin', 'add', 'endLayer', 'addHead', 'end']) {
      const start = threadsHere([], (call) => (call === name ? error : undefined));
      await expect(measured(4, start), name).rejects.toBe(error);
    }
  });
});

it('a thread refuses a statistic that uses the runtime', async () => {
  const { name } = STATISTICS.find(({ usesRuntime }) => usesRuntime) ?? { name: '' };
  const answer = answerCalls({ names: [name], shape }, () => {});
  await answer({ name: 'begin', args: [[name], 0] });
  const add = answer({ name: 'add', args: [0, tapsOf(0, 0), facts(lengths[0], 0)] });
  await expect(add).rejects.toThrow(/usesRuntime/);
});

it('an adder measures only the layers that it is asked for', async () => {
  const adder = openAdder(STATISTICS, shape, squareOf);
  await adder.begin([], 0);
  await adder.add(0, tapsOf(0, 0), facts(lengths[0], 0));
  expect(await adder.endLayer()).toEqual({});
  expect(Object.keys(await adder.end())).not.toContain('activation-histogram');
});
