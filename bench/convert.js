// Conversion of SmolLM2-135M to fp32 against a plain copy of its output and against peers: wall time and peak memory.
//
//     node bench/convert.js [--rounds 5] [--genai PYTHON] [--optimum PYTHON] [--model DIR] [--work WORK]
//
// The copy is `cp` and fsync. Contenders alternate, and the result is the median of the ratios of each round. Peers run
// in Pythons that have them: optimum needs Transformers below 4.58, genai's builder above. A peer that fails is named
// and left out. Prints a Markdown table. Everything is made in WORK/convert and removed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { MODEL, measure, median, readOptions, root, table, WORK } from './harness.js';

const options = readOptions({ rounds: '5', genai: undefined, optimum: undefined, model: MODEL, work: WORK });
const { model } = options;
const work = join(options.work, 'convert');

if (!existsSync(join(model, 'config.json'))) {
  console.error('Make the model first: python fixtures/real/prepare.py smollm2-135m');
  process.exit(2);
}

const ours = [process.execPath, join(root, 'bin/lacuna.js'), 'convert', model, '-o', join(work, 'ours'), '--quiet'];
const data = join(work, 'ours/onnx/model.onnx_data');
const copy = ['sh', '-c', `cp "${join(work, 'source')}" "${join(work, 'copy')}" && sync "${join(work, 'copy')}"`];

async function peer(name, command, output) {
  rmSync(output, { recursive: true, force: true });
  try {
    const { seconds, peak } = await measure(command);
    return [name, seconds.toFixed(1), '', peak.toFixed(0)];
  } catch (error) {
    console.error(`${name}: ${error.message.split('\n').slice(-3).join(' ')}`);
    return [name, 'fails', '', ''];
  }
}

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
await measure(ours);
spawnSync('cp', [data, join(work, 'source')]);
const rounds = [];
for (let round = 0; round < Number(options.rounds); round++) {
  rmSync(join(work, 'copy'), { force: true });
  const copied = await measure(copy);
  rmSync(join(work, 'ours'), { recursive: true, force: true });
  spawnSync('sh', ['-c', `cat "${model}"/*.safetensors > /dev/null`]);
  rounds.push({ copied, converted: await measure(ours) });
}
const node = await measure([process.execPath, '-e', '0']);
const ratio = median(rounds.map(({ copied, converted }) => converted.seconds / copied.seconds));
const column = (pick) => median(rounds.map(pick));

const rows = [
  ['`cp` and fsync of the output', column(({ copied }) => copied.seconds).toFixed(2), '1.00', ''],
  [
    '**lacuna convert**',
    column(({ converted }) => converted.seconds).toFixed(2),
    ratio.toFixed(2),
    column(({ converted }) => converted.peak).toFixed(0),
  ],
];
if (options.genai !== undefined) {
  const output = join(work, 'genai');
  const args = ['-m', 'onnxruntime_genai.models.builder', '-i', model, '-o', output, '-p', 'fp32', '-e', 'cpu'];
  rows.push(await peer('onnxruntime-genai builder', [options.genai, ...args], output));
}
if (options.optimum !== undefined) {
  const output = join(work, 'optimum');
  const args = ['export', 'onnx', '--model', model, '--task', 'text-generation-with-past', output];
  rows.push(await peer('optimum-cli export onnx', [join(dirname(options.optimum), 'optimum-cli'), ...args], output));
}
console.log(`Node alone: ${node.peak.toFixed(0)} MB. ${options.rounds} rounds.\n`);
console.log(table([`${basename(model)}, fp32`, 'seconds', 'to the copy', 'peak memory, MB'], rows));
rmSync(work, { recursive: true, force: true });
