// Decode speed on SmolLM2-135M: the native session against stock onnxruntime-node, and sparse against dense by kernels.
//
//     node bench/decode.js [--rounds 2] [--repeats 5] [--threads 2] [--long 4000] [--model DIR] [--work WORK]
//         [--plans PRESET:TARGET,...] [--stock-plans DTYPE:PRESET:TARGET,...] [--fit-tokens 4000]
//
// Folders are made in WORK/decode and used again: dense and sparse ones in fp32 and int4, with plans from `fit-tokens`
// tokens, not corrected (bench/sparse.js measures their cost in quality). Sparse models with plans for stock ONNX Runtime
// (--host stock) are timed there. If such a plan pays nothing, it is refused; the script says so and leaves it out.
// `lacuna bench` times each pair, interleaved in one process, in sessions opened anew for each repeat. Other runtimes
// are in bench/peers.js.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { lacuna, MODEL, madeOnce, planned, readOptions, table, WORK } from './harness.js';

const options = readOptions({
  rounds: '2',
  repeats: '5',
  threads: '2',
  long: '4000',
  'fit-tokens': '4000',
  model: MODEL,
  work: WORK,
  plans: 'top-k:0.5,top-k:0.25,top-k:0.1,ffn-skip:0.1,ffn-skip:0.3',
  // Targets that pay in stock ONNX Runtime. The first of each preset just pays.
  'stock-plans': 'fp32:top-k:0.13,fp32:top-k:0.1,fp32:ffn-skip:0.39,int4:ffn-skip:0.67',
});
const { model } = options;
const work = join(options.work, 'decode');
const quietly = (...args) => lacuna(...args, '--quiet');
const made = (name, make) => madeOnce(join(work, name), make);

/** "top-k:0.5,ffn-skip:0.1" is two plans, each split into its parts. */
const listed = (plans) => plans.split(',').map((plan) => plan.split(':'));

mkdirSync(work, { recursive: true });
const dense = made('fp32', (path) => quietly('convert', model, '-o', path));
const int4 = made('int4', (path) => quietly('convert', model, '-o', path, '--dtype', 'int4'));
const statistics = made('statistics.json', (path) =>
  quietly('calibrate', model, '-o', path, '--tokens', options['fit-tokens'], '--threads', options.threads),
);
const sparse = listed(options.plans).map(([preset, target]) => {
  const name = `${preset}-${target}`;
  const plan = made(`${name}.json`, (path) => quietly('plan', statistics, '-o', path, ...planned(preset, target)));
  const sparsify = (suffix, source, ...args) =>
    made(`${name}${suffix}`, (path) => quietly('sparsify', source, '--plan', plan, '-o', path, ...args));
  return { name, fp32: sparsify('', dense), int4: sparsify('-int4', model, '--dtype', 'int4') };
});

const forStock = listed(options['stock-plans']).flatMap(([dtype, preset, target]) => {
  const name = `stock-${dtype}-${preset}-${target}`;
  try {
    const what = [...planned(preset, target), '--host', 'stock', '--dtype', dtype];
    const plan = made(`${name}.json`, (path) => quietly('plan', statistics, '-o', path, ...what));
    const folder = made(name, (path) => quietly('sparsify', model, '--plan', plan, '-o', path, '--dtype', dtype));
    return [{ name: `${dtype}, ${preset} ${target}`, folder, against: dtype === 'fp32' ? dense : int4 }];
  } catch {
    console.error(`The plan for stock ${dtype}, ${preset} ${target}, is left out.`);
    return [];
  }
});

/** Medians of both rates and of their ratio, with the ratio's 10th and 90th percentile. */
function bench(folder, ...args) {
  const counts = ['repeats', 'rounds', 'threads'].flatMap((name) => [`--${name}`, options[name]]);
  const { subjects, speedup } = JSON.parse(quietly('bench', folder, ...counts, '--json', ...args));
  const rates = subjects.map(({ decodeTokensPerSecond }) => decodeTokensPerSecond.median.toFixed(1));
  const [ratio, p10, p90] = [speedup.median, speedup.p10, speedup.p90].map((value) => value.toFixed(2));
  return [...rates, `${ratio} (${p10}-${p90})`];
}

const print = (titles, rows) => console.log(`\n${table(titles, rows)}`);

const long = ['--prompt-tokens', options.long, '--steps', '8'];
print(
  ['native session against stock', 'cached tokens', 'stock tok/s', 'native tok/s', 'ratio (p10-p90)'],
  [
    ['fp32', '128', ...bench(dense, '--against-engine', 'stock')],
    ['int4', '128', ...bench(int4, '--against-engine', 'stock')],
    ['int4', Number(options.long).toLocaleString('en'), ...bench(int4, '--against-engine', 'stock', ...long)],
  ],
);
for (const engine of ['native', 'stock'])
  for (const [precision, against] of Object.entries({ fp32: dense, int4 }))
    print(
      [`sparse against dense ${precision}, ${engine}`, 'dense tok/s', 'sparse tok/s', 'ratio (p10-p90)'],
      sparse.map((made) => [made.name, ...bench(made[precision], '--against', against, '--engine', engine)]),
    );
print(
  ['plans for stock, stock', 'dense tok/s', 'sparse tok/s', 'ratio (p10-p90)'],
  forStock.map(({ name, folder, against }) => [name, ...bench(folder, '--against', against, '--engine', 'stock')]),
);
