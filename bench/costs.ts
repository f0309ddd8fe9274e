/**
 * Decode steps expected by the costs of this host against measured ones: plans on a real model. Prints a table.
 *
 *     node bin/lacuna.js host --threads 2
 *     node bench/run.js costs [--model DIR] [--dtypes fp32,int8,int4] [--plans PRESET:TARGET,...] [--engine native|stock]
 *         [--threads 2] [--repeats 5] [--rounds 2] [--work WORK] [--cache DIR] [--make]
 *
 * Run it in the repository's root. Plans are made from 4,000 tokens and not corrected; weights are rounded to nearest, which changes no times. Folders stay in
 * WORK/costs and are used again. Each sparse model is timed against the dense one, interleaved in one process, in sessions
 * opened anew for each repeat (`lacuna bench`). --make only makes the folders. --cache is where the costs were kept.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { sha256File } from '../formats/files.ts';
import { readStatistics, readSums } from '../formats/statistics.ts';
import { hostNamed } from '../src/core/plan.ts';
import { choosePrecision, type Precision, type PrecisionName, type WeightStorage } from '../src/core/precision.ts';
import { bench } from '../src/pipeline/bench.ts';
import { calibrate } from '../src/pipeline/calibrate.ts';
import { contentOf, openModels } from '../src/pipeline/convert.ts';
import { writeModelFolder } from '../src/pipeline/folder/model-folder.ts';
import { denseModel, openSource } from '../src/pipeline/folder/source.ts';
import { writeSparse } from '../src/pipeline/sparsify.ts';
import { makePlan, type PlanOptions, targetOf } from '../src/plan/index.ts';

const root = process.cwd();

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: join(root, 'fixtures/real/models/smollm2-135m') },
    dtypes: { type: 'string', default: 'fp32,int8,int4' },
    plans: { type: 'string', default: 'top-k:0.5,top-k:0.2,ffn-skip:0.1,ffn-skip:0.3' },
    engine: { type: 'string', default: 'native' },
    threads: { type: 'string', default: '2' },
    repeats: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '2' },
    work: { type: 'string', default: join(root, '.bench') },
    cache: { type: 'string', default: join(homedir(), '.cache/lacuna') },
    make: { type: 'boolean', default: false },
  },
});
const model = basename(resolve(options.model));
const work = join(options.work, 'costs', model);
const engine = options.engine as 'native' | 'stock';
const threads = Number(options.threads);
mkdirSync(work, { recursive: true });

/** The path of what `make` makes there, unless it is there already. */
async function madeOnce(name: string, make: (path: string) => Promise<unknown>): Promise<string> {
  const path = join(work, name);
  if (!existsSync(path)) await make(path);
  return path;
}

const quick = (storage: WeightStorage): WeightStorage =>
  storage.kind === 'blocks' ? { ...storage, method: 'nearest' } : storage;

function roundedQuickly(dtype: string): Precision {
  const precision = choosePrecision(dtype as PrecisionName);
  return { ...precision, linear: quick(precision.linear), vocabulary: quick(precision.vocabulary) };
}

/** "top-k:0.5", as options of a plan. */
function planOptions(text: string, dtype: string): PlanOptions {
  const [preset, target] = text.split(':');
  const host = hostNamed('native', dtype);
  const wanted = { preset, host, [preset === 'top-k' ? 'keep' : 'skip']: Number(target) };
  return wanted as unknown as PlanOptions;
}

const checkpoint = await openSource(options.model, {});
const statistics = await madeOnce('statistics.json', (output) =>
  calibrate({ checkpoint: options.model, output, tokens: 4000 }),
);
const rows: string[][] = [];
for (const dtype of options.dtypes.split(',')) {
  const precision = roundedQuickly(dtype);
  const dense = await madeOnce(dtype, (path) =>
    writeModelFolder(path, contentOf(checkpoint, openModels(checkpoint, [precision], undefined)), { threads: 1 }),
  );
  for (const text of options.plans.split(',')) {
    const wanted = planOptions(text, dtype);
    const sparse = await madeOnce(`${text.replace(':', '-')}-${dtype}`, async (path) => {
      const { plan, tensors } = await makePlan(
        await readStatistics(statistics),
        wanted,
        await sha256File(statistics),
        readSums,
      );
      await writeSparse(path, denseModel(checkpoint, precision), plan, tensors, { threads: 1 });
    });
    if (options.make) continue;
    const { subjects, speedup, expectedSpeedup } = await bench({
      folder: sparse,
      against: dense,
      engine,
      threads,
      repeats: Number(options.repeats),
      rounds: Number(options.rounds),
      cacheFolder: options.cache,
    });
    const time = (rate: number | null) => (rate === null ? '-' : (1000 / rate).toFixed(2));
    const [was, is] = subjects.map(({ expectedTokensPerSecond, decodeTokensPerSecond, expectedError }) => [
      time(expectedTokensPerSecond),
      time(decodeTokensPerSecond.median),
      expectedError === null ? '-' : `${(100 * expectedError).toFixed(1)} %`,
    ]);
    const { value } = targetOf(wanted);
    const ratios = [expectedSpeedup?.toFixed(2) ?? '-', speedup?.median.toFixed(2) ?? '-'];
    rows.push([`${dtype}, ${wanted.preset} ${100 * value} %`, ...was, ...is, ...ratios]);
  }
}
if (!options.make) {
  const halves = ['dense', 'sparse'].flatMap((which) =>
    ['ms, expected', 'ms', 'error'].map((what) => `${which} ${what}`),
  );
  const titles = [`${model}, ${engine}`, ...halves, 'ratio expected', 'ratio'];
  for (const cells of [titles, titles.map(() => '---'), ...rows]) console.log(`| ${cells.join(' | ')} |`);
}
