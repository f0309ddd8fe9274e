// What leaving out neurons costs by what they are chosen by: the figures of docs/benchmarks.md, "Neurons by score".
//
//     node bench/scores.js [--model DIR] [--measures activation,product,predicted] [--targets 0.5,0.3] [--tokens 20000]
//         [--fit-tokens 8192] [--threads 2] [--python PATH] [--work WORK]
//
// Plans are made from the text `fit` and measured on `test` in mode "all". With --python (torch, transformers;
// fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py gives every token and layer its best neurons by
// |act * up| * ||down||, the same number everywhere: as many as the row keeps in the mean. To know them, all have to be
// computed. Plans are not corrected, so each row is compared at the share that it keeps. Prints a Markdown table. Statistics, the dense folder and the figures stay in WORK/scores.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  denseAndStatistics,
  header,
  inTorch,
  lacuna,
  MODEL,
  madeOnce,
  readOptions,
  root,
  row,
  WORK,
} from './harness.js';

const options = readOptions({
  model: MODEL,
  measures: 'activation,product,predicted',
  targets: '0.5,0.3',
  tokens: '20000',
  'fit-tokens': '8192',
  threads: '2',
  python: undefined,
  work: WORK,
});
const model = basename(resolve(options.model));
const work = join(options.work, 'scores', model);
mkdirSync(work, { recursive: true });

const threads = ['--threads', options.threads];
const { dense, statistics } = denseAndStatistics(work, options);

function planOf(measure, target) {
  return madeOnce(join(work, `${measure}-${target}-${options['fit-tokens']}.plan.json`), (path) => {
    const wanted = ['--preset', 'top-k', '--measure', measure, '--keep', target, '--host', 'native'];
    lacuna('plan', statistics, '-o', path, ...wanted, '--quiet');
  });
}

/** The figures of mode "all". */
function measure(by, target) {
  const figures = madeOnce(join(work, `${by}-${target}-${options['fit-tokens']}-${options.tokens}.json`), (path) => {
    const sparse = join(work, 'sparse');
    rmSync(sparse, { recursive: true, force: true });
    lacuna('sparsify', dense, '--plan', planOf(by, target), '-o', sparse, '--quiet');
    const scored = ['--mode', 'all', '--tokens', options.tokens, ...threads];
    writeFileSync(path, lacuna('eval', sparse, '--against', dense, ...scored, '--quiet', '--json'));
    rmSync(sparse, { recursive: true });
  });
  return JSON.parse(readFileSync(figures, 'utf8')).modes[0];
}

/** The figures of the best neurons of each token, `density` of them. */
function best(plan, density, windows) {
  const share = density.toFixed(4);
  const stated = JSON.parse(readFileSync(plan, 'utf8'));
  const blocks = stated.blocks.map((block) => ({
    ...block,
    choice: { ...block.choice, measure: 'product', cut: { kind: 'rank', density: Number(share) } },
  }));
  const ranked = join(dirname(plan), 'ranked.plan.json');
  writeFileSync(ranked, JSON.stringify({ ...stated, blocks }));
  const counts = ['--mode', 'all', '--windows', String(windows), '--threads', options.threads];
  const args = [options.model, ranked, join(root, 'texts/test.txt'), ...counts];
  return inTorch(join(work, `best-${share}-${windows}.json`), options.python, "PyTorch's", args);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const titles = ['measure', 'kept', 'ratio', 'the best of each token', 'KL', 'layers'];
console.log(header(titles));
for (const target of options.targets.split(','))
  for (const by of options.measures.split(',')) {
    const { perplexityRatio, meanKl, realised, windows } = measure(by, target);
    // The weights of the best are those of `product`, so its plan names them.
    const oracle = best(planOf('product', target), realised.density, windows);
    const shares = realised.layers.map(({ density }) => density);
    console.log(
      row([
        ...[`\`${by}\``, percent(realised.density)],
        `${perplexityRatio.value.toFixed(4)} ± ${perplexityRatio.standardError.toFixed(4)}`,
        ...[oracle?.perplexityRatio.toFixed(4) ?? '-', meanKl.toFixed(4)],
        `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`,
      ]),
    );
  }
