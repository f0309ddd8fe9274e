// What benchmarks in JavaScript share: options, commands, what is made once, and tables.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';

export const root = dirname(import.meta.dirname);

/** Defaults of --model, which fixtures/real/prepare.py makes, and of --work. */
export const MODEL = join(root, 'fixtures/real/models/smollm2-135m');
export const WORK = join(root, '.bench');

/** The script's options, each a text: as they are given, or as in `defaults`. */
export function readOptions(defaults) {
  const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' }]));
  return { ...defaults, ...parseArgs({ options }).values };
}

/** Runs a command of lacuna. Returns what it prints. */
export function lacuna(...args) {
  return execFileSync(process.execPath, [join(root, 'bin/lacuna.js'), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 << 20,
  });
}

/** The path of what `make` makes there, unless it is there already. */
export function madeOnce(path, make) {
  if (!existsSync(path)) make(path);
  return path;
}

/**
 * What a script measures plans by, made once in `work`: the model's dense folder, and statistics of the text `fit`.
 * `options` are those of the script: `model`, `fit-tokens` and `threads`.
 */
export function denseAndStatistics(work, options) {
  const dense = madeOnce(join(work, 'dense'), (path) => lacuna('convert', options.model, '-o', path, '--quiet'));
  const statistics = madeOnce(join(work, `fit-${options['fit-tokens']}.json`), (path) => {
    const how = ['--tokens', options['fit-tokens'], '--threads', options.threads, '--quiet'];
    lacuna('calibrate', options.model, '-o', path, ...how);
  });
  return { dense, statistics };
}

/** Runs a command; seconds, and the high-water mark of its memory in MB (Linux). */
export async function measure([command, ...args]) {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let peak = 0;
  const watch = setInterval(() => {
    try {
      const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
      peak = Math.max(peak, Number(kilobytes ?? 0) / 1000);
    } catch {}
  }, 5);
  const closed = once(child, 'close').then(
    ([code, signal]) => signal ?? code,
    ({ message }) => message,
  );
  const [ended, stderr] = await Promise.all([closed, text(child.stderr)]);
  clearInterval(watch);
  if (ended !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${ended}\n${stderr.slice(-2000)}`);
  return { seconds: (performance.now() - started) / 1000, peak };
}

/**
 * What fixtures/oracle/apply_plan.py prints in `python`, kept in the file `cached`. Undefined where there is no Python,
 * or where it fails: then it is said of `whose` figures that they are left out.
 */
export function inTorch(cached, python, whose, args) {
  if (existsSync(cached)) return JSON.parse(readFileSync(cached, 'utf8'));
  if (python === undefined) return undefined;
  const { status, signal, stdout } = spawnSync(python, [join(root, 'fixtures/oracle/apply_plan.py'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (status !== 0) {
    console.error(`${whose} figures are left out: ${python} ended with ${signal ?? status ?? 'no start'}`);
    return undefined;
  }
  writeFileSync(cached, stdout);
  return JSON.parse(stdout);
}

/** Options that ask for a plan, by its preset and the share that it keeps or skips. */
export function planned(preset, share) {
  return ['--preset', preset, preset === 'top-k' ? '--keep' : '--skip', share];
}

export function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Lines of a Markdown table. */
export const row = (cells) => `| ${cells.join(' | ')} |`;
export const header = (titles) => `${row(titles)}\n|${titles.map(() => '---|').join('')}`;
export const table = (titles, rows) => [header(titles), ...rows.map(row)].join('\n');
