/**
 * The cost of the portable bodies in stock onnxruntime-node: milliseconds for a block and one token, and the dense
 * block's time divided by it. Prints the tables of docs/operators.md.
 *
 *     node bench/run.js operators [--threads 1] [--rounds 12] [--repeats 11] [--dtype fp32|int8|int4] [--layers N]
 *         [--shapes 576x1536,2048x8192]
 *
 * The blocks of a model together are larger than the caches. Contenders take turns. The result is the lower quartile of
 * the rounds, and the median of the repeats. --layers sets the number of blocks of each shape, --shapes their hidden sizes
 * and neurons.
 */
import { parseArgs } from 'node:util';
import { encodeModel } from '../formats/onnx/index.ts';
import type { Runner } from '../src/core/runner.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import { type BlockStorage, type Contender, feedsOf, type Shape, shapesOf, stack } from './ffn-blocks.ts';

const SHAPES: readonly Shape[] = [
  { hidden: 576, neurons: 1536, layers: 24 },
  { hidden: 2048, neurons: 8192, layers: 2 },
];

const activation = { measure: 'activation', cut: 'absolute' } as const;
const CONTENDERS: readonly Contender[] = [
  { name: 'dense (gate, up, SiLU, down)' },
  { name: 'no choice', variant: { choice: undefined, masked: false } },
  { name: 'no choice, masked, token active', variant: { choice: undefined, masked: true }, active: true },
  { name: 'no choice, masked, token skipped', variant: { choice: undefined, masked: true }, active: false },
  { name: '`gate`, 8 %', variant: { choice: { measure: 'gate', cut: 'deviation', mode: 'soft' }, masked: false } },
  ...[0.05, 0.08, 0.15, 0.2, 0.25, 0.5].map((density) => ({
    name: `\`activation\`, ${100 * density} %`,
    variant: { choice: activation, masked: false },
    density,
  })),
];

interface Timing {
  readonly storage: BlockStorage;
  readonly threads: number;
  readonly rounds: number;
  readonly repeats: number;
}

/** For each contender, milliseconds for a block, and the dense block's milliseconds divided by that. */
interface Column {
  readonly times: readonly number[];
  readonly ratios: readonly number[];
}

/**
 * The place of a session's weights in memory moves its time by a tenth, and is decided when it opens. So all sessions
 * are opened anew for each repeat, each time starting with another one.
 */
async function timeShape(shape: Shape, timing: Timing): Promise<Column> {
  const repeats: number[][] = [];
  for (let repeat = 0; repeat < timing.repeats; repeat++) repeats.push(await timeOnce(shape, timing, repeat));
  const medians = (measure: (times: number[], index: number) => number) => {
    const measured = (index: number) => repeats.map((times) => measure(times, index));
    return CONTENDERS.map((_, index) => quantile(measured(index), 0.5));
  };
  return {
    times: medians((times, index) => times[index]),
    ratios: medians((times, index) => times[0] / times[index]),
  };
}

async function timeOnce(shape: Shape, { storage, threads, rounds }: Timing, repeat: number): Promise<number[]> {
  const openGraph = createOpenGraph({ encode: encodeModel, threads });
  const order = CONTENDERS.map((_, index) => (index + repeat) % CONTENDERS.length);
  const runners = new Map<number, Runner>();
  for (const index of order) runners.set(index, await openGraph(stack(CONTENDERS[index], shape, storage)));
  const times: number[][] = CONTENDERS.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, runner] of runners) {
      const feeds = feedsOf(CONTENDERS[index], shape);
      const started = performance.now();
      await runner.run(feeds);
      // The first round allocates.
      if (round > 0) times[index].push((performance.now() - started) / shape.layers);
    }
  }
  for (const runner of runners.values()) await runner.close();
  return times.map((samples) => quantile(samples, 0.25));
}

function quantile(samples: readonly number[], share: number): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length * share)];
}

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '12' },
    repeats: { type: 'string', default: '11' },
    dtype: { type: 'string', default: 'fp32' },
    layers: { type: 'string' },
    shapes: { type: 'string' },
  },
});
const timing: Timing = {
  storage: options.dtype as BlockStorage,
  threads: Number(options.threads),
  rounds: Number(options.rounds),
  repeats: Number(options.repeats),
};
const columns: Column[] = [];
const shapes = shapesOf(options.shapes, options.layers, SHAPES);
for (const shape of shapes) columns.push(await timeShape(shape, timing));
console.log(
  `| ms a block and token, ${options.dtype}, ${options.threads} thread(s) | ${shapes.map(({ hidden, neurons }) => `${hidden}x${neurons}`).join(' | ')} |`,
);
console.log(`|---|${shapes.map(() => '---|').join('')}`);
for (const [row, { name }] of CONTENDERS.entries()) {
  const cells = columns.map(({ times, ratios }) => `${times[row].toPrecision(3)} (${ratios[row].toFixed(2)})`);
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
