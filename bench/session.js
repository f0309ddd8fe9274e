// The gain of the native core's session on SmolLM2-135M in int4: several rows at once, and `lacuna/backend` against
// plain onnxruntime-node.
//
//     node bench/session.js [--rounds 5] [--threads 2] [--long 2000] [--model DIR] [--work WORK]
//
// The folder is made in WORK/decode and used again. Contenders take turns in one process. Ratios are medians of the
// rounds'.
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import '../dist/src/backend.js';
import { runRows } from '../dist/src/index.js';
import { lacuna, MODEL, madeOnce, median, readOptions, table, WORK } from './harness.js';

const options = readOptions({ rounds: '5', threads: '2', long: '2000', model: MODEL, work: WORK });
const rounds = Number(options.rounds);
const threads = Number(options.threads);
const vocabulary = JSON.parse(readFileSync(join(options.model, 'config.json'), 'utf8')).vocab_size;
const folder = madeOnce(join(options.work, 'decode/int4'), (path) => {
  mkdirSync(dirname(path), { recursive: true });
  lacuna('convert', options.model, '-o', path, '--dtype', 'int4', '--quiet');
});

const print = (titles, rows) => console.log(`\n${table(titles, rows)}`);

const ROWS = [1, 2, 4, 8];
const PROMPT = 'The capital of France is';

async function rate(rows) {
  const prompts = Array(rows).fill(PROMPT);
  const request = { folder, prompts, engine: 'native', threads, maxTokens: 96, ignoreEos: true };
  return (await runRows(request)).tokensPerSecond;
}

const rates = [];
for (let round = 0; round <= rounds; round++) {
  const row = [];
  for (const rows of ROWS) row.push(await rate(rows));
  // The first run meets a cold disk.
  if (round > 0) rates.push(row);
}
print(
  ['rows', 'tokens/s together', 'as one row'],
  ROWS.map((rows, i) => [
    rows,
    median(rates.map((row) => row[i])).toFixed(0),
    `${median(rates.map((row) => row[i] / row[0])).toFixed(2)}x`,
  ]),
);

const int64 = (values, dims) => new Tensor('int64', BigInt64Array.from(values, BigInt), dims);

/** What any program does that knows the names: it feeds results back as they came. */
function feeds(session, tokens, past) {
  const length = past?.['present.0.key'].dims[2] ?? 0;
  const total = length + tokens.length;
  const fed = {
    input_ids: int64(tokens, [1, tokens.length]),
    attention_mask: int64(Array(total).fill(1), [1, total]),
  };
  for (const { name, shape } of session.inputMetadata)
    if (name.startsWith('past_key_values'))
      fed[name] =
        past?.[name.replace('past_key_values', 'present')] ?? new Tensor('float32', [], [1, shape[1], 0, shape[3]]);
  return fed;
}

const STEPS = 24;

/** Tokens a second after this number of tokens, and the resulting cache. */
async function decode(session, past) {
  let results = past;
  const started = performance.now();
  for (let i = 0; i < STEPS; i++) results = await session.run(feeds(session, [100 + i], results));
  return { rate: (STEPS * 1000) / (performance.now() - started), results };
}

const sessions = [];
for (const provider of ['cpu', 'lacuna'])
  sessions.push(
    await InferenceSession.create(join(folder, 'onnx/model.onnx'), {
      executionProviders: [provider],
      intraOpNumThreads: threads,
    }),
  );

async function compare(cached) {
  const prompt = Array.from({ length: cached }, (_, i) => 100 + ((i * 389) % (vocabulary - 100)));
  const pasts = [];
  for (const session of sessions) pasts.push(await session.run(feeds(session, prompt)));
  const measured = [];
  for (let round = 0; round <= rounds; round++) {
    const row = [];
    for (const [i, session] of sessions.entries()) {
      const { rate, results } = await decode(session, pasts[i]);
      pasts[i] = results;
      row.push(rate);
    }
    if (round > 0) measured.push(row);
  }
  const [stock, native] = [0, 1].map((i) => median(measured.map((row) => row[i])).toFixed(1));
  return [cached, stock, native, `${median(measured.map(([before, after]) => after / before)).toFixed(2)}x`];
}

const compared = [];
for (const cached of [128, Number(options.long)]) compared.push(await compare(cached));
print(['cached tokens', "['cpu'] tokens/s", "['lacuna'] tokens/s", 'ratio'], compared);
