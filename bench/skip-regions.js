// What FFN skipping costs by region and by warm-up, at one share of skipped blocks: the figures that docs/plans.md chooses by.
//
//     node bench/skip-regions.js [--model DIR] [--regions 1-28,4-25] [--warm-ups 0,8,32] [--warm-up 8] [--skip 0.05]
//         [--tokens 4000] [--fit-tokens 20000] [--threads 2] [--work WORK]
//
// Regions are the first and the last layer that may be skipped. Each is measured with `--warm-up` tokens, and the first
// of them with each of `--warm-ups`. Plans are made from the text `fit` and measured on `test` in mode "all", where every
// window begins with its warm-up. Plans are not corrected, so rows skip somewhat different shares: the last column is the
// logarithm of the ratio for each percent skipped. Prints a Markdown table. Statistics, the dense folder and the figures stay in WORK/skip-regions.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { denseAndStatistics, header, lacuna, MODEL, madeOnce, readOptions, row, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  regions: '1-28,4-25',
  'warm-ups': '0,8,32',
  'warm-up': '8',
  skip: '0.05',
  tokens: '4000',
  'fit-tokens': '20000',
  threads: '2',
  work: WORK,
});
const work = join(options.work, 'skip-regions', basename(resolve(options.model)));
mkdirSync(work, { recursive: true });

const threads = ['--threads', options.threads];
const { dense, statistics } = denseAndStatistics(work, options);

/** The figures of mode "all" of a plan with this region and warm-up. */
function measure(region, warmUp) {
  const name = [region, warmUp, options.skip, options.tokens, options['fit-tokens']].join('_');
  const figures = madeOnce(join(work, `${name}.json`), (path) => {
    const [plan, sparse] = [join(work, `${name}.plan.json`), join(work, name)];
    for (const left of [plan, sparse]) rmSync(left, { recursive: true, force: true });
    const [first, last] = region.split('-').map(Number);
    const borders = ['--cold-start', String(first), '--cold-end', String(last + 1), '--warm-up-tokens', warmUp];
    lacuna('plan', statistics, '-o', plan, '--preset', 'ffn-skip', '--skip', options.skip, ...borders, '--quiet');
    lacuna('sparsify', dense, '--plan', plan, '-o', sparse, '--quiet');
    const scored = ['--mode', 'all', '--tokens', options.tokens, ...threads];
    writeFileSync(path, lacuna('eval', sparse, '--against', dense, ...scored, '--quiet', '--json'));
    for (const made of [plan, sparse]) rmSync(made, { recursive: true });
  });
  return JSON.parse(readFileSync(figures, 'utf8')).modes[0];
}

const regions = options.regions.split(',');
const rows = [
  ...regions.map((region) => [region, options['warm-up']]),
  ...options['warm-ups'].split(',').map((warmUp) => [regions[0], warmUp]),
];
console.log(header(['layers', 'warm-up', 'skipped', 'ratio', 'KL', 'cost of a point']));
for (const [region, warmUp] of rows) {
  const { perplexityRatio, meanKl, realised } = measure(region, warmUp);
  const { value, standardError } = perplexityRatio;
  const points = 100 * realised.skippedShare;
  console.log(
    row([
      ...[region, warmUp, `${points.toFixed(2)} %`, `${value.toFixed(4)} ± ${(standardError ?? 0).toFixed(4)}`],
      ...[meanKl.toFixed(4), `${((100 * Math.log(value)) / points).toFixed(2)} %`],
    ]),
  );
}
