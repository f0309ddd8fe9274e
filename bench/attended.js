// What attending to few tokens brings and costs: decode speed after a long text, and with --quality the loss of perplexity.
//
//     node bench/attended.js [--models DIR,DIR] [--dtype int4] [--attended 512] [--caches fp32,int8] [--cached 4096] [--threads 2] [--repeats 3]
//         [--quality 256,512] [--window 4096] [--tokens 20000] [--work WORK] [--built FOLDER]
//
// Needs a native core. Speeds are of sessions that take turns in one process, against the same folder that attends to all tokens of
// a cache in fp32, at --cached tokens and at 128, where nothing is left out. With --quality, also measures each of these numbers of
// tokens on the test text: the first half of a window of --window tokens is a prompt, the other half is decoded, and at least
// --tokens tokens are decoded. Folders stay in WORK/attended. With --built, the folder of a build that was made with --bench, also
// times the attention alone, in the shape of SmolLM2-135M.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { lacuna, MODEL, madeOnce, readOptions, table, WORK } from './harness.js';

const options = readOptions({
  models: MODEL,
  dtype: 'int4',
  attended: '512',
  caches: 'fp32,int8',
  cached: '4096',
  threads: '2',
  repeats: '3',
  quality: '',
  window: '4096',
  tokens: '20000',
  work: WORK,
  built: '',
});
const work = join(options.work, 'attended');
mkdirSync(work, { recursive: true });

const asJson = (...args) => JSON.parse(lacuna(...args, '--json', '--quiet', '--threads', options.threads));

function folderOf(model) {
  return madeOnce(join(work, `${basename(resolve(model))}-${options.dtype}`), (path) =>
    lacuna('convert', model, '-o', path, '--dtype', options.dtype, '--quiet'),
  );
}

/** Tokens a second with all tokens of a cache in fp32 attended to, those of the session by `how`, and their ratio. */
function speeds(folder, how, promptTokens) {
  const counts = ['--prompt-tokens', promptTokens, '--repeats', options.repeats];
  const report = asJson('bench', folder, ...how, '--against-cache', 'fp32', ...counts);
  const [all, few] = report.subjects.map(({ decodeTokensPerSecond }) => decodeTokensPerSecond.median);
  return { all, few, speedup: report.speedup };
}

const shareOf = (long, short) => (long / short).toFixed(2);

function speedRows(model) {
  const [folder, name] = [folderOf(model), basename(resolve(model))];
  const rows = options.caches.split(',').flatMap((cache) =>
    [[], ['--attended', options.attended]].map((attended) => {
      const how = ['--cache', cache, ...attended];
      const [long, short] = [speeds(folder, how, options.cached), speeds(folder, how, '128')];
      const { median, p10, p90 } = long.speedup;
      const ratio = `${median.toFixed(2)} (${p10.toFixed(2)}-${p90.toFixed(2)})`;
      return [name, cache, attended[1] ?? 'all', long.few.toFixed(1), ratio, shareOf(long.few, short.few)];
    }),
  );
  return rows;
}

function lossRow(model, attended) {
  // Half of a window is decoded.
  const amount = ['--window', options.window, '--tokens', String(2 * Number(options.tokens))];
  const { modes } = asJson('eval', folderOf(model), '--attended', attended, ...amount);
  const { perplexityRatio, meanKl, top1Agreement } = modes[0];
  const { value, standardError } = perplexityRatio;
  const ratio = `${value.toFixed(4)} ± ${standardError.toFixed(4)}`;
  return [basename(resolve(model)), attended, ratio, meanKl.toFixed(4), `${(100 * top1Agreement).toFixed(1)} %`];
}

const models = options.models.split(',');
const titles = ['model', 'cache', 'attended', `tok/s at ${options.cached}`, 'to all in fp32', 'of its own at 128'];
console.log(table(titles, models.flatMap(speedRows)));

if (options.quality !== '') {
  const rows = models.flatMap((model) => options.quality.split(',').map((attended) => lossRow(model, attended)));
  console.log(`\n${table(['model', 'attended', 'perplexity ratio', 'KL', 'same top-1'], rows)}`);
}

if (options.built !== '')
  for (const threads of new Set(['1', options.threads]))
    for (const cache of options.caches.split(','))
      for (const attended of ['0', options.attended])
        execFileSync(join(options.built, 'attention_bench'), [options.cached, cache, threads, '21', '', attended], {
          stdio: 'inherit',
        });
