// Whether budgets are kept on a text that no build has read: random budgets, each built and then measured once more.
//
//     node bench/random-budgets.js [--models DIR,DIR] [--count 14] [--seed 1] [--tokens 4000] [--threads 2] [--work WORK]
//
// Each model gets `count` budgets: of perplexity, of KL divergence, or of perplexity and bytes, drawn by the seed: 1.002 to
// 1.3, 0.001 to 0.2 nats, and 0.6 to 1.1 of int8's bytes. `lacuna build` judges by one half of the text `test`, the other
// one is fresh: every other piece, and those between, so that they are of the same kind. Prints two Markdown tables: a row
// for each model, and one for each budget. Stages and figures stay in WORK/random-budgets and are used again.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { lacuna, MODEL, madeOnce, median, readOptions, root, table, WORK } from './harness.js';

const options = readOptions({ models: MODEL, count: '14', seed: '1', tokens: '4000', threads: '2', work: WORK });

/** A linear congruential generator (Numerical Recipes' constants): numbers in [0, 1). */
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Between `least` and `most`, each factor as likely as another. */
const logUniform = (next, least, most) => least * (most / least) ** next();

/** A budget as the command takes it; bytes as a share of what int8 has, which the model decides. */
function drawBudget(next, int8Bytes) {
  const kind = ['ppl', 'ppl', 'kl', 'both'][Math.floor(4 * next())];
  const ppl = `ppl<=${(1 + logUniform(next, 0.002, 0.3)).toFixed(4)}`;
  if (kind === 'kl') return `kl<=${logUniform(next, 0.001, 0.2).toFixed(4)}`;
  if (kind === 'ppl') return ppl;
  return `${ppl}, bytes<=${((int8Bytes * (0.6 + 0.5 * next())) / 1e6).toFixed(1)}MB`;
}

const common = ['--tokens', options.tokens, '--threads', options.threads];

/** Pieces that the test text is cut into, at ends of lines. */
const PIECES = 40;

/** Two texts of the same kind: every other piece of the test text, and those between. */
function halves(work) {
  const text = readFileSync(join(root, 'texts/test.txt'), 'utf8');
  const ends = Array.from({ length: PIECES }, (_, at) => text.indexOf('\n', ((at + 1) * text.length) / PIECES - 2) + 1);
  const pieces = ends.map((end, at) => text.slice(at === 0 ? 0 : ends[at - 1], end || text.length));
  return ['judged', 'fresh'].map((name, half) => {
    const path = join(work, `${name}.txt`);
    writeFileSync(path, pieces.filter((_, at) => at % 2 === half).join(''));
    return path;
  });
}

/** What became of a budget; `fresh` are the figures of the text that no build reads. */
function outcomeOf({ model, work, judged, fresh }, budget) {
  const [output, stages] = ['try', 'stages'].map((name) => join(work, name));
  rmSync(output, { recursive: true, force: true });
  const args = ['build', model, '-o', output, '--work', stages, '--budget', budget, '--test', judged, ...common];
  const stdio = ['ignore', 'pipe', 'pipe'];
  const made = spawnSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args, '--json'], {
    stdio,
    encoding: 'utf8',
  });
  if (made.status === 1) return { budget, status: /error.*/.exec(made.stderr)?.[0] ?? 'refused' };
  if (made.status !== 0)
    throw new Error(`${budget}: lacuna build ended with ${made.status}\n${made.stderr.slice(-900)}`);
  const { precision, bytes, evaluation } = JSON.parse(made.stdout);
  const kept = join(stages, 'lacuna-stages');
  const floats = readdirSync(kept).find((name) => name.startsWith('floats-'));
  const against = ['--against', join(kept, floats), '--data', fresh, '--mode', 'all'];
  const { modes } = JSON.parse(lacuna('eval', output, ...against, ...common, '--quiet', '--json'));
  const figuresOf = ([{ perplexityRatio, meanKl }]) => ({ ppl: perplexityRatio.value, kl: meanKl });
  return {
    ...{ budget, status: 'built', precision, bytes },
    judged: { ...figuresOf(evaluation.modes), bound: evaluation.modes[0].perplexityRatio.upperBound },
    fresh: figuresOf(modes),
  };
}

/** The share of each limit that a built model uses, of perplexity that of its excess; 1 is all of it. */
function usesOf({ budget, fresh, bytes }) {
  const limits = Object.fromEntries(budget.split(', ').map((limit) => limit.split('<=')));
  return [
    ...(limits.ppl === undefined ? [] : [(fresh.ppl - 1) / (Number(limits.ppl) - 1)]),
    ...(limits.kl === undefined ? [] : [fresh.kl / Number(limits.kl)]),
    ...(limits.bytes === undefined ? [] : [bytes / (1e6 * Number.parseFloat(limits.bytes))]),
  ];
}

const all = options.models.split(',').map((model) => {
  const name = basename(resolve(model));
  const work = join(options.work, 'random-budgets', `${name}-${options.tokens}`);
  mkdirSync(work, { recursive: true });
  const [judged, fresh] = halves(work);
  const int8 = madeOnce(join(work, 'int8'), (path) =>
    lacuna('convert', model, '-o', path, '--dtype', 'int8', '--quiet'),
  );
  const { files } = JSON.parse(readFileSync(join(int8, 'lacuna.json'), 'utf8'));
  const int8Bytes = files.reduce((sum, { path, bytes }) => sum + (path.startsWith('onnx/') ? bytes : 0), 0);
  const next = seeded(Number(options.seed));
  const outcomes = Array.from({ length: Number(options.count) }, (_, at) => {
    const budget = drawBudget(next, int8Bytes);
    const path = madeOnce(join(work, `${options.seed}-${at}.json`), (made) => {
      writeFileSync(made, JSON.stringify(outcomeOf({ model, work, judged, fresh }, budget)));
      console.error(`${name} ${at}: ${readFileSync(made, 'utf8')}`);
    });
    return JSON.parse(readFileSync(path, 'utf8'));
  });
  return { name, outcomes };
});

console.log(
  table(
    ['model', 'budgets', 'built', 'of many precisions', 'over budget on the fresh text', 'used, median', 'most'],
    all.map(({ name, outcomes }) => {
      const built = outcomes.filter(({ status }) => status === 'built');
      const uses = built.map((outcome) => Math.max(...usesOf(outcome)));
      const shares = uses.length === 0 ? ['-', '-'] : [median(uses), Math.max(...uses)].map((use) => use.toFixed(2));
      const mixed = built.filter(({ precision }) => precision === 'mixed');
      return [name, outcomes.length, built.length, mixed.length, uses.filter((use) => use > 1).length, ...shares];
    }),
  ),
);
console.log();
console.log(
  table(
    ['model', 'budget', 'blocks', 'ratio (at most)', 'fresh', 'KL, fresh', 'MB'],
    all.flatMap(({ name, outcomes }) =>
      outcomes.map((outcome) => {
        if (outcome.status !== 'built') return [name, outcome.budget, 'none keeps to it', '-', '-', '-', '-'];
        const { budget, precision, judged, fresh, bytes } = outcome;
        const bound = `${judged.ppl.toFixed(4)} (${(judged.bound ?? judged.ppl).toFixed(4)})`;
        return [name, budget, precision, bound, fresh.ppl.toFixed(4), fresh.kl.toFixed(4), (bytes / 1e6).toFixed(0)];
      }),
    ),
  ),
);
