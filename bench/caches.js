// What caches in fp16 and int8 bring and cost: decode speed after a long text, and perplexity over windows as long.
//
//     node bench/caches.js [--models DIR,DIR] [--dtype int4] [--cached 4096] [--window 4096] [--tokens 20000] [--threads 2] [--repeats 3] [--work WORK]
//         [--built FOLDER]
//
// Needs a native core. Speeds are of sessions that take turns in one process, against fp32 caches of the same folder, at --cached
// tokens and at 128. Perplexities are of the test text, in windows of --window tokens, of which all logits are in memory. Folders stay in WORK/caches. With --built, the
// folder of a build that was made with --bench, also times the attention alone, in the shape of SmolLM2-135M.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { lacuna, MODEL, madeOnce, readOptions, table, WORK } from './harness.js';

const options = readOptions({
  models: `${MODEL},${join(dirname(MODEL), 'gemma-3-270m')}`,
  dtype: 'int4',
  cached: '4096',
  window: '4096',
  tokens: '20000',
  threads: '2',
  repeats: '3',
  work: WORK,
  built: '',
});
const work = join(options.work, 'caches');
mkdirSync(work, { recursive: true });

const asJson = (...args) => JSON.parse(lacuna(...args, '--json', '--quiet', '--threads', options.threads));
const spread = ({ median, p10, p90 }) => `${median.toFixed(2)} (${p10.toFixed(2)}-${p90.toFixed(2)})`;

function speeds(folder, cache, promptTokens) {
  const caches = ['--cache', cache, '--against-cache', 'fp32'];
  const report = asJson('bench', folder, ...caches, '--prompt-tokens', promptTokens, '--repeats', options.repeats);
  return { rates: report.subjects.map((subject) => subject.decodeTokensPerSecond.median), speedup: report.speedup };
}

function loss(folder, cache) {
  const args = ['--cache', cache, '--against-cache', 'fp32', '--window', options.window, '--tokens', options.tokens];
  return asJson('eval', folder, ...args).modes[0].perplexityRatio;
}

function rowsOf(model) {
  const name = basename(resolve(model));
  const folder = madeOnce(join(work, `${name}-${options.dtype}`), (path) =>
    lacuna('convert', model, '-o', path, '--dtype', options.dtype, '--quiet'),
  );
  const narrow = ['fp16', 'int8'].map((cache) => {
    const [long, short] = [speeds(folder, cache, options.cached), speeds(folder, cache, '128')];
    const { value, upperBound } = loss(folder, cache);
    const ratio = `${value.toFixed(5)} (${upperBound.toFixed(5)})`;
    return {
      base: long.rates[0],
      row: [name, cache, long.rates[1].toFixed(0), spread(long.speedup), spread(short.speedup), ratio],
    };
  });
  return [[name, 'fp32', narrow[0].base.toFixed(0), '1', '1', '1'], ...narrow.map(({ row }) => row)];
}

const titles = ['model', 'cache', `tok/s at ${options.cached}`, 'to fp32', 'at 128', 'perplexity ratio (at most)'];
console.log(table(titles, options.models.split(',').flatMap(rowsOf)));

if (options.built !== '')
  for (const threads of new Set(['1', options.threads])) {
    const program = join(options.built, 'attention_bench');
    for (const format of ['fp32', 'fp16', 'int8'])
      execFileSync(program, [options.cached, format, threads], { stdio: 'inherit' });
  }
