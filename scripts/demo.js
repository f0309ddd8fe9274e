// Shows the whole pipeline on the small trained model in fixtures/: build, eval, bench, run, and a table at the end.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { installed, root, step } from './install.js';

const out = join(root, '.demo');
const model = join(root, 'fixtures/tiny-llama');

const shown = (args) => args.map((arg) => arg.replace(`${root}/`, '')).join(' ');

/** Runs a command of lacuna that must refuse, and shows its message. */
function refused(...args) {
  console.log(`\n$ lacuna ${shown(args)}`);
  const { status } = spawnSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], { stdio: 'inherit' });
  if (status !== 2) throw new Error('A plan that cannot pay was not refused');
}

/** Runs a command of lacuna as a user would. Returns its output. */
function lacuna(...args) {
  console.log(`\n$ lacuna ${shown(args)}`);
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 2 ** 20,
    encoding: 'utf8',
  });
  if (status !== 0) {
    console.log(stdout);
    process.exit(status ?? 1);
  }
  return stdout;
}

const json = (...args) => JSON.parse(lacuna(...args, '--json'));
const text = (value, digits) => value.toFixed(digits);

if (!installed()) step('npm', ['ci']);
rmSync(out, { recursive: true, force: true });

const dense = join(out, 'dense');
lacuna('convert', model, '-o', dense);
// A model this small gains nothing in stock ONNX Runtime. The command says so before anything is measured.
const stock = ['--preset', 'top-k', '--keep', '0.3', '--host', 'stock'];
refused('build', model, '-o', join(out, 'refused'), ...stock);

// Planned for the native kernels, it shows the whole pipeline all the same, whatever its speed here.
const anyway = ['--host', 'native', '--allow-slower', '--tokens', '10000'];
const rows = [];
for (const [preset, ...share] of [
  ['ffn-skip', '--skip', '0.2'],
  ['top-k', '--keep', '0.3'],
]) {
  const folder = join(out, preset);
  console.log(lacuna('build', model, '-o', folder, '--preset', preset, ...share, ...anyway));
  const { modes } = json('eval', folder, '--against', dense, '--tokens', '4000', '--mode', 'decode');
  const { speedup, subjects } = json('bench', folder, '--against', dense);
  const [measured] = modes;
  const speeds = subjects.map(({ decodeTokensPerSecond }) => text(decodeTokensPerSecond.median, 0));
  if (rows.length === 0)
    rows.push(['dense', text(measured.baseline.perplexity, 3), '1.000', '', '', speeds[0], '1.00']);
  const { density, skippedShare } = measured.realised;
  const realised = preset === 'top-k' ? `${text(100 * density, 1)} % kept` : `${text(100 * skippedShare, 1)} % skipped`;
  rows.push([
    preset,
    text(measured.model.perplexity, 3),
    text(measured.perplexityRatio.value, 3),
    `${text(100 * measured.top1Agreement, 1)} %`,
    realised,
    speeds[1],
    text(speedup.median, 2),
  ]);
}
console.log(lacuna('run', join(out, 'top-k'), 'In the beginning', '--max-tokens', '40'));

const header = ['model', 'perplexity', 'ratio', 'same top-1', 'FFN', 'tok/s', 'speed-up'];
const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
const line = (cells) => cells.map((cell, i) => cell.padEnd(widths[i])).join('  ');
console.log(`\n${[line(header), line(widths.map((w) => '-'.repeat(w))), ...rows.map(line)].join('\n')}`);
console.log(`\nDecoding only, on texts/test.txt. Folders: .demo/dense, .demo/ffn-skip, .demo/top-k`);
