// Whether a fact in a long prompt is still found where few tokens are attended to.
//
//     node bench/needle.js [--model DIR] [--dtype int4] [--attended 256,128] [--caches fp32] [--tokens 4000] [--depths 10] [--threads 2] [--work WORK]
//
// Needs a native core. A prompt of --tokens tokens of the test text has one sentence with a number of five digits in it, at as many
// depths as --depths says, and ends by asking for that number. The model continues it: attending to all tokens, and to each of the
// numbers of tokens. The first token is the prompt's, which is read as a whole. The others attend to few. Right are the digits up to
// the first wrong one. Folders stay in WORK/attended.
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { open } from '../dist/src/index.js';
import { lacuna, MODEL, madeOnce, readOptions, root, table, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  dtype: 'int4',
  attended: '256,128',
  caches: 'fp32',
  tokens: '4000',
  depths: '10',
  threads: '2',
  work: WORK,
});
const work = join(options.work, 'attended');
mkdirSync(work, { recursive: true });
const folder = madeOnce(join(work, `${basename(resolve(options.model))}-${options.dtype}`), (path) =>
  lacuna('convert', options.model, '-o', path, '--dtype', options.dtype, '--quiet'),
);

const depths = Array.from({ length: Number(options.depths) }, (_, i) => (i + 0.5) / Number(options.depths));
/** Another number for each depth. */
const numberAt = (i) => String(10_000 + ((7919 * (i + 1)) % 90_000));

/** A text about as long as is asked for, with the fact after a share of its lines. */
function promptOf(model, depth, number) {
  const fact = `The secret number of the blue door is ${number}.`;
  const question = 'Remember the blue door. The secret number of the blue door is';
  const lines = readFileSync(join(root, 'texts/test.txt'), 'utf8').split('\n');
  const wanted = Number(options.tokens) - model.tokens(`${fact}\n\n${question}`).length;
  const kept = [];
  for (let seen = 0; kept.length < lines.length; ) {
    seen += model.tokens(`${lines[kept.length]}\n`).length;
    if (seen > wanted) break;
    kept.push(lines[kept.length]);
  }
  const at = Math.round(depth * kept.length);
  return [...kept.slice(0, at), fact, ...kept.slice(at), '', question].join('\n');
}

/** How many digits are right at each depth. */
async function digitsFound(attended, cache) {
  const model = await open(folder, { attended, cache, threads: Number(options.threads) });
  const found = [];
  try {
    for (const [i, depth] of depths.entries()) {
      const number = numberAt(i);
      const { text } = await model.generate(promptOf(model, depth, number), { maxTokens: 12, ignoreEos: true });
      const digits = text.replace(/^\s+/, '');
      found.push([...number].findIndex((digit, place) => digits[place] !== digit));
    }
  } finally {
    await model.close();
  }
  return found.map((wrong) => (wrong < 0 ? 5 : wrong));
}

const rows = [];
for (const cache of options.caches.split(','))
  for (const attended of [undefined, ...options.attended.split(',').map(Number)]) {
    const found = await digitsFound(attended, cache);
    const whole = found.filter((digits) => digits === 5).length;
    rows.push([cache, attended ?? 'all', `${whole} of ${depths.length}`, found.join(' ')]);
  }
console.log(table(['cache', 'attended', 'found', 'right digits by depth'], rows));
