// Which models pass a quality budget: builds every preset in every precision, and says which budgets each result meets.
//
//     node bench/budgets.js [--model DIR] [--plans top-k:0.8,ffn-skip:0.02] [--dtypes fp32,int8,int4] [--budgets 1.02,1.05,1.10]
//         [--tokens 10000] [--threads 2] [--python PATH] [--work WORK]
//
// Each model is measured once, without a budget, even if it is slower (--allow-slower). Then `lacuna build` runs again
// with each budget on these measurements. With --python (torch, transformers, onnx;
// fixtures/oracle/requirements-torch.txt), fixtures/oracle/apply_plan.py measures the same plan, windows and rounded
// weights in Transformers. In int8 and int4, rounding inputs makes noise. "By chance" is two standard errors of the
// difference between two such ratios; it comes from the same windows with norms changed by a millionth. Prints two
// Markdown tables. Stages and PyTorch's figures stay in WORK/budgets and are used again.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { header, inTorch, MODEL, planned, readOptions, root, row, table, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  plans: 'top-k:0.8,ffn-skip:0.02',
  dtypes: 'fp32,int8,int4',
  budgets: '1.02,1.05,1.10',
  tokens: '10000',
  threads: '2',
  python: undefined,
  work: WORK,
});
const work = join(options.work, 'budgets', basename(resolve(options.model)));
mkdirSync(work, { recursive: true });

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Exit code and last lines of `lacuna build`. */
function build(output, preset, target, dtype, ...more) {
  const wanted = [...planned(preset, target), '--dtype', dtype];
  const common = ['--tokens', options.tokens, '--threads', options.threads, '--quiet'];
  const args = [join(root, 'bin/lacuna.js'), 'build', options.model, '-o', output, ...wanted, ...common, ...more];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  return { status, stderr };
}

/** The folder that is shipped whatever it costs, from stages that are made once. */
function measured(preset, target, dtype) {
  const folder = join(work, [preset, target, dtype, options.tokens].join('-'));
  const stages = join(work, 'stages');
  // With a budget that no model meets, everything is measured, nothing is shipped, and the stages stay. Without
  // --allow-slower, this includes the dense models that are named in place of a slower one.
  for (const slower of [['--allow-slower'], []]) {
    const { status, stderr } = build(stages, preset, target, dtype, '--budget', 'ppl<=1', ...slower);
    if (status !== 1) throw new Error(`lacuna build ended with ${status}: ${stderr}`);
  }
  const made = ship(preset, target, dtype, '--allow-slower');
  if (made.status !== 0) throw new Error(`lacuna build ended with ${made.status}: ${made.stderr}`);
  // A copy, because readers of ONNX files refuse links. It replaces what an earlier version of Lacuna made.
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(work, 'try'), folder, { recursive: true });
  return folder;
}

/** Runs `lacuna build` on links to the stages, because a build that ships removes its own. */
function ship(preset, target, dtype, ...more) {
  const output = join(work, 'try');
  for (const path of [output, `${output}.build`]) rmSync(path, { recursive: true, force: true });
  execFileSync('cp', ['-al', join(work, 'stages.build'), `${output}.build`]);
  const result = build(output, preset, target, dtype, ...more);
  rmSync(`${output}.build`, { recursive: true, force: true });
  return result;
}

/** What Transformers measures; undefined where it cannot. */
function inTransformers(folder, dtype, mode, windows) {
  // Kept for as long as our own figures are the same.
  const { modes } = json(join(folder, 'lacuna/evaluation.json'));
  const figures = createHash('sha256').update(JSON.stringify(modes)).digest('hex');
  const args = [options.model, join(folder, 'lacuna/plan.json'), join(root, 'texts/test.txt'), '--mode', mode];
  args.push('--windows', String(windows), '--threads', options.threads, '--weights', folder);
  if (dtype.startsWith('int')) args.push('--perturb', '1');
  return inTorch(`${folder}.torch-${mode}-${figures.slice(0, 12)}.json`, options.python, "Transformers'", args);
}

function verdict({ status, stderr }) {
  if (status === 0) return 'ships';
  if (status !== 1) throw new Error(`lacuna build ended with ${status}: ${stderr}`);
  return /decodes .* as fast as/.test(stderr) ? 'slower' : 'over budget';
}

/** What a folder costs in quality, a row a mode. */
function qualityRows(plan, dtype, folder) {
  return json(join(folder, 'lacuna/evaluation.json')).modes.map(({ mode, windows, perplexityRatio }) => {
    const ratio = perplexityRatio.value;
    const torch = inTransformers(folder, dtype, mode, windows);
    const chance = torch?.perturbed && 2 * torch.perplexityRatio * torch.perturbed.standardError;
    return row([
      ...[plan, dtype, mode],
      `${ratio.toFixed(4)} (${(perplexityRatio.upperBound ?? ratio).toFixed(4)})`,
      torch?.perplexityRatio.toFixed(4) ?? '-',
      torch === undefined ? '-' : (ratio - torch.perplexityRatio).toFixed(4),
      chance?.toFixed(4) ?? '-',
    ]);
  });
}

/** How fast a folder decodes, as a share of its dense twin, and what becomes of it under each budget. */
function verdictRow(plan, dtype, folder, verdicts) {
  const { median, p10, p90 } = json(join(folder, 'lacuna/bench.json')).speedup;
  return [plan, dtype, `${median.toFixed(2)} (${p10.toFixed(2)}-${p90.toFixed(2)})`, ...verdicts];
}

const budgets = options.budgets.split(',');
const rows = [];
console.log(`${basename(resolve(options.model))}\n`);
console.log(header(['plan', 'precision', 'mode', 'ratio (at most)', 'Transformers', 'difference', 'by chance']));
for (const [preset, target] of options.plans.split(',').map((plan) => plan.split(':')))
  for (const dtype of options.dtypes.split(',')) {
    const folder = measured(preset, target, dtype);
    const verdicts = budgets.map((budget) => verdict(ship(preset, target, dtype, '--budget', `ppl<=${budget}`)));
    rows.push(verdictRow(`${preset} ${target}`, dtype, folder, verdicts));
    for (const line of qualityRows(`${preset} ${target}`, dtype, folder)) console.log(line);
  }
console.log(`\n${table(['plan', 'precision', 'decode', ...budgets], rows)}`);
