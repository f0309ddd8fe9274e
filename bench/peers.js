// Dense int4 decoding on the same weights: our session, onnxruntime-genai and llama.cpp.
//
//     node bench/peers.js [--rounds 6] [--threads 2] [--genai PYTHON] [--llama PYTHON]
//
// PYTHON has onnxruntime-genai, its builder and torch, or llama-cpp-python and gguf. Everything is made in .bench/peers and
// used again: our folders with heads in 8 and in 4 bits, genai's own by its builder (which knows no Gemma 3 of this size), and
// a GGUF file with layers in Q4_0 and the head in Q8_0. Each round every contender runs once, in a process of its own, and
// says its best of three; a ratio is the median of the rounds' ratios. Bytes are those of the weights; of a
// head in 8 bits the native session reads half.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(root, '.bench/peers');
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '6' },
    threads: { type: 'string', default: '2' },
    genai: { type: 'string' },
    llama: { type: 'string' },
  },
});
/** Prompt and steps that every contender is told. */
const [PROMPT, STEPS] = [128, 96];
/** Models, and whether genai's builder converts them. */
const MODELS = [
  { name: 'smollm2-135m', isBuilt: true },
  { name: 'gemma-3-270m', isBuilt: false },
];

const run = (command, args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 << 20 });
const lacuna = (...args) => run(process.execPath, [join(root, 'bin/lacuna.js'), ...args, '--quiet']);
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const counts = ['--prompt', String(PROMPT), '--steps', String(STEPS), '--threads', options.threads];

function made(name, make) {
  const path = join(work, name);
  if (!existsSync(path)) make(path);
  return path;
}

function ours(folder) {
  const counts = ['--prompt-tokens', String(PROMPT), '--steps', String(STEPS / 2), '--repeats', '1', '--rounds', '3'];
  const { subjects } = JSON.parse(lacuna('bench', folder, ...counts, '--threads', options.threads, '--json'));
  // Of the best blocks, as a peer's best run counts.
  return subjects[0].decodeTokensPerSecond.p90;
}

const peer = (python, ...args) =>
  JSON.parse(run(python, [join(root, 'python/peers.py'), ...args, ...counts])).decodeTokensPerSecond;
const genai = (folder) => peer(options.genai, 'onnxruntime-genai', folder);
const llama = (file) => peer(options.llama, 'llama.cpp', file);
const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(0)} MB`;

/** Rows of the table: name, file whose weights a token reads, and tokens a second. */
function contendersOf({ name, isBuilt }) {
  const model = join(root, 'fixtures/real/models', name);
  const convert = (suffix, ...args) =>
    made(`${name}${suffix}`, (path) => lacuna('convert', model, '-o', path, '--dtype', 'int4', ...args));
  const folder = convert('');
  const narrow = convert('-int4-head', '--vocabulary', 'int4');
  const weights = (path) => join(path, 'onnx/model.onnx_data');
  const rows = [
    { label: '**native session**', file: weights(folder), decode: () => ours(folder) },
    { label: '**native session**, head in 4 bits', file: weights(narrow), decode: () => ours(narrow) },
  ];
  if (options.genai !== undefined) {
    if (isBuilt) {
      const own = made(`${name}-genai`, (path) => {
        const args = ['-m', 'onnxruntime_genai.models.builder', '-i', model, '-o', path, '-p', 'int4', '-e', 'cpu'];
        run(options.genai, args);
      });
      const label = 'onnxruntime-genai, its own int4 (head in 4 bits)';
      rows.push({ label, file: join(own, 'model.onnx.data'), decode: () => genai(own) });
    }
    const installed = made(`${name}-with-kernels`, (path) => {
      cpSync(folder, path, { recursive: true });
      lacuna('ops', 'install', path);
    });
    rows.push(
      { label: 'onnxruntime-genai, our folder', file: weights(folder), decode: () => genai(folder) },
      { label: 'onnxruntime-genai, our folder and kernels', file: weights(folder), decode: () => genai(installed) },
    );
  }
  if (options.llama !== undefined) {
    const file = made(`${name}.gguf`, (path) => run(options.llama, [join(root, 'bench/gguf_q4.py'), model, path]));
    rows.push({ label: 'llama.cpp, Q4_0 (head in Q8_0)', file, decode: () => llama(file) });
  }
  return rows;
}

mkdirSync(work, { recursive: true });
for (const model of MODELS) {
  const rows = contendersOf(model);
  const rounds = Array.from({ length: Number(options.rounds) }, () => rows.map(({ decode }) => decode()));
  const title = `${model.name}, ${options.threads} thread(s), ${PROMPT} cached tokens`;
  console.log(`\n| ${title} | weights | tok/s | native session is faster by |\n|---|---|---|---|`);
  rows.forEach(({ label, file }, at) => {
    const rates = rounds.map((round) => round[at]);
    const ratios = rounds.map((round) => round[0] / round[at]);
    console.log(`| ${label} | ${megabytes(file)} | ${median(rates).toFixed(0)} | ${median(ratios).toFixed(2)} |`);
  });
}
