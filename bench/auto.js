// What a budget buys: the fastest model that `lacuna build --budget` finds, beside the fastest of one precision.
//
//     node bench/auto.js [--model DIR] [--budgets 1.02,1.05,1.10] [--tokens 20000] [--threads 2] [--python PATH] [--work WORK]
//
// Losses are measured once and stay in WORK/auto, so that each budget is built on them.
// With --python (torch, transformers, onnx; fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py measures
// the rounded weights in Transformers, on the windows of the test text that `build` scores. Prints three Markdown tables:
// what was built, how fast it is, and all models that were measured on the choose text.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { inTorch, MODEL, madeOnce, readOptions, root, table, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  budgets: '1.02,1.05,1.10',
  tokens: '20000',
  threads: '2',
  python: undefined,
  work: WORK,
});
const work = join(options.work, 'auto', `${basename(resolve(options.model))}-${options.tokens}`);
const stages = join(work, 'stages');
mkdirSync(work, { recursive: true });

function build(output, budget) {
  const common = ['--work', stages, '--tokens', options.tokens, '--threads', options.threads];
  const args = ['build', options.model, '-o', output, '--budget', `ppl<=${budget}`, ...common];
  const stdio = ['ignore', 'ignore', 'inherit'];
  return spawnSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], { stdio }).status;
}

function built(budget) {
  const folder = madeOnce(join(work, budget), (path) => {
    const status = build(path, budget);
    if (status !== 0) throw new Error(`lacuna build ended with ${status} for ppl<=${budget}`);
  });
  return JSON.parse(readFileSync(join(folder, 'lacuna/auto.json'), 'utf8'));
}

const NOTHING = { tensors: null, skipping: null, blocks: [] };

/** The perplexity ratio of the rounded weights in Transformers. */
function inTransformers(budget, { evaluation, plan }) {
  const folder = join(work, budget);
  const planFile = `${folder}.plan.json`;
  // Without one, all blocks are stored alike.
  writeFileSync(planFile, JSON.stringify(plan ?? { format: 'lacuna.plan', version: 2, ...NOTHING }));
  const { windows } = evaluation.modes[0];
  const args = [options.model, planFile, join(root, 'texts/test.txt'), '--mode', 'all'];
  args.push('--windows', String(windows), '--threads', options.threads, '--weights', folder);
  return inTorch(`${folder}.torch.json`, options.python, "Transformers'", args);
}

const blocksOf = (blocks) =>
  Object.entries(blocks)
    .map(([dtype, count]) => `${count} ${dtype}`)
    .join(', ');
const bounded = ({ value, upperBound }) => `${value.toFixed(4)} (${(upperBound ?? value).toFixed(4)})`;
const spread = (report) =>
  report?.speedup
    ? `${report.speedup.median.toFixed(2)} (${report.speedup.p10.toFixed(2)}-${report.speedup.p90.toFixed(2)})`
    : '-';

const results = options.budgets.split(',').map((budget) => [budget, built(budget)]);

console.log(`${basename(resolve(options.model))}\n`);
console.log(
  table(
    ['ppl<=', 'blocks', 'MB', 'ratio (at most)', 'Transformers', 'KL'],
    results.map(([budget, result]) => {
      const { candidates, evaluation, bytes } = result;
      const [{ perplexityRatio, meanKl }] = evaluation.modes;
      const chosen = candidates.find(({ isChosen }) => isChosen);
      const torch = inTransformers(budget, result);
      const ratio = torch === undefined ? '-' : torch.perplexityRatio.toFixed(4);
      return [
        budget,
        blocksOf(chosen.blocks),
        (bytes / 1e6).toFixed(0),
        bounded(perplexityRatio),
        ratio,
        meanKl.toFixed(4),
      ];
    }),
  ),
);
console.log();
console.log(
  table(
    ['ppl<=', 'over int8', 'expected', 'fastest of one precision', 'over it'],
    results.map(([budget, { bench, benchUniform, precision }]) => {
      const uniform = benchUniform?.subjects[0].name ?? (precision === 'mixed' ? 'none' : precision);
      const expected = bench.expectedSpeedup?.toFixed(2) ?? '-';
      return [budget, spread(bench), expected, uniform, benchUniform === null ? '-' : spread(benchUniform)];
    }),
  ),
);
console.log();
const tried = new Map(results.flatMap(([, { candidates }]) => candidates.map((one) => [blocksOf(one.blocks), one])));
console.log(
  table(
    ['blocks', 'MB', 'expected ms', 'expected KL', 'KL', 'ratio (at most)'],
    [...tried].map(([blocks, { bytes, seconds, kl, shown }]) => [
      ...[blocks, (bytes / 1e6).toFixed(0), (1000 * seconds).toFixed(2), kl?.toFixed(4) ?? '-'],
      ...[shown.kl.value.toFixed(4), bounded(shown.ratio)],
    ]),
  ),
);
