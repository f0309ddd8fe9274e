// Changes the source in many small ways and lists the changes that no test notices: npm run mutate -- [options]
// [PATH...]
//
// It takes a random sample of all changes in calibrate, plan, rewrite and ops, or in the files whose path begins with a
// PATH. The tests that import a changed file run, the closest first, up to the first failure. A change also counts as
// noticed if tests hang or if it does not compile.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { createCompiler } from './compiles.js';
import { mutantsOf } from './mutants.js';
import { testsOf } from './tests-of.js';

const root = join(import.meta.dirname, '../..');
const FOLDERS = ['calibrate/', 'src/plan/', 'src/rewrite/', 'src/ops/'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '300' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    list: { type: 'boolean', default: false },
  },
});

const files = execFileSync('git', ['ls-files', '*.ts'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
const sources = files.filter(
  (file) =>
    (positionals.length > 0 ? positionals : FOLDERS).some((prefix) => file.startsWith(prefix)) &&
    !/\.test\.ts$|\/testing\//.test(file),
);
const testsOfFile = testsOf(root, files);
const all = sources.flatMap((file) =>
  mutantsOf(readFileSync(join(root, file), 'utf8')).map((mutant) => ({ file, ...mutant })),
);
const mutants = sample(all, Number(values.count), Number(values.seed));
console.log(`${mutants.length} of ${all.length} changes in ${sources.length} files, seed ${values.seed}`);
if (values.list) {
  for (const mutant of mutants) console.log(described(mutant));
  process.exit();
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
const tests = [...new Set(mutants.flatMap(({ file }) => testsOfFile(file)))];
const report = join(mkdtempSync(join(tmpdir(), 'lacuna-mutate-')), 'report.json');
if ((await run({ tests, args: ['--reporter=json', `--outputFile=${report}`] })) !== 0) {
  console.error('Tests fail without any change. Mend them first: npx vitest run');
  process.exit(1);
}
/** Milliseconds that each test file took. */
const took = new Map(
  JSON.parse(readFileSync(report, 'utf8')).testResults.map(({ name, startTime, endTime }) => [
    relative(root, name),
    endTime - startTime,
  ]),
);
rmSync(dirname(report), { recursive: true });
console.log(`${tests.length} test files pass without a change`);

/** Whether tests fail, or hang: they take more than twice their time, and what starting them may take. */
async function notices(mutant, tests) {
  const limit = 2 * tests.reduce((sum, file) => sum + took.get(file), 0) + 20_000;
  return (await run({ mutant, tests, limit })) !== 0;
}

const compiles = createCompiler(root);
const survivors = [];
for (const [i, mutant] of mutants.entries()) {
  // The closest alone first: it notices most changes, and one that never ends it notices soonest.
  const [closest, ...others] = testsOfFile(mutant.file);
  if (closest !== undefined && (await notices(mutant, [closest]))) continue;
  if (others.length > 0 && (await notices(mutant, others))) continue;
  if (compiles(mutant)) {
    survivors.push(mutant);
    console.log(`${i + 1}/${mutants.length} not noticed: ${described(mutant)}`);
  }
}
const noticed = mutants.length - survivors.length;
console.log(
  `${noticed} of ${mutants.length} noticed: ${((100 * noticed) / mutants.length).toFixed(1)} %, seed ${values.seed}`,
);

/** The exit status of vitest; 124 if it had to be stopped. */
function run({ mutant, tests, limit, args = [] }) {
  const command = ['run', '--config', 'scripts/mutate/vitest.config.js', '--bail', '1', ...args, ...tests];
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', ...command], {
    cwd: root,
    env: { ...process.env, LACUNA_MUTANT: JSON.stringify({ mutant, tests }) },
    stdio: 'ignore',
    // A process group of its own, so that its workers end with it.
    detached: true,
  });
  const end = () => process.kill(-child.pid, 'SIGKILL');
  process.once('exit', end);
  return new Promise((resolve) => {
    const timer = limit && setTimeout(end, limit);
    child.on('exit', (status) => {
      clearTimeout(timer);
      process.off('exit', end);
      resolve(status ?? 124);
    });
  });
}

/** `count` of the items in their order, chosen by numbers that follow from the seed (mulberry32). */
function sample(items, count, seed) {
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  const drawn = items.map((item, place) => ({ item, place, number: random() }));
  const least = drawn.sort((a, b) => a.number - b.number).slice(0, count);
  return least.sort((a, b) => a.place - b.place).map(({ item }) => item);
}

/** file:line, the original line and its replacement. */
function described({ file, start, end, text }) {
  const code = readFileSync(join(root, file), 'utf8');
  const line = code.slice(0, start).split('\n').length;
  const from = code.lastIndexOf('\n', start - 1) + 1;
  const to = code.indexOf('\n', end);
  const whole = `${code.slice(from, start)}[${code.slice(start, end)} -> ${text}]${code.slice(end, to)}`;
  return `${file}:${line}  ${whole.trim().replaceAll(/\s+/g, ' ')}`;
}
