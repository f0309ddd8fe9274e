// What leaving out neurons costs by what they are chosen by: the figures of docs/benchmarks.md, "Neurons by score".
//
//     node bench/scores.js [--model DIR] [--measures activation,product,predicted] [--targets 0.5,0.3] [--tokens 20000]
//         [--threads 2] [--python PATH] [--work WORK]
//
// `lacuna build` makes and corrects each plan on the texts `fit` and `choose`, and measures it on `test` in mode "all".
// With --python (torch, transformers; fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py gives every
// token and layer its best neurons by |act * up| * ||down||, as many as the row keeps in the mean: the same number
// everywhere, known beforehand, which no model that decodes can do without computing all of them. Prints a Markdown
// table. Folders and PyTorch's figures stay in WORK/scores and are used again.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { header, inTorch, lacuna, MODEL, madeOnce, readOptions, root, row, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  measures: 'activation,product,predicted',
  targets: '0.5,0.3',
  tokens: '20000',
  threads: '2',
  python: undefined,
  work: WORK,
});
const model = basename(resolve(options.model));
const work = join(options.work, 'scores', model);
mkdirSync(work, { recursive: true });

/** What a build wrote of its plan and its figures. */
function build(measure, target) {
  const folder = madeOnce(join(work, `${measure}-${target}-${options.tokens}`), (path) => {
    const wanted = ['--preset', 'top-k', '--measure', measure, '--target', target, '--host', 'native'];
    const common = ['--allow-slower', '--tokens', options.tokens, '--threads', options.threads, '--quiet'];
    lacuna('build', options.model, '-o', path, ...wanted, ...common);
  });
  const json = (name) => JSON.parse(readFileSync(join(folder, 'lacuna', name), 'utf8'));
  return { plan: join(folder, 'lacuna/plan.json'), figures: json('evaluation.json').modes[0] };
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
  for (const measure of options.measures.split(',')) {
    const { figures } = build(measure, target);
    const { perplexityRatio, meanKl, realised, windows } = figures;
    // The weights of the best are those of `product`, so its plan names them.
    const oracle = best(build('product', target).plan, realised.density, windows);
    const shares = realised.layers.map(({ density }) => density);
    console.log(
      row([
        ...[`\`${measure}\``, percent(realised.density)],
        `${perplexityRatio.value.toFixed(4)} ± ${perplexityRatio.standardError.toFixed(4)}`,
        ...[oracle?.perplexityRatio.toFixed(4) ?? '-', meanKl.toFixed(4)],
        `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`,
      ]),
    );
  }
