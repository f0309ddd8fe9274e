/** Every script in bench/ at toy size: that it runs, and what its output looks like. What it says of speed means nothing here. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { python as consumersPython } from './consumers/consumers.ts';
import { nativeLib } from './native-lib.ts';
import { python, required } from './real/real-model.ts';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const work = temporaryFolder();
const dense = join(work, 'decode/fp32');
const int4 = join(work, 'decode/int4');
const gguf = join(work, 'tiny.gguf');
const nativeBuild = dirname(nativeLib);
const tokenizer = join(tinyLlama, 'tokenizer.json');
/** Stands in for the Python of a peer, and dies as llama.cpp does where it takes a processor for another. */
const dying = join(work, 'dying');

/** What has to be there for a script to run; all of it in continuous integration. */
const NEEDS = {
  dist: join(root, 'dist/src/cli/index.js'),
  native: join(nativeLib, 'lacuna_node.node'),
  nativeBench: join(nativeBuild, 'gated_ffn_bench'),
  python,
  consumers: consumersPython,
};

/** What a cell of a table may hold. */
const NAME = /^\S.*$/;
const NUMBER = /^\d[\d,]*(\.\d+)?$/;
const TIMES = /^\d+\.\d+x$/;
const SPREAD = /^\d+\.\d+ \(\d+\.\d+-\d+\.\d+\)$/;
const OF_DENSE = /^[\d.]+ \(\d+\.\d+\)$/;
const SHARE = /^\d+(\.\d+)? %$/;
const orNone = (pattern: RegExp) => new RegExp(`${pattern.source}|^-?$`);

interface Table {
  /** The pattern of a column's cells, by its title. */
  readonly columns: Readonly<Record<string, RegExp>>;
  /** At least one where it is not said. */
  readonly rows?: number;
}

interface Script {
  readonly script: string;
  readonly args: readonly string[];
  readonly needs: readonly (keyof typeof NEEDS)[];
  /** Runs where all must run. */
  readonly isSlow?: boolean;
  readonly tables?: readonly Table[];
  /** What else it says, on stdout and stderr together. */
  readonly says?: readonly RegExp[];
}

const toy = ['--model', tinyLlama, '--work', work];
const ratioColumns = { 'dense tok/s': NUMBER, 'sparse tok/s': NUMBER, 'ratio (p10-p90)': SPREAD };
const blockColumns = { 'ms a block and token': NUMBER, 'dense / this': NUMBER };

const SCRIPTS: readonly Script[] = [
  {
    script: 'convert.js',
    args: ['--rounds', '1', '--genai', dying, ...toy],
    needs: ['dist'],
    tables: [
      {
        columns: {
          'tiny-llama, fp32': NAME,
          seconds: /^\d+\.\d+$|^fails$/,
          'to the copy': orNone(NUMBER),
          'peak memory, MB': orNone(NUMBER),
        },
        rows: 3,
      },
    ],
    says: [/onnxruntime-genai builder: .*SIGILL/],
  },
  {
    script: 'decode.js',
    args: [
      ...['--rounds', '1', '--repeats', '1', '--threads', '1', '--long', '200', ...toy],
      ...['--plans', 'top-k:0.25', '--stock-plans', 'fp32:top-k:0.1', '--fit-tokens', '1024'],
    ],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          'native session against stock': NAME,
          'cached tokens': NUMBER,
          'stock tok/s': NUMBER,
          'native tok/s': NUMBER,
          'ratio (p10-p90)': SPREAD,
        },
        rows: 3,
      },
      ...['fp32, native', 'int4, native', 'fp32, stock', 'int4, stock'].map((which) => ({
        columns: { [`sparse against dense ${which}`]: NAME, ...ratioColumns },
        rows: 1,
      })),
      // None pays for so small a model.
      { columns: { 'plans for stock, stock': NAME, ...ratioColumns }, rows: 0 },
    ],
    says: [/The plan for stock fp32, top-k 0.1, is left out/],
  },
  {
    script: 'session.js',
    args: ['--rounds', '1', '--threads', '1', '--long', '200', ...toy],
    needs: ['dist', 'native'],
    tables: [
      { columns: { rows: NUMBER, 'tokens/s together': NUMBER, 'as one row': TIMES }, rows: 4 },
      {
        columns: { 'cached tokens': NUMBER, "['cpu'] tokens/s": NUMBER, "['lacuna'] tokens/s": NUMBER, ratio: TIMES },
        rows: 2,
      },
    ],
  },
  {
    script: 'sparse.js',
    isSlow: true,
    args: ['--plans', 'top-k:0.5', '--tokens', '1100', '--threads', '1', '--rounds', '1', '--python', dying, ...toy],
    needs: ['dist'],
    tables: [
      {
        columns: {
          plan: NAME,
          mode: /^(all|decode)$/,
          'scored tokens': NUMBER,
          realised: /^\d+\.\d % kept$/,
          'dense ppl': NUMBER,
          ratio: NUMBER,
          'PyTorch ratio': /^-$/,
          'excess against PyTorch': /^-$/,
          KL: NUMBER,
          'same top-1': SHARE,
          'decode speed-up': orNone(SPREAD),
        },
        rows: 2,
      },
    ],
    says: [/PyTorch's figures are left out: .* ended with SIGILL/],
  },
  {
    script: 'skip-regions.js',
    args: [
      ...['--regions', '1-10,1-4', '--warm-up', '2', '--warm-ups', '0', '--skip', '0.1'],
      ...['--tokens', '1100', '--fit-tokens', '2048', '--threads', '1', ...toy],
    ],
    needs: ['dist'],
    tables: [
      {
        columns: {
          layers: /^1-(10|4)$/,
          'warm-up': NUMBER,
          skipped: /^\d+\.\d\d %$/,
          ratio: /^\d\.\d{4} ± \d\.\d{4}$/,
          KL: NUMBER,
          'cost of a point': /^-?\d+\.\d\d %$/,
        },
        rows: 3,
      },
    ],
  },
  {
    script: 'repair.js',
    args: [
      ...['--skips', '0.2', '--bytes', '0.058', '--gates', 'gate,no-gate', '--tokens', '1100', '--fit-tokens', '4096'],
      ...['--threads', '1', '--python', dying, ...toy],
    ],
    needs: ['dist'],
    tables: [
      {
        columns: {
          asked: SHARE,
          gate: /^(yes|no)$/,
          maps: /^(in turn|alone)$/,
          blocks: NUMBER,
          'map and gate': SHARE,
          skipped: SHARE,
          'bytes read': SHARE,
          ratio: /^\d\.\d{4} ± \d\.\d{4}$/,
          KL: NUMBER,
          PyTorch: /^$/,
        },
        rows: 4,
      },
    ],
    says: [/Transformers’ figures are left out: .* ended with SIGILL/],
  },
  {
    script: 'instruction-sets.js',
    args: ['--passes', '1', '--threads', '1', '--dtypes', 'int4,int6', ...toy],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          instructions: /^[A-Z0-9_]+$/,
          ...Object.fromEntries(['int4', 'int6'].map((dtype) => [`${dtype}, tok/s (to stock)`, /^\d+ \(\d+\.\d\d\)$/])),
        },
      },
    ],
  },
  {
    script: 'caches.js',
    args: [
      ...['--models', tinyLlama, '--cached', '200', '--window', '128', '--tokens', '500', '--repeats', '1'],
      ...['--threads', '1', '--work', work, '--built', nativeBuild],
    ],
    needs: ['dist', 'native', 'nativeBench'],
    tables: [
      {
        columns: {
          model: NAME,
          cache: /^(fp32|fp16|int8)$/,
          'tok/s at 200': NUMBER,
          'to fp32': /^1$|^\d+\.\d\d \(/,
          'at 128': /^1$|^\d+\.\d\d \(/,
          'perplexity ratio (at most)': /^1$|^\d\.\d{5} \(\d\.\d{5}\)$/,
        },
        rows: 3,
      },
    ],
  },
  {
    script: 'attended.js',
    args: [
      ...['--models', tinyLlama, '--attended', '64', '--caches', 'int8', '--cached', '200', '--repeats', '1'],
      ...[
        '--quality',
        '64',
        '--window',
        '256',
        '--tokens',
        '200',
        '--threads',
        '1',
        '--work',
        work,
        '--built',
        nativeBuild,
      ],
    ],
    needs: ['dist', 'native', 'nativeBench'],
    tables: [
      {
        columns: {
          model: NAME,
          cache: /^int8$/,
          attended: /^(all|64)$/,
          'tok/s at 200': NUMBER,
          'to all in fp32': /^\d+\.\d\d \(/,
          'of its own at 128': /^\d+\.\d\d$/,
        },
        rows: 2,
      },
      {
        columns: {
          model: NAME,
          attended: /^64$/,
          'perplexity ratio': /^\d\.\d{4} ± \d\.\d{4}$/,
          KL: /^\d\.\d{4}$/,
          'same top-1': /^\d+\.\d %$/,
        },
        rows: 1,
      },
    ],
  },
  {
    script: 'needle.js',
    args: [
      ...['--model', tinyLlama, '--dtype', 'int8', '--attended', '64', '--tokens', '200', '--depths', '2'],
      ...['--threads', '1', '--work', work],
    ],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          cache: /^fp32$/,
          attended: /^(all|64)$/,
          found: /^\d of 2$/,
          'right digits by depth': /^\d \d$/,
        },
        rows: 2,
      },
    ],
  },
  {
    script: 'trained-cut.ts',
    args: ['--python', python, '--layers', '1', '--rounds', '1', '--threads', '1', '--shape', '128x512'],
    needs: ['native', 'python'],
    tables: [{ columns: { block: NAME, by: /^(body|kernel)$/, ...blockColumns }, rows: 5 }],
  },
  {
    script: 'scores.js',
    args: [
      ...['--measures', 'product,predicted', '--targets', '0.5', '--tokens', '1100', '--fit-tokens', '2048'],
      ...['--threads', '1'],
      ...['--python', dying, ...toy],
    ],
    needs: ['dist'],
    tables: [
      {
        columns: {
          measure: /^`(product|predicted)`$/,
          kept: SHARE,
          ratio: /^\d\.\d{4} ± \d\.\d{4}$/,
          'the best of each token': /^-$/,
          KL: NUMBER,
          layers: /^\d+\.\d % to \d+\.\d %$/,
        },
        rows: 2,
      },
    ],
    says: [/PyTorch's figures are left out: .* ended with SIGILL/],
  },
  {
    script: 'random-budgets.js',
    isSlow: true,
    args: ['--models', tinyLlama, '--count', '1', '--tokens', '1100', '--threads', '1', '--work', work],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          model: /^tiny-llama$/,
          budgets: /^1$/,
          built: /^1$/,
          'of many precisions': /^[01]$/,
          'over budget on the fresh text': /^[01]$/,
          // Below 0 where the model is better than its floats on this text.
          'used, median': /^-?\d+\.\d+$/,
          most: /^-?\d+\.\d+$/,
        },
        rows: 1,
      },
      {
        columns: {
          model: /^tiny-llama$/,
          budget: /^ppl<=1\.\d{4}$/,
          blocks: /^(mixed|int\d)$/,
          'ratio (at most)': /^\d\.\d{4} \(\d\.\d{4}\)$/,
          fresh: NUMBER,
          'KL, fresh': NUMBER,
          MB: NUMBER,
        },
        rows: 1,
      },
    ],
  },
  {
    script: 'budgets.js',
    args: [
      ...['--plans', 'top-k:0.5', '--dtypes', 'int8', '--budgets', '1.01,9.5', '--tokens', '1100', '--threads', '1'],
      ...['--python', dying, ...toy],
    ],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          plan: /^top-k 0.5$/,
          precision: /^int8$/,
          mode: /^(all|decode)$/,
          'ratio (at most)': OF_DENSE,
          Transformers: /^-$/,
          difference: /^-$/,
          'by chance': /^-$/,
        },
        rows: 2,
      },
      {
        columns: {
          plan: /^top-k 0.5$/,
          precision: /^int8$/,
          decode: SPREAD,
          '1.01': /^(slower|over budget)$/,
          '9.5': /^(slower|ships)$/,
        },
        rows: 1,
      },
    ],
    says: [/Transformers' figures are left out: .* ended with SIGILL/],
  },
  {
    script: 'auto.js',
    isSlow: true,
    args: ['--budgets', '1.4', '--tokens', '1100', '--threads', '1', '--python', dying, ...toy],
    needs: ['dist', 'native'],
    tables: [
      {
        columns: {
          'ppl<=': /^1\.4$/,
          blocks: /^24 int4$/,
          MB: NUMBER,
          'ratio (at most)': OF_DENSE,
          Transformers: /^-$/,
          KL: NUMBER,
        },
        rows: 1,
      },
      {
        columns: {
          'ppl<=': /^1\.4$/,
          'over int8': SPREAD,
          expected: NUMBER,
          'fastest of one precision': /^int4$/,
          'over it': /^-$/,
        },
        rows: 1,
      },
      {
        columns: {
          blocks: /^24 int4$/,
          MB: NUMBER,
          'expected ms': NUMBER,
          'expected KL': /^-$/,
          KL: NUMBER,
          'ratio (at most)': OF_DENSE,
        },
        rows: 1,
      },
    ],
    says: [/Transformers' figures are left out: .* ended with SIGILL/],
  },
  {
    script: 'memory.js',
    isSlow: true,
    args: ['--up-to', '0.2', '--dtype', 'fp32', '--work', work, '--plot', join(work, 'plot.svg')],
    needs: ['dist'],
    tables: [
      {
        columns: {
          'shapes of': NAME,
          parameters: /^0\.13 billion$/,
          'fp32: peak MB': NUMBER,
          s: NUMBER,
          'GB written': NUMBER,
        },
        rows: 1,
      },
    ],
  },
  {
    script: 'peers.js',
    args: [
      ...['--models', tinyLlama, '--work', work, '--rounds', '1', '--threads', '1', '--prompt', '8', '--steps', '4'],
      ...['--genai', python, '--llama', dying],
    ],
    needs: ['dist', 'native', 'python'],
    tables: [
      {
        columns: {
          'tiny-llama, 1 thread(s), 8 cached tokens': NAME,
          weights: /^(\d+ MB)?$/,
          'tok/s': orNone(NUMBER),
          'native session is faster by': /^(\d+\.\d+|not timed: .+)$/,
        },
        rows: 6,
      },
    ],
    says: [/our folder \| \d+ MB \| \d+ \| \d/, /llama.cpp.* not timed: stopped by SIGILL/],
  },
  {
    script: 'native.js',
    args: ['1', '1', '1', '--built', nativeBuild],
    needs: ['nativeBench'],
    tables: [
      {
        columns: {
          'hidden, neurons': NAME,
          weights: NAME,
          block: NAME,
          'ms a token': NUMBER,
          'dense / this': NUMBER,
          'MB read': NUMBER,
          'of bandwidth': SHARE,
        },
      },
    ],
  },
  {
    script: 'operators.ts',
    args: ['--rounds', '1', '--repeats', '1', '--layers', '1', '--dtype', 'int4', '--shapes', '128x384,256x1024'],
    needs: [],
    tables: [
      {
        columns: {
          'ms a block and token, int4, 1 thread(s)': NAME,
          '128x384': OF_DENSE,
          '256x1024': OF_DENSE,
        },
        rows: 11,
      },
    ],
  },
  {
    script: 'costs.ts',
    args: [
      ...['--dtypes', 'fp32,int4', '--plans', 'top-k:0.5,ffn-skip:0.1', '--engine', 'stock', ...toy],
      ...['--repeats', '1', '--rounds', '1', '--threads', '1', '--cache', join(work, 'no-cache')],
    ],
    needs: [],
    tables: [
      {
        columns: {
          'tiny-llama, stock': NAME,
          ...Object.fromEntries(
            ['dense', 'sparse'].flatMap((which) => [
              [`${which} ms, expected`, NUMBER],
              [`${which} ms`, NUMBER],
              [`${which} error`, /^-?\d+\.\d %$/],
            ]),
          ),
          'ratio expected': NUMBER,
          ratio: NUMBER,
        },
        rows: 4,
      },
    ],
  },
  {
    script: 'calibrate.ts',
    args: [...['--shape', '128x256', '--layers', '1,2', '--tokens', '1024', '--rounds', '1', '--threads', '1'], ...toy],
    needs: ['dist'],
    tables: [
      {
        columns: {
          'layers of 128x256': NUMBER,
          'checkpoint, GB': NUMBER,
          'peak memory, GB': NUMBER,
          'of the checkpoint': SHARE,
        },
        rows: 2,
      },
      {
        columns: {
          'tiny-llama, 1024 tokens, 1 thread(s)': /^(forward pass|calibrate)$/,
          'tokens/s': NUMBER,
          'times as long': NUMBER,
        },
        rows: 2,
      },
    ],
  },
  {
    script: 'kernels.ts',
    args: ['--python', python, '--rounds', '1', '--layers', '1', '--threads', '1', '--shapes', '128x384,256x1024'],
    needs: ['native', 'python'],
    tables: Array(2).fill({ columns: { block: NAME, by: /^(body|kernel)$/, ...blockColumns }, rows: 11 }),
  },
  {
    script: 'spark.ts',
    args: [
      ...['--layers', '1', '--vocab-size', '2048', '--dtype', 'int4', '--work', work],
      ...['--repeats', '1', '--rounds', '1', '--steps', '1', '--cached', '400', '--chunk', '8', '--genai', dying],
    ],
    needs: ['native'],
    tables: [
      {
        columns: {
          weights: /^int4$/,
          'neurons kept': /^[78]\.\d %$/,
          'attended keys': NUMBER,
          'dense ms/token': NUMBER,
          'Spark ms/token': NUMBER,
          'dense / Spark (p10-p90)': SPREAD,
          '8 tokens, dense ms': NUMBER,
          '8 tokens, Spark ms': NUMBER,
          'dense / Spark': NUMBER,
        },
        rows: 1,
      },
    ],
    says: [/onnxruntime-genai \/ dense, int4: not timed/],
  },
  {
    script: 'bound_decode.py',
    args: [int4, '--prompt', '300', '--steps', '2', '--threads', '1'],
    needs: ['python'],
    says: [/"promptSeconds": \d+\.\d+, "tokensPerSecond": \d+\.\d+, "processorMillisecondsPerToken": \d+\.\d+/],
  },
  {
    script: 'opening.py',
    args: [join(nativeLib, 'liblacuna_ort.so'), '--rounds', '2'],
    needs: ['native', 'python'],
    says: [/onnxruntime \d+\.\d+\.\d+: \d+\.\d+ ms, with the library \d+\.\d+ ms: -?\d+\.\d+ ms more/],
  },
  {
    script: 'decode_profile.py',
    args: [dense, '--tokens', '4', '--threads', '1'],
    needs: ['python'],
    says: [/median \d+\.\d+ ms a token, profiled/, /GroupQueryAttention +\d+\.\d+ ms +12\.0 calls/],
  },
  { script: 'gguf_q4.py', args: [tinyLlama, gguf], needs: ['python'] },
  {
    script: 'perplexity.py',
    args: [tokenizer, dense, int4, '--windows', '2'],
    needs: ['consumers'],
    says: [/fp32: \d+\.\d+, 11 MB/, /int4: \d+\.\d+, 2 MB/],
  },
  {
    script: 'precisions.py',
    args: [tinyLlama, join(work, 'precisions'), '--rows', 'int8', '--windows', '2'],
    needs: ['dist', 'consumers'],
    tables: [{ columns: { '': NAME, 'test.txt, 2 windows, spread': NUMBER, MB: NUMBER }, rows: 2 }],
  },
  {
    script: 'residuals.py',
    isSlow: true,
    args: [
      ...[tinyLlama, '--work', join(work, 'residuals')],
      ...['--windows', '2', '--fit-windows', '1', '--choose-windows', '1'],
    ],
    needs: ['consumers'],
    tables: [
      { columns: { '': NAME, 'bytes a weight': NUMBER, 'ratio to fp32': /^\d\.\d{4} ± \d\.\d{4}$/ }, rows: 8 },
      {
        columns: {
          'residual / mix of the same bytes': /^residual \d+ %$/,
          ratio: /^\d\.\d{4} ± \d\.\d{4}$/,
          'layers above int4': /^\d+: int\d(, \d+: int\d)*$/,
        },
        rows: 2,
      },
    ],
    says: [/fp32: perplexity \d+\.\d{3}, 2 windows/],
  },
];

/** Imported by scripts, or run by one of them. */
const HELPERS = ['ffn-blocks.ts', 'harness.js', 'kernels.py', 'run.js'];

const scripts = readdirSync(join(root, 'bench')).filter((name) => /\.(js|ts|py)$/.test(name));
const sourceOf = (script: string) => readFileSync(join(root, 'bench', script), 'utf8');

function commandOf({ script, args, needs }: Script): [string, readonly string[]] {
  const path = join(root, 'bench', script);
  if (script.endsWith('.py')) return [needs.includes('consumers') ? consumersPython : python, [path, ...args]];
  if (script.endsWith('.ts'))
    return [process.execPath, [join(root, 'bench/run.js'), script.replace('.ts', ''), ...args]];
  return [process.execPath, [path, ...args]];
}

/** The Markdown tables in a text, cells by row. */
function tablesOf(text: string): string[][][] {
  const tables: string[][][] = [[]];
  for (const line of text.split('\n')) {
    if (line.startsWith('|'))
      tables.at(-1)?.push(
        line
          .slice(1, line.lastIndexOf('|'))
          .split('|')
          .map((c) => c.trim()),
      );
    else if (tables.at(-1)?.length !== 0) tables.push([]);
  }
  return tables.filter((table) => table.length > 0);
}

function expectTable(found: readonly (readonly string[])[], { columns, rows }: Table): void {
  const [header, , ...body] = found;
  expect(header).toEqual(Object.keys(columns));
  expect(body).toHaveLength(rows ?? Math.max(1, body.length));
  for (const row of body)
    for (const [column, pattern] of Object.values(columns).entries())
      expect(row[column], `${header[column]} of ${row[0]}`).toMatch(pattern);
}

describe('a script in bench/', () => {
  beforeAll(async () => {
    writeFileSync(dying, '#!/bin/sh\nkill -ILL $$\n', { mode: 0o755 });
    for (const [folder, dtype] of [
      [dense, 'fp32'],
      [int4, 'int4'],
    ])
      expect(await lacuna(['convert', tinyLlama, '-o', folder, '--dtype', dtype, '--quiet'])).toMatchObject({
        code: 0,
      });
  }, 60_000);

  for (const one of SCRIPTS) {
    const missing = one.needs.map((need) => NEEDS[need]).filter((path) => !existsSync(path));
    it.skipIf((missing.length > 0 || one.isSlow) && !required)(
      `runs and prints what it should: ${one.script}`,
      async () => {
        const [command, args] = commandOf(one);
        const { stdout, stderr } = await promisify(execFile)(command, args, { cwd: root, maxBuffer: 1 << 26 });
        const tables = tablesOf(stdout);
        expect(tables).toHaveLength(one.tables?.length ?? 0);
        for (const [index, table] of (one.tables ?? []).entries()) expectTable(tables[index], table);
        for (const pattern of one.says ?? []) expect(stdout + stderr).toMatch(pattern);
      },
      300_000,
    );
  }

  it('is in the list above, or helps one that is', () => {
    expect([...SCRIPTS.map(({ script }) => script), ...HELPERS].sort()).toEqual(scripts.sort());
    const all = scripts.map(sourceOf).join('\n');
    for (const helper of HELPERS) expect(all, helper).toContain(helper.replace(/\.ts$/, ''));
  });

  it.each(scripts.filter((script) => /parseArgs|readOptions|add_argument/.test(sourceOf(script))))(
    'names each of its options in its head: %s',
    (script) => {
      const [head] = sourceOf(script).split(/^(?:import|from) /m);
      for (const option of optionsOf(script)) expect(head).toContain(`--${option}`);
    },
  );
});

function optionsOf(script: string): readonly string[] {
  const source = sourceOf(script);
  const [, defaults] = /readOptions\(\{(.*?)\}\);/s.exec(source) ?? [];
  const found = script.endsWith('.py')
    ? source.matchAll(/add_argument\("--([a-z-]+)"/g)
    : (defaults?.matchAll(/[\s{]'?([a-z-]+)'?: /g) ??
      source.matchAll(/[\s{]'?([a-z-]+)'?: \{[^{}]*?type: '(?:string|boolean)'/g));
  return [...found].map(([, name]) => name);
}

describe('a command of the documentation', () => {
  const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];
  const commands = documents
    .filter((name) => name.endsWith('.md'))
    .flatMap((name) => [
      ...readFileSync(join(root, name), 'utf8').matchAll(/(?:node|python) (bench\/\S+\.(?:js|py))(?: ([^`\n]*))?/g),
    ])
    .map(([command, script, rest = '']) => ({ command, script, rest }));

  it('is found', () => expect(commands.length).toBeGreaterThan(10));

  it.each(commands)('names a script and options that there are: $command', ({ script, rest }) => {
    const [first] = rest.split(' ');
    const run = script === 'bench/run.js' ? `${first}.ts` : script.replace('bench/', '');
    expect(scripts).toContain(run);
    for (const [, option] of rest.matchAll(/--([a-z-]+)/g)) expect(optionsOf(run), run).toContain(option);
  });
});
