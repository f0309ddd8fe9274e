// The cost and the gain of sparsity on SmolLM2-135M: builds plans, and compares the perplexity ratios with PyTorch's.
//
//     node bench/sparse.js [--plans ffn-skip:0.1,top-k:0.5] [--tokens 20000] [--threads 2] [--rounds 4] [--python PATH]
//         [--model DIR] [--work WORK]
//
// `lacuna build` builds each plan (with the texts `fit`, `choose` and `test`). With --python (torch, transformers;
// fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py applies the same plan to the same windows, and
// the two excesses over 1 are compared. Speed is measured anew each time, against a dense folder of the same model.
// Prints a Markdown table. Folders and PyTorch's figures stay in WORK/sparse and are used again.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { header, inTorch, lacuna, MODEL, madeOnce, planned, readOptions, root, row, WORK } from './harness.js';

const options = readOptions({
  plans: 'ffn-skip:0.1,top-k:0.5',
  tokens: '20000',
  threads: '2',
  rounds: '4',
  python: undefined,
  model: MODEL,
  work: WORK,
});
const work = join(options.work, 'sparse');
const model = basename(resolve(options.model));
mkdirSync(work, { recursive: true });

const dense = madeOnce(join(work, `${model}-dense`), (path) => lacuna('convert', options.model, '-o', path, '--quiet'));

function build(preset, target) {
  const run = [model, preset, target, options.tokens, `${options.threads}t`];
  const output = madeOnce(join(work, run.join('-')), (path) => {
    const common = ['--tokens', options.tokens, '--threads', options.threads];
    // The question is what the plan costs, whether it pays in stock ONNX Runtime or not.
    const wanted = [...planned(preset, target), '--host', 'native', '--allow-slower'];
    lacuna('build', options.model, '-o', path, ...wanted, ...common);
  });
  const timing = ['--threads', options.threads, '--rounds', options.rounds];
  const json = (name) => JSON.parse(readFileSync(join(output, 'lacuna', name), 'utf8'));
  return {
    output,
    plan: join(output, 'lacuna/plan.json'),
    evaluation: json('evaluation.json'),
    bench: JSON.parse(lacuna('bench', output, '--against', dense, '--engine', 'stock', ...timing, '--quiet', '--json')),
  };
}

function inPyTorch(output, plan, mode, windows) {
  // Named by the plan's content, because a folder built anew may have another plan.
  const key = createHash('sha256').update(readFileSync(plan)).digest('hex').slice(0, 12);
  const counts = ['--mode', mode, '--windows', String(windows), '--threads', options.threads];
  const args = [options.model, plan, join(root, 'texts/test.txt'), ...counts];
  return inTorch(`${output}.torch-${mode}-${key}.json`, options.python, "PyTorch's", args);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const titles = ['plan', 'mode', 'scored tokens', 'realised', 'dense ppl', 'ratio', 'PyTorch ratio'];
console.log(header([...titles, 'excess against PyTorch', 'KL', 'same top-1', 'decode speed-up']));
for (const [preset, target] of options.plans.split(',').map((plan) => plan.split(':'))) {
  const { output, plan, evaluation, bench } = build(preset, target);
  for (const {
    mode,
    windows,
    scoredTokens,
    baseline,
    perplexityRatio: { value: ratio },
    meanKl,
    top1Agreement,
    realised,
  } of evaluation.modes) {
    const torch = inPyTorch(output, plan, mode, windows);
    const excess = torch === undefined ? '-' : ((ratio - 1) / (torch.perplexityRatio - 1)).toFixed(3);
    const share =
      preset === 'top-k' ? `${percent(realised.density)} kept` : `${percent(realised.skippedShare)} skipped`;
    const { median, p10, p90 } = bench.speedup;
    const speed = mode === 'decode' ? `${median.toFixed(3)} (${p10.toFixed(3)}-${p90.toFixed(3)})` : '';
    console.log(
      row([
        ...[`${preset} ${percent(Number(target))}`, mode, scoredTokens, share, baseline.perplexity.toFixed(4)],
        ...[ratio.toFixed(4), torch?.perplexityRatio.toFixed(4) ?? '-', excess, meanKl.toFixed(4)],
        ...[percent(top1Agreement), speed],
      ]),
    );
  }
}
