// Shows what Lacuna is for, on the small trained model in fixtures/: the fastest model within a budget, a sparse plan that
// ships only where it pays, a text, and a table of what was measured.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { installed, root, step } from './install.js';

const out = join(root, '.demo');
const model = join(root, 'fixtures/tiny-llama');
const BUDGET = 'ppl<=1.02';
/** Enough for a verdict on a model this small. */
const TOKENS = ['--tokens', '4096'];

const shown = (args) => args.map((arg) => arg.replace(`${root}/`, '').replace(/^.*[<>= ].*$/, '"$&"')).join(' ');

/** Runs a command of lacuna as a user would: how it ended, and what it printed. */
function lacuna(...args) {
  console.log(`\n$ lacuna ${shown(args)}`);
  return spawnSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 2 ** 20,
    encoding: 'utf8',
  });
}

function succeed(...args) {
  const { status, stdout } = lacuna(...args);
  if (status === 0) return stdout;
  console.log(stdout);
  process.exit(status ?? 1);
}

const json = (...args) => JSON.parse(succeed(...args, '--json'));
const proof = (folder, name) => JSON.parse(readFileSync(join(folder, 'lacuna', name), 'utf8'));
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// npm ci builds as well.
if (installed()) step('node', ['scripts/build.js']);
else step('npm', ['ci']);
rmSync(out, { recursive: true, force: true });

const [floats, fast, sparse] = ['floats', 'fast', 'sparse'].map((name) => join(out, name));
const { weightBytes } = json('convert', model, '-o', floats);
console.log(succeed('build', model, '-o', fast, '--budget', BUDGET, ...TOKENS));
const found = proof(fast, 'auto.json');
// Exit code 1 is a verdict: over the budget, or slower than the dense model. In stock ONNX Runtime, 2 is one as well: it is
// known beforehand that a plan for a model this small does not pay.
const half = ['--preset', 'top-k', '--keep', '0.5', '--budget', BUDGET, ...TOKENS];
const attempt = lacuna('build', model, '-o', sparse, ...half);
if (attempt.status !== 0 && attempt.status !== 1 && !(attempt.status === 2 && found.engine === 'stock'))
  process.exit(attempt.status ?? 1);
console.log(attempt.stdout);
// Many short repeats: each opens both models anew, which moves their speed more than what a longer one would average out.
const SHORT = ['--prompt-tokens', '16', '--rounds', '1', '--until-sure', '20'];
const timing = json('bench', fast, '--against', floats, ...SHORT);
console.log(succeed('run', fast, 'In the beginning', '--max-tokens', '40'));

/** A row of the table: ratios of the mode that loses most. */
function rowOf(name, bytes, { modes }, { speedup }) {
  const [{ value, upperBound }] = modes.map((mode) => mode.perplexityRatio).sort((a, b) => b.upperBound - a.upperBound);
  const { median, lowerBound, upperBound: most } = speedup;
  const isSure = lowerBound > 1 || most < 1;
  const bounds = `${lowerBound.toFixed(2)} to ${most.toFixed(2)}${isSure ? '' : ', not sure'}`;
  return [name, megabytes(bytes), value.toFixed(4), upperBound.toFixed(4), `${median.toFixed(2)}x`, bounds];
}

const rows = [
  ['floats (fp32)', megabytes(weightBytes), '1', '', '1.00x', ''],
  rowOf(`fast (${found.precision})`, found.bytes, found.evaluation, timing),
  attempt.status === 0
    ? rowOf('half of the neurons (fp32)', weightBytes, proof(sparse, 'evaluation.json'), proof(sparse, 'bench.json'))
    : ['half of the neurons (fp32)', '', '', '', 'not shipped', ''],
];
const header = ['model', 'weights', 'perplexity ratio', 'at most', 'decode speed', 'its mean'];
const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
const line = (cells) =>
  cells
    .map((cell, i) => cell.padEnd(widths[i]))
    .join('  ')
    .trimEnd();
console.log(`\n${[line(header), line(widths.map((w) => '-'.repeat(w))), ...rows.map(line)].join('\n')}`);
const engine = found.engine === 'native' ? 'the native core' : 'stock ONNX Runtime';
console.log(
  `\nBudget ${BUDGET}, judged on texts/test.txt. Speed is that of the floats in ${engine} times the figure, a median;\n` +
    `its mean lies between the bounds with a confidence of 90 %. Models took turns, opened anew ${timing.repeats} times.`,
);
if (found.engine === 'stock')
  console.log(
    'In a model this small, calling operators takes the time. The native core joins them; the packed command brings it.',
  );
