// What it costs to replace FFN blocks by maps of low rank: perplexity ratio and bytes by share, rank and gate (preset replace).
//
//     node bench/repair.js [--model DIR] [--skips 0.1,0.2,0.3] [--bytes 0.03,0.058] [--gates gate,no-gate]
//         [--fits refit,plan] [--tokens 20000] [--fit-tokens 20000] [--dtype fp32] [--threads 2] [--work WORK] [--python PYTHON]
//
// Maps and gates are fitted to the text `fit`, one after the other with the earlier ones in place (`refit`), or as `plan` fits
// them, each to its own block; the text `test`, which nothing was fitted to or chosen by, is measured in
// mode "all". Plans are not corrected, so a row skips a somewhat other share than was asked for. The ratio is to the dense
// model of the same precision. With --python (torch, transformers), Transformers says what the same plan costs there. Prints
// a Markdown table. Statistics, the dense folder and the figures stay in WORK/repair.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { header, inTorch, lacuna, MODEL, madeOnce, readOptions, root, row, WORK } from './harness.js';

const options = readOptions({
  model: MODEL,
  skips: '0.1,0.2,0.3',
  bytes: '0.03,0.058',
  gates: 'gate,no-gate',
  fits: 'refit,plan',
  tokens: '20000',
  'fit-tokens': '20000',
  dtype: 'fp32',
  threads: '2',
  work: WORK,
  python: undefined,
});
const work = join(options.work, 'repair', basename(resolve(options.model)));
mkdirSync(work, { recursive: true });

const threads = ['--threads', options.threads];
const dense = madeOnce(join(work, `dense-${options.dtype}`), (path) =>
  lacuna('convert', options.model, '-o', path, '--dtype', options.dtype, '--quiet'),
);
const statistics = madeOnce(join(work, `fit-${options['fit-tokens']}.json`), (path) => {
  const how = ['--tokens', options['fit-tokens'], '--with', 'ffn-moments', 'ffn-effect', ...threads, '--quiet'];
  lacuna('calibrate', options.model, '-o', path, ...how);
});

/** The plan, and the figures of mode "all" that it has in our runtime and in Transformers. */
function measure(skip, bytes, gate, fit) {
  const planned = [skip, bytes, gate, options['fit-tokens']].join('_');
  const name = [planned, fit, options.dtype, options.tokens].join('_');
  const first = madeOnce(join(work, `${planned}.plan.json`), (path) => {
    const how = ['--preset', 'replace', '--skip', skip, '--bytes', bytes, ...(gate === 'gate' ? [] : ['--no-gate'])];
    lacuna('plan', statistics, '-o', path, ...how, '--quiet');
  });
  const plan =
    fit === 'plan'
      ? first
      : madeOnce(join(work, `${planned}.refit.json`), (path) => {
          const how = ['--tokens', options['fit-tokens'], ...threads, '--quiet'];
          lacuna('refit', options.model, '--plan', first, '-o', path, ...how);
        });
  const figures = madeOnce(join(work, `${name}.json`), (path) => {
    const sparse = join(work, name);
    rmSync(sparse, { recursive: true, force: true });
    lacuna('sparsify', options.model, '--plan', plan, '-o', sparse, '--dtype', options.dtype, '--quiet');
    const scored = ['--mode', 'all', '--tokens', options.tokens, ...threads, '--quiet', '--json'];
    writeFileSync(path, lacuna('eval', sparse, '--against', dense, ...scored));
    rmSync(sparse, { recursive: true });
  });
  const windows = Math.max(1, Math.round(Number(options.tokens) / 511));
  const inPython = inTorch(join(work, `${name}.torch.json`), options.python, 'Transformers’', [
    ...[options.model, plan, join(root, 'texts/test.txt'), '--mode', 'all'],
    ...['--windows', String(windows), ...threads],
  ]);
  return {
    plan: JSON.parse(readFileSync(plan, 'utf8')),
    figures: JSON.parse(readFileSync(figures, 'utf8')).modes[0],
    inPython,
  };
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

console.log(
  header(['asked', 'gate', 'maps', 'blocks', 'map and gate', 'skipped', 'bytes read', 'ratio', 'KL', 'PyTorch']),
);
for (const gate of options.gates.split(','))
  for (const bytes of options.bytes.split(','))
    for (const [skip, fit] of options.skips
      .split(',')
      .flatMap((one) => options.fits.split(',').map((how) => [one, how]))) {
      const { plan, figures, inPython } = measure(skip, bytes, gate, fit);
      const { hiddenSize: hidden, intermediateSize: neurons, numHiddenLayers: layers } = plan.model;
      const whole = 4 * 3 * hidden * neurons;
      const beside = plan.blocks.map(({ repair }) => 4 * hidden * (2 * repair.rank + (repair.gate ? 2 : 1)));
      const read = plan.blocks.reduce((sum, { expected }) => sum + expected.bytesPerToken - whole, layers * whole);
      const { value, standardError } = figures.perplexityRatio;
      console.log(
        row([
          ...[
            percent(Number(skip)),
            gate === 'gate' ? 'yes' : 'no',
            fit === 'refit' ? 'in turn' : 'alone',
            plan.blocks.length,
          ],
          percent(Math.max(...beside) / whole),
          percent(figures.realised.skippedShare),
          percent(read / (layers * whole)),
          `${value.toFixed(4)} ± ${(standardError ?? 0).toFixed(4)}`,
          figures.meanKl.toFixed(4),
          inPython?.perplexityRatio.toFixed(4) ?? '',
        ]),
      );
    }
