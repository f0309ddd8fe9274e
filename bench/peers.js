// Dense int4 decoding with the same weights: our session, onnxruntime-genai and llama.cpp.
//
//     node bench/peers.js [--rounds 6] [--threads 2] [--genai PYTHON] [--llama PYTHON] [--models DIR,...] [--work WORK]
//         [--prompt 128] [--steps 96]
//
// PYTHON has onnxruntime-genai, its builder and torch, or llama-cpp-python and gguf. Everything is made in WORK/peers
// and used again: our folders with heads in 8 and in 4 bits, genai's own from its builder (which cannot build Gemma 3
// of this size), and a GGUF file with layers in Q4_0 and the head in Q8_0. In each round every contender runs once, in
// a process of its own, and reports its best of three. A ratio is the median of the rounds' ratios. Bytes are those of
// the weights; the native session reads half of a head in 8 bits. If a peer is not installed, dies, fails or takes ten
// minutes, the reason replaces its figures, and the others are timed all the same.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { header, lacuna, MODEL, madeOnce, median, readOptions, root, row, WORK } from './harness.js';

const options = readOptions({
  rounds: '6',
  threads: '2',
  prompt: '128',
  steps: '96',
  genai: undefined,
  llama: undefined,
  models: `${MODEL},${join(dirname(MODEL), 'gemma-3-270m')}`,
  work: WORK,
});
const work = join(options.work, 'peers');
/** The time limit for any one run of a peer. */
const LIMIT_MS = 600_000;

const quietly = (...args) => lacuna(...args, '--quiet');
const made = (name, make) => madeOnce(join(work, name), make);
const counts = ['--prompt', options.prompt, '--steps', options.steps, '--threads', options.threads];

/** The output of a peer's program. If there is none, throws the reason. */
function runPeer(command, args) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 << 20,
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  if (error?.code === 'ETIMEDOUT') throw new Error(`no answer after ${LIMIT_MS / 1000} s`);
  if (error !== undefined) throw error;
  if (signal !== null) throw new Error(`stopped by ${signal}`);
  if (status !== 0) throw new Error(stderr.trim().split('\n').at(-1) || `exited with ${status}`);
  return stdout;
}

function ours(folder) {
  const [prompt, steps] = [options.prompt, String(Math.ceil(Number(options.steps) / 2))];
  const counts = ['--prompt-tokens', prompt, '--steps', steps, '--repeats', '1', '--rounds', '3'];
  const how = ['--engine', 'native', '--threads', options.threads];
  const { subjects } = JSON.parse(quietly('bench', folder, ...counts, ...how, '--json'));
  // From the best blocks, as for a peer's best run.
  return subjects[0].decodeTokensPerSecond.p90;
}

function peer(python, ...args) {
  const answer = runPeer(python, [join(root, 'python/peers.py'), ...args, ...counts]);
  // Libraries may print first. The script's own output is the last line.
  return JSON.parse(answer.trim().split('\n').at(-1)).decodeTokensPerSecond;
}

const genai = (folder) => peer(options.genai, 'onnxruntime-genai', folder);
const llama = (file) => peer(options.llama, 'llama.cpp', file);
const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(0)} MB`;

/** Rows of the table: a name, the maker of the file with a token's weights, and the function that decodes. */
function contendersOf(model) {
  const name = basename(model);
  const convert = (suffix, ...args) =>
    made(`${name}${suffix}`, (path) => quietly('convert', model, '-o', path, '--dtype', 'int4', ...args));
  const folder = convert('');
  const narrow = convert('-int4-head', '--vocabulary', 'int4');
  const weights = (path) => join(path, 'onnx/model.onnx_data');
  const rows = [
    { label: '**native session**', make: () => [weights(folder), () => ours(folder)] },
    { label: '**native session**, head in 4 bits', make: () => [weights(narrow), () => ours(narrow)] },
  ];
  if (options.genai !== undefined) {
    const { model_type: type } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
    const buildOwn = () => {
      const own = made(`${name}-genai`, (path) => {
        const args = ['-m', 'onnxruntime_genai.models.builder', '-i', model, '-o', path, '-p', 'int4', '-e', 'cpu'];
        runPeer(options.genai, args);
      });
      return [join(own, 'model.onnx.data'), () => genai(own)];
    };
    const install = () => {
      const installed = made(`${name}-with-kernels`, (path) => {
        cpSync(folder, path, { recursive: true });
        quietly('ops', 'install', path);
      });
      return [weights(folder), () => genai(installed)];
    };
    rows.push(
      ...(type === 'llama' ? [{ label: 'onnxruntime-genai, its own int4 (head in 4 bits)', make: buildOwn }] : []),
      { label: 'onnxruntime-genai, our folder', make: () => [weights(folder), () => genai(folder)] },
      { label: 'onnxruntime-genai, our folder and kernels', make: install },
    );
  }
  if (options.llama !== undefined) {
    const write = () => {
      const file = made(`${name}.gguf`, (path) =>
        runPeer(options.llama, [join(root, 'bench/gguf_q4.py'), model, path]),
      );
      return [file, () => llama(file)];
    };
    rows.push({ label: 'llama.cpp, Q4_0 (head in Q8_0)', make: write });
  }
  return rows;
}

/** The result of `act`, or its error as text. */
function attempt(act) {
  try {
    return { value: act() };
  } catch (error) {
    return { failure: error.message };
  }
}

/** Rates of each round. A contender that failed is not tried again. */
function race(rows) {
  const contenders = rows.map(({ label, make }) => {
    const { value: [file, decode] = [], failure } = attempt(make);
    return { label, file, decode, failure, rates: [] };
  });
  for (let round = 0; round < Number(options.rounds); round++)
    for (const contender of contenders) {
      if (contender.failure !== undefined) continue;
      const { value, failure } = attempt(contender.decode);
      if (failure === undefined) contender.rates.push(value);
      else contender.failure = failure;
    }
  return contenders;
}

mkdirSync(work, { recursive: true });
for (const model of options.models.split(',')) {
  const [native, ...others] = race(contendersOf(model));
  // The base of all ratios.
  if (native.failure !== undefined) throw new Error(native.failure);
  const title = `${basename(model)}, ${options.threads} thread(s), ${options.prompt} cached tokens`;
  console.log(`\n${header([title, 'weights', 'tok/s', 'native session is faster by'])}`);
  for (const { label, file, rates, failure } of [native, ...others]) {
    const size = file === undefined ? '' : megabytes(file);
    const ratio = () => median(rates.map((rate, round) => native.rates[round] / rate)).toFixed(2);
    const figures = failure === undefined ? [median(rates).toFixed(0), ratio()] : ['', `not timed: ${failure}`];
    console.log(row([label, size, ...figures]));
  }
}
