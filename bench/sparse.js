// The cost and the gain of sparsity on SmolLM2-135M: builds plans, and compares the perplexity ratios with PyTorch's.
//
//     node bench/sparse.js [--plans ffn-skip:0.1,top-k:0.5] [--tokens 20000] [--threads 2] [--rounds 4] [--python PATH]
//         [--model DIR] [--work WORK]
//
// `lacuna build` builds each plan (with the texts `fit`, `choose` and `test`). With --python (torch, transformers;
// fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py applies the same plan to the same windows, and
// the two excesses over 1 are compared. Speed is measured anew each time, against a dense folder of the same model.
// Prints a Markdown table. Folders and PyTorch's figures stay in WORK/sparse and are used again.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values: options } = parseArgs({
  options: {
    plans: { type: 'string', default: 'ffn-skip:0.1,top-k:0.5' },
    tokens: { type: 'string', default: '20000' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '4' },
    python: { type: 'string' },
    model: { type: 'string', default: join(root, 'fixtures/real/models/smollm2-135m') },
    work: { type: 'string', default: join(root, '.bench') },
  },
});
const work = join(options.work, 'sparse');
const test = join(root, 'texts/test.txt');
mkdirSync(work, { recursive: true });

const lacuna = (...args) =>
  execFileSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });

const dense = join(work, `${basename(resolve(options.model))}-dense`);
if (!existsSync(dense)) lacuna('convert', options.model, '-o', dense, '--quiet');

function build(preset, target) {
  const run = [basename(resolve(options.model)), preset, target, options.tokens, `${options.threads}t`];
  const output = join(work, run.join('-'));
  if (!existsSync(output)) {
    const common = ['--tokens', options.tokens, '--threads', options.threads];
    // The question is what the plan costs, whether it pays in stock ONNX Runtime or not.
    const wanted = ['--preset', preset, '--target', target, '--host', 'native', '--allow-slower'];
    lacuna('build', options.model, '-o', output, ...wanted, ...common);
  }
  const timing = ['--threads', options.threads, '--rounds', options.rounds];
  const json = (name) => JSON.parse(readFileSync(join(output, 'lacuna', name), 'utf8'));
  return {
    output,
    plan: join(output, 'lacuna/plan.json'),
    evaluation: json('evaluation.json'),
    bench: JSON.parse(lacuna('bench', output, '--against', dense, '--engine', 'stock', ...timing, '--quiet', '--json')),
  };
}

function inTorch(output, plan, mode, windows) {
  // Named by the plan's content, because a folder built anew may have another plan.
  const key = createHash('sha256').update(readFileSync(plan)).digest('hex').slice(0, 12);
  const cached = `${output}.torch-${mode}-${key}.json`;
  if (existsSync(cached)) return JSON.parse(readFileSync(cached, 'utf8'));
  if (options.python === undefined) return undefined;
  const script = join(root, 'fixtures/oracle/apply_plan.py');
  const counts = ['--mode', mode, '--windows', String(windows), '--threads', options.threads];
  const { status, signal, stdout } = spawnSync(options.python, [script, options.model, plan, test, ...counts], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (status !== 0) {
    console.error(`PyTorch's figures are left out: ${options.python} ended with ${signal ?? status ?? 'no start'}`);
    return undefined;
  }
  writeFileSync(cached, stdout);
  return JSON.parse(stdout);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
console.log(
  '| plan | mode | scored tokens | realised | dense ppl | ratio | PyTorch ratio | excess against PyTorch | KL | same top-1 | decode speed-up |',
);
console.log('|---|---|---|---|---|---|---|---|---|---|---|');
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
    const torch = inTorch(output, plan, mode, windows);
    const excess = torch === undefined ? '-' : ((ratio - 1) / (torch.perplexityRatio - 1)).toFixed(3);
    const share =
      preset === 'top-k' ? `${percent(realised.density)} kept` : `${percent(realised.skippedShare)} skipped`;
    const { median, p10, p90 } = bench.speedup;
    const speed = mode === 'decode' ? `${median.toFixed(3)} (${p10.toFixed(3)}-${p90.toFixed(3)})` : '';
    const cells = [
      `${preset} ${percent(Number(target))}`,
      mode,
      scoredTokens,
      share,
      baseline.perplexity.toFixed(4),
      ratio.toFixed(4),
    ];
    console.log(
      `| ${[...cells, torch?.perplexityRatio.toFixed(4) ?? '-', excess, meanKl.toFixed(4), percent(top1Agreement), speed].join(' | ')} |`,
    );
  }
}
