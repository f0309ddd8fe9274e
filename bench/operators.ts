/**
 * What the portable bodies cost in stock onnxruntime-node: milliseconds for a block and one token, and the dense block's
 * time divided by it. Prints the table of docs/operators.md.
 *
 *     node bench/run.js operators [--threads 1] [--rounds 30] [--dtype fp32|int8|int4]
 *
 * The blocks of a model together are larger than the caches; contenders take turns, and the lower quartile counts.
 */
import { parseArgs } from 'node:util';
import { encodeModel } from '../formats/onnx/index.ts';
import type { Runner } from '../src/core/runner.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import { type BlockStorage, type Contender, feedsOf, type Shape, stack } from './ffn-blocks.ts';

const SHAPES: readonly Shape[] = [
  { hidden: 576, neurons: 1536, layers: 24 },
  { hidden: 2048, neurons: 8192, layers: 2 },
];

const threshold = { kind: 'threshold', scale: 'absolute' } as const;
const CONTENDERS: readonly Contender[] = [
  { name: 'dense (gate, up, SiLU, down)' },
  { name: '`none`', variant: { selector: { kind: 'none' }, masked: false } },
  { name: '`none`, masked, token active', variant: { selector: { kind: 'none' }, masked: true }, active: true },
  { name: '`none`, masked, token skipped', variant: { selector: { kind: 'none' }, masked: true }, active: false },
  { name: '`statistical`, 8 %', variant: { selector: { kind: 'statistical', mode: 'soft' }, masked: false } },
  ...[0.05, 0.08, 0.15, 0.2, 0.25, 0.5].map((density) => ({
    name: `\`threshold\`, ${100 * density} %`,
    variant: { selector: threshold, masked: false },
    density,
  })),
];

interface Timing {
  readonly storage: BlockStorage;
  readonly threads: number;
  readonly rounds: number;
}

async function timeShape(shape: Shape, { storage, threads, rounds }: Timing): Promise<number[]> {
  const openGraph = createOpenGraph({ encode: encodeModel, threads });
  const runners: Runner[] = [];
  for (const contender of CONTENDERS) runners.push(await openGraph(stack(contender, shape, storage)));
  const times: number[][] = CONTENDERS.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, runner] of runners.entries()) {
      const feeds = feedsOf(CONTENDERS[index], shape);
      const started = performance.now();
      await runner.run(feeds);
      // The first round allocates.
      if (round > 0) times[index].push((performance.now() - started) / shape.layers);
    }
  }
  for (const runner of runners) await runner.close();
  return times.map((samples) => samples.sort((a, b) => a - b)[Math.floor(samples.length / 4)]);
}

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '30' },
    dtype: { type: 'string', default: 'fp32' },
  },
});
const timing: Timing = {
  storage: options.dtype as BlockStorage,
  threads: Number(options.threads),
  rounds: Number(options.rounds),
};
const columns: number[][] = [];
for (const shape of SHAPES) columns.push(await timeShape(shape, timing));
console.log(
  `| ms a block and token, ${options.dtype}, ${options.threads} thread(s) | ${SHAPES.map(({ hidden, neurons }) => `${hidden}x${neurons}`).join(' | ')} |`,
);
console.log(`|---|${SHAPES.map(() => '---|').join('')}`);
for (const [row, { name }] of CONTENDERS.entries()) {
  const cells = columns.map((times) => `${times[row].toPrecision(3)} (${(times[0] / times[row]).toFixed(2)})`);
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
